//! Whether what is sent through a tunnel arrives with right checksums.
//!
//! Linux leaves the checksum of a packet to the hardware that sends it, also of a packet inside a tunnel. Some hardware
//! and some hypervisors say they do that and do not: what the tunnel carries then arrives with a wrong checksum and is
//! dropped without a word, and only small traces such as pings seem well. Computed before the packet enters the tunnel,
//! checksums are right in any case.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// What became of packets to the other end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumProbe {
    /// They arrive.
    Fine,
    /// Only those arrive whose checksum the kernel computed.
    Faulty,
    /// None was answered, which says nothing of checksums.
    Silent,
}

/// The discard service (RFC 863), which nobody has.
const PORT: u16 = 9;
/// More than one packet: the kernel itself computes the checksum of what it sends in pieces.
const IN_PIECES: usize = 4000;
/// One packet, whose checksum is left to the hardware.
const SMALL: usize = 64;
/// How often each kind is tried before it counts as lost.
const ATTEMPTS: u32 = 3;

/// Sends packets from `source` to an address whose machine refuses them, and waits for each answer up to `patience`.
pub fn probe_checksums(source: IpAddr, target: IpAddr, patience: Duration) -> io::Result<ChecksumProbe> {
    // In pieces first: whatever must be found on the way is found by it, and the first loss is not the hardware's.
    let in_pieces = is_refused(source, target, IN_PIECES, patience)?;
    let small = is_refused(source, target, SMALL, patience)?;
    Ok(match (in_pieces, small) {
        (_, true) => ChecksumProbe::Fine,
        (true, false) => ChecksumProbe::Faulty,
        (false, false) => ChecksumProbe::Silent,
    })
}

fn is_refused(source: IpAddr, target: IpAddr, len: usize, patience: Duration) -> io::Result<bool> {
    let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(SocketAddr::new(target, PORT))?;
    for _ in 0..ATTEMPTS {
        match socket.send(&vec![0; len]).and_then(|_| socket.recv(&mut [0; 1])) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
