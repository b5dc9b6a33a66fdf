//! A resolver that shows its work: `/etc/resolv.conf`, the search list, one query at a time.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

const PORT: u16 = 53;
const LARGEST_MESSAGE: usize = 65_535;

/// What `/etc/resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Whom to ask, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains to look in.
    pub search: Vec<String>,
    /// Names with this many dots are tried as they are first.
    pub dots: usize,
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// How often to ask.
    pub attempts: u32,
}

/// No server answered.
#[derive(Debug)]
pub struct Unanswered;

impl Resolver {
    /// The resolver of this container.
    pub fn of_this_host() -> Self {
        Self::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    /// Reads the text of a `resolv.conf`; what it does not say is as in glibc.
    pub fn parse(text: &str) -> Self {
        let timeout = Duration::from_secs(5);
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), dots: 1, timeout, attempts: 2 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().and_then(server_address)),
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| resolver.set(option)),
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), PORT));
        }
        resolver
    }

    fn set(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.dots = value as usize,
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names `name` may stand for, in the order in which they are tried.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> =
            self.search.iter().map(|domain| format!("{name}.{}", domain.trim_end_matches('.'))).collect();
        let as_it_is = if name.matches('.').count() >= self.dots { 0 } else { names.len() };
        names.insert(as_it_is, name.to_owned());
        names
    }

    /// Asks the servers for one record type of one name; the answer and who gave it.
    ///
    /// # Errors
    /// When none answers, however often asked.
    pub fn ask(&self, name: &Name, kind: RecordType) -> Result<(Message, SocketAddr), Unanswered> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name.clone(), kind));
        for _ in 0..self.attempts {
            for server in &self.servers {
                if let Ok(answer) = self.exchange(&query, *server) {
                    return Ok((answer, *server));
                }
            }
        }
        Err(Unanswered)
    }

    fn exchange(&self, query: &Message, server: SocketAddr) -> io::Result<Message> {
        let bytes = query.to_vec().map_err(io::Error::other)?;
        let answer = self.exchange_udp(&bytes, query.metadata.id, server)?;
        if answer.metadata.truncation { self.exchange_tcp(&bytes, server) } else { Ok(answer) }
    }

    fn exchange_udp(&self, query: &[u8], id: u16, server: SocketAddr) -> io::Result<Message> {
        let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.send(query)?;
        let mut buffer = vec![0; LARGEST_MESSAGE];
        loop {
            let length = socket.recv(&mut buffer)?;
            // What does not answer this question is somebody's mistake; the time-out still counts from the last packet.
            match Message::from_vec(&buffer[..length]) {
                Ok(answer) if answer.metadata.id == id => return Ok(answer),
                _ => {}
            }
        }
    }

    fn exchange_tcp(&self, query: &[u8], server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect_timeout(&server, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        Message::from_vec(&answer).map_err(io::Error::other)
    }
}

/// The word for how a server refuses to answer.
pub fn refusal(code: ResponseCode) -> String {
    match code {
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => other.to_string(),
    }
}

/// The address of a server as people write it: with or without a port.
pub fn server_address(text: &str) -> Option<SocketAddr> {
    let address = text.split('%').next()?;
    address.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

    #[test]
    fn short_names_are_looked_for_in_every_domain_first() {
        let resolver = Resolver::parse(POD);
        let expected = ["web.shop.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"];
        assert_eq!(resolver.candidates("web"), expected);
        assert_eq!(resolver.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(resolver.candidates("web."), ["web"]);
    }

    #[test]
    fn a_file_that_says_nothing_means_this_host() {
        let resolver = Resolver::parse("# nothing\noptions rotate\n");
        assert_eq!((resolver.servers, resolver.dots), (vec!["127.0.0.1:53".parse().unwrap()], 1));
    }
}
