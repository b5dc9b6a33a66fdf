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
    let ended = match UnixStream::connect(container.place.socket()).await {
        Ok(shim) => match join(shim, streams.stdin && container.stdin, streams, input, &output).await {
            Some(ended) => ended,
            None => return,
        },
        Err(error) => Err(error),
    };
    let ending = match ended {
        Ok(code) => Ending::Exited(code),
        // The shim of a container that has ended is gone, or goes while we talk to it; how it ended is on file.
        Err(error) => match container.place.exit() {
            Ok(exit) => Ending::Exited(exit.code),
            Err(_) => Ending::Failed(format!("cannot attach to the container: {error}")),
        },
    };
    if matches!(ending, Ending::Exited(_)) && container.stdin && !container.place.was_attached() {
        replay(container, streams, &output).await;
    }
    // A client that left does not care.
    let _ = output.send(ToClient::Ended(ending)).await;
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

/// Carries frames both ways: the exit code of the container, or why the shim does not tell it; `None` when the client
/// left first.
async fn join(
    shim: UnixStream,
    stdin: bool,
    streams: Streams,
    mut input: Receiver<FromClient>,
    output: &Sender<ToClient>,
) -> Option<io::Result<i32>> {
    let (read, mut write) = shim.into_split();
    let mut frames = Frames { source: read, buffer: Vec::new() };
    // A shim that listens no more has said how the container ended, or is gone: the reading tells.
    let _ = write.write_all(&Frame::Attach { stdin }.encode()).await;
    loop {
        tokio::select! {
            message = input.recv() => {
                let frame = frame_of(message?, stdin);
                if let Some(frame) = frame {
                    let _ = write.write_all(&frame.encode()).await;
                }
            }
            frame = frames.next() => match frame {
                Ok(Some(Frame::Stdout(bytes))) if streams.stdout => output.send(ToClient::Stdout(bytes)).await.ok()?,
                Ok(Some(Frame::Stderr(bytes))) if streams.stderr => output.send(ToClient::Stderr(bytes)).await.ok()?,
                Ok(Some(Frame::Exited(exit))) => return Some(Ok(exit.code)),
                Ok(Some(_)) => {}
                Ok(None) => return Some(Err(io::Error::other("its shim is gone"))),
                Err(error) => return Some(Err(error)),
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::net::UnixListener;
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::shim::{ExitStatus, Place};

    const BOTH: Streams = Streams { stdin: true, stdout: true, stderr: true, terminal: false };

    /// An interactive container that said `hello` and ended before anybody was there.
    fn ended(directory: &tempfile::TempDir) -> Container {
        let (place, log) = (Place::new(directory.path()), directory.path().join("0.log"));
        let now = Timestamp::now();
        let exit = ExitStatus { code: 3, signal: None, started_at: now, finished_at: now, start_error: None };
        place.write_exit(&exit).unwrap();
        std::fs::write(&log, format!("{now} stdout F hello\n")).unwrap();
        Container { place, log, previous_log: None, terminal: false, stdin: true }
    }

    #[tokio::test]
    async fn who_attaches_while_the_shim_of_an_ended_container_goes_is_shown_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        let container = ended(&directory);
        let leaving = UnixListener::bind(container.place.socket()).unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = leaving.accept().await {
                drop(client);
            }
        });
        let ((_client, input), (output, mut shown)) = (channel(1), channel(8));
        run(&container, BOTH, input, output).await;
        let expected = [ToClient::Stdout(b"hello\n".to_vec()), ToClient::Ended(Ending::Exited(3))];
        for message in expected {
            assert_eq!(shown.recv().await, Some(message));
        }
    }

    #[tokio::test]
    async fn a_shim_that_hears_nothing_any_more_is_no_client_that_left() {
        let (shim, other) = UnixStream::pair().unwrap();
        drop(other);
        let ((_client, input), (output, _shown)) = (channel(1), channel(8));
        let ended = join(shim, true, BOTH, input, &output).await;
        assert!(ended.is_some_and(|ended| ended.is_err()));
    }

    #[tokio::test]
    async fn an_exit_that_was_told_before_anybody_asked_counts() {
        let (shim, mut other) = UnixStream::pair().unwrap();
        let now = Timestamp::now();
        let exit = ExitStatus { code: 7, signal: None, started_at: now, finished_at: now, start_error: None };
        other.write_all(&Frame::Exited(exit).encode()).await.unwrap();
        drop(other);
        let ((_client, input), (output, _shown)) = (channel(1), channel(8));
        assert!(matches!(join(shim, true, BOTH, input, &output).await, Some(Ok(7))));
    }
}
