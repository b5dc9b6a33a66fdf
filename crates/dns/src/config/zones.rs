//! Zones as Corefiles name them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::corefile::{CorefileError, Directive, Fault, RawBlock};
use crate::wire::DomainName;

const EXPECTED: &str = "a zone, such as example.org, . or 10.0.0.0/8";
/// How many reverse zones one range may stand for.
const MAX_REVERSE_ZONES: u32 = 128;

/// The zones of a server block, each with its port.
pub(super) fn keys_of(block: &RawBlock, port: u16) -> Result<Vec<(DomainName, u16)>, CorefileError> {
    let mut keys = Vec::new();
    for key in &block.keys {
        let error = |fault| CorefileError { at: block.at.clone(), subject: key.clone(), fault };
        for zone in parse_key(key, port).map_err(error)? {
            if !keys.contains(&zone) {
                keys.push(zone);
            }
        }
    }
    Ok(keys)
}

fn parse_key(key: &str, default_port: u16) -> Result<Vec<(DomainName, u16)>, Fault> {
    let rest = match key.split_once("://") {
        Some(("dns", rest)) => rest,
        Some(("tls" | "https" | "https3" | "grpc" | "quic", _)) => return Err(Fault::NotBuilt),
        Some(_) => return Err(Fault::Value { value: key.into(), expected: EXPECTED }),
        None => key,
    };
    let (zone, port) = match rest.rsplit_once(':') {
        Some((zone, port)) if !zone.contains(':') || zone.ends_with(']') => {
            let expected = "a port behind the colon, such as .:53";
            (zone, port.parse().map_err(|_| Fault::Value { value: key.into(), expected })?)
        }
        _ => (rest, default_port),
    };
    let zones = parse_zone(zone).ok_or(Fault::Value { value: key.into(), expected: EXPECTED })?;
    Ok(zones.into_iter().map(|zone| (zone, port)).collect())
}

/// The zones named by words behind a directive; `otherwise` without any.
pub(super) fn zones_or(
    directive: &Directive,
    words: &[String],
    otherwise: &[DomainName],
) -> Result<Vec<DomainName>, CorefileError> {
    if words.is_empty() { Ok(otherwise.to_vec()) } else { zones_in(directive, words) }
}

/// The zones named by words behind a directive, each once.
pub(super) fn zones_in(directive: &Directive, words: &[String]) -> Result<Vec<DomainName>, CorefileError> {
    let mut zones = Vec::new();
    for word in words {
        for zone in parse_zone(word).ok_or_else(|| directive.refused(word, EXPECTED))? {
            if !zones.contains(&zone) {
                zones.push(zone);
            }
        }
    }
    Ok(zones)
}

/// Where names go on to the next directive: in the zones behind `fallthrough`, or everywhere without any.
pub(super) fn fallthrough(option: &Directive) -> Result<Vec<DomainName>, CorefileError> {
    option.has_no_block()?;
    zones_or(option, &option.arguments, &[DomainName::root()])
}

/// A zone by its name, or the reverse zones of a range of addresses.
fn parse_zone(text: &str) -> Option<Vec<DomainName>> {
    if let Ok(range) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpNet>() {
        return reverse_zones(range);
    }
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte));
    DomainName::parse(text).ok().filter(|_| is_name).map(|name| vec![name])
}

/// The zones whose names are the addresses of `range`: as many as it takes to end at an octet or a hexadecimal digit.
fn reverse_zones(range: IpNet) -> Option<Vec<DomainName>> {
    let step: u8 = if range.addr().is_ipv4() { 8 } else { 4 };
    let length = range.prefix_len().div_ceil(step).max(1) * step;
    if 1_u32.checked_shl(u32::from(length - range.prefix_len()))? > MAX_REVERSE_ZONES {
        return None;
    }
    range.subnets(length).ok()?.map(|subnet| reverse_zone(subnet.network(), length / step)).collect()
}

fn reverse_zone(address: IpAddr, labels: u8) -> Option<DomainName> {
    let (digits, suffix): (Vec<String>, _) = match address {
        IpAddr::V4(address) => (address.octets().iter().map(ToString::to_string).collect(), "in-addr.arpa"),
        IpAddr::V6(address) => {
            (format!("{:032x}", u128::from(address)).chars().map(String::from).collect(), "ip6.arpa")
        }
    };
    let mut labels: Vec<&str> = digits.iter().take(usize::from(labels)).rev().map(String::as_str).collect();
    labels.push(suffix);
    DomainName::parse(&labels.join(".")).ok()
}

/// Whether `name` is at or under one of the zones.
pub(crate) fn is_within(name: &crate::wire::QueryName, zones: &[DomainName]) -> bool {
    zones.iter().any(|zone| name.labels_under(zone).is_some())
}

/// A zone as Corefiles write it: with its last dot.
pub(super) fn text_of(zone: &DomainName) -> String {
    format!("{zone}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(text: &str) -> Vec<String> {
        parse_zone(text).unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_of_addresses_are_reverse_zones() {
        assert_eq!(zones("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(zones("10.0.0.0/24"), ["0.0.10.in-addr.arpa"]);
        assert_eq!(zones("10.0.4.0/23"), ["4.0.10.in-addr.arpa", "5.0.10.in-addr.arpa"]);
        assert_eq!(zones("2001:db8::/32"), ["8.b.d.0.1.0.0.2.ip6.arpa"]);
        assert_eq!(zones("Example.ORG."), ["example.org"]);
        assert!(zones("0.0.0.0/0").is_empty(), "that is 256 zones, which nobody means");
        assert!(zones("a..b").is_empty() && zones("{").is_empty());
    }

    fn key(text: &str) -> Result<Vec<(String, u16)>, String> {
        let keys = parse_key(text, 53).map_err(|fault| fault.to_string())?;
        Ok(keys.into_iter().map(|(zone, port)| (text_of(&zone), port)).collect())
    }

    #[test]
    fn keys_are_zones_with_ports() {
        assert_eq!(key(".:5353").unwrap(), [(".".into(), 5353)]);
        assert_eq!(key(":5353").unwrap(), [(".".into(), 5353)]);
        assert_eq!(key("dns://example.org.:54").unwrap(), [("example.org.".into(), 54)]);
        assert_eq!(key("10.0.0.0/24").unwrap(), [("0.0.10.in-addr.arpa.".into(), 53)]);
        assert!(key("tls://.").unwrap_err().starts_with("CoreDNS has this"));
        assert!(key(".:x").unwrap_err().ends_with("expected a port behind the colon, such as .:53"));
    }
}
