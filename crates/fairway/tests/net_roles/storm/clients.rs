//! One question each, and what is to become of it.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::servers::FORBIDDEN;

/// Whoever is not answered by then has lost something.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a silence is listened to; an answer here takes microseconds.
const SILENCE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Something that is asked over and over.
pub enum Probe {
    /// A client that was never there before is answered.
    Answered(Protocol, SocketAddr),
    /// It is refused, at once.
    Refused(Protocol, SocketAddr),
    /// Nobody answers it, while whoever is next answers in time.
    Silent(Protocol, [SocketAddr; 2]),
    /// A connection from before the storm.
    Connection(TcpStream),
    /// A client of UDP that keeps its port, always answered.
    Conversation(UdpSocket),
    /// One that is not to be answered any more.
    Forgotten(UdpSocket),
    /// One whose packets reach nobody.
    Unheard(UdpSocket),
}

impl Probe {
    /// Asks once; says what should not have been.
    pub fn ask(&mut self) -> Result<(), String> {
        let outcome = match self {
            Self::Answered(protocol, to) => match ask(*protocol, *to, PATIENCE) {
                Ok(name) if !name.is_empty() => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            },
            Self::Refused(protocol, to) => match ask(*protocol, *to, PATIENCE) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            },
            Self::Silent(protocol, [to, control]) => stay_silent(*protocol, *to, *control),
            Self::Connection(stream) => echo(stream).map_err(|error| error.to_string()),
            Self::Conversation(socket) => {
                exchange(socket, PATIENCE).map_or_else(|error| Err(error.to_string()), |_| Ok(()))
            }
            Self::Forgotten(socket) => exchange(socket, SILENCE).map_or(Ok(()), Err),
            Self::Unheard(socket) => {
                // The server tells what arrives.
                let sent = socket.send(format!("{FORBIDDEN} {:?}", socket.local_addr()).as_bytes());
                sent.map_or_else(|error| Err(error.to_string()), |_| Ok(()))
            }
        };
        outcome.map_err(|what| format!("{self}: {what}"))
    }

    /// Whether it waits, so that it would slow down others.
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Silent(..) | Self::Forgotten(_))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(protocol, to) => write!(f, "{protocol:?} to {to}, which must answer"),
            Self::Refused(protocol, to) => write!(f, "{protocol:?} to {to}, which must refuse"),
            Self::Silent(protocol, [to, _]) => write!(f, "{protocol:?} to {to}, which must be silent"),
            Self::Connection(stream) => write!(f, "the connection to {:?}", stream.peer_addr()),
            Self::Conversation(socket) => write!(f, "the conversation with {:?}", socket.peer_addr()),
            Self::Forgotten(socket) => write!(f, "the flow to {:?}, which is over", socket.peer_addr()),
            Self::Unheard(socket) => write!(f, "{:?}, a forged source", socket.local_addr()),
        }
    }
}

/// Who answers a new client.
pub fn ask(protocol: Protocol, to: SocketAddr, patience: Duration) -> io::Result<String> {
    match protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect_timeout(&to, patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        }
        Protocol::Udp => exchange(&talker(to)?, patience),
    }
}

/// A silence says something when an answer would have come within it: until that is so, all is asked again.
fn stay_silent(protocol: Protocol, to: SocketAddr, control: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match ask(protocol, to, SILENCE) {
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
            outcome => return Err(format!("{outcome:?}")),
        }
        if ask(protocol, control, SILENCE).is_ok() {
            return Ok(());
        }
    }
    Err(format!("{control} does not answer within {SILENCE:?} either"))
}

/// A client of UDP with a port of its own.
pub fn talker(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    talker_from(any, to)
}

pub fn talker_from(source: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((source, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// A connection for the whole storm.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange(socket: &UdpSocket, patience: Duration) -> io::Result<String> {
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"?")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)
}
