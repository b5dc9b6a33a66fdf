//! Netlink as a protocol: sockets, messages, attributes and the kernel's errors, for every netlink family.

mod attribute;
mod error;
mod message;
mod socket;

pub(crate) use attribute::{Attributes, parse_address, parse_attributes, parse_text, parse_u32, parse_u32_be};
pub use error::{KernelRefusal, NetlinkError};
#[cfg(test)]
pub(crate) use message::parse_messages;
pub(crate) use message::{Head, Message, MessageBuffer, flag};
pub(crate) use socket::{Family, Socket};
