//! What a DNS server does, as its Corefile says.

mod cache;
mod duration;
mod forward;
mod hosts;
mod kubernetes;
mod log;
mod pages;
mod reading;
mod zones;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use model::NamespacedName;

pub use cache::{CacheConfig, CacheKind, Prefetch, ServeStale, StaleMode};
pub use forward::{ForwardConfig, HealthCheck, Policy};
pub use hosts::{Hosts, HostsConfig};
pub use kubernetes::DEFAULT_TTL;
pub use log::LogConfig;
pub use pages::Pages;
pub(crate) use zones::is_within;

use crate::corefile::{CorefileError, Directive, Fault, RawBlock, RawCorefile, Standing, Surroundings};
use crate::corefile::{nearest, standing};
use crate::wire::DomainName;
use crate::zone::ZoneSettings;
use reading::Reading;

/// The largest datagram sent: fits one Ethernet frame through common tunnels, so that it never travels in fragments.
pub const DEFAULT_UDP_PAYLOAD: u16 = 1232;
/// How often a Corefile is looked at when its `reload` gives no time.
const DEFAULT_RELOAD: Duration = Duration::from_secs(30);
const LEAST_RELOAD: Duration = Duration::from_secs(2);

/// What to do about directives that CoreDNS has and Fairway has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    /// Refuse the Corefile.
    #[default]
    Refuse,
    /// Go without them, and say so.
    Ignore,
}

/// What a Corefile does not say.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The Service in front of the DNS servers.
    pub dns_service: NamespacedName,
    /// The port of server blocks that name none.
    pub port: u16,
    /// What to do about directives that Fairway has not.
    pub unsupported: Unsupported,
}

/// What a DNS server does.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its server blocks, never empty.
    pub blocks: Vec<BlockConfig>,
    /// Where it says how it is.
    pub pages: Pages,
    /// How often its files are looked at, if at all.
    pub reload: Option<Duration>,
    /// What was left out because Fairway has not got it.
    pub ignored: Vec<CorefileError>,
}

/// What a server does with the queries for some zones.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockConfig {
    /// The zones, each at an address to answer on over UDP and TCP.
    pub served: Vec<(SocketAddr, DomainName)>,
    /// The largest datagram sent, in octets.
    pub max_udp_payload: u16,
    /// Whether queries that fail are logged.
    pub errors: bool,
    /// Which queries are logged, if any.
    pub log: Option<LogConfig>,
    /// Whether the order of addresses varies.
    pub shuffle: bool,
    /// Whether to look for queries that come back.
    pub loop_guard: bool,
    /// Which answers of other servers are kept.
    pub cache: Option<CacheConfig>,
    /// Names from a file.
    pub hosts: Option<HostsConfig>,
    /// The zones of the cluster, the one that addresses resolve back to first; empty without `kubernetes`.
    pub kubernetes: Vec<ZoneSettings>,
    /// Which names are asked elsewhere, in order.
    pub forward: Vec<ForwardConfig>,
}

impl Config {
    /// Reads and validates a Corefile.
    pub fn read(
        (file, text): (&str, &str),
        defaults: &Defaults,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, CorefileError> {
        let raw = RawCorefile::parse(file, text, surroundings)?;
        let mut reading = Reading::new(defaults, surroundings);
        let mut config = Self { blocks: Vec::new(), pages: Pages::default(), reload: None, ignored: Vec::new() };
        for block in &raw.blocks {
            let read = reading.block(block, &mut config)?;
            claim(&config.blocks, &read, block)?;
            config.blocks.push(read);
        }
        config.ignored = reading.ignored;
        Ok(config)
    }

    /// The longest time that a page asks to go on answering after the server was told to end.
    pub fn lameduck(&self) -> Duration {
        self.pages.lameduck
    }

    /// Whether an answer depends on the cluster's pods.
    pub fn needs_pods(&self) -> bool {
        self.blocks.iter().flat_map(|block| &block.kubernetes).any(ZoneSettings::needs_pods)
    }
}

/// Refuses a block that answers for what another answers for.
fn claim(blocks: &[BlockConfig], new: &BlockConfig, raw: &RawBlock) -> Result<(), CorefileError> {
    let taken = new.served.iter().find(|served| blocks.iter().any(|block| block.served.contains(served)));
    let Some((address, zone)) = taken else { return Ok(()) };
    let fault = Fault::Claimed { zone: zones::text_of(zone), address: *address };
    Err(CorefileError { at: raw.at.clone(), subject: raw.keys.join(" "), fault })
}

/// Directives that may stand more than once in a block.
const REPEATABLE: [&str; 2] = ["forward", "log"];

/// Whether CoreDNS takes a directive once in a block only; of those that mean nothing here it takes some often.
fn stands_once(name: &str) -> bool {
    standing(name) == Some(Standing::Built) && !REPEATABLE.contains(&name)
}

impl Reading<'_> {
    fn block(&mut self, raw: &RawBlock, config: &mut Config) -> Result<BlockConfig, CorefileError> {
        let keys = zones::keys_of(raw, self.defaults.port)?;
        let mut block = BlockConfig {
            served: Vec::new(),
            max_udp_payload: DEFAULT_UDP_PAYLOAD,
            errors: false,
            log: None,
            shuffle: false,
            loop_guard: false,
            cache: None,
            hosts: None,
            kubernetes: Vec::new(),
            forward: Vec::new(),
        };
        let zones: Vec<DomainName> = keys.iter().map(|(zone, _)| zone.clone()).collect();
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        for (index, directive) in raw.directives.iter().enumerate() {
            let twice = raw.directives[..index].iter().any(|earlier| earlier.name == directive.name);
            if twice && stands_once(&directive.name) {
                return Err(directive.error(Fault::Repeated));
            }
            match &*directive.name {
                "bind" => addresses = bind_addresses(directive)?,
                _ => self.directive(directive, &zones, (&mut block, config))?,
            }
        }
        let places = addresses
            .iter()
            .flat_map(|&address| keys.iter().map(move |(zone, port)| (SocketAddr::new(address, *port), zone.clone())));
        block.served = places.collect();
        Ok(block)
    }

