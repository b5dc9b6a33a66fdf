//! The streams a container was started with, through its shim.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc::{Receiver, Sender};

use super::Container;
use super::channel::{Ending, FromClient, ToClient};
use super::request::Streams;
use crate::shim::log::{Line, Stream};
use crate::shim::protocol::Frame;

/// Joins a client to a container until either ends; the container goes on when the client leaves.
pub async fn run(container: &Container, streams: Streams, input: Receiver<FromClient>, output: Sender<ToClient>) {
    let ending = match UnixStream::connect(container.place.socket()).await {
        Ok(shim) => join(shim, streams.stdin && container.stdin, streams, input, &output).await,
        // The shim of a container that has ended is gone; how it ended is on file.
        Err(error) => match container.place.exit() {
            Ok(exit) => Some(Ending::Exited(exit.code)),
            Err(_) => Some(Ending::Failed(format!("cannot attach to the container: {error}"))),
        },
    };
    if let Some(ending) = ending {
        if matches!(ending, Ending::Exited(_)) && container.stdin && !container.place.was_attached() {
            replay(container, streams, &output).await;
        }
        // A client that left does not care.
        let _ = output.send(ToClient::Ended(ending)).await;
    }
}

/// Shows what a container said that ended before anybody could attach: an interactive one is started to be seen.
async fn replay(container: &Container, streams: Streams, output: &Sender<ToClient>) {
    let log = tokio::fs::read(&container.log).await.unwrap_or_default();
    for line in log.split_inclusive(|&byte| byte == b'\n').filter_map(|line| Line::parse(line.strip_suffix(b"\n")?)) {
        let mut text = line.text.to_vec();
        text.extend((!line.partial).then_some(b'\n'));
        let message = match line.stream {
            Stream::Stdout if streams.stdout => ToClient::Stdout(text),
            Stream::Stderr if streams.stderr => ToClient::Stderr(text),
            _ => continue,
        };
        if output.send(message).await.is_err() {
            return;
        }
    }
}

/// Carries frames both ways; how the container ended, or `None` when the client left first.
async fn join(
    shim: UnixStream,
    stdin: bool,
    streams: Streams,
    mut input: Receiver<FromClient>,
    output: &Sender<ToClient>,
) -> Option<Ending> {
    let (read, mut write) = shim.into_split();
    let mut frames = Frames { source: read, buffer: Vec::new() };
    write.write_all(&Frame::Attach { stdin }.encode()).await.ok()?;
    loop {
        tokio::select! {
            message = input.recv() => {
                let frame = frame_of(message?, stdin);
                if let Some(frame) = frame {
                    // A shim that listens no more is about to say how the container ended.
                    let _ = write.write_all(&frame.encode()).await;
                }
            }
            frame = frames.next() => match frame {
                Ok(Some(Frame::Stdout(bytes))) if streams.stdout => output.send(ToClient::Stdout(bytes)).await.ok()?,
                Ok(Some(Frame::Stderr(bytes))) if streams.stderr => output.send(ToClient::Stderr(bytes)).await.ok()?,
                Ok(Some(Frame::Exited(exit))) => return Some(Ending::Exited(exit.code)),
                Ok(Some(_)) => {}
                Ok(None) => return Some(Ending::Failed("the container's shim is gone".to_owned())),
                Err(error) => return Some(Ending::Failed(format!("cannot read from the container's shim: {error}"))),
            },
        }
    }
}

fn frame_of(message: FromClient, stdin: bool) -> Option<Frame> {
    match message {
        FromClient::Stdin(bytes) => stdin.then_some(Frame::Stdin(bytes)),
        FromClient::StdinEnded => stdin.then_some(Frame::CloseStdin),
        FromClient::Resize { columns, rows } => Some(Frame::Resize { columns, rows }),
    }
}

/// The frames a shim sends. [`Frames::next`] may be cancelled without losing any.
struct Frames {
    source: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Frames {
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, taken)) = Frame::decode(&self.buffer)? {
                self.buffer.drain(..taken);
                return Ok(Some(frame));
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}
