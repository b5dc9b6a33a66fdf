//! The runtime's end of a connection to a shim.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::shim::protocol::Frame;

const CHUNK: usize = 16 << 10;

/// Connects to the shim that listens on `socket`.
pub async fn connect(socket: &Path) -> io::Result<(FrameReader, FrameWriter)> {
    let (reading, writing) = UnixStream::connect(socket).await?.into_split();
    Ok((FrameReader { from: reading, buffer: Vec::new() }, FrameWriter { to: writing }))
}

/// Frames from a shim.
pub struct FrameReader {
    from: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl FrameReader {
    /// The next frame; `None` at the end. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, taken)) = Frame::decode(&self.buffer)? {
                self.buffer.drain(..taken);
                return Ok(Some(frame));
            }
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Frames to a shim.
pub struct FrameWriter {
    to: OwnedWriteHalf,
}

impl FrameWriter {
    /// Sends one frame.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.to.write_all(&frame.encode()).await
    }
}
