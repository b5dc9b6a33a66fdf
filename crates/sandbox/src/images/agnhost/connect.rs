//! `agnhost connect`: one connection attempt whose outcome a test can tell from the first word on standard error.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use super::super::flags::Flags;
use super::usage_error;

/// How a connection attempt failed.
#[derive(Debug, PartialEq)]
enum Failure {
    /// A mistake that has nothing to do with the network.
    Unknown(String),
    /// No answer in time.
    Timeout(String),
    /// The name has no address.
    Dns(String),
    /// The connection was refused.
    Refused(String),
    /// Any other answer of the network.
    Other(String),
}

impl Failure {
    fn line(&self) -> String {
        let (word, detail) = match self {
            Self::Unknown(detail) => ("UNKNOWN", detail),
            Self::Timeout(detail) => ("TIMEOUT", detail),
            Self::Dns(detail) => ("DNS", detail),
            Self::Refused(detail) => ("REFUSED", detail),
            Self::Other(detail) => ("OTHER", detail),
        };
        if detail.is_empty() { word.to_owned() } else { format!("{word}: {detail}") }
    }
}

/// Runs `agnhost connect HOST:PORT [--timeout D] [--protocol tcp|udp|sctp] [--udp-data TEXT]`.
pub fn main(arguments: &[String]) -> ExitCode {
    let flags = match Flags::parse(arguments, &["timeout", "protocol", "udp-data", "sctp-data"], &[]) {
        Ok(flags) => flags,
        Err(error) => return usage_error(&error),
    };
    let [destination] = flags.positional.as_slice() else {
        return usage_error(&format!("accepts 1 arg(s), received {}", flags.positional.len()));
    };
    let timeout = match flags.duration("timeout") {
        Ok(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
        Err(error) => return usage_error(&error),
    };
    let outcome = match flags.text("protocol").unwrap_or("tcp") {
        "" | "tcp" => connect_tcp(destination, timeout),
        "udp" => connect_udp(destination, timeout, flags.text("udp-data").unwrap_or("hostname")),
        "sctp" => Err(Failure::Other("this stand-in for agnhost cannot speak sctp".to_owned())),
        other => {
            eprintln!("Unsupported protocol\n{other}");
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.line());
            ExitCode::FAILURE
        }
    }
}

fn connect_tcp(destination: &str, timeout: Option<Duration>) -> Result<(), Failure> {
    if !has_port(destination) {
        return Err(Failure::Unknown(format!("address {destination}: missing port in address")));
    }
    let mut last = Err(Failure::Dns(format!("lookup {destination}: no such host")));
    for address in resolve(destination)? {
        last = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        }
        .map(drop)
        .map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Failure::Timeout(String::new()),
            ErrorKind::ConnectionRefused => Failure::Refused(String::new()),
            _ => Failure::Other(format!("dial tcp {address}: connect: {error}")),
        });
        if last.is_ok() {
            break;
        }
    }
    last
}

fn connect_udp(destination: &str, timeout: Option<Duration>, data: &str) -> Result<(), Failure> {
    let no_address = || Failure::Dns(format!("lookup {destination}: no such host"));
    let address = resolve(destination)?.next().ok_or_else(no_address)?;
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let other = |error: io::Error| Failure::Other(error.to_string());
    let socket = UdpSocket::bind(local).map_err(other)?;
    socket.connect(address).map_err(other)?;
    socket.set_read_timeout(timeout).map_err(other)?;
    let failed = |what: &str, error: &io::Error| {
        let detail = format!("{what} udp {address}: {error}");
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                Failure::Timeout(format!("{what} udp {address}: i/o timeout"))
            }
            ErrorKind::ConnectionRefused => Failure::Refused(detail),
            _ => Failure::Unknown(detail),
        }
    };
    socket.send(format!("{data}\n").as_bytes()).map_err(|error| failed("write", &error))?;
    match socket.recv(&mut [0; 1024]) {
        Ok(0) => Err(Failure::Other(
            "No data received from the server. Cannot guarantee the server received the request.".to_owned(),
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(failed("read", &error)),
    }
}

fn resolve(destination: &str) -> Result<impl Iterator<Item = SocketAddr>, Failure> {
    destination.to_socket_addrs().map_err(|error| Failure::Dns(format!("lookup {destination}: {error}")))
}

fn has_port(destination: &str) -> bool {
    destination.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_port_connects_and_a_closed_one_is_refused() {
        // An address no other test uses: its port stays closed once it is closed.
        let listener = std::net::TcpListener::bind("127.0.7.1:0").unwrap();
        let open = listener.local_addr().unwrap().to_string();
        assert_eq!(connect_tcp(&open, Some(Duration::from_secs(5))), Ok(()));
        drop(listener);
        assert_eq!(connect_tcp(&open, Some(Duration::from_secs(5))), Err(Failure::Refused(String::new())));
    }

    #[test]
    fn a_missing_port_is_not_the_networks_fault() {
        let failure = connect_tcp("localhost", None).unwrap_err();
        assert_eq!(failure.line(), "UNKNOWN: address localhost: missing port in address");
    }

    #[test]
    fn udp_needs_an_answer_to_count_as_connected() {
        let silent = UdpSocket::bind("127.0.7.2:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let failure = connect_udp(&address, Some(Duration::from_millis(20)), "hostname").unwrap_err();
        assert!(failure.line().starts_with("TIMEOUT"), "{failure:?}");
        drop(silent);
        let failure = connect_udp(&address, Some(Duration::from_secs(5)), "hostname").unwrap_err();
        assert!(failure.line().starts_with("REFUSED"), "{failure:?}");
    }
}
