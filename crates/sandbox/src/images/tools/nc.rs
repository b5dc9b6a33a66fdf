//! `nc`: a connection between standard input and output and a socket, as a client or a server.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use super::flags::ShortFlags;

const USAGE: &str = "usage: nc [-uzvl] [-w SEC] [-p PORT] HOST PORT";
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Runs `nc`.
pub fn main(arguments: &[String]) -> ExitCode {
    match Call::parse(arguments).and_then(|call| call.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("nc: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What to connect, and how.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    udp: bool,
    /// Only find out whether somebody listens.
    only_look: bool,
    verbose: bool,
    /// How long a connection may take to stand, and to be silent.
    patience: Option<Duration>,
    side: Side,
}

#[derive(Debug, PartialEq, Eq)]
enum Side {
    Listen(u16),
    Connect(String, u16),
}

impl Call {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let flags = ShortFlags::parse(arguments, "wpis", &[])?;
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("bad port '{text}'"));
        let side = match (flags.has(&["l"]), flags.words.as_slice(), flags.last(&["p"])) {
            (true, [], Some(text)) => Side::Listen(port(text)?),
            (true, [.., text], None) => Side::Listen(port(text)?),
            (false, [host, text], _) => Side::Connect(host.clone(), port(text)?),
            _ => return Err(USAGE.to_owned()),
        };
        let patience = flags.last(&["w"]).map(|text| text.parse().map_err(|_| format!("invalid number '{text}'")));
        Ok(Self {
            udp: flags.has(&["u"]),
            only_look: flags.has(&["z"]),
            verbose: flags.has(&["v"]),
            patience: patience.transpose()?.map(Duration::from_secs),
            side,
        })
    }

    fn run(&self) -> Result<(), String> {
        let outcome = match (&self.side, self.udp) {
            (Side::Listen(port), false) => self.serve_tcp(*port),
            (Side::Listen(port), true) => self.serve_udp(*port),
            (Side::Connect(host, port), udp) => {
                let mut addresses =
                    (host.as_str(), *port).to_socket_addrs().map_err(|_| format!("bad address '{host}'"))?;
                let address = addresses.next().ok_or_else(|| format!("bad address '{host}'"))?;
                let connected = if udp { self.talk_udp(address) } else { self.talk_tcp(address) };
                return connected.map_err(|error| format!("{host} ({address}): {}", plain_words(&error)));
            }
        };
        outcome.map_err(|error| plain_words(&error))
    }

    fn talk_tcp(&self, address: SocketAddr) -> io::Result<()> {
        let stream = match self.patience {
            Some(patience) => TcpStream::connect_timeout(&address, patience)?,
            None => TcpStream::connect(address)?,
        };
        if self.verbose {
            eprintln!("{} ({address}) open", address.ip());
        }
        if self.only_look { Ok(()) } else { self.join_tcp(&stream) }
    }

    fn serve_tcp(&self, port: u16) -> io::Result<()> {
        let (stream, from) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?.accept()?;
        if self.verbose {
            eprintln!("connect to {} from {from}", stream.local_addr()?);
        }
        self.join_tcp(&stream)
    }

    /// Copies both ways until the other side has ended.
    fn join_tcp(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(self.patience)?;
        let mut writer = stream.try_clone()?;
        // Ends with standard input, or with the program when the other side has ended first.
        thread::spawn(move || {
            let copied = io::copy(&mut io::stdin(), &mut writer);
            copied.and_then(|_| writer.shutdown(std::net::Shutdown::Write))
        });
        copy_until_silent(|buffer| (&*stream).read(buffer))
    }

    fn talk_udp(&self, address: SocketAddr) -> io::Result<()> {
        let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        if self.only_look {
            socket.send(&[])?;
            return Ok(());
        }
        self.join_udp(&socket)
    }

    fn serve_udp(&self, port: u16) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let mut first = vec![0; CHUNK];
        let (length, client) = socket.recv_from(&mut first)?;
        socket.connect(client)?;
        io::stdout().write_all(&first[..length])?;
        self.join_udp(&socket)
    }

    fn join_udp(&self, socket: &UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(self.patience)?;
        let sender = socket.try_clone()?;
        // Ends with standard input, or with the program.
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
                if sender.send(&buffer[..length]).is_err() {
                    return;
                }
            }
        });
        copy_until_silent(|buffer| socket.recv(buffer))
    }
}

/// Writes what `read` gives to standard output until it ends or is silent for too long.
fn copy_until_silent(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                io::stdout().write_all(&buffer[..length])?;
                io::stdout().flush()?;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An error without Rust's error number.
fn plain_words(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Call, String> {
        Call::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn both_sides_are_understood() {
        assert_eq!(parse("-l -p 80").unwrap().side, Side::Listen(80));
        assert_eq!(parse("-lu 0.0.0.0 81").unwrap().side, Side::Listen(81));
        let call = parse("-zv -w1 web 443").unwrap();
        assert_eq!((call.only_look, call.side), (true, Side::Connect("web".into(), 443)));
        assert_eq!(call.patience, Some(Duration::from_secs(1)));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse("web").unwrap_err(), USAGE);
        assert_eq!(parse("web http").unwrap_err(), "bad port 'http'");
    }
}
