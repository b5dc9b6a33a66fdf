//! `health`, `ready` and `prometheus`: where the server says how it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::duration::parse_duration;
use super::reading::Reading;
use crate::corefile::{CorefileError, Directive};

const EXPECTED: &str = "an address such as :8080";

/// Where the server says how it is. An address of zeros stands for every address of the machine, of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Addresses of `/health`.
    pub health: Vec<SocketAddr>,
    /// Addresses of `/ready`.
    pub ready: Vec<SocketAddr>,
    /// Addresses of `/metrics`.
    pub metrics: Vec<SocketAddr>,
    /// How long to go on answering after being told to end, while clients still learn of it.
    pub lameduck: Duration,
}

impl Reading<'_> {
    pub(super) fn health(&mut self, directive: &Directive, pages: &mut Pages) -> Result<(), CorefileError> {
        add(&mut pages.health, address(directive, any(8080))?);
        for option in &directive.body {
            match &*option.name {
                "lameduck" => {
                    let lameduck = option.only_as(parse_duration, "a time such as 5s")?;
                    pages.lameduck = pages.lameduck.max(lameduck);
                }
                _ => return Err(directive.no_such(option, &["lameduck"])),
            }
        }
        Ok(())
    }

    pub(super) fn ready(&mut self, directive: &Directive, pages: &mut Pages) -> Result<(), CorefileError> {
        add(&mut pages.ready, address(directive, any(8181))?);
        for option in &directive.body {
            match &*option.name {
                // Once the cluster is known it stays known, so both are the same.
                "monitor" => {
                    let known = |word: &str| matches!(word, "until-ready" | "continuously").then_some(());
                    option.only_as(known, "until-ready or continuously")?;
                }
                _ => return Err(directive.no_such(option, &["monitor"])),
            }
        }
        Ok(())
    }

    pub(super) fn prometheus(&mut self, directive: &Directive, pages: &mut Pages) -> Result<(), CorefileError> {
        add(&mut pages.metrics, address(directive, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9153))?);
        for option in &directive.body {
            self.not_built(option)?;
        }
        Ok(())
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

fn add(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

fn address(directive: &Directive, default: SocketAddr) -> Result<SocketAddr, CorefileError> {
    directive.counts(0..=1, EXPECTED)?;
    let Some(text) = directive.arguments.first() else { return Ok(default) };
    parse_address(text).ok_or_else(|| directive.refused(text, EXPECTED))
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let host: IpAddr = match host {
        "" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return None,
    };
    Some(SocketAddr::new(host, port.parse().ok()?))
}
