//! What a shim and its clients say to each other: frames of a kind, a length and a body.
//!
//! Every client learns of the exit. Only one that sends [`Frame::Attach`] gets output.

use std::io::{self, Read, Write};

use super::spec::ExitStatus;

/// No frame's body is longer.
const MAX_BODY: usize = 1 << 20;
const HEADER: usize = 5;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// To the shim: send output from now on; `stdin` if this client's end is the end of a once-only standard input.
    Attach {
        /// Whether this client provides standard input.
        stdin: bool,
    },
    /// To the shim: bytes for standard input.
    Stdin(Vec<u8>),
    /// To the shim: standard input has ended.
    CloseStdin,
    /// To the shim: the size of the client's terminal.
    Resize {
        /// Characters per line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// To the shim: ask the container to end, kill it after so many milliseconds. An earlier deadline replaces a later one.
    Stop {
        /// Patience.
        grace_ms: u64,
    },
    /// From the shim: output.
    Stdout(Vec<u8>),
    /// From the shim: error output.
    Stderr(Vec<u8>),
    /// From the shim: the container has ended; the last frame.
    Exited(ExitStatus),
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Attach { stdin } => (1, vec![u8::from(*stdin)]),
            Self::Stdin(bytes) => (2, bytes.clone()),
            Self::CloseStdin => (3, Vec::new()),
            Self::Resize { columns, rows } => (4, [columns.to_be_bytes(), rows.to_be_bytes()].concat()),
            Self::Stop { grace_ms } => (5, grace_ms.to_be_bytes().to_vec()),
            Self::Stdout(bytes) => (6, bytes.clone()),
            Self::Stderr(bytes) => (7, bytes.clone()),
            // Plain data without maps of odd keys always serializes.
            Self::Exited(exit) => (8, serde_json::to_vec(exit).unwrap_or_default()),
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.push(kind);
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// The first frame in `bytes` and how many bytes it takes; `None` if it is not complete yet.
    pub fn decode(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BODY {
            return Err(malformed("frame too long"));
        }
        match rest.get(..length) {
            Some(body) => Ok(Some((Self::parse(kind, body)?, HEADER + length))),
            None => Ok(None),
        }
    }

    fn parse(kind: u8, body: &[u8]) -> io::Result<Self> {
        Ok(match (kind, body) {
            (1, [stdin]) => Self::Attach { stdin: *stdin != 0 },
            (2, bytes) => Self::Stdin(bytes.to_vec()),
            (3, []) => Self::CloseStdin,
            (4, &[c1, c0, r1, r0]) => {
                Self::Resize { columns: u16::from_be_bytes([c1, c0]), rows: u16::from_be_bytes([r1, r0]) }
            }
            (5, body) => {
                let grace = body.try_into().map_err(|_| malformed("odd stop frame"))?;
                Self::Stop { grace_ms: u64::from_be_bytes(grace) }
            }
            (6, bytes) => Self::Stdout(bytes.to_vec()),
            (7, bytes) => Self::Stderr(bytes.to_vec()),
            (8, body) => Self::Exited(serde_json::from_slice(body)?),
            _ => return Err(malformed("unknown frame")),
        })
    }

    /// Reads one frame; `None` at the end.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [kind, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BODY {
            return Err(malformed("frame too long"));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Self::parse(kind, &body).map(Some)
    }

    /// Writes the frame.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_the_wire() {
        let exit = ExitStatus {
            code: 137,
            signal: Some(9),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            finished_at: jiff::Timestamp::UNIX_EPOCH,
            start_error: None,
        };
        let frames = [
            Frame::Attach { stdin: true },
            Frame::Stdin(b"in".to_vec()),
            Frame::CloseStdin,
            Frame::Resize { columns: 300, rows: 24 },
            Frame::Stop { grace_ms: 30_000 },
            Frame::Stdout(b"out".to_vec()),
            Frame::Stderr(Vec::new()),
            Frame::Exited(exit),
        ];
        let wire: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let (mut reader, mut at) = (wire.as_slice(), 0);
        for frame in &frames {
            assert_eq!(Frame::read(&mut reader).unwrap().as_ref(), Some(frame));
            let (decoded, taken) = Frame::decode(&wire[at..]).unwrap().unwrap();
            assert_eq!(&decoded, frame);
            at += taken;
        }
        assert_eq!((Frame::read(&mut reader).unwrap(), at), (None, wire.len()));
    }

    #[test]
    fn half_a_frame_is_not_one_and_a_huge_one_is_refused() {
        let wire = Frame::Stdin(b"abc".to_vec()).encode();
        assert!(Frame::decode(&wire[..wire.len() - 1]).unwrap().is_none());
        assert!(Frame::decode(&[2, 0xff, 0, 0, 0]).is_err());
    }
}
