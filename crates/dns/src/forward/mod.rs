//! What upstream servers are asked and what their answers become; sockets are in [`crate::io`].

mod cache;
mod expand;
mod lifetime;
mod order;

pub use cache::{Cache, Kept};
pub(crate) use expand::{ForeignRecord, foreign_answers};
pub(crate) use order::shuffle_addresses;

use crate::wire::{CLASS_IN, DomainName, HEADER_LEN, Query, QueryError, RecordType};

/// Writes a query of our own into `out`: what the client asks, without its EDNS options.
///
/// Options such as cookies are a matter between two neighbours, and answers are shared between clients.
pub fn write_query(query: &Query<'_>, id: u16, out: &mut Vec<u8>) {
    write_question(query, id, query.question, out);
}

/// Writes a query for `name` with the type and the flags of the client's into `out`, for this server itself.
pub fn write_query_for(name: &DomainName, query: &Query<'_>, id: u16, out: &mut Vec<u8>) {
    let mut question = name.as_wire().to_vec();
    question.extend_from_slice(&query.question[query.question.len() - 4..]);
    write_question(query, id, &question, out);
}

fn write_question(query: &Query<'_>, id: u16, question: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[u8::from(query.recursion_desired), u8::from(query.checking_disabled) << 4]);
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())]);
    out.extend_from_slice(question);
    if let Some(edns) = query.edns {
        out.push(0);
        out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
        out.extend_from_slice(&edns.payload.to_be_bytes());
        out.extend_from_slice(&[0, 0, u8::from(edns.dnssec_ok) << 7, 0, 0, 0]);
    }
}

/// Whether `reply` answers the query we sent: same identifier, same question, and a response.
pub fn is_reply_to(sent: &[u8], reply: &[u8]) -> bool {
    let is_response = reply.len() >= HEADER_LEN && reply[2] & 0x80 != 0 && reply[..2] == sent[..2];
    let question_len = match Query::parse(sent) {
        Ok(query) => query.question.len(),
        Err(QueryError::Ignore | QueryError::Fault(_)) => return false,
    };
    let question = HEADER_LEN..HEADER_LEN + question_len;
    // Servers that fail may leave the question out.
    is_response
        && (reply.get(question.clone()).is_some_and(|echoed| echoed.eq_ignore_ascii_case(&sent[question]))
            || (reply[4..6] == [0, 0] && reply_code(reply) != 0))
}

/// The response code in the header.
pub fn reply_code(reply: &[u8]) -> u8 {
    reply.get(3).map_or(0, |flags| flags & 0x0f)
}

/// Whether the server knows what there is, or that there is nothing: NOERROR and NXDOMAIN.
pub(crate) fn is_conclusive(reply: &[u8]) -> bool {
    matches!(reply_code(reply), 0 | 3)
}

/// Whether the server had to leave records out.
pub fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Makes an upstream server's reply the reply to this client: its identifier, its spelling, and its limit in octets.
pub fn fit_to_client(reply: &mut Vec<u8>, query: &Query<'_>, limit: usize) {
    let question = HEADER_LEN..HEADER_LEN + query.question.len();
    reply[..2].copy_from_slice(&query.id.to_be_bytes());
    if reply[4..6] == [0, 1]
        && let Some(echoed) = reply.get_mut(question.clone())
    {
        echoed.copy_from_slice(query.question);
    }
    if reply.len() > limit {
        reply.truncate(question.end);
        reply[2] |= 0x02;
        reply[6..HEADER_LEN].fill(0);
    }
}

/// Writes a query for the name servers of `domain`: whoever answers it lives.
pub(crate) fn write_probe(domain: &DomainName, recursive: bool, id: u16, out: &mut Vec<u8>) {
    write_question_of((domain, RecordType::NS), recursive, id, out);
}

/// Writes a plain question of our own.
pub(crate) fn write_question_of((name, rtype): (&DomainName, RecordType), recursive: bool, id: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[u8::from(recursive), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(name.as_wire());
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
}
