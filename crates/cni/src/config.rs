//! The network configuration on standard input.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::environment::is_identifier;
use crate::host_ports::{PortMapping, RawPortMapping, parse_mappings};
use crate::owner::Owner;
use crate::{CniError, Version};

/// Where the plugin keeps what it remembers, unless the configuration says otherwise.
pub const STATE_DIR: &str = "/var/lib/cni/fairway";
/// The smallest packet IPv4 links must carry (RFC 791), and the largest length an IPv4 header can say.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Fields of the specification, and ours.
const KNOWN_FIELDS: [&str; 14] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "capabilities",
    "runtimeConfig",
    "args",
    "ipMasq",
    "ipam",
    "dns",
    "prevResult",
    "disableCheck",
    "mtu",
    "stateDir",
];

/// What a network's configuration means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) version: Version,
    /// Ranges to take addresses from, one per family that has any, in the order given.
    pub(crate) ranges: Vec<IpNet>,
    /// The largest packet; none means that of the node's own link to the outside.
    pub(crate) mtu: Option<u32>,
    pub(crate) state_dir: PathBuf,
    /// Ports of the node the runtime wants to lead to the container.
    pub(crate) port_mappings: Vec<PortMapping>,
    /// What the answer says about names, as configured.
    pub(crate) dns: Option<Value>,
    /// The result of the plugins before this one, or of `ADD` when this is a `CHECK`.
    pub(crate) previous: Option<Value>,
    /// For `GC`: the attachments that are still in use.
    pub(crate) valid_attachments: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    cni_version: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ip_masq: bool,
    ipam: Option<RawIpam>,
    #[serde(default)]
    mtu: u32,
    state_dir: Option<PathBuf>,
    dns: Option<Value>,
    #[serde(default)]
    runtime_config: RawRuntimeConfig,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Owner>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What the runtime asks for one container, as far as the configuration's `capabilities` let it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRuntimeConfig {
    #[serde(default)]
    port_mappings: Vec<RawPortMapping>,
}

#[derive(Deserialize)]
struct RawIpam {
    #[serde(default)]
    ranges: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads a configuration; `version` is set as soon as it is known, for the answer to an error in the rest.
pub(crate) fn parse(input: &[u8], version: &mut Version) -> Result<Config, CniError> {
    let raw: RawConfig = serde_json::from_slice(input).map_err(|source| CniError::Decode { source })?;
    // Configurations without a version are of 0.1.0, says the specification.
    let asked = raw.cni_version.as_deref().unwrap_or("0.1.0");
    *version = Version::parse(asked).ok_or_else(|| CniError::IncompatibleVersion { asked: asked.to_owned() })?;
    if !is_identifier(&raw.name) {
        return Err(refuse(
            "name",
            format!("{:?} must begin with a letter or digit and hold only those, '_', '.' and '-'", raw.name),
        ));
    }
    if raw.ip_masq {
        let why = "the agent masquerades what leaves the cluster; leave it out".to_owned();
        return Err(CniError::Unsupported { field: "ipMasq".into(), why });
    }
    refuse_unknown("", &raw.rest, &KNOWN_FIELDS)?;
    Ok(Config {
        version: *version,
        ranges: parse_ranges(raw.ipam)?,
        mtu: parse_mtu(raw.mtu)?,
        state_dir: raw.state_dir.unwrap_or_else(|| STATE_DIR.into()),
        port_mappings: parse_mappings(&raw.runtime_config.port_mappings)?,
        dns: raw.dns,
        previous: raw.prev_result,
        valid_attachments: raw.valid_attachments,
    })
}

fn parse_mtu(mtu: u32) -> Result<Option<u32>, CniError> {
    match mtu {
        0 => Ok(None),
        mtu if MTU_RANGE.contains(&mtu) => Ok(Some(mtu)),
        mtu => Err(refuse("mtu", format!("{mtu} must be 0, which finds it out, or 68 to 65535"))),
    }
}

fn parse_ranges(ipam: Option<RawIpam>) -> Result<Vec<IpNet>, CniError> {
    let missing = || refuse("ipam.ranges", "needs at least one range of addresses, e.g. \"10.244.1.0/24\"".into());
    let ipam = ipam.ok_or_else(missing)?;
    refuse_unknown("ipam.", &ipam.rest, &["ranges"])?;
    let mut ranges: Vec<IpNet> = Vec::new();
    for (index, text) in ipam.ranges.iter().enumerate() {
        let field = || format!("ipam.ranges[{index}]");
        let range: IpNet =
            text.parse().map_err(|_| refuse(&field(), format!("{text:?} must be like \"10.244.1.0/24\"")))?;
        if range != range.trunc() {
            return Err(refuse(&field(), format!("{text} has bits beyond its length; meant is {}", range.trunc())));
        }
        if let Some(other) = ranges.iter().find(|other| other.contains(&range) || range.contains(*other)) {
            return Err(refuse(&field(), format!("{text} overlaps {other}")));
        }
        ranges.push(range);
    }
    if ranges.is_empty() { Err(missing()) } else { Ok(ranges) }
}

/// Refuses fields nobody knows, with the known one they resemble. Those of other domains (`cni.dev/...`) are theirs.
fn refuse_unknown(prefix: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), CniError> {
    let Some(unknown) = fields.keys().find(|name| !name.contains('/') && !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let resembles = |name: &&&str| name.eq_ignore_ascii_case(unknown) || distance(name, unknown) <= 2;
    let advice = known.iter().find(resembles).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    Err(refuse(&format!("{prefix}{unknown}"), format!("is not known{advice}")))
}

/// How many letters must be added, left out or changed to turn one word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let change = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn refuse(field: &str, why: String) -> CniError {
    CniError::Config { field: field.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(change: impl FnOnce(&mut Value)) -> Result<Config, String> {
        let mut value = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "fairway", "ipam": { "ranges": ["10.244.1.0/24"] }
        });
        change(&mut value);
        parse(value.to_string().as_bytes(), &mut Version::NEWEST.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            config(|_| {}),
            Ok(Config {
                version: Version::V1_0_0,
                ranges: vec!["10.244.1.0/24".parse().unwrap()],
                mtu: None,
                state_dir: STATE_DIR.into(),
                port_mappings: vec![],
                dns: None,
                previous: None,
                valid_attachments: None,
            })
        );
    }

