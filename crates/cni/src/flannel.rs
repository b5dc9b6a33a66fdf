//! Configurations written for flannel's plugin (`type: flannel`), by name: what they mean here.
//!
//! Flannel's plugin reads the node's range from a file its daemon writes and hands the rest to the bridge plugin. Here
//! the same file gives the range, and what is said to the bridge plugin holds of itself or has no counterpart.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::CniError;

/// The type that asks for this reading.
pub(crate) const TYPE: &str = "flannel";
/// Where flannel's daemon writes the node's range.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// What may be said to the bridge plugin: containers are routed to, reach themselves and have a default route anyway.
const DELEGATE_FIELDS: [&str; 7] =
    ["bridge", "forceAddress", "hairpinMode", "isDefaultGateway", "isGateway", "promiscMode", "type"];

/// `delegate`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawDelegate {
    ip_masq: bool,
    mtu: u32,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What the file and the delegate say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) ranges: Vec<IpNet>,
    /// 0 when nothing is said.
    pub(crate) mtu: u32,
}

/// Reads the subnet file and what is said to the bridge plugin.
pub(crate) fn read(file: Option<PathBuf>, delegate: &RawDelegate) -> Result<Subnet, CniError> {
    crate::config::refuse_unknown("delegate.", &delegate.rest, &DELEGATE_FIELDS)?;
    if delegate.ip_masq {
        let why = "the agent masquerades what leaves the cluster; leave it out".to_owned();
        return Err(CniError::Unsupported { field: "delegate.ipMasq".into(), why });
    }
    let kind = delegate.rest.get("type").and_then(Value::as_str).unwrap_or("bridge");
    if kind != "bridge" {
        let why = format!("{kind:?} is not what this plugin does; leave it out for a routed interface");
        return Err(CniError::Unsupported { field: "delegate.type".into(), why });
    }
    let file = file.unwrap_or_else(|| SUBNET_FILE.into());
    let text =
        std::fs::read_to_string(&file).map_err(|source| CniError::ReadSubnetFile { path: file.clone(), source })?;
    let mut subnet = parse(&file, &text)?;
    if delegate.mtu != 0 {
        subnet.mtu = delegate.mtu;
    }
    Ok(subnet)
}

fn parse(file: &Path, text: &str) -> Result<Subnet, CniError> {
    let refuse = |name: &str, value: &str| CniError::Config {
        field: format!("subnetFile: {}: {name}", file.display()),
        why: format!("{value:?} makes no sense here"),
    };
    let mut subnet = Subnet::default();
    for (name, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
        match name {
            // The address of flannel's own bridge, with the length of the node's range.
            "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET" => {
                let range: IpNet = value.parse().map_err(|_| refuse(name, value))?;
                subnet.ranges.push(range.trunc());
            }
            "FLANNEL_MTU" => subnet.mtu = value.parse().map_err(|_| refuse(name, value))?,
            _ => {}
        }
    }
    subnet.ranges.sort_by_key(|range| matches!(range.addr(), IpAddr::V6(_)));
    if subnet.ranges.is_empty() { Err(refuse("FLANNEL_SUBNET", "")) } else { Ok(subnet) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\n\
                        FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn the_node_has_the_range_its_file_names() {
        let subnet = parse(Path::new("x"), FILE).unwrap();
        let ranges = ["10.244.1.0/24", "fd00:0:0:1::/64"].map(|text| text.parse().unwrap());
        assert_eq!(subnet, Subnet { ranges: ranges.to_vec(), mtu: 1450 });
        assert!(parse(Path::new("x"), "FLANNEL_MTU=1450\n").is_err());
    }

    #[test]
    fn what_the_bridge_plugin_is_told_holds_or_is_refused() {
        let read = |text: &str| {
            let delegate: RawDelegate = serde_json::from_str(text).unwrap();
            read(Some("/none".into()), &delegate).unwrap_err().to_string()
        };
        for (text, expected) in [
            (r#"{"hairpinMode":true,"isDefaultGateway":true}"#, "cannot read /none"),
            (
                r#"{"hairpinMod":true}"#,
                "configuration field delegate.hairpinMod: is not known; did you mean hairpinMode?",
            ),
            (r#"{"ipMasq":true}"#, "configuration field delegate.ipMasq is not supported"),
            (r#"{"type":"macvlan"}"#, "configuration field delegate.type is not supported"),
        ] {
            let refusal = read(text);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
