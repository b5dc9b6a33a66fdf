//! The wire format of DNS messages (RFC 1035 section 4), as far as a server of one zone writes and reads it itself.

mod name;
mod query;
mod response;
mod walk;

pub(crate) use name::MAX_NAME;
pub use name::{DomainName, DomainNameError, QueryName};
pub use query::{Edns, Fault, Query, QueryError};
pub(crate) use response::write_pointer;
pub use response::{Owner, Response, Section, write_fault};
pub use walk::{Malformed, RecordView, Records, skip_name};

/// Octets in the header every message starts with.
pub const HEADER_LEN: usize = 12;

/// The type of a resource record, or the type a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A name server of the zone.
    pub const NS: Self = Self(2);
    /// The canonical name of an alias.
    pub const CNAME: Self = Self(5);
    /// The start of a zone of authority.
    pub const SOA: Self = Self(6);
    /// The name of an address.
    pub const PTR: Self = Self(12);
    /// Host information; what RFC 8482 answers to `ANY`.
    pub const HINFO: Self = Self(13);
    /// Text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// The location of a service.
    pub const SRV: Self = Self(33);
    /// The EDNS pseudo record (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Incremental zone transfer (questions only).
    pub const IXFR: Self = Self(251);
    /// Zone transfer (questions only).
    pub const AXFR: Self = Self(252);
    /// Any type (questions only).
    pub const ANY: Self = Self(255);
}

/// The class Internet: the only one served.
pub const CLASS_IN: u16 = 1;

/// What a response says of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rcode {
    /// The name exists; records follow if there are any of the type.
    NoError,
    /// The query could not be understood.
    FormErr,
    /// The server could not find out.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// The server does not do this kind of query.
    NotImp,
    /// The server will not answer this query.
    Refused,
    /// The EDNS version is unknown (RFC 6891 section 9).
    BadVers,
}

impl Rcode {
    /// The number, with the bits that travel in the OPT record.
    pub const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
        }
    }

    /// The number's bits that travel in the header.
    const fn header_bits(self) -> u8 {
        (self.number() & 0x0f) as u8
    }

    /// The number's bits that travel in the OPT record.
    const fn extended_bits(self) -> u8 {
        (self.number() >> 4) as u8
    }
}

/// Reads a big-endian 16-bit number at `at`.
fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a big-endian 32-bit number at `at`.
fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
