//! What `DEL` and `GC` read of a configuration: as little as it takes to undo what was made by it.
//!
//! Nothing that only `ADD` needs may keep a container from going: a field that was misspelt since, a file that another
//! daemon's end took away, a wish that makes no sense.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::CniError;
use crate::Version;
use crate::config::{self, AddressSource, Config, Position, STATE_DIR};
use crate::delegate::AddressPlugin;
use crate::flannel;
use crate::owner::Owner;

/// Where the remains of attachments are, and who else has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) network: String,
    pub(crate) state_dir: PathBuf,
    /// Who gave the addresses, when it was not this plugin.
    pub(crate) address_plugin: Option<AddressPlugin>,
    /// For `GC`: the attachments that are still in use.
    pub(crate) valid_attachments: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRemoval {
    cni_version: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    ipam: Value,
    state_dir: Option<PathBuf>,
    #[serde(default, rename = "cni.dev/valid-attachments", deserialize_with = "null_is_empty")]
    valid_attachments: Option<Vec<Owner>>,
}

impl Removal {
    /// Reads it; `version` is set as soon as it is known, for the answer to an error in the rest.
    pub(crate) fn parse(
        input: &[u8],
        variables: &BTreeMap<String, String>,
        version: &mut Version,
    ) -> Result<Self, CniError> {
        let raw: RawRemoval = config::decode(input)?;
        *version = config::parse_version(raw.cni_version.as_deref())?;
        let other = raw.ipam["type"].as_str().filter(|kind| config::is_another(kind) && raw.kind != flannel::TYPE);
        let other = other.map(|kind| AddressPlugin::of(kind, input, variables)).transpose()?;
        Ok(Self {
            version: *version,
            network: raw.name,
            state_dir: raw.state_dir.unwrap_or_else(|| STATE_DIR.into()),
            address_plugin: other,
            valid_attachments: raw.valid_attachments,
        })
    }
}

/// For an `ADD` that undoes what it made.
impl From<&Config> for Removal {
    fn from(config: &Config) -> Self {
        let address_plugin = match &config.position {
            Position::Main(AddressSource::Plugin(plugin)) => Some(plugin.clone()),
            Position::Main(AddressSource::Own(_)) | Position::Chained => None,
        };
        Self {
            version: config.version,
            network: config.network.clone(),
            state_dir: config.state_dir.clone(),
            address_plugin,
            valid_attachments: None,
        }
    }
}

/// Go writes a list without elements so.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Owner>>, D::Error> {
    let list: Option<Vec<Owner>> = Option::deserialize(deserializer)?;
    Ok(Some(list.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn removal(config: &Value) -> Removal {
        Removal::parse(config.to_string().as_bytes(), &BTreeMap::new(), &mut Version::NEWEST.clone()).unwrap()
    }

    #[test]
    fn what_only_an_addition_needs_is_not_read() {
        let read = removal(&json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "fairway", "mut": 1400, "mtu": 1, "sysctl": 7, "ipMasq": "x",
            "ipam": { "ranges": "none" }, "stateDir": "/x", "runtimeConfig": { "portMappings": [{ "hostPort": -1 }] },
        }));
        let expected = Removal {
            version: Version::V1_0_0,
            network: "pods".into(),
            state_dir: "/x".into(),
            address_plugin: None,
            valid_attachments: None,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn whoever_gave_the_addresses_takes_them_back() {
        let giver = |kind: &str, ipam: &str| {
            let read = removal(&json!({ "cniVersion": "1.0.0", "type": kind, "ipam": { "type": ipam } }));
            read.address_plugin.map(|plugin| plugin.kind)
        };
        assert_eq!(giver("fairway", "host-local").as_deref(), Some("host-local"));
        assert_eq!((giver("fairway", "fairway"), giver("flannel", "host-local")), (None, None));
    }

    #[test]
    fn no_list_of_attachments_is_not_an_empty_one() {
        let valid = |list: Value| removal(&list).valid_attachments.map(|list| list.len());
        let key = "cni.dev/valid-attachments";
        assert_eq!(valid(json!({ "cniVersion": "1.1.0" })), None);
        assert_eq!(valid(json!({ "cniVersion": "1.1.0", key: null })), Some(0));
        assert_eq!(valid(json!({ "cniVersion": "1.1.0", key: [{ "containerID": "a", "ifname": "eth0" }] })), Some(1));
    }
}
