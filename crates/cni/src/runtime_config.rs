//! What the runtime asks for one container: `runtimeConfig`, or `CNI_ARGS` where that came before it.

use std::net::IpAddr;

use datapath::route::MacAddress;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::CniError;
use crate::bandwidth::{Bandwidth, RawBandwidth};
use crate::environment::Arguments;
use crate::host_ports::{PortMapping, RawPortMapping, parse_mappings};

/// The wishes of a runtime; all of them may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wishes {
    /// Ports of the node to lead to the container.
    pub(crate) port_mappings: Vec<PortMapping>,
    /// Addresses to have, at most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    /// The Ethernet address to have.
    pub(crate) mac: Option<MacAddress>,
    /// Limits of what passes per second.
    pub(crate) bandwidth: Bandwidth,
    /// What the answer is to say about names, in the words of a result.
    pub(crate) dns: Option<Value>,
}

/// `runtimeConfig` as far as this plugin has the capabilities.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawRuntimeConfig {
    port_mappings: Vec<RawPortMapping>,
    ips: Vec<String>,
    mac: String,
    bandwidth: RawBandwidth,
    dns: Option<RawDns>,
}

/// `runtimeConfig.dns`. The other spelling is containerd's, whose type has Go's own names and says null for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawDns {
    #[serde(alias = "Servers", deserialize_with = "null_is_empty")]
    servers: Vec<String>,
    #[serde(alias = "Searches", deserialize_with = "null_is_empty")]
    searches: Vec<String>,
    #[serde(alias = "Options", deserialize_with = "null_is_empty")]
    options: Vec<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads what is wished for.
pub(crate) fn parse(raw: &RawRuntimeConfig) -> Result<Wishes, CniError> {
    Ok(Wishes {
        port_mappings: parse_mappings(&raw.port_mappings)?,
        addresses: parse_addresses(&raw.ips)?,
        mac: if raw.mac.is_empty() { None } else { Some(parse_mac("runtimeConfig.mac", &raw.mac)?) },
        bandwidth: Bandwidth::from(&raw.bandwidth),
        dns: raw.dns.as_ref().and_then(result_dns),
    })
}

impl Wishes {
    /// Adds what only `CNI_ARGS` says.
    pub(crate) fn or_arguments(mut self, arguments: &Arguments) -> Result<Self, CniError> {
        if let (Some(address), true) = (&arguments.address, self.addresses.is_empty()) {
            self.addresses = parse_addresses(std::slice::from_ref(address))?;
        }
        if let (Some(mac), None) = (&arguments.mac, self.mac) {
            self.mac = Some(parse_mac("CNI_ARGS: MAC", mac)?);
        }
        Ok(self)
    }
}

/// Addresses with or without a prefix length, which a routed container has no use for.
fn parse_addresses(texts: &[String]) -> Result<Vec<IpAddr>, CniError> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let refuse = |why: String| CniError::Config { field: format!("runtimeConfig.ips[{index}]"), why };
        let address = text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse());
        let address = address.map_err(|_| refuse(format!("{text:?} must be an IP address")))?;
        if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            return Err(refuse(format!("{text} is a second address of its family; a container has one of each")));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Reads the Ethernet address of one interface, said in `field`.
pub(crate) fn parse_mac(field: &str, text: &str) -> Result<MacAddress, CniError> {
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let bytes: Option<[u8; 6]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match bytes {
        // The lowest bit of the first byte marks groups (IEEE 802).
        Some(bytes) if bytes[0] & 1 == 0 && bytes != [0; 6] => Ok(MacAddress(bytes)),
        _ => {
            let why = format!("{text:?} must be the Ethernet address of one interface, like \"0a:58:0a:f4:01:05\"");
            Err(CniError::Config { field: field.to_owned(), why })
        }
    }
}

fn result_dns(raw: &RawDns) -> Option<Value> {
    let parts = [("nameservers", &raw.servers), ("search", &raw.searches), ("options", &raw.options)];
    let given = parts.into_iter().filter(|(_, list)| !list.is_empty());
    let fields: Map<String, Value> = given.map(|(name, list)| (name.to_owned(), list.clone().into())).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wishes(value: Value) -> Result<Wishes, String> {
        parse(&serde_json::from_value(value).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn wishes_are_read_in_all_their_forms() {
        let wished = wishes(json!({
            "ips": ["10.244.1.7/24", "fd00::7"],
            "mac": "0A-58-0a-f4-01-05",
            "dns": { "servers": ["10.96.0.10"], "searches": ["cluster.local"], "options": [] },
        }))
        .unwrap();
        assert_eq!(wished.addresses, ["10.244.1.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]);
        assert_eq!(wished.mac, Some(MacAddress([0x0a, 0x58, 0x0a, 0xf4, 1, 5])));
        assert_eq!(wished.dns, Some(json!({ "nameservers": ["10.96.0.10"], "search": ["cluster.local"] })));
        assert_eq!(wishes(json!({})).unwrap(), Wishes::default());
    }

    #[test]
    fn containerds_spelling_of_names_means_the_same() {
        let wished =
            wishes(json!({ "dns": { "Servers": ["10.96.0.10"], "Searches": ["cluster.local"], "Options": null } }));
        let expected = json!({ "nameservers": ["10.96.0.10"], "search": ["cluster.local"] });
        assert_eq!(wished.unwrap().dns, Some(expected));
        assert_eq!(wishes(json!({ "dns": { "Servers": null, "Searches": null, "Options": null } })).unwrap().dns, None);
    }

    #[test]
    fn older_runtimes_wish_in_their_arguments() {
        let arguments =
            Arguments { pod: None, address: Some("10.0.0.7".into()), mac: Some("02:00:00:00:00:01".into()) };
        let wished = Wishes::default().or_arguments(&arguments).unwrap();
        assert_eq!(wished.addresses, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(wished.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    }

    #[test]
    fn impossible_wishes_are_refused() {
        for (value, expected) in [
            (json!({ "ips": ["x"] }), "configuration field runtimeConfig.ips[0]: \"x\" must be an IP address"),
            (
                json!({ "ips": ["10.0.0.1", "10.0.0.2"] }),
                "configuration field runtimeConfig.ips[1]: 10.0.0.2 is a second",
            ),
            (
                json!({ "mac": "01:00:5e:00:00:01" }),
                "configuration field runtimeConfig.mac: \"01:00:5e:00:00:01\" must",
            ),
            (json!({ "mac": "1:2" }), "configuration field runtimeConfig.mac: \"1:2\" must"),
        ] {
            let refusal = wishes(value).unwrap_err();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
