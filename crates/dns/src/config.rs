//! What a DNS server is told at its start.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use model::NamespacedName;

use crate::wire::{DomainName, DomainNameError};
use crate::zone::ZoneSettings;

/// Seconds a client may keep an answer: long enough for one connection attempt, short enough to follow endpoints.
pub const DEFAULT_TTL: u32 = 5;
/// The longest time to live that makes sense for names that move, in seconds.
pub const MAX_TTL: u32 = 3600;
/// The largest datagram sent: fits one Ethernet frame through common tunnels, so that it never travels in fragments.
pub const DEFAULT_UDP_PAYLOAD: u16 = 1232;
/// How many queries may wait for upstream servers.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 1000;
/// How many answers of upstream servers are kept.
pub const DEFAULT_CACHE_ENTRIES: usize = 10_000;

/// What a DNS server is told at its start, as given.
#[derive(Clone, Debug)]
pub struct RawConfig {
    /// Addresses to answer on, over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The cluster domain.
    pub cluster_domain: String,
    /// Seconds a client may keep an answer.
    pub ttl: u32,
    /// The Service in front of the DNS servers, as `namespace/name`.
    pub dns_service: String,
    /// Servers to ask for all other names, in order of preference.
    pub upstreams: Vec<SocketAddr>,
}

/// What a DNS server is told at its start, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to answer on, over UDP and TCP; never empty.
    pub listen: Vec<SocketAddr>,
    /// What shapes the zone.
    pub zone: ZoneSettings,
    /// How other names are looked up.
    pub forward: ForwardConfig,
    /// The largest datagram sent, in octets.
    pub max_udp_payload: u16,
    /// Sockets, and with them readers, per address.
    pub sockets: NonZeroUsize,
}

/// How names of other zones are looked up.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// Servers to ask, in order of preference; without any, other names fail.
    pub upstreams: Vec<SocketAddr>,
    /// How long to wait for one server before asking the next.
    pub attempt_timeout: Duration,
    /// How long to try altogether; less than the five seconds after which resolvers ask again.
    pub total_timeout: Duration,
    /// How many queries may wait at once; more are refused.
    pub max_in_flight: usize,
    /// How many answers are kept.
    pub cache_entries: usize,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No address to listen on.
    #[error("no address to listen on; give at least one, such as 0.0.0.0:53")]
    NoListener,
    /// The cluster domain is not a domain name.
    #[error("cannot serve cluster domain {domain:?}")]
    ClusterDomain {
        /// The domain given.
        domain: String,
        /// What is wrong with it.
        source: DomainNameError,
    },
    /// The time to live is out of range.
    #[error("cannot use a time to live of {ttl} s; it must be between 0 and {MAX_TTL}")]
    Ttl {
        /// The seconds given.
        ttl: u32,
    },
    /// The DNS Service is not a namespaced name.
    #[error("{given:?} does not name a Service; one looks like kube-system/kube-dns")]
    DnsService {
        /// The text given.
        given: String,
    },
}

impl Config {
    /// Validates what was given.
    pub fn new(raw: RawConfig) -> Result<Self, ConfigError> {
        if raw.listen.is_empty() {
            return Err(ConfigError::NoListener);
        }
        if raw.ttl > MAX_TTL {
            return Err(ConfigError::Ttl { ttl: raw.ttl });
        }
        let origin = DomainName::parse(&raw.cluster_domain)
            .map_err(|source| ConfigError::ClusterDomain { domain: raw.cluster_domain.clone(), source })?;
        let dns_service = match raw.dns_service.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                NamespacedName::new(namespace, name)
            }
            _ => return Err(ConfigError::DnsService { given: raw.dns_service }),
        };
        Ok(Self {
            listen: raw.listen,
            zone: ZoneSettings { origin, ttl: raw.ttl, dns_service },
            forward: ForwardConfig::new(raw.upstreams),
            max_udp_payload: DEFAULT_UDP_PAYLOAD,
            sockets: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        })
    }
}

impl ForwardConfig {
    /// Asks these servers with the default limits.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            upstreams,
            attempt_timeout: Duration::from_millis(1500),
            total_timeout: Duration::from_millis(4500),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            cache_entries: DEFAULT_CACHE_ENTRIES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawConfig {
        RawConfig {
            listen: vec!["127.0.0.1:53".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            ttl: DEFAULT_TTL,
            dns_service: "kube-system/kube-dns".into(),
            upstreams: vec![],
        }
    }

    #[test]
    fn a_sound_configuration_is_accepted() {
        let config = Config::new(raw()).unwrap();
        assert_eq!(config.zone.dns_service, NamespacedName::new("kube-system", "kube-dns"));
        assert_eq!(config.zone.origin.to_string(), "cluster.local");
    }

    #[test]
    fn unsound_configurations_are_refused_with_what_would_be_right() {
        let refusal = |raw| Config::new(raw).unwrap_err().to_string();
        assert_eq!(
            refusal(RawConfig { listen: vec![], ..raw() }),
            "no address to listen on; give at least one, such as 0.0.0.0:53"
        );
        assert_eq!(
            refusal(RawConfig { ttl: 3601, ..raw() }),
            "cannot use a time to live of 3601 s; it must be between 0 and 3600"
        );
        assert_eq!(
            refusal(RawConfig { cluster_domain: "a..b".into(), ..raw() }),
            "cannot serve cluster domain \"a..b\""
        );
        assert_eq!(
            refusal(RawConfig { dns_service: "kube-dns".into(), ..raw() }),
            "\"kube-dns\" does not name a Service; one looks like kube-system/kube-dns"
        );
    }
}