    #[test]
    fn what_runtimes_add_is_accepted() {
        let parsed = config(|value| {
            value["runtimeConfig"] = json!({});
            value["args"] = json!({ "labels": [] });
            value["prevResult"] = json!({ "cniVersion": "1.0.0" });
            value["cni.dev/valid-attachments"] = json!([{ "containerID": "a", "ifname": "eth0" }]);
            value["cni.dev/attachments"] = json!([]);
        })
        .unwrap();
        assert_eq!(parsed.previous, Some(json!({ "cniVersion": "1.0.0" })));
        assert_eq!(parsed.valid_attachments.unwrap().len(), 1);
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 9] = [
            (|value| value["mut"] = 1400.into(), "configuration field mut: is not known; did you mean mtu?"),
            (
                |value| value["statedir"] = "/x".into(),
                "configuration field statedir: is not known; did you mean stateDir?",
            ),
            (|value| value["ipam"]["subnet"] = "x".into(), "configuration field ipam.subnet: is not known"),
            (|value| value["ipam"]["ranges"] = json!([]), "configuration field ipam.ranges: needs at least one"),
            (
                |value| value["ipam"]["ranges"][0] = "10.244.1.7/24".into(),
                "configuration field ipam.ranges[0]: 10.244.1.7/24 has bits beyond its length; meant is 10.244.1.0/24",
            ),
            (
                |value| value["ipam"]["ranges"] = json!(["10.244.1.0/24", "10.244.0.0/16"]),
                "configuration field ipam.ranges[1]: 10.244.0.0/16 overlaps 10.244.1.0/24",
            ),
            (|value| value["mtu"] = 10.into(), "configuration field mtu: 10 must be 0"),
            (|value| value["name"] = "".into(), "configuration field name: \"\" must begin"),
            (|value| value["ipMasq"] = true.into(), "configuration field ipMasq is not supported: the agent"),
        ];
        for (change, expected) in cases {
            let refusal = config(change).unwrap_err();
            assert!(refusal.starts_with(expected), "{refusal}\n{expected}");
        }
    }

    #[test]
    fn a_version_nobody_speaks_is_refused() {
        for change in [
            |value: &mut Value| value["cniVersion"] = "2.0.0".into(),
            |value: &mut Value| {
                value.as_object_mut().unwrap().remove("cniVersion");
            },
        ] {
            assert!(config(change).unwrap_err().starts_with("incompatible CNI version"));
        }
    }
}
