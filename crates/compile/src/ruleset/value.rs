//! Typed constants: what sets hold and packets are compared with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::IpFamily;

use super::{Note, Values, Verdict};

/// The type of one field of a key or of a map's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `ipv4_addr`, 4 bytes.
    Ipv4Address,
    /// `ipv6_addr`, 16 bytes.
    Ipv6Address,
    /// `inet_proto`, 1 byte.
    Protocol,
    /// `inet_service`, 2 bytes in network order.
    Port,
    /// `mark`, 4 bytes in host order.
    Mark,
    /// `ifname`, 16 bytes.
    Interface,
}

impl FieldType {
    /// The type of an address of `family`.
    pub const fn address(family: IpFamily) -> Self {
        match family {
            IpFamily::V4 => Self::Ipv4Address,
            IpFamily::V6 => Self::Ipv6Address,
        }
    }
}

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An IPv4 address.
    Ipv4Address(Ipv4Addr),
    /// An IPv6 address.
    Ipv6Address(Ipv6Addr),
    /// A transport protocol's number in the IP header.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// A packet mark, or a number that is kept as one.
    Mark(u32),
    /// The name of an interface.
    Interface(InterfaceName),
    /// What the names of several interfaces begin with; never part of a key.
    InterfacePrefix(InterfaceName),
    /// The network layer's family; for [`MetaField::Family`](super::MetaField::Family) only, never part of a key.
    Family(IpFamily),
    /// The way a packet goes; for [`ConntrackField::Direction`](super::ConntrackField::Direction) only, never part of
    /// a key.
    Direction(Direction),
}

/// Which way of its connection a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As its first packet did.
    Original,
    /// As the answers to it do.
    Reply,
}

impl Value {
    /// Its type as part of a key; none for what is never part of one.
    pub const fn field_type(&self) -> Option<FieldType> {
        match self {
            Self::Ipv4Address(_) => Some(FieldType::Ipv4Address),
            Self::Ipv6Address(_) => Some(FieldType::Ipv6Address),
            Self::Protocol(_) => Some(FieldType::Protocol),
            Self::Port(_) => Some(FieldType::Port),
            Self::Mark(_) => Some(FieldType::Mark),
            Self::Interface(_) => Some(FieldType::Interface),
            Self::InterfacePrefix(_) | Self::Family(_) | Self::Direction(_) => None,
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::Ipv4Address(v4),
            IpAddr::V6(v6) => Self::Ipv6Address(v6),
        }
    }
}

/// The name of a network interface: 1 to 15 bytes, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; 16]);

impl InterfaceName {
    /// The name `text`, or nothing when it is empty, longer than 15 bytes or holds a zero byte.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 15 || text.as_bytes().contains(&0) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    /// The name that is padded with zeros to these bytes.
    pub(super) fn from_padded(bytes: [u8; 16]) -> Option<Self> {
        let name = Self(bytes);
        let length = name.trimmed().len();
        (0 < length && length < 16 && bytes[length..].iter().all(|byte| *byte == 0)).then_some(name)
    }

    /// The name without what it is padded with.
    pub fn trimmed(&self) -> &[u8] {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        &self.0[..length]
    }

    /// The name as the kernel compares it, padded with zeros.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.0).trim_end_matches('\0'))
    }
}

impl std::fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// What a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    /// A verdict: `vmap`.
    Verdict,
    /// A concatenation of fields.
    Fields(Vec<FieldType>),
}

/// The data of one element of a map; clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// What to do.
    Verdict(Verdict),
    /// The fields, as many as the map's [`DataType`] has.
    Values(Values),
}

impl Data {
    /// What to do, when it says that.
    pub const fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Verdict(verdict) => Some(verdict),
            Self::Values(_) => None,
        }
    }

    /// The fields, when it has some.
    pub const fn values(&self) -> Option<&Values> {
        match self {
            Self::Values(values) => Some(values),
            Self::Verdict(_) => None,
        }
    }
}

/// The key of an element; clones share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementKey {
    /// One value per field.
    Exact(Values),
    /// All keys from the first to the last, both included, per field; only in interval sets.
    Range(Arc<(Values, Values)>),
}

impl ElementKey {
    /// The range of all addresses of a network.
    pub fn of_net(net: IpNet) -> Self {
        Self::range([net.network().into()], [net.broadcast().into()])
    }

    /// All keys from `first` to `last`.
    pub fn range(first: impl Into<Values>, last: impl Into<Values>) -> Self {
        Self::Range(Arc::new((first.into(), last.into())))
    }
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its key.
    pub key: ElementKey,
    /// What there is beside the key.
    pub content: Content,
}

/// What a set or map holds beside a key; nothing is the content of a plain set's element that no object stands behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// What the key leads to, in a map.
    pub data: Option<Data>,
    /// The object behind the element, where there is one.
    pub note: Option<Note>,
}

impl Content {
    /// The content of a plain set's element.
    pub const fn of(note: Note) -> Self {
        Self { data: None, note: Some(note) }
    }

    /// The same with a note.
    #[must_use]
    pub fn noted(self, note: Note) -> Self {
        Self { note: Some(note), ..self }
    }
}

impl From<Data> for Content {
    fn from(data: Data) -> Self {
        Self { data: Some(data), note: None }
    }
}
