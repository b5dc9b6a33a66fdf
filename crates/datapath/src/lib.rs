//! The kernel: netlink links, routes, nf_tables, conntrack and network namespaces.
//!
//! Everything here is synchronous: a netlink request is answered before `send` returns, so there is nothing to await.
//! Async callers put it on a thread of their own. What we make is recognisable as ours: see [`OWNER`].

mod apply;
mod checksum_probe;
pub mod conntrack;
mod host_ports;
pub mod neighbourhood;
mod netlink;
pub mod netns;
pub mod nft;
pub mod route;
pub mod sysctl;
#[cfg(any(test, feature = "testing"))]
#[expect(unsafe_code, reason = "work between fork and exec")]
pub mod testing;
mod tunnel;

pub use apply::{Datapath, DatapathError, Drift, Outcome, RouteState, Wanted};
pub use checksum_probe::{ChecksumProbe, probe_checksums};
pub use host_ports::{HostPortError, HostPorts};
pub use netlink::{KernelRefusal, NetlinkError};
pub use netns::Netns;
pub use tunnel::read as read_tunnel;

/// How everything Fairway makes in a kernel is recognised as its own after a crash.
pub const OWNER: Ownership = Ownership { route_protocol: 117, link_prefix: "fw", alias_prefix: "fairway:" };

/// The marks of what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// `rtm_protocol` of our routes; in the range iproute2 leaves free for such use.
    pub route_protocol: u8,
    /// Names of our interfaces on a node's side begin with this.
    pub link_prefix: &'static str,
    /// The `ifalias` of our interfaces begins with this; the rest says what it is for.
    pub alias_prefix: &'static str,
}
