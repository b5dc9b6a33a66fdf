//! The network configuration on standard input.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use model::IpFamily;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::delegate::AddressPlugin;
use crate::environment::is_identifier;
use crate::runtime_config::{self, RawRuntimeConfig, Wishes};
use crate::{CniError, Version, flannel};

/// Where the plugin keeps what it remembers, unless the configuration says otherwise.
pub const STATE_DIR: &str = "/var/lib/cni/fairway";
/// The name of this plugin, and of its way to give addresses.
const OWN_TYPE: &str = "fairway";
/// The smallest packet IPv4 links must carry (RFC 791), and the largest length an IPv4 header can say.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Fields of the specification, and ours.
const KNOWN_FIELDS: [&str; 17] = [
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
    "sysctl",
    "delegate",
    "subnetFile",
];

/// What a network's configuration means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) network: String,
    pub(crate) position: Position,
    /// The largest packet; none means that of the node's own link to the outside.
    pub(crate) mtu: Option<u32>,
    pub(crate) state_dir: PathBuf,
    /// Settings below `net.` of the container's namespace, with slashes.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// What the runtime wishes for the container.
    pub(crate) wishes: Wishes,
    /// What the answer says about names, as configured.
    pub(crate) dns: Option<Value>,
    /// The result of the plugins before this one, or of `ADD` when this is a `CHECK`.
    pub(crate) previous: Option<Value>,
}

/// What this plugin is among those of the network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Position {
    /// It makes the interface, with addresses from there.
    Main(AddressSource),
    /// Another one made the interface; this one adds what the runtime wishes.
    Chained,
}

impl Position {
    /// Whether this plugin gives addresses of a family; of another's addresses nothing is known.
    pub(crate) fn has_family(&self, family: IpFamily) -> bool {
        match self {
            Self::Main(AddressSource::Own(pools)) => {
                pools.ranges.iter().any(|range| IpFamily::of(range.addr()) == family)
            }
            Self::Main(AddressSource::Plugin(_)) | Self::Chained => false,
        }
    }
}

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AddressSource {
    /// This plugin gives them.
    Own(Pools),
    /// Another one does.
    Plugin(AddressPlugin),
}

/// The addresses this plugin gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools {
    /// Ranges in the order in which they are used up; a container gets one address of each family that has any.
    pub(crate) ranges: Vec<IpNet>,
    /// How long nobody gets an address that somebody gave back.
    pub(crate) reuse_delay: Duration,
}

impl Pools {
    /// The pools of each family that has any, IPv4 first.
    pub(crate) fn families(&self) -> Vec<Self> {
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = self.ranges.iter().partition(|range| range.addr().is_ipv4());
        let families = [v4, v6].into_iter().filter(|family| !family.is_empty());
        families.map(|ranges| Self { ranges, reuse_delay: self.reuse_delay }).collect()
    }

