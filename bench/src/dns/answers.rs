//! Comparing what the two servers answer.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::servers::{Program, Servers};

/// A question that the two answer differently.
#[derive(Debug)]
pub struct Difference {
    question: String,
    coredns: Said,
    fairway: Said,
}

/// What of an answer is compared: everything but the order of records and the serial, which is the time.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: String,
    flags: String,
    answers: Vec<String>,
    authorities: Vec<String>,
    additionals: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.question)?;
        for (program, said) in [(Program::CoreDns, &self.coredns), (Program::Fairway, &self.fairway)] {
            let Said { code, flags, answers, authorities, additionals } = said;
            writeln!(f, "  {}  {code} {flags} {answers:?} {authorities:?} {additionals:?}", program.name())?;
        }
        Ok(())
    }
}

/// The questions that the two answer differently.
pub fn differences(questions: &[(String, RecordType)], servers: &Servers) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (name, rtype) in questions {
        let said = |program| {
            ask(servers.of(program).address, name, *rtype)
                .with_context(|| format!("{} has no answer to {name} {rtype}", program.name()))
        };
        let (coredns, fairway) = (said(Program::CoreDns)?, said(Program::Fairway)?);
        if coredns != fairway {
            differences.push(Difference { question: format!("{name} {rtype}"), coredns, fairway });
        }
    }
    Ok(differences)
}

fn ask(server: SocketAddr, name: &str, rtype: RecordType) -> Result<Said> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name)?, rtype));
    socket.send_to(&query.to_vec()?, server)?;
    let mut packet = [0; 4096];
    let len = socket.recv(&mut packet)?;
    let message = Message::from_vec(&packet[..len])?;
    let flags = &message.metadata;
    let set = [
        (flags.authoritative, "aa"),
        (flags.truncation, "tc"),
        (flags.recursion_desired, "rd"),
        (flags.recursion_available, "ra"),
    ];
    // How many of too many fit depends on compression alone.
    let answers = if flags.truncation { Vec::new() } else { lines(&message.answers) };
    Ok(Said {
        code: flags.response_code.to_string(),
        flags: set.iter().filter(|(is_set, _)| *is_set).map(|&(_, name)| name).collect::<Vec<_>>().join(" "),
        answers,
        authorities: lines(&message.authorities),
        additionals: lines(&message.additionals),
    })
}

fn lines(records: &[Record]) -> Vec<String> {
    let line = |record: &Record| {
        let data = match &record.data {
            RData::SOA(SOA { mname, rname, refresh, retry, expire, minimum, .. }) => {
                format!("{mname} {rname} {refresh} {retry} {expire} {minimum}")
            }
            other => other.to_string(),
        };
        format!("{} {} {} {data}", record.name, record.ttl, record.record_type())
    };
    let mut lines: Vec<String> = records.iter().map(line).collect();
    lines.sort();
    lines
}
