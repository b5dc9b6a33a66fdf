//! Writing responses.

use super::{CLASS_IN, Edns, Fault, HEADER_LEN, Query, Rcode, RecordType};

/// Octets of an OPT record without options.
const OPT_LEN: usize = 11;
/// The payload size we advertise: what fits one Ethernet frame over IPv6 after common tunnels.
const OWN_PAYLOAD: u16 = 1232;
/// The highest place a compression pointer can name.
const MAX_POINTER: usize = 0x3fff;

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The name at this place in the message, normally that of the question.
    At(usize),
    /// This name in full, in wire form.
    Name(&'a [u8]),
}

impl Owner<'_> {
    /// The question's name.
    pub const QUESTION: Self = Self::At(HEADER_LEN);
}

/// A section of a response; written in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so.
    Authority,
    /// What the client will ask for next.
    Additional,
}

/// A response under construction in a caller's buffer.
///
/// Records beyond the limit are left out: from the answer or authority section that sets the TC bit, from the
/// additional section it does not (RFC 2181 section 9).
#[derive(Debug)]
pub struct Response<'b> {
    out: &'b mut Vec<u8>,
    limit: usize,
    counts: [u16; 3],
    section: Section,
    truncated: bool,
    edns: Option<Edns>,
}

impl<'b> Response<'b> {
    /// Starts a response to `query` that stays within `limit` octets; what `out` held is discarded.
    pub fn start(query: &Query<'_>, limit: usize, out: &'b mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&query.id.to_be_bytes());
        out.push(0x80 | u8::from(query.recursion_desired));
        out.push(u8::from(query.checking_disabled) << 4);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question);
        let reserved = if query.edns.is_some() { OPT_LEN } else { 0 };
        Self {
            out,
            limit: limit.saturating_sub(reserved),
            counts: [0; 3],
            section: Section::Answer,
            truncated: false,
            edns: query.edns,
        }
    }

    /// Appends a record whose data `write_data` writes; says where the data starts, or nothing if it did not fit.
    ///
    /// After a record of the section did not fit, later ones of that section are left out too.
    pub fn record(
        &mut self,
        section: Section,
        (owner, rtype, ttl): (Owner<'_>, RecordType, u32),
        write_data: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        debug_assert!(section >= self.section, "sections are written in order");
        self.section = section;
        if self.truncated {
            return None;
        }
        let start = self.out.len();
        self.owner(owner);
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        let data = self.out.len();
        write_data(self.out);
        let length = self.out.len() - data;
        if self.out.len() > self.limit || length > usize::from(u16::MAX) {
            self.out.truncate(start);
            self.truncated = section != Section::Additional;
            return None;
        }
        self.out[data - 2..data].copy_from_slice(&(length as u16).to_be_bytes());
        self.counts[section as usize] += 1;
        Some(data)
    }

    /// Whether an answer was left out.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Completes the response as an authority's.
    pub fn finish(self, rcode: Rcode) {
        self.out[2] |= 0x04;
        self.close(rcode);
    }

    /// Completes the response as that of a server with no authority for the name.
    pub fn finish_without_authority(self, rcode: Rcode) {
        self.close(rcode);
    }

    fn close(self, rcode: Rcode) {
        let mut counts = self.counts;
        if let Some(edns) = self.edns {
            write_opt(self.out, rcode, edns.dnssec_ok);
            counts[Section::Additional as usize] += 1;
        }
        self.out[2] |= u8::from(self.truncated) << 1;
        self.out[3] |= rcode.header_bits();
        for (place, count) in self.out[6..HEADER_LEN].chunks_exact_mut(2).zip(counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    fn owner(&mut self, owner: Owner<'_>) {
        match owner {
            Owner::At(place) => write_pointer(self.out, place),
            Owner::Name(name) => self.out.extend_from_slice(name),
        }
    }
}

/// Writes the response to a packet that is not a query we can read: a header without a question.
pub fn write_fault(fault: Fault, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&fault.id.to_be_bytes());
    out.extend_from_slice(&[0x80 | fault.echoed_flags, fault.rcode.header_bits(), 0, 0, 0, 0, 0, 0, 0, 0]);
    if fault.rcode == Rcode::BadVers {
        write_opt(out, fault.rcode, false);
        out[HEADER_LEN - 1] = 1;
    }
}

/// Writes a pointer to the name at `place`, which compression can reach.
pub(crate) fn write_pointer(out: &mut Vec<u8>, place: usize) {
    debug_assert!(place <= MAX_POINTER, "a name beyond the reach of compression pointers");
    out.extend_from_slice(&(0xc000 | place as u16).to_be_bytes());
}

fn write_opt(out: &mut Vec<u8>, rcode: Rcode, dnssec_ok: bool) {
    out.push(0);
    out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
    out.extend_from_slice(&OWN_PAYLOAD.to_be_bytes());
    out.extend_from_slice(&[rcode.extended_bits(), 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
}
