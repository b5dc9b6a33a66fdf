//! Many datagrams in one system call.

use std::array::from_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

/// How many datagrams one call moves.
pub(super) const BATCH: usize = 32;
/// The largest query read: clients that speak EDNS may send more than 512 octets.
const MAX_QUERY: usize = 4096;

/// Datagrams that came in, and the answers that go out.
pub(super) struct Batch {
    packets: Box<[[u8; MAX_QUERY]; BATCH]>,
    senders: [Option<(usize, SocketAddr)>; BATCH],
    receiving: MultiHeaders<SockaddrStorage>,
    answers: [Vec<u8>; BATCH],
    receivers: [Option<SockaddrStorage>; BATCH],
    sending: MultiHeaders<SockaddrStorage>,
    answered: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            packets: Box::new([[0; MAX_QUERY]; BATCH]),
            senders: [None; BATCH],
            receiving: MultiHeaders::preallocate(BATCH, None),
            answers: from_fn(|_| Vec::with_capacity(MAX_QUERY)),
            receivers: [None; BATCH],
            sending: MultiHeaders::preallocate(BATCH, None),
            answered: 0,
        }
    }

    /// Reads what has come, without waiting; says how many datagrams there are.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut slices = self.packets.each_mut().map(|packet| [IoSliceMut::new(packet)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut self.receiving, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for (sender, message) in self.senders.iter_mut().zip(received) {
            *sender = message.address.and_then(to_address).map(|address| (message.bytes, address));
            count += 1;
        }
        Ok(count)
    }

    /// Calls `answer` with each of the first `count` datagrams; where it says so, what it wrote goes out.
    pub(super) fn answer(&mut self, count: usize, mut answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>) -> bool) {
        self.answered = 0;
        for (packet, sender) in self.packets.iter().zip(&self.senders).take(count) {
            let Some((len, client)) = *sender else { continue };
            let out = &mut self.answers[self.answered];
            if answer(&packet[..len], client, out) {
                self.receivers[self.answered] = Some(client.into());
                self.answered += 1;
            }
        }
    }

    /// Sends the answers. One that cannot be sent is passed over: its client asks again.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut start = 0;
        while start < self.answered {
            let slices = self.answers.each_ref().map(|answer| [IoSlice::new(answer)]);
            let (slices, receivers) = (&slices[start..self.answered], &self.receivers[start..self.answered]);
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket.as_raw_fd(), &mut self.sending, slices, receivers, [], flags) {
                Ok(sent) => start += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    outcome = Err(error.into());
                    start += 1;
                }
            }
        }
        outcome
    }
}

fn to_address(storage: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}
