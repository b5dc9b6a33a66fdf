//! Reading queries.

use super::{CLASS_IN, HEADER_LEN, QueryName, Rcode, RecordType, Records, read_u16};

const FLAG_RESPONSE: u8 = 0x80;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const FLAG_CHECKING_DISABLED: u8 = 0x10;

/// A standard query with one question.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Identifies the answer to the client.
    pub id: u16,
    /// Whether the client asks for recursion; echoed.
    pub recursion_desired: bool,
    /// Whether the client wants to validate by itself; echoed.
    pub checking_disabled: bool,
    /// The name asked for, in lower case.
    pub name: QueryName,
    /// The type asked for.
    pub qtype: RecordType,
    /// The class asked for.
    pub qclass: u16,
    /// The question as the client wrote it: name with its case, type, class.
    pub question: &'a [u8],
    /// The client's EDNS parameters, when it speaks EDNS.
    pub edns: Option<Edns>,
}

/// EDNS parameters of a query (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP payload the client can take, in octets; at least 512.
    pub payload: u16,
    /// Whether the client wants DNSSEC records; echoed.
    pub dnssec_ok: bool,
}

/// Why a packet is not a query to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// Nothing may be sent back: it is a response itself, or too short to name a query.
    Ignore,
    /// A response without a question can be sent.
    Fault(Fault),
}

/// What to answer to a packet that is not a query we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The query's identifier.
    pub id: u16,
    /// The query's operation code and recursion bit as they stand in its header.
    pub echoed_flags: u8,
    /// What is wrong.
    pub rcode: Rcode,
}

impl<'a> Query<'a> {
    /// Reads a query.
    pub fn parse(packet: &'a [u8]) -> Result<Self, QueryError> {
        let header = packet.get(..HEADER_LEN).ok_or(QueryError::Ignore)?;
        if header[2] & FLAG_RESPONSE != 0 {
            return Err(QueryError::Ignore);
        }
        let fault = |rcode| {
            QueryError::Fault(Fault {
                id: u16::from_be_bytes([header[0], header[1]]),
                echoed_flags: header[2] & (0x78 | FLAG_RECURSION_DESIRED),
                rcode,
            })
        };
        if (header[2] >> 3) & 0x0f != 0 {
            return Err(fault(Rcode::NotImp));
        }
        let query = Self::parse_question(packet).ok_or_else(|| fault(Rcode::FormErr))?;
        match find_edns(packet) {
            Ok(edns) => Ok(Self { edns, ..query }),
            Err(rcode) => Err(fault(rcode)),
        }
    }

    fn parse_question(packet: &'a [u8]) -> Option<Self> {
        if read_u16(packet, 4)? != 1 {
            return None;
        }
        let name = QueryName::read(packet.get(HEADER_LEN..)?)?;
        let fixed = HEADER_LEN + name.as_wire().len();
        Some(Self {
            id: read_u16(packet, 0)?,
            recursion_desired: packet[2] & FLAG_RECURSION_DESIRED != 0,
            checking_disabled: packet[3] & FLAG_CHECKING_DISABLED != 0,
            qtype: RecordType(read_u16(packet, fixed)?),
            qclass: read_u16(packet, fixed + 2)?,
            question: &packet[HEADER_LEN..fixed + 4],
            name,
            edns: None,
        })
    }

    /// Whether the question is one about the Internet.
    pub fn is_internet(&self) -> bool {
        self.qclass == CLASS_IN
    }
}

/// The query's only OPT record.
fn find_edns(packet: &[u8]) -> Result<Option<Edns>, Rcode> {
    let mut found = None;
    for record in Records::of(packet).map_err(|_| Rcode::FormErr)? {
        let record = record.map_err(|_| Rcode::FormErr)?;
        if record.rtype != RecordType::OPT {
            continue;
        }
        let owner_is_root = packet.get(record.start) == Some(&0);
        if found.is_some() || record.section != 3 || !owner_is_root {
            return Err(Rcode::FormErr);
        }
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        if version != 0 {
            return Err(Rcode::BadVers);
        }
        found = Some(Edns { payload: record.class.max(512), dnssec_ok: flags & 0x80 != 0 });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(flags: [u8; 2], counts: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, flags[0], flags[1]];
        packet.extend(counts.into_iter().flat_map(|count| [0, count]));
        packet.extend_from_slice(body);
        packet
    }

    const QUESTION: &[u8] = b"\x04CART\0\0\x01\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

    #[test]
    fn a_query_is_read_with_its_case_and_edns() {
        let packet = packet([1, 0x10], [1, 0, 0, 1], &[QUESTION, OPT].concat());
        let query = Query::parse(&packet).unwrap();
        assert_eq!((query.id, query.recursion_desired, query.checking_disabled), (0xabcd, true, true));
        assert_eq!((query.question, query.name.as_wire()), (QUESTION, &b"\x04cart\0"[..]));
        assert_eq!(query.edns, Some(Edns { payload: 1232, dnssec_ok: true }));
    }

    #[test]
    fn responses_and_fragments_get_no_answer() {
        assert_eq!(Query::parse(b"short").unwrap_err(), QueryError::Ignore);
        assert_eq!(Query::parse(&packet([0x80, 0], [1, 0, 0, 0], QUESTION)).unwrap_err(), QueryError::Ignore);
    }

    fn fault_of(packet: &[u8]) -> Rcode {
        match Query::parse(packet).unwrap_err() {
            QueryError::Fault(fault) => fault.rcode,
            QueryError::Ignore => panic!("ignored"),
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_format_error() {
        assert_eq!(fault_of(&packet([0, 0], [0, 0, 0, 0], b"")), Rcode::FormErr, "no question");
        assert_eq!(fault_of(&packet([0, 0], [2, 0, 0, 0], &[QUESTION, QUESTION].concat())), Rcode::FormErr);
        assert_eq!(fault_of(&packet([0, 0], [1, 0, 0, 0], b"\x04car")), Rcode::FormErr, "cut name");
        assert_eq!(fault_of(&packet([0, 0], [1, 0, 0, 0], b"\x04cart\0\0")), Rcode::FormErr, "cut type");
        assert_eq!(fault_of(&packet([0, 0], [1, 0, 0, 1], QUESTION)), Rcode::FormErr, "missing record");
        assert_eq!(fault_of(&packet([0, 0], [1, 0, 0, 2], &[QUESTION, OPT, OPT].concat())), Rcode::FormErr);
    }

    #[test]
    fn other_operations_are_not_implemented() {
        assert_eq!(fault_of(&packet([0x28, 0], [1, 0, 0, 0], QUESTION)), Rcode::NotImp);
    }

    #[test]
    fn an_unknown_edns_version_is_named() {
        let newer = b"\0\0\x29\x04\xd0\0\x01\0\0\0\0";
        assert_eq!(fault_of(&packet([0, 0], [1, 0, 0, 1], &[QUESTION, newer].concat())), Rcode::BadVers);
    }

    #[test]
    fn a_tiny_advertised_payload_counts_as_512() {
        let tiny = b"\0\0\x29\0\x10\0\0\0\0\0\0";
        let packet = packet([0, 0], [1, 0, 0, 1], &[QUESTION, tiny].concat());
        assert_eq!(Query::parse(&packet).unwrap().edns.unwrap().payload, 512);
    }
}