    fn directive(
        &mut self,
        directive: &Directive,
        zones: &[DomainName],
        (block, config): (&mut BlockConfig, &mut Config),
    ) -> Result<(), CorefileError> {
        match &*directive.name {
            "errors" => block.errors = self.errors(directive)?,
            "log" => self.log(directive, &mut block.log)?,
            "health" => self.health(directive, &mut config.pages)?,
            "ready" => self.ready(directive, &mut config.pages)?,
            "prometheus" => self.prometheus(directive, &mut config.pages)?,
            "kubernetes" => block.kubernetes = self.kubernetes(directive, zones)?,
            "hosts" => block.hosts = Some(self.hosts(directive, zones)?),
            "forward" => block.forward.push(self.forward(directive)?),
            "cache" => block.cache = Some(self.cache(directive, zones)?),
            "bufsize" => block.max_udp_payload = self.bufsize(directive)?,
            "loop" => block.loop_guard = directive.is_bare()?,
            "loadbalance" => block.shuffle = self.loadbalance(directive)?,
            "reload" => config.reload = Some(reload_interval(directive)?),
            name => match standing(name) {
                Some(Standing::Meaningless) => {}
                Some(Standing::Built | Standing::NotBuilt) => self.not_built(directive)?,
                None => return Err(directive.error(Fault::Unknown { suggestion: nearest(name) })),
            },
        }
        Ok(())
    }

    fn errors(&mut self, directive: &Directive) -> Result<bool, CorefileError> {
        directive.counts(0..=0, "none")?;
        for option in &directive.body {
            match &*option.name {
                // There is no stack to show where nothing panics.
                "stacktrace" => {}
                "consolidate" => self.not_built(option)?,
                _ => return Err(directive.no_such(option, &["stacktrace"])),
            }
        }
        Ok(true)
    }

    fn bufsize(&mut self, directive: &Directive) -> Result<u16, CorefileError> {
        const EXPECTED: &str = "a size from 512 to 4096 octets";
        directive.counts(0..=1, EXPECTED)?;
        directive.has_no_block()?;
        let Some(text) = directive.arguments.first() else { return Ok(DEFAULT_UDP_PAYLOAD) };
        let size = text.parse().ok().filter(|size| (512..=4096).contains(size));
        size.ok_or_else(|| directive.refused(text, EXPECTED))
    }

    fn loadbalance(&mut self, directive: &Directive) -> Result<bool, CorefileError> {
        for option in &directive.body {
            self.not_built(option)?;
        }
        match directive.arguments.first().map(String::as_str) {
            None | Some("round_robin") => Ok(true),
            Some("weighted") => self.not_built(directive).map(|()| true),
            Some(other) => Err(directive.refused(other, "round_robin")),
        }
    }
}

fn bind_addresses(directive: &Directive) -> Result<Vec<IpAddr>, CorefileError> {
    const EXPECTED: &str = "addresses of this machine (names of interfaces are not supported yet)";
    directive.counts(1..=usize::MAX, EXPECTED)?;
    directive.has_no_block()?;
    let address = |text: &String| text.parse().map_err(|_| directive.refused(text, EXPECTED));
    directive.arguments.iter().map(address).collect()
}

fn reload_interval(directive: &Directive) -> Result<Duration, CorefileError> {
    const EXPECTED: &str = "a time such as 30s, at least 2s";
    directive.counts(0..=2, "a time such as 30s and a jitter such as 15s")?;
    directive.has_no_block()?;
    let Some(text) = directive.arguments.first() else { return Ok(DEFAULT_RELOAD) };
    let interval = duration::parse_duration(text).ok_or_else(|| directive.refused(text, EXPECTED))?;
    Ok(interval.max(LEAST_RELOAD))
}
