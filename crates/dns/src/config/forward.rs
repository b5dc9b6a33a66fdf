//! `forward`: which names are asked elsewhere, and where.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::duration::parse_duration;
use super::reading::Reading;
use super::zones::zones_in;
use crate::corefile::{CorefileError, Directive, Fault};
use crate::resolv_conf::parse_nameservers;
use crate::wire::DomainName;

/// How many queries may wait for upstream servers when the Corefile sets no limit.
///
/// Each costs a task and a socket; without a limit a dead upstream server would take the memory of the living.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 4096;
/// As many upstream servers as CoreDNS takes.
const MAX_UPSTREAMS: usize = 15;
const DNS_PORT: u16 = 53;

const OPTIONS: &[&str] = &[
    "except",
    "force_tcp",
    "prefer_udp",
    "max_fails",
    "policy",
    "health_check",
    "max_concurrent",
    "failfast_all_unhealthy_upstreams",
];

/// How names of other zones are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardConfig {
    /// The zone whose names are forwarded.
    pub from: DomainName,
    /// Zones in it whose names are not.
    pub except: Vec<DomainName>,
    /// Servers to ask; without any, the names fail.
    pub upstreams: Vec<SocketAddr>,
    /// Which of them is asked first.
    pub policy: Policy,
    /// Whether to ask over TCP in any case.
    pub force_tcp: bool,
    /// Whether to ask over UDP even for clients that came over TCP.
    pub prefer_udp: bool,
    /// How long to wait for one server before asking the next.
    pub attempt_timeout: Duration,
    /// How long to try altogether; less than the five seconds after which resolvers ask again.
    pub total_timeout: Duration,
    /// How many queries may wait at once; more are refused.
    pub max_in_flight: usize,
    /// After how many failures in a row a server is left alone until it answers a probe; never when zero.
    pub max_fails: u32,
    /// How a server that failed is probed.
    pub health_check: HealthCheck,
    /// Whether queries fail at once when every server is left alone.
    pub fail_fast: bool,
}

/// The order in which servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One by chance first.
    Random,
    /// Each first in turn.
    RoundRobin,
    /// As they are written.
    Sequential,
}

/// How a server that failed is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The time between two probes, and the longest to wait for an answer.
    pub interval: Duration,
    /// Whose name servers are asked for.
    pub domain: DomainName,
    /// Whether recursion is asked for.
    pub recursive: bool,
}

impl ForwardConfig {
    /// Asks these servers about everything, with the default limits.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            from: DomainName::root(),
            except: Vec::new(),
            upstreams,
            policy: Policy::Random,
            force_tcp: false,
            prefer_udp: false,
            attempt_timeout: Duration::from_millis(1500),
            total_timeout: Duration::from_millis(4500),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            max_fails: 2,
            health_check: HealthCheck {
                interval: Duration::from_millis(500),
                domain: DomainName::root(),
                recursive: true,
            },
            fail_fast: false,
        }
    }
}

