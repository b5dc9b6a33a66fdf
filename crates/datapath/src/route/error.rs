//! What goes wrong with links and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::{LinkIndex, MacAddress};
use crate::netlink::NetlinkError;
use crate::netns::NetnsError;

/// An operation on links, addresses, routes or neighbours that failed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The namespace to connect to could not be entered.
    #[error("cannot reach the namespace's links and routes")]
    Namespace(#[from] NetnsError),
    /// No connection.
    #[error("cannot connect to the namespace's links and routes")]
    Connect {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A link could not be made.
    #[error("cannot create the {kind} {name}")]
    CreateLink {
        /// `veth pair` or `bridge`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// Links could not be read.
    #[error("cannot read links")]
    ReadLinks {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The number of a namespace could not be read.
    #[error("cannot read the number that a namespace has in this one")]
    ReadNetnsNumber {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// There is no such link.
    #[error("there is no link {name}")]
    NoLink {
        /// The name looked for.
        name: String,
    },
    /// There is a link of the name that ours is to have, and it is somebody else's.
    #[error("the link {name} is not Fairway's; rename it, or remove it: ip link delete {name}")]
    NotOurs {
        /// The name.
        name: String,
    },
    /// A link could not be changed.
    #[error("cannot set {change} of link {link}")]
    ChangeLink {
        /// The link.
        link: LinkIndex,
        /// What should have changed.
        change: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A link could not be deleted.
    #[error("cannot delete link {link}")]
    DeleteLink {
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// An address could not be added.
    #[error("cannot add address {address} to link {link}")]
    AddAddress {
        /// The address with its prefix length.
        address: IpNet,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// An address could not be taken away.
    #[error("cannot take address {address} from link {link}")]
    DeleteAddress {
        /// The address with its prefix length.
        address: IpNet,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// Addresses could not be read.
    #[error("cannot read addresses")]
    ReadAddresses {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A route could not be set.
    #[error("cannot set the route to {destination}")]
    SetRoute {
        /// Where it leads.
        destination: IpNet,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A route could not be deleted.
    #[error("cannot delete the route to {destination}")]
    DeleteRoute {
        /// Where it leads.
        destination: IpNet,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// Routes could not be read.
    #[error("cannot read routes")]
    ReadRoutes {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// What a link may carry could not be limited.
    #[error("cannot limit what link {link} carries: the kernel must have {needs}")]
    Shape {
        /// The link.
        link: LinkIndex,
        /// What of the kernel it takes, and the option of its configuration.
        needs: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A limit could not be lifted.
    #[error("cannot lift the limit of what link {link} may carry")]
    Unshape {
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// Limits could not be read.
    #[error("cannot read what link {link} may carry")]
    ReadShaping {
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The limits of all links could not be read.
    #[error("cannot read what links may carry")]
    ReadRateLimits {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A neighbour could not be set.
    #[error("cannot set the neighbour {address} on link {link}")]
    SetNeighbour {
        /// The neighbour's address.
        address: IpAddr,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A neighbour could not be forgotten.
    #[error("cannot forget the neighbour {address} on link {link}")]
    DeleteNeighbour {
        /// The neighbour's address.
        address: IpAddr,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A tunnel could not be told where an end of it is.
    #[error("cannot set the way to {mac} on link {link}")]
    SetForwarding {
        /// The other end's Ethernet address.
        mac: MacAddress,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A tunnel could not be made to forget where an end of it is.
    #[error("cannot forget the way to {mac} on link {link}")]
    DeleteForwarding {
        /// The other end's Ethernet address.
        mac: MacAddress,
        /// The link.
        link: LinkIndex,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// What a tunnel knows of its ends could not be read.
    #[error("cannot read where the ends of a tunnel are")]
    ReadForwarding {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// It could not be read who computes a link's checksums.
    #[error("cannot find out who computes the checksums of {link}")]
    ReadChecksumOffload {
        /// The link's name.
        link: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// Somebody else could not be made to compute a link's checksums.
    #[error("cannot change who computes the checksums of {link}")]
    SetChecksumOffload {
        /// The link's name.
        link: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// Neighbours could not be read.
    #[error("cannot read neighbours")]
    ReadNeighbours {
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

impl RouteError {
    /// The kernel's errno, when it was the kernel that said no.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Namespace(_) | Self::NoLink { .. } | Self::NotOurs { .. } => None,
            Self::ReadChecksumOffload { source, .. } | Self::SetChecksumOffload { source, .. } => Some(*source),
            Self::Connect { source }
            | Self::CreateLink { source, .. }
            | Self::ReadLinks { source }
            | Self::ReadNetnsNumber { source }
            | Self::ChangeLink { source, .. }
            | Self::DeleteLink { source, .. }
            | Self::AddAddress { source, .. }
            | Self::DeleteAddress { source, .. }
            | Self::ReadAddresses { source }
            | Self::SetRoute { source, .. }
            | Self::DeleteRoute { source, .. }
            | Self::ReadRoutes { source }
            | Self::Shape { source, .. }
            | Self::Unshape { source, .. }
            | Self::ReadShaping { source, .. }
            | Self::ReadRateLimits { source }
            | Self::SetNeighbour { source, .. }
            | Self::DeleteNeighbour { source, .. }
            | Self::SetForwarding { source, .. }
            | Self::DeleteForwarding { source, .. }
            | Self::ReadForwarding { source }
            | Self::ReadNeighbours { source } => source.errno(),
        }
    }
}
