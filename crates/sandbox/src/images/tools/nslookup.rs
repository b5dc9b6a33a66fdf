//! `nslookup`: asks the cluster's DNS and prints what it says.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::flags::ShortFlags;
use super::lookup::{Resolver, refusal, server_address};

const USAGE: &str = "usage: nslookup [-type=QUERY_TYPE] [-port=N] HOST [DNS_SERVER]";
/// The options of nslookup are words behind a single dash.
const TYPE: [&str; 4] = ["type", "querytype", "query", "q"];

/// Runs `nslookup`.
pub fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok((text, code)) => {
            print!("{text}");
            ExitCode::from(code)
        }
        Err(message) => {
            eprintln!("nslookup: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(String, u8), String> {
    let doubled: Vec<String> = arguments.iter().map(|word| double_dash(word)).collect();
    let flags = ShortFlags::parse(&doubled, "", &["port", "timeout", "retry"])?;
    let mut resolver = Resolver::of_this_host();
    let (host, server) = match flags.words.as_slice() {
        [host] => (host, None),
        [host, server] => (host, Some(server)),
        _ => return Err(USAGE.to_owned()),
    };
    if let Some(server) = server {
        resolver.servers = vec![find_server(server)?];
    }
    if let Some(port) = flags.last(&["port"]) {
        let port = port.parse().map_err(|_| format!("invalid port '{port}'"))?;
        resolver.servers.iter_mut().for_each(|server| server.set_port(port));
    }
    let kinds = match flags.last(&TYPE) {
        Some(kind) => vec![kind.to_ascii_uppercase().parse().map_err(|_| format!("invalid query type '{kind}'"))?],
        None => Vec::new(),
    };
    Ok(look_up(&resolver, host, &kinds))
}

fn double_dash(word: &str) -> String {
    if word.len() > 2 && word.starts_with('-') && !word.starts_with("--") {
        format!("-{word}")
    } else {
        word.to_owned()
    }
}

fn find_server(server: &str) -> Result<SocketAddr, String> {
    let by_name = || (server, 53).to_socket_addrs().ok()?.next();
    server_address(server).or_else(by_name).ok_or_else(|| format!("can't resolve '{server}'"))
}

/// Everything there is to say about `host`, and the exit code.
fn look_up(resolver: &Resolver, host: &str, kinds: &[RecordType]) -> (String, u8) {
    let question = Question::of(host, kinds);
    let names = if question.exact { vec![question.name.clone()] } else { resolver.candidates(&question.name) };
    let mut said = String::new();
    let mut refused = None;
    for name in names {
        let Ok(parsed) = Name::from_ascii(format!("{name}.")) else {
            return (format!("** {name} is not a valid name\n"), 1);
        };
        let mut found = String::new();
        for kind in &question.kinds {
            let Ok((answer, server)) = resolver.ask(&parsed, *kind) else {
                return (";; connection timed out; no servers could be reached\n\n".to_owned(), 1);
            };
            if said.is_empty() {
                said = format!("Server:\t\t{}\nAddress:\t{server}\n\n", server.ip());
            }
            match answer.metadata.response_code {
                ResponseCode::NoError => found.push_str(&describe(&answer)),
                code => refused = refused.or(Some((name.clone(), code))),
            }
        }
        if !found.is_empty() {
            return (format!("{said}{found}\n"), 0);
        }
    }
    let failure = match refused {
        Some((_, code)) => format!("** server can't find {host}: {}\n\n", refusal(code)),
        None => format!("*** Can't find {host}: No answer\n\n"),
    };
    (said + &failure, 1)
}

/// What is asked: a name as it is to be searched for, and the record types.
struct Question {
    name: String,
    /// Whether the search list does not apply.
    exact: bool,
    kinds: Vec<RecordType>,
}

impl Question {
    fn of(host: &str, kinds: &[RecordType]) -> Self {
        let address = host.parse::<IpAddr>().ok().filter(|_| kinds.is_empty() || kinds == [RecordType::PTR]);
        if let Some(address) = address {
            let name = Name::from(address).to_ascii().trim_end_matches('.').to_owned();
            return Self { name, exact: true, kinds: vec![RecordType::PTR] };
        }
        let kinds = if kinds.is_empty() { vec![RecordType::A, RecordType::AAAA] } else { kinds.to_vec() };
        Self { name: host.to_owned(), exact: false, kinds }
    }
}

fn describe(answer: &Message) -> String {
    answer.answers.iter().map(describe_record).collect()
}

fn describe_record(record: &Record) -> String {
    let ascii = |name: &Name| name.to_ascii().trim_end_matches('.').to_owned();
    let owner = ascii(&record.name);
    let mut line = String::new();
    // Writing to a text cannot fail.
    let _ = match &record.data {
        RData::A(address) => writeln!(line, "Name:\t{owner}\nAddress: {address}"),
        RData::AAAA(address) => writeln!(line, "Name:\t{owner}\nAddress: {address}"),
        RData::CNAME(target) => writeln!(line, "{owner}\tcanonical name = {}", ascii(&target.0)),
        RData::PTR(target) => writeln!(line, "{owner}\tname = {}", ascii(&target.0)),
        RData::NS(target) => writeln!(line, "{owner}\tnameserver = {}", ascii(&target.0)),
        RData::SRV(service) => writeln!(
            line,
            "{owner}\tservice = {} {} {} {}",
            service.priority,
            service.weight,
            service.port,
            ascii(&service.target)
        ),
        RData::TXT(text) => writeln!(line, "{owner}\ttext = \"{text}\""),
        other => writeln!(line, "{owner}\t{} = {other}", record.record_type()),
    };
    line
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::A;

    use super::*;

    /// A server that knows one name.
    fn server(known: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(query.metadata.id, OpCode::Query);
                let question = query.queries[0].clone();
                match (question.name().to_ascii() == known, question.query_type()) {
                    (true, RecordType::A) => {
                        let data = RData::A(A::new(10, 96, 0, 1));
                        answer.add_answer(Record::from_rdata(question.name().clone(), 5, data));
                    }
                    (true, _) => {}
                    (false, _) => answer.metadata.response_code = ResponseCode::NXDomain,
                }
                answer.add_query(question);
                socket.send_to(&answer.to_vec().unwrap(), client).unwrap();
            }
        });
        address
    }

    fn resolver(server: SocketAddr) -> Resolver {
        let search = vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()];
        Resolver { servers: vec![server], search, dots: 5, timeout: Duration::from_secs(10), attempts: 1 }
    }

    #[test]
    fn a_name_is_found_through_the_search_list() {
        let server = server("kubernetes.default.svc.cluster.local.");
        let (said, code) = look_up(&resolver(server), "kubernetes.default", &[]);
        let expected = format!(
            "Server:\t\t127.0.0.1\nAddress:\t{server}\n\nName:\tkubernetes.default.svc.cluster.local\nAddress: 10.96.0.1\n\n"
        );
        assert_eq!((said, code), (expected, 0));
    }

    #[test]
    fn a_name_nobody_knows_is_said_to_be_missing() {
        let (said, code) = look_up(&resolver(server("other.")), "nobody", &[]);
        assert!(said.ends_with("** server can't find nobody: NXDOMAIN\n\n"), "{said}");
        assert_eq!(code, 1);
    }

    #[test]
    fn a_name_without_records_of_the_type_has_no_answer() {
        let (said, code) = look_up(&resolver(server("web.")), "web.", &[RecordType::SRV]);
        assert!(said.ends_with("*** Can't find web.: No answer\n\n"), "{said}");
        assert_eq!(code, 1);
    }
}