impl Reading<'_> {
    pub(super) fn forward(&mut self, directive: &Directive) -> Result<ForwardConfig, CorefileError> {
        directive.counts(2..=usize::MAX, "a zone and where to ask about it, such as . /etc/resolv.conf")?;
        let mut upstreams = Vec::new();
        for place in &directive.arguments[1..] {
            upstreams.extend(self.upstreams_at(directive, place)?);
        }
        if upstreams.len() > MAX_UPSTREAMS {
            let found = upstreams.len();
            return Err(directive.error(Fault::Count { found, expected: "at most 15 servers" }));
        }
        let mut config = ForwardConfig::new(upstreams);
        let from = zones_in(directive, &directive.arguments[..1])?;
        let [from] = <[DomainName; 1]>::try_from(from).map_err(|_| {
            directive.refused(&directive.arguments[0], "a range that is one reverse zone, such as a /24")
        })?;
        config.from = from;
        for option in &directive.body {
            self.forward_option(directive, option, &mut config)?;
        }
        Ok(config)
    }

    /// A server by its address, or those that a resolver configuration names.
    fn upstreams_at(&mut self, directive: &Directive, place: &str) -> Result<Vec<SocketAddr>, CorefileError> {
        let address = match place.split_once("://") {
            Some(("dns", address)) => address,
            Some(("tls" | "https" | "https3" | "quic" | "grpc", _)) => {
                return self.not_built(directive).map(|()| Vec::new());
            }
            _ => place,
        };
        if let Some(server) = parse_server(address) {
            return Ok(vec![server]);
        }
        if !address.contains('/') {
            return Err(directive.refused(place, "addresses of servers, or a file such as /etc/resolv.conf"));
        }
        let text = self.surroundings.read(address);
        let text = text.map_err(|why| directive.error(Fault::File { path: address.to_owned(), why }))?;
        Ok(parse_nameservers(&text))
    }

    fn forward_option(
        &mut self,
        directive: &Directive,
        option: &Directive,
        config: &mut ForwardConfig,
    ) -> Result<(), CorefileError> {
        match &*option.name {
            "except" => {
                option.counts(1..=usize::MAX, "zones that are not forwarded")?;
                config.except.extend(zones_in(option, &option.arguments)?);
            }
            "force_tcp" => config.force_tcp = option.is_bare()?,
            "prefer_udp" => config.prefer_udp = option.is_bare()?,
            "failfast_all_unhealthy_upstreams" => config.fail_fast = option.is_bare()?,
            "max_fails" => config.max_fails = option.only_as(|word| word.parse().ok(), "a number; 0 for never")?,
            "max_concurrent" => {
                config.max_in_flight = option.only_as(|word| word.parse().ok(), "a number of queries")?;
                if config.max_in_flight == 0 {
                    config.max_in_flight = DEFAULT_MAX_IN_FLIGHT;
                }
            }
            "policy" => config.policy = option.only_as(parse_policy, "random, round_robin or sequential")?,
            "health_check" => config.health_check = health_check(option)?,
            // Both are about connections that are kept; every query here has a socket of its own.
            "expire" | "max_idle_conns" => {}
            "tls"
            | "tls_servername"
            | "next"
            | "failover"
            | "next_on_nodata"
            | "max_connect_attempts"
            | "read_timeout"
            | "doh_method"
            | "source_address"
            | "resolver" => self.not_built(option)?,
            _ => return Err(directive.no_such(option, OPTIONS)),
        }
        Ok(())
    }
}

fn parse_server(text: &str) -> Option<SocketAddr> {
    let plain = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
    text.parse().ok().or(plain.ok())
}

fn parse_policy(word: &str) -> Option<Policy> {
    Some(match word {
        "random" => Policy::Random,
        "round_robin" => Policy::RoundRobin,
        "sequential" => Policy::Sequential,
        _ => return None,
    })
}

fn health_check(option: &Directive) -> Result<HealthCheck, CorefileError> {
    const EXPECTED: &str = "a time such as 0.5s, then no_rec and domain NAME if wanted";
    option.counts(1..=4, EXPECTED)?;
    option.has_no_block()?;
    let text = &option.arguments[0];
    let interval = parse_duration(text).filter(|time| !time.is_zero()).ok_or_else(|| option.refused(text, EXPECTED))?;
    let mut check = HealthCheck { interval, domain: DomainName::root(), recursive: true };
    let mut words = option.arguments[1..].iter();
    while let Some(word) = words.next() {
        match (&**word, words.as_slice().first()) {
            ("no_rec", _) => check.recursive = false,
            ("domain", Some(name)) => {
                check.domain = DomainName::parse(name).map_err(|_| option.refused(name, "a domain name"))?;
                words.next();
            }
            _ => return Err(option.refused(word, EXPECTED)),
        }
    }
    Ok(check)
}
