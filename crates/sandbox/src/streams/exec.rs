//! A command in a running container.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use super::Container;
use super::channel::{Ending, FromClient, ToClient};
use super::request::Streams;
use crate::shim::{Carrier, Terminal, resize};

/// How much is read at once.
const CHUNK: usize = 32 << 10;
/// How long output may still come from what the command left behind.
const AFTERMATH: Duration = Duration::from_secs(2);
/// The exit code with which the carrier says that it could not start the command.
const NOT_STARTED: i32 = 126;
/// How a command ends whose client is gone.
const KILLED: Ending = Ending::Exited(137);

/// A command to run in a container.
#[derive(Clone, Debug)]
pub struct Execution {
    /// This program, which carries the command into the container.
    pub program: PathBuf,
    /// The container.
    pub container: Container,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// What the client wants of it.
    pub streams: Streams,
}

impl Execution {
    /// Runs the command and reports how it ended. Returns early, and ends the command, when the client is gone.
    pub async fn run(&self, input: Receiver<FromClient>, output: Sender<ToClient>) {
        let outcome = match self.streams.terminal {
            true => self.on_terminal(input, &output).await,
            false => self.on_pipes(input, &output).await,
        };
        let ending = outcome.unwrap_or_else(|error| Ending::Failed(cannot_exec(&error)));
        // A client that left does not care.
        let _ = output.send(ToClient::Ended(ending)).await;
    }

    fn carrier(&self, terminal: Option<&Path>) -> Carrier {
        Carrier::new(&self.program, &self.container.place, terminal, &self.command)
    }

    async fn on_pipes(&self, mut input: Receiver<FromClient>, output: &Sender<ToClient>) -> io::Result<Ending> {
        let mut carrier = self.carrier(None);
        let stdin = if self.streams.stdin { Stdio::piped() } else { Stdio::null() };
        let mut child = carrier.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let drained = async {
            tokio::join!(drain(stdout, output, ToClient::Stdout), drain(stderr, output, ToClient::Stderr));
        };
        tokio::pin!(drained);
        let mut all_read = false;
        let fed = feed(stdin, &mut input);
        tokio::pin!(fed);
        let ending = loop {
            tokio::select! {
                () = &mut drained, if !all_read => all_read = true,
                // Returns only when the client is gone: the carrier, and with it the command, is killed.
                () = &mut fed => return Ok(KILLED),
                ending = ending(&carrier, &mut child) => break ending,
            }
        };
        if !all_read {
            // What the command left behind may hold the pipes for ever.
            let _ = timeout(AFTERMATH, drained).await;
        }
        ending
    }

    async fn on_terminal(&self, mut input: Receiver<FromClient>, output: &Sender<ToClient>) -> io::Result<Ending> {
        let terminal = Terminal::open(self.container.place.running()?.pid)?;
        let mut outer = OuterEnd::new(&terminal.file)?;
        let mut carrier = self.carrier(Some(&terminal.inner));
        let mut child = carrier.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        loop {
            tokio::select! {
                message = input.recv() => match message {
                    // The carrier, and with it the command, is killed.
                    None => return Ok(KILLED),
                    Some(message) => outer.answer(message).await?,
                },
                chunk = outer.read() => match chunk {
                    Some(chunk) => drop(output.send(ToClient::Stdout(chunk)).await),
                    // The inner end is closed: nothing but the exit is still to come.
                    None => return ending(&carrier, &mut child).await,
                },
                ending = ending(&carrier, &mut child) => {
                    outer.drain(output).await;
                    return ending;
                }
            }
        }
    }
}

fn cannot_exec(error: &dyn std::fmt::Display) -> String {
    format!("error executing command in container: failed to exec in container: {error}")
}

/// How the command ended, once the process that carried it has.
async fn ending(carrier: &Carrier, child: &mut Child) -> io::Result<Ending> {
    let code = child.wait().await?.code().unwrap_or(128);
    Ok(match (code, carrier.refusal()) {
        (NOT_STARTED, Some(reason)) => Ending::Failed(cannot_exec(&reason)),
        (code, _) => Ending::Exited(code),
    })
}

/// Writes the client's input to the command until the client is gone.
async fn feed(mut stdin: Option<ChildStdin>, input: &mut Receiver<FromClient>) {
    while let Some(message) = input.recv().await {
        match (message, &mut stdin) {
            (FromClient::Stdin(bytes), Some(pipe)) => {
                let written = pipe.write_all(&bytes).await;
                stdin = stdin.filter(|_| written.is_ok());
            }
            (FromClient::StdinEnded, _) => stdin = None,
            _ => {}
        }
    }
}

/// Sends everything from `source` to the client.
async fn drain(
    source: Option<impl AsyncRead + Unpin>,
    output: &Sender<ToClient>,
    message: impl Fn(Vec<u8>) -> ToClient,
) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = source.read(&mut buffer).await {
        if output.send(message(buffer[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

/// The outer end of a terminal, without blocking.
struct OuterEnd {
    file: Arc<File>,
    reader: pipe::Receiver,
    writer: pipe::Sender,
}

impl OuterEnd {
    fn new(file: &Arc<File>) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(file.as_ref(), FcntlArg::F_GETFL)?);
        fcntl(file.as_ref(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // Like a pipe it can be waited for, read and written.
        let reader = pipe::Receiver::from_file_unchecked(file.try_clone()?)?;
        let writer = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
        Ok(Self { file: Arc::clone(file), reader, writer })
    }

    async fn answer(&mut self, message: FromClient) -> io::Result<()> {
        match message {
            FromClient::Stdin(bytes) => self.writer.write_all(&bytes).await,
            // What a user types to end a terminal's input.
            FromClient::StdinEnded => self.writer.write_all(&[4]).await,
            FromClient::Resize { columns, rows } => resize(&self.file, columns, rows),
        }
    }

    /// The next output; `None` when the inner end is closed.
    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; CHUNK];
        match self.reader.read(&mut buffer).await {
            Ok(length @ 1..) => {
                buffer.truncate(length);
                Some(buffer)
            }
            _ => None,
        }
    }

    /// Sends what the terminal still holds after the command has ended.
    async fn drain(&mut self, output: &Sender<ToClient>) {
        let left = async {
            while let Some(chunk) = self.read().await {
                if output.send(ToClient::Stdout(chunk)).await.is_err() {
                    return;
                }
            }
        };
        // What the command left behind may hold the terminal for ever.
        let _ = timeout(AFTERMATH, left).await;
    }
}
