//! A netlink socket with requests, listings and batches.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, send, setsockopt, sockopt};

use super::error::{KernelRefusal, NetlinkError, parse_refusal};
use super::message::{Head, Message, MessageBuffer, NLMSG_DONE, NLMSG_ERROR, flag, parse_messages};

/// Larger than any datagram the kernel makes for one `recv` (it adapts listings to the buffer, up to 32 KiB).
const RECEIVE_BUFFER_LEN: usize = 64 * 1024;
/// Room for acknowledgements and listings the kernel queues before we read; doubled by the kernel.
const RECEIVE_QUEUE_LEN: usize = 4 * 1024 * 1024;
/// A listing interrupted by changes is read anew this often before giving up.
const LISTING_ATTEMPTS: u32 = 10;

/// A netlink family this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

impl Family {
    const fn number(self) -> isize {
        match self {
            Self::Route => 0,
            Self::Netfilter => 12,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Netfilter => "netfilter",
        }
    }
}

/// A netlink socket of the network namespace its opening thread was in; it stays there wherever it is used.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkError> {
        let failed = |source| NetlinkError::Open { family: family.name(), source };
        let mut socket = netlink_sys::Socket::new(family.number()).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        // Sentences instead of bare numbers, and refusals without a copy of the request.
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_QUEUE_LEN).is_err() {
            // Without privilege in the first user namespace the system's limit applies.
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_QUEUE_LEN).map_err(|errno| failed(errno.into()))?;
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; RECEIVE_BUFFER_LEN] })
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) fn request(&mut self, kind: u16, flags: u16, payload: &[u8]) -> Result<(), NetlinkError> {
        let sequence = self.send_one(kind, flags | flag::ACK, payload)?;
        self.read_replies(sequence, &mut |_| Ok(()))
    }

    /// Sends one request and collects what `parse` makes of each answer.
    ///
    /// With [`flag::DUMP`] that is a listing, read anew when it changed under us; otherwise the one object asked for.
    pub(crate) fn query<T>(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        mut parse: impl FnMut(&Message<'_>) -> Result<Option<T>, NetlinkError>,
    ) -> Result<Vec<T>, NetlinkError> {
        let flags = if flags & flag::DUMP == flag::DUMP { flags } else { flags | flag::ACK };
        for _ in 0..LISTING_ATTEMPTS {
            let (found, is_interrupted) = self.query_once(kind, flags, payload, &mut parse)?;
            if !is_interrupted {
                return Ok(found);
            }
        }
        Err(NetlinkError::Unstable { attempts: LISTING_ATTEMPTS })
    }

    /// A listing as [`Socket::query`] makes it, but one that changed under us is taken as it came: something of it may be
    /// missing or there twice.
    pub(crate) fn query_as_it_comes<T>(
        &mut self,
        kind: u16,
        payload: &[u8],
        mut parse: impl FnMut(&Message<'_>) -> Result<Option<T>, NetlinkError>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.query_once(kind, flag::DUMP, payload, &mut parse).map(|(found, _)| found)
    }

    /// What was found, and whether it changed meanwhile.
    fn query_once<T>(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        parse: &mut impl FnMut(&Message<'_>) -> Result<Option<T>, NetlinkError>,
    ) -> Result<(Vec<T>, bool), NetlinkError> {
        let (mut found, mut is_interrupted) = (Vec::new(), false);
        let sequence = self.send_one(kind, flags, payload)?;
        self.read_replies(sequence, &mut |message| {
            is_interrupted |= message.flags & flag::DUMP_INTERRUPTED != 0;
            if message.kind != NLMSG_DONE {
                found.extend(parse(message)?);
            }
            Ok(())
        })?;
        Ok((found, is_interrupted))
    }

    /// Makes room for a datagram of `length` bytes and returns how long one may be.
    ///
    /// An ordinary user may not go beyond the system's limit (`net.core.wmem_max`, doubled).
    pub(crate) fn reserve_send(&mut self, length: usize) -> Result<usize, NetlinkError> {
        /// What the kernel keeps back of the send buffer, generously.
        const RESERVE: usize = 256;
        let failed = |errno: Errno| NetlinkError::Reserve { length, source: errno.into() };
        let capacity = |socket: &Self| getsockopt(&socket.socket, sockopt::SndBuf).map_err(failed);
        if capacity(self)? < length + RESERVE {
            let wanted = length + RESERVE;
            if setsockopt(&self.socket, sockopt::SndBufForce, &wanted).is_err() {
                setsockopt(&self.socket, sockopt::SndBuf, &wanted).map_err(failed)?;
            }
        }
        Ok(capacity(self)?.saturating_sub(RESERVE))
    }

    /// Numbers for `count` messages; the first of them.
    pub(crate) fn reserve_sequences(&mut self, count: usize) -> u32 {
        let first = self.next_sequence();
        self.sequence = first.wrapping_add(count as u32);
        first
    }

    /// Sends a datagram and returns the answers to it: sequence numbers with a refusal, or none to acknowledge.
    ///
    /// The kernel works a datagram off before `send` returns, so all answers there will ever be are there by then.
    pub(crate) fn exchange(&mut self, datagram: &[u8]) -> Result<Vec<(u32, Option<KernelRefusal>)>, NetlinkError> {
        self.drain()?;
        self.send(datagram)?;
        let mut answers = Vec::new();
        while let Some(length) = self.receive(MsgFlags::MSG_DONTWAIT)? {
            for message in parse_messages(&self.buffer[..length]).filter(|message| message.kind == NLMSG_ERROR) {
                answers.push((message.sequence, parse_refusal(message.flags, message.payload)?));
            }
        }
        Ok(answers)
    }

    /// Reads what an exchange that failed half-way left behind, which is no answer to the next.
    fn drain(&mut self) -> Result<(), NetlinkError> {
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // That some did not fit is told once; so is one that is too long, which is gone with that.
                Err(error) if matches!(error.errno(), Some(Errno::ENOBUFS | Errno::EMSGSIZE)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send_one(&mut self, kind: u16, flags: u16, payload: &[u8]) -> Result<u32, NetlinkError> {
        let sequence = self.next_sequence();
        let mut buffer = MessageBuffer::new();
        buffer.push(Head { kind, flags, sequence }, payload, |_| {});
        self.send(buffer.as_bytes())?;
        Ok(sequence)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NetlinkError::Send { length: bytes.len(), source: errno.into() }),
            }
        }
    }

    /// Hands every message that answers `sequence` to `each`, until its acknowledgement, refusal or end.
    ///
    /// Answers to earlier requests that were given up are skipped.
    fn read_replies(
        &mut self,
        sequence: u32,
        each: &mut dyn FnMut(&Message<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        loop {
            let Some(length) = self.receive(MsgFlags::empty())? else { continue };
            for message in parse_messages(&self.buffer[..length]).filter(|message| message.sequence == sequence) {
                match message.kind {
                    NLMSG_ERROR => {
                        return match parse_refusal(message.flags, message.payload)? {
                            None => Ok(()),
                            Some(refusal) => Err(refusal.into()),
                        };
                    }
                    NLMSG_DONE => {
                        each(&message)?;
                        return parse_done(&message);
                    }
                    _ => each(&message)?,
                }
            }
        }
    }

    /// Receives one datagram; with `MSG_DONTWAIT` nothing when there is none.
    fn receive(&mut self, flags: MsgFlags) -> Result<Option<usize>, NetlinkError> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, flags | MsgFlags::MSG_TRUNC) {
                Ok(length) if length <= self.buffer.len() => return Ok(Some(length)),
                Err(Errno::EAGAIN) => return Ok(None),
                Ok(_) => {
                    return Err(NetlinkError::Receive { source: io::Error::from_raw_os_error(Errno::EMSGSIZE as i32) });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NetlinkError::Receive { source: errno.into() }),
            }
        }
    }
}

/// The end of a listing carries an error number when the kernel gave up on it.
fn parse_done(message: &Message<'_>) -> Result<(), NetlinkError> {
    match message.payload.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
        Some(code) if code < 0 => {
            Err(KernelRefusal { errno: Errno::from_raw(-code), explanation: None, offset: None }.into())
        }
        _ => Ok(()),
    }
}
