//! What `ADD` made of an attachment on the node's side, by which it is looked after.

use std::net::IpAddr;

use datapath::route::{Link, LinkIndex, MacAddress};
use serde::{Deserialize, Serialize};

use crate::bandwidth::Bandwidth;

/// The node's side of an attachment that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    /// The host's end.
    link: String,
    /// Its number: another link of the same name is another's.
    index: u32,
    /// What is ours of that link; none where another plugin made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wire: Option<Wire>,
    #[serde(default)]
    pub(crate) bandwidth: Bandwidth,
}

/// How packets pass between the node and the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wire {
    pub(crate) mtu: u32,
    /// By which the container knows its gateway.
    #[serde(default, with = "mac_text", skip_serializing_if = "Option::is_none")]
    pub(crate) mac: Option<MacAddress>,
    /// By which the node knows the container.
    #[serde(default, with = "mac_text", skip_serializing_if = "Option::is_none")]
    pub(crate) container_mac: Option<MacAddress>,
    /// The container's.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Made {
    /// What was made of this host's end.
    pub(crate) fn of(link: &Link, wire: Option<Wire>, bandwidth: Bandwidth) -> Self {
        Self { link: link.name.clone(), index: link.index.0, wire, bandwidth }
    }

    /// The host's end among these links, in the order of their numbers; none when it is gone, and the container with it.
    pub(crate) fn find<'a>(&self, links: &'a [Link]) -> Option<&'a Link> {
        let position = links.binary_search_by_key(&LinkIndex(self.index), |link| link.index).ok()?;
        Some(&links[position]).filter(|link| link.name == self.link)
    }
}

/// Ethernet addresses as people write them.
mod mac_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::MacAddress;
    use crate::runtime_config::parse_mac;

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(mac: &Option<MacAddress>, serializer: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => serializer.collect_str(mac),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MacAddress>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| parse_mac("mac", &text).map_err(D::Error::custom)).transpose()
    }
}
