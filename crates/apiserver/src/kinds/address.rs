//! The formats of IP addresses and address blocks, and what Kubernetes says when one is broken.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::field::Field;
use crate::error::FieldError;

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_BLOCK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// What is wrong with an IP address; one that was stored before (`known`) is not judged again.
pub(crate) fn validate_address(field: &Field<'_>, known: &Field<'_>) -> Option<FieldError> {
    let text = field.text();
    if known.texts().any(|old| old == text) {
        return None;
    }
    match text.parse::<IpAddr>() {
        Ok(address) if is_mapped(address) => Some(field.invalid("must not be an IPv4-mapped IPv6 address")),
        Ok(_) => None,
        Err(_) if sloppy_v4(text).is_some() => Some(field.invalid("must not have leading 0s")),
        Err(_) => Some(field.invalid(NOT_AN_ADDRESS)),
    }
}

/// What is wrong with an IP address that must also be written in its shortest form.
pub(crate) fn validate_canonical_address(field: &Field<'_>) -> Option<FieldError> {
    validate_address(field, &Field::nothing()).or_else(|| {
        let canonical = field.text().parse::<IpAddr>().ok()?.to_string();
        (canonical != field.text()).then(|| field.invalid(format!("must be in canonical form ({canonical:?})")))
    })
}

/// What is wrong with an address block; one that was stored before (`known`) is not judged again.
pub(crate) fn validate_block(field: &Field<'_>, known: &Field<'_>) -> Option<FieldError> {
    let text = field.text().trim();
    if known.texts().any(|old| old.trim() == text) {
        return None;
    }
    wrong_with_block(text).map(|wrong| FieldError::invalid(field.path(), text, wrong))
}

/// What is wrong with the text of an address block.
pub(crate) fn wrong_with_block(text: &str) -> Option<&'static str> {
    match parse_block(text) {
        Some(block) if is_mapped(block.addr()) => Some("must not have an IPv4-mapped IPv6 address"),
        Some(block) if block.addr() != block.network() => Some("must not have bits set beyond the prefix length"),
        Some(_) => None,
        None if sloppy_block(text).is_some() => Some("must not have leading 0s in IP or prefix length"),
        None => Some(NOT_A_BLOCK),
    }
}

/// An address block without superfluous zeros.
fn parse_block(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if length.len() > 1 && length.starts_with('0') {
        return None;
    }
    IpNet::new(address, sloppy_number(length)?).ok()
}

/// What makes an address useless as a destination for others.
pub(crate) fn validate_destination(field: &Field<'_>) -> Vec<FieldError> {
    let Ok(address) = field.text().parse::<IpAddr>() else {
        return vec![field.invalid("must be a valid IP address")];
    };
    let mut errors = Vec::new();
    if address.is_unspecified() {
        errors.push(field.invalid(format!("may not be unspecified ({address})")));
    }
    if address.is_loopback() {
        errors.push(field.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if is_link_local(address) {
        errors.push(field.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if is_link_local_multicast(address) {
        errors.push(field.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
    errors
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

/// An IPv4 address with superfluous zeros, which old clients wrote.
fn sloppy_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> = text.split('.').map(sloppy_number).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(parts).ok().map(Ipv4Addr::from)
}

fn sloppy_block(text: &str) -> Option<()> {
    let (address, length) = text.split_once('/')?;
    let bits = if address.contains(':') {
        address.parse::<IpAddr>().ok().map(|_| 128)
    } else {
        sloppy_v4(address).map(|_| 32)
    };
    (sloppy_number(length)? <= bits?).then_some(())
}

fn sloppy_number(text: &str) -> Option<u8> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn address_error(text: &str, known: &[&str]) -> Option<String> {
        let (value, known) = (json!(text), json!(known));
        validate_address(&Field::root(&value).at("ip"), &Field::root(&known)).map(|error| error.to_string())
    }

    #[test]
    fn addresses_are_strict_unless_known_before() {
        let cases = [
            ("10.0.0.1", None),
            ("2001:DB8::1", None),
            ("10.0.0", Some(NOT_AN_ADDRESS)),
            ("010.0.0.1", Some("must not have leading 0s")),
            ("::ffff:1.2.3.4", Some("must not be an IPv4-mapped IPv6 address")),
        ];
        for (text, wrong) in cases {
            let expected = wrong.map(|wrong| format!("ip: Invalid value: {text:?}: {wrong}"));
            assert_eq!(address_error(text, &[]), expected);
        }
        assert_eq!(address_error("010.0.0.1", &["010.0.0.1"]), None);
    }

    #[test]
    fn new_fields_want_the_shortest_form() {
        let value = json!("2001:DB8:0::1");
        let error = validate_canonical_address(&Field::root(&value).at("ip")).expect("refused");
        assert_eq!(
            error.to_string(),
            "ip: Invalid value: \"2001:DB8:0::1\": must be in canonical form (\"2001:db8::1\")"
        );
    }

    #[test]
    fn blocks_name_no_host() {
        let cases = [
            ("10.0.0.0/8", None),
            ("10.0.0.1/8", Some("must not have bits set beyond the prefix length")),
            ("10.0.0.0/33", Some(NOT_A_BLOCK)),
            ("10.0.0.0", Some(NOT_A_BLOCK)),
            ("010.0.0.0/8", Some("must not have leading 0s in IP or prefix length")),
            ("10.0.0.0/08", Some("must not have leading 0s in IP or prefix length")),
            ("::ffff:1.2.3.0/120", Some("must not have an IPv4-mapped IPv6 address")),
        ];
        for (text, wrong) in cases {
            assert_eq!(wrong_with_block(text), wrong, "{text}");
        }
    }

    #[test]
    fn destinations_can_be_reached_from_elsewhere() {
        let cases = [
            ("10.0.0.1", ""),
            ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
            ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            ("224.0.0.5", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ];
        for (text, wrong) in cases {
            let value = json!(text);
            let details: Vec<String> =
                validate_destination(&Field::root(&value)).into_iter().map(|error| error.detail).collect();
            assert_eq!(details.join(", "), wrong, "{text}");
        }
    }
}