    /// Whether an address lies in one of the ranges.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    cni_version: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    ip_masq: bool,
    ipam: Option<RawIpam>,
    #[serde(default)]
    mtu: u32,
    state_dir: Option<PathBuf>,
    #[serde(default)]
    sysctl: BTreeMap<String, String>,
    dns: Option<Value>,
    #[serde(default)]
    runtime_config: RawRuntimeConfig,
    #[serde(default)]
    delegate: flannel::RawDelegate,
    subnet_file: Option<PathBuf>,
    prev_result: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawIpam {
    #[serde(rename = "type")]
    kind: String,
    ranges: Value,
    reuse_delay_seconds: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads a configuration; `version` is set as soon as it is known, for the answer to an error in the rest.
pub(crate) fn parse(
    input: &[u8],
    variables: &BTreeMap<String, String>,
    version: &mut Version,
) -> Result<Config, CniError> {
    let raw: RawConfig = decode(input)?;
    *version = parse_version(raw.cni_version.as_deref())?;
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
    let (position, mtu) = match (raw.kind.as_str(), raw.ipam) {
        (flannel::TYPE, _) => {
            let subnet = flannel::read(raw.subnet_file, &raw.delegate)?;
            let pools = Pools { ranges: subnet.ranges, reuse_delay: Duration::ZERO };
            (Position::Main(AddressSource::Own(pools)), subnet.mtu)
        }
        (_, Some(ipam)) => (Position::Main(parse_ipam(&ipam, input, variables)?), raw.mtu),
        (_, None) => (Position::Chained, raw.mtu),
    };
    Ok(Config {
        version: *version,
        network: raw.name,
        position,
        mtu: parse_mtu(mtu)?,
        state_dir: raw.state_dir.unwrap_or_else(|| STATE_DIR.into()),
        sysctls: parse_sysctls(&raw.sysctl)?,
        wishes: runtime_config::parse(&raw.runtime_config)?,
        dns: raw.dns,
        previous: raw.prev_result,
    })
}

/// Reads the parts of a configuration that `T` has.
pub(crate) fn decode<T: DeserializeOwned>(input: &[u8]) -> Result<T, CniError> {
    serde_json::from_slice(input).map_err(|source| CniError::Decode { source })
}

pub(crate) fn parse_version(asked: Option<&str>) -> Result<Version, CniError> {
    // Configurations without a version are of 0.1.0, says the specification.
    let asked = asked.unwrap_or("0.1.0");
    Version::parse(asked).ok_or_else(|| CniError::IncompatibleVersion { asked: asked.to_owned() })
}

/// Whether `ipam.type` names another plugin.
pub(crate) fn is_another(kind: &str) -> bool {
    !matches!(kind, "" | OWN_TYPE)
}

fn parse_ipam(ipam: &RawIpam, input: &[u8], variables: &BTreeMap<String, String>) -> Result<AddressSource, CniError> {
    if is_another(&ipam.kind) {
        return AddressPlugin::of(&ipam.kind, input, variables).map(AddressSource::Plugin);
    }
    refuse_unknown("ipam.", &ipam.rest, &["type", "ranges", "reuseDelaySeconds"])?;
    let reuse_delay = Duration::from_secs(ipam.reuse_delay_seconds);
    Ok(AddressSource::Own(Pools { ranges: parse_ranges(&ipam.ranges)?, reuse_delay }))
}

/// Names as sysctl(8) writes them, which must concern the container's network only.
fn parse_sysctls(raw: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, CniError> {
    let entries = raw.iter().map(|(name, value)| {
        // Names with slashes may have dots, as interfaces' names do.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        match path.strip_prefix("net/") {
            Some(key) if !key.split('/').any(|part| part == "..") => Ok((key.to_owned(), value.clone())),
            _ => {
                Err(refuse(&format!("sysctl.{name}"), "must begin with \"net.\": other settings are the host's".into()))
            }
        }
    });
    entries.collect()
}

fn parse_mtu(mtu: u32) -> Result<Option<u32>, CniError> {
    match mtu {
        0 => Ok(None),
        mtu if MTU_RANGE.contains(&mtu) => Ok(Some(mtu)),
        mtu => Err(refuse("mtu", format!("{mtu} must be 0, which finds it out, or 68 to 65535"))),
    }
}

fn parse_ranges(ranges: &Value) -> Result<Vec<IpNet>, CniError> {
    let missing = || refuse("ipam.ranges", "needs at least one range of addresses, e.g. \"10.244.1.0/24\"".into());
    let mut parsed: Vec<IpNet> = Vec::new();
    for (index, text) in ranges.as_array().ok_or_else(missing)?.iter().enumerate() {
        let field = || format!("ipam.ranges[{index}]");
        let range = text.as_str().and_then(|text| text.parse::<IpNet>().ok());
        let range = range.ok_or_else(|| refuse(&field(), format!("{text} must be like \"10.244.1.0/24\"")))?;
        if range != range.trunc() {
            return Err(refuse(&field(), format!("{range} has bits beyond its length; meant is {}", range.trunc())));
        }
        if let Some(other) = parsed.iter().find(|other| other.contains(&range) || range.contains(*other)) {
            return Err(refuse(&field(), format!("{range} overlaps {other}")));
        }
        parsed.push(range);
    }
    if parsed.is_empty() { Err(missing()) } else { Ok(parsed) }
}

/// Refuses fields nobody knows, with the known one they resemble. Those of other domains (`cni.dev/...`) are theirs.
pub(crate) fn refuse_unknown(prefix: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), CniError> {
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
        parse(value.to_string().as_bytes(), &BTreeMap::new(), &mut Version::NEWEST.clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            config(|_| {}),
            Ok(Config {
                version: Version::V1_0_0,
                network: "pods".into(),
                position: Position::Main(AddressSource::Own(Pools {
                    ranges: vec!["10.244.1.0/24".parse().unwrap()],
                    reuse_delay: Duration::ZERO,
                })),
                mtu: None,
                state_dir: STATE_DIR.into(),
                sysctls: BTreeMap::new(),
                wishes: Wishes::default(),
                dns: None,
                previous: None,
            })
        );
    }

    #[test]
    fn addresses_may_come_from_another_plugin_or_not_be_its_business() {
        let other = config(|value| value["ipam"] = json!({ "type": "host-local", "subnet": "10.0.0.0/24" })).unwrap();
        assert!(matches!(other.position, Position::Main(AddressSource::Plugin(plugin)) if plugin.kind == "host-local"));
        let chained = config(|value| {
            value.as_object_mut().unwrap().remove("ipam");
        });
        assert_eq!(chained.unwrap().position, Position::Chained);
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
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 10] = [
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
            (
                |value| value["sysctl"] = json!({ "kernel.shmmax": "1" }),
                "configuration field sysctl.kernel.shmmax: must",
            ),
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
