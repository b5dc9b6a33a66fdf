//! `ping`: echo requests over an unprivileged ICMP socket.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, socket,
};

use super::flags::ShortFlags;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const HEADER: usize = 8;

/// Runs `ping [-c COUNT] [-W SEC] [-i SEC] [-s SIZE] [-q] HOST`.
pub fn main(arguments: &[String]) -> ExitCode {
    match Pinging::parse(arguments).and_then(|pinging| pinging.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("ping: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Whom to ask, how often, and how patiently.
struct Pinging {
    host: String,
    count: u32,
    patience: Duration,
    interval: Duration,
    size: usize,
    quiet: bool,
}

/// What came back so far.
#[derive(Default)]
struct Tally {
    sent: u32,
    times: Vec<Duration>,
}

impl Pinging {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let flags = ShortFlags::parse(arguments, "cWwiIst", &[])?;
        let [host] = flags.words.as_slice() else {
            return Err("usage: ping [-c COUNT] [-W SEC] [-i SEC] [-s SIZE] [-q] HOST".to_owned());
        };
        Ok(Self {
            host: host.clone(),
            count: flags.number(&["c"], u32::MAX)?,
            patience: Duration::from_secs(flags.number(&["W", "w"], 10)?),
            interval: Duration::from_secs_f64(flags.number::<f64>(&["i"], 1.0)?.max(0.01)),
            size: flags.number::<usize>(&["s"], 56)?.min(60_000),
            quiet: flags.has(&["q"]),
        })
    }

    /// Asks as often as wanted; whether anything came back.
    fn run(&self) -> Result<bool, String> {
        let unknown = || format!("bad address '{}'", self.host);
        let mut addresses = (self.host.as_str(), 0).to_socket_addrs().map_err(|_| unknown())?;
        let address = addresses.next().ok_or_else(unknown)?.ip();
        println!("PING {} ({address}): {} data bytes", self.host, self.size);
        let echo = Echo::open(address).map_err(|error| format!("can't create an ICMP socket: {error}"))?;
        let mut tally = Tally::default();
        for number in 0..self.count {
            let begun = Instant::now();
            tally.sent += 1;
            let outcome = self.ask(&echo, number as u16);
            match outcome {
                Ok(Some(took)) => {
                    if !self.quiet {
                        let ms = took.as_secs_f64() * 1000.0;
                        println!("{} bytes from {address}: seq={number} time={ms:.3} ms", self.size + HEADER);
                    }
                    tally.times.push(took);
                }
                Ok(None) => {}
                Err(error) => eprintln!("ping: {address}: {error}"),
            }
            if number + 1 < self.count {
                #[expect(clippy::disallowed_methods, reason = "a ping a second is what the user asked for")]
                std::thread::sleep(self.interval.saturating_sub(begun.elapsed()));
            }
        }
        print!("{}", tally.summary(&self.host));
        Ok(!tally.times.is_empty())
    }

    /// One request; how long its answer took, or nothing when none came.
    fn ask(&self, echo: &Echo, number: u16) -> io::Result<Option<Duration>> {
        let begun = Instant::now();
        echo.send(number, self.size)?;
        loop {
            let left = self.patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            match echo.receive(left)? {
                Some(packet) if echo.is_reply(&packet, number) => return Ok(Some(begun.elapsed())),
                _ => {}
            }
        }
    }
}

impl Tally {
    fn summary(&self, host: &str) -> String {
        let (sent, received) = (self.sent, self.times.len());
        let lost = 100.0 * (1.0 - received as f64 / f64::from(sent.max(1)));
        let mut text = format!(
            "\n--- {host} ping statistics ---\n\
             {sent} packets transmitted, {received} packets received, {lost:.0}% packet loss\n"
        );
        let ms = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        if let (Some(least), Some(most)) = (self.times.iter().min(), self.times.iter().max()) {
            let mean = self.times.iter().map(ms).sum::<f64>() / received as f64;
            text += &format!("round-trip min/avg/max = {:.3}/{mean:.3}/{:.3} ms\n", ms(least), ms(most));
        }
        text
    }
}

/// A socket for echo requests to one address.
struct Echo {
    socket: OwnedFd,
    address: IpAddr,
    /// A raw socket sees whole packets and everybody's answers.
    raw: bool,
}

impl Echo {
    /// A datagram socket, which needs no right, or a raw one where the system does not offer those.
    fn open(address: IpAddr) -> Result<Self, Errno> {
        let (family, protocol) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let open = |kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, Some(protocol));
        if let Ok(socket) = open(SockType::Datagram) {
            return Ok(Self { socket, address, raw: false });
        }
        Ok(Self { socket: open(SockType::Raw)?, address, raw: true })
    }

    fn send(&self, number: u16, size: usize) -> io::Result<()> {
        let to = SockaddrStorage::from(SocketAddr::new(self.address, 0));
        let packet = request(self.address, identity(), number, size);
        sendto(self.socket.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// The next packet, or nothing within `patience`.
    fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX))? == 0 {
            return Ok(None);
        }
        let mut packet = vec![0; 1 << 16];
        let length = recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty())?;
        packet.truncate(length);
        Ok(Some(packet))
    }

    /// Whether a packet answers request `number`.
    fn is_reply(&self, packet: &[u8], number: u16) -> bool {
        let header = match (self.raw, self.address) {
            // A raw IPv4 socket shows the IP header, whose length is its own first word's.
            (true, IpAddr::V4(_)) => packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4),
            _ => 0,
        };
        let Some([kind, _, _, _, id @ .., high, low]) = packet.get(header..header + HEADER) else { return false };
        let wanted = if self.address.is_ipv4() { ECHO_REPLY } else { ECHO_REPLY_V6 };
        // The kernel gives a datagram socket an identity of its own, and only its own answers.
        let ours = !self.raw || id == identity().to_be_bytes();
        *kind == wanted && ours && u16::from_be_bytes([*high, *low]) == number
    }
}

/// What tells our requests from those of other processes.
fn identity() -> u16 {
    std::process::id() as u16
}

/// An echo request; the kernel fills in the checksum of ICMPv6.
fn request(address: IpAddr, identity: u16, number: u16, size: usize) -> Vec<u8> {
    let kind = if address.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST_V6 };
    let [id_high, id_low] = identity.to_be_bytes();
    let [high, low] = number.to_be_bytes();
    let mut packet = vec![kind, 0, 0, 0, id_high, id_low, high, low];
    packet.resize(HEADER + size, b'f');
    if address.is_ipv4() {
        let checksum = internet_checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&checksum);
    }
    packet
}

/// The Internet checksum, RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_checksum_of_the_rfc() {
        let packet = request(IpAddr::from([127, 0, 0, 1]), 1, 2, 4);
        assert_eq!(packet[0], ECHO_REQUEST);
        assert_eq!(internet_checksum(&packet), 0);
    }

    #[test]
    fn the_summary_counts_what_was_lost() {
        let tally = Tally { sent: 4, times: vec![Duration::from_millis(1), Duration::from_millis(3)] };
        let expected = "\n--- web ping statistics ---\n4 packets transmitted, 2 packets received, 50% packet loss\n\
            round-trip min/avg/max = 1.000/2.000/3.000 ms\n";
        assert_eq!(tally.summary("web"), expected);
    }
}
