//! Netlink as a protocol: sockets, messages, attributes and the kernel's errors, for every netlink family.

mod attribute;
mod error;
mod message;
mod socket;

pub(crate) use attribute::{Attributes, parse_address, parse_attributes, parse_text, parse_u32};
pub use error::{KernelRefusal, NetlinkError};
pub(crate) use message::{Message, flag};
pub(crate) use socket::{Family, Socket};
