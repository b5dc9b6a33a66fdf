//! Answering for addresses that no link of this machine has, as a load balancer does on the network it is on.
//!
//! Neighbours find the machine behind an address by ARP (RFC 826) or by neighbour discovery (RFC 4861). The kernel
//! answers for its own addresses only, so that [`NeighbourSocket`] hears the questions on one link and sends the
//! answers. [`message`] has what they look like.

mod groups;
pub mod message;
#[expect(unsafe_code, reason = "the addresses and filters of packet sockets, which nix has no safe form of")]
mod socket;

pub use groups::SolicitedGroups;
pub use socket::{NeighbourError, NeighbourSocket};
