//! `hosts`: names from a file of the form of `/etc/hosts`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::reading::Reading;
use super::zones::{fallthrough, zones_or};
use crate::corefile::{CorefileError, Directive};
use crate::wire::DomainName;
use crate::zone::Addresses;

const DEFAULT_TTL: u32 = 3600;
const DEFAULT_FILE: &str = "/etc/hosts";
const OPTIONS: &[&str] = &["ADDRESS NAME...", "ttl", "no_reverse", "reload", "fallthrough"];

/// Names from a file or the Corefile itself.
#[derive(Clone, Debug, PartialEq)]
pub struct HostsConfig {
    /// Zones in which they are looked for.
    pub zones: Vec<DomainName>,
    /// The names.
    pub hosts: Arc<Hosts>,
    /// Seconds a client may keep an answer.
    pub ttl: u32,
    /// Where names that are not among them go on to the next directive.
    pub fallthrough: Vec<DomainName>,
}

/// Names and their addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hosts {
    by_name: HashMap<Box<[u8]>, Addresses>,
    by_address: HashMap<IpAddr, Vec<DomainName>>,
}

impl Hosts {
    /// The names of these lines, each an address and its names; what is no domain name is left out.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = (IpAddr, Vec<&'a str>)>) -> Self {
        let mut by_name: HashMap<Box<[u8]>, Vec<IpAddr>> = HashMap::new();
        let mut by_address: HashMap<IpAddr, Vec<DomainName>> = HashMap::new();
        for (address, names) in lines {
            for name in names.into_iter().filter_map(|name| DomainName::parse(name).ok()) {
                by_name.entry(name.as_wire().into()).or_default().push(address);
                by_address.entry(address).or_default().push(name);
            }
        }
        let by_name = by_name.into_iter().map(|(name, list)| (name, list.into_iter().collect())).collect();
        Self { by_name, by_address }
    }

    /// The addresses of a name in lower-case wire form.
    pub fn addresses(&self, name: &[u8]) -> Option<&Addresses> {
        self.by_name.get(name)
    }

    /// The names of an address, in the order of the file.
    pub fn names(&self, address: IpAddr) -> &[DomainName] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }
}

/// The lines of a file of hosts; those that are none are left out, as libc does.
fn lines_of(text: &str) -> impl Iterator<Item = (IpAddr, Vec<&str>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.split('%').next()?.parse().ok()?;
        Some((address, words.collect()))
    })
}

impl Reading<'_> {
    pub(super) fn hosts(
        &mut self,
        directive: &Directive,
        block_zones: &[DomainName],
    ) -> Result<HostsConfig, CorefileError> {
        let (file, zones) =
            directive.arguments.split_first().map_or((DEFAULT_FILE, &[][..]), |(file, zones)| (file, zones));
        let zones = zones_or(directive, zones, block_zones)?;
        let mut config = HostsConfig { zones, hosts: Arc::default(), ttl: DEFAULT_TTL, fallthrough: Vec::new() };
        let (mut lines, mut reverse) = (Vec::new(), true);
        for option in &directive.body {
            match &*option.name {
                "ttl" => config.ttl = option.only_as(|word| word.parse().ok(), "seconds")?,
                "no_reverse" => reverse = !option.is_bare()?,
                // The file is looked at together with the Corefile.
                "reload" => {}
                "fallthrough" => config.fallthrough = fallthrough(option)?,
                address => match address.parse() {
                    Ok(address) => lines.push((address, option.arguments.iter().map(String::as_str).collect())),
                    Err(_) => return Err(directive.no_such(option, OPTIONS)),
                },
            }
        }
        // Like CoreDNS: a file that is not there has no names yet.
        let text = self.surroundings.read(file).unwrap_or_default();
        let mut hosts = Hosts::from_lines(lines.into_iter().chain(lines_of(&text)));
        if !reverse {
            hosts.by_address.clear();
        }
        config.hosts = Arc::new(hosts);
        Ok(config)
    }
}
