//! The ways to other nodes' pods, with the reasons for them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::Name;

use super::{Hop, Reason};

/// How one range of another node's pods is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPath {
    /// The other node.
    pub node: Name,
    /// Its pods; none while it has no range for any.
    pub pods: Option<IpNet>,
    /// The way there, or why there is none.
    pub way: Result<Way, NoWay>,
}

/// A way to another node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where the route leads.
    pub hop: Hop,
    /// The address of the other node that packets, or those around them, are sent to.
    pub to: IpAddr,
    /// The largest packet this node sends that way, in bytes.
    pub mtu: u32,
    /// Why it is taken.
    pub reason: Reason,
}

/// Why there is no way to a range of another node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The node has no range of pods yet.
    NoRange,
    /// The range overlaps one of an older node.
    Overlap {
        /// The range.
        pods: IpNet,
        /// The one that counts.
        range: IpNet,
        /// Whose that is.
        node: Name,
    },
    /// The node has no address of the family of the range, which plain routes need.
    NoAddress {
        /// The range.
        pods: IpNet,
    },
    /// This node has no address yet.
    NoOwnAddress {
        /// This node.
        node: Name,
    },
    /// The node has no address of the family in which this one tunnels.
    OtherFamily {
        /// The range.
        pods: IpNet,
        /// This node's end of the tunnel.
        own: IpAddr,
    },
}

impl Way {
    /// Whether it leads through the tunnel.
    pub const fn is_tunnelled(&self) -> bool {
        matches!(self.hop, Hop::Tunnel(_))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_tunnelled() { "VXLAN" } else { "native" };
        write!(f, "{kind} to {}, {} bytes: {}", self.to, self.mtu, self.reason)
    }
}

impl NoWay {
    /// The field of the other node's object that is the cause; none when there is nothing to complain about.
    pub(super) const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NoRange => None,
            Self::Overlap { .. } => Some("spec.podCIDRs"),
            Self::NoAddress { .. } | Self::NoOwnAddress { .. } | Self::OtherFamily { .. } => Some("status.addresses"),
        }
    }
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRange => f.write_str("has no range of pod addresses yet"),
            Self::Overlap { pods, range, node } => {
                write!(f, "{pods} overlaps {range} of Node {node}; every node needs its own")
            }
            Self::NoAddress { pods } => {
                write!(f, "has no InternalIP of the family of {pods}: its pods have no route")
            }
            Self::NoOwnAddress { node } => {
                write!(f, "cannot be reached from Node {node}, which has no InternalIP yet")
            }
            Self::OtherFamily { pods, own } => {
                write!(f, "has no InternalIP of the family of {own}, from which {pods} is tunnelled to")
            }
        }
    }
}
