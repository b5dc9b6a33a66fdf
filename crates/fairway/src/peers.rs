//! How a node reaches other nodes' pods: what its agent tells of it, and commands show.

use std::net::IpAddr;

use compile::RoutingMode;
use compile::plan::{PeerPath, Way};
use datapath::RouteState;
use serde::{Deserialize, Serialize};

/// Where an agent tells it among its pages.
pub const PAGE: &str = "/peers";

/// All of one node, as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerList {
    pub api_version: String,
    pub kind: String,
    /// The node that reaches the others.
    pub node: String,
    /// Its setting: `auto`, `native` or `vxlan`.
    pub routing: String,
    /// One entry for each range of each other node, by node.
    pub items: Vec<Peer>,
}

/// One range of another node's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub node: String,
    /// None while the node has no range.
    pub pods: Option<String>,
    /// `IPv4` or `IPv6`.
    pub family: Option<String>,
    pub way: PeerWay,
    /// The address of the other node that packets, or those around them, are sent to.
    pub to: Option<IpAddr>,
    /// The largest packet that way, in bytes.
    pub mtu: Option<u32>,
    /// Why it is this way, or none.
    pub reason: String,
}

/// How packets get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerWay {
    /// As they are, by a route of the agent's.
    #[serde(rename = "native")]
    Native,
    /// Inside packets between the nodes.
    #[serde(rename = "VXLAN")]
    Vxlan,
    /// By a route that somebody else has made.
    #[serde(rename = "other")]
    Other,
    /// Not at all.
    #[serde(rename = "none")]
    None,
}

impl PeerList {
    /// What is in force on a node: its plan's ways, each with what became of its route.
    pub fn of<'a>(
        node: &str,
        mode: RoutingMode,
        peers: impl IntoIterator<Item = (&'a PeerPath, Option<RouteState>)>,
    ) -> Self {
        let routing = match mode {
            RoutingMode::Auto => "auto",
            RoutingMode::Native => "native",
            RoutingMode::Vxlan => "vxlan",
        };
        Self {
            api_version: "fairway.network/v1".to_owned(),
            kind: "PeerList".to_owned(),
            node: node.to_owned(),
            routing: routing.to_owned(),
            items: peers.into_iter().map(|(path, state)| Peer::of(path, state)).collect(),
        }
    }

    /// The ranges that are not reached, though their nodes have them.
    pub fn unreached(&self) -> impl Iterator<Item = &Peer> {
        self.items.iter().filter(|peer| peer.way == PeerWay::None && peer.pods.is_some())
    }
}

impl Peer {
    fn of(path: &PeerPath, state: Option<RouteState>) -> Self {
        let (way, mtu, reason) = match &path.way {
            Ok(way) => in_force(way, state),
            Err(no_way) => (PeerWay::None, None, no_way.to_string()),
        };
        Self {
            node: path.node.to_string(),
            pods: path.pods.map(|pods| pods.to_string()),
            family: path.pods.map(|pods| model::IpFamily::of(pods.network()).to_string()),
            way,
            to: path.way.as_ref().ok().map(|way| way.to),
            mtu,
            reason,
        }
    }
}

/// What has become of a planned way, and why.
fn in_force(way: &Way, state: Option<RouteState>) -> (PeerWay, Option<u32>, String) {
    let Way { to, mtu, reason, .. } = way;
    let planned = if way.is_tunnelled() { PeerWay::Vxlan } else { PeerWay::Native };
    match state {
        Some(RouteState::Held) => (planned, Some(*mtu), reason.to_string()),
        Some(RouteState::LedByOthers) => {
            (PeerWay::Other, None, format!("{reason}; a route that is not Fairway's leads there"))
        }
        Some(RouteState::Unreachable) => {
            let why = format!("{reason}, but no link leads to {to} directly and no other route leads to the pods");
            (PeerWay::None, None, why)
        }
        Some(RouteState::Failed) | None => {
            (PeerWay::None, None, format!("{reason}, but the route is not in the kernel; the agent's log says why"))
        }
    }
}

impl PeerWay {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Vxlan => "VXLAN",
            Self::Other => "other",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use compile::plan::{Hop, NoWay, Reason};

    use super::*;

    fn path(way: Result<Way, NoWay>) -> PeerPath {
        PeerPath { node: "node2".into(), pods: Some("10.244.2.0/24".parse().unwrap()), way }
    }

    fn way(hop: Hop, reason: Reason) -> Way {
        Way { hop, to: "10.89.1.2".parse().unwrap(), mtu: 1450, reason }
    }

    #[test]
    fn a_way_is_told_as_it_is_in_force_and_not_as_it_was_planned() {
        let to = "10.89.1.2".parse().unwrap();
        let tunnel = path(Ok(way(Hop::Tunnel(to), Reason::NoSharedNetwork)));
        let native = path(Ok(way(Hop::Via(to), Reason::NativeSet)));
        let told = |path, state| {
            let peer = Peer::of(path, state);
            (peer.way, peer.mtu, peer.reason)
        };
        assert_eq!(
            told(&tunnel, Some(RouteState::Held)),
            (PeerWay::Vxlan, Some(1450), "no network has both nodes".to_owned())
        );
        assert_eq!(
            told(&native, Some(RouteState::LedByOthers)),
            (PeerWay::Other, None, "routing is set to native; a route that is not Fairway's leads there".to_owned())
        );
        let (way, mtu, why) = told(&native, Some(RouteState::Unreachable));
        assert_eq!((way, mtu), (PeerWay::None, None));
        assert!(why.contains("no link leads to 10.89.1.2"), "{why}");
        assert_eq!(told(&tunnel, None).0, PeerWay::None);
    }

    #[test]
    fn a_range_that_is_refused_is_not_reached_and_a_node_without_one_is_no_finding() {
        let pods = "10.244.2.0/24".parse().unwrap();
        let refused = path(Err(NoWay::Overlap { pods, range: pods, node: "node1".into() }));
        let young = PeerPath { node: "node3".into(), pods: None, way: Err(NoWay::NoRange) };
        let list = PeerList::of("node0", RoutingMode::Auto, [(&refused, None), (&young, None)]);
        assert_eq!(list.unreached().map(|peer| &*peer.node).collect::<Vec<_>>(), ["node2"]);
        assert_eq!(list.items[1].reason, "has no range of pod addresses yet");
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<PeerList>(&text).unwrap(), list);
        assert!(text.contains(r#""routing":"auto""#) && text.contains(r#""family":"IPv4""#), "{text}");
    }
}
