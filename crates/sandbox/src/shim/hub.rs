//! Where a container's output and its watchers meet.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::StopSignal;

use super::log::{LineCutter, LogFile, Stream};
use super::protocol::Frame;
use super::spec::{ExitStatus, Stdin};
use super::terminal;

/// How many frames wait for a watcher before the container has to wait for it.
const QUEUE: usize = 256;

/// How much output an interactive container may produce before anybody attached, and still be seen.
const BACKLOG_BYTES: usize = 64 << 10;

/// How much is read at once.
const CHUNK: usize = 32 << 10;

/// The state all threads of a shim share.
pub struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    log: LogFile,
    watchers: Vec<Watcher>,
    next_watcher: u64,
    /// Output nobody has seen yet; `None` once somebody attached, or if the container is not interactive.
    backlog: Option<Backlog>,
    input: Input,
    pid: Pid,
    alive: bool,
    kill_at: Option<Instant>,
    exit: Option<ExitStatus>,
}

#[derive(Clone)]
struct Watcher {
    number: u64,
    attached: bool,
    frames: SyncSender<Frame>,
}

/// The last output of a container, oldest first.
#[derive(Default)]
struct Backlog {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Backlog {
    fn push(&mut self, frame: Frame) {
        self.bytes += output_length(&frame);
        match (self.frames.back_mut(), frame) {
            (Some(Frame::Stdout(last)), Frame::Stdout(more)) | (Some(Frame::Stderr(last)), Frame::Stderr(more))
                if last.len() < CHUNK =>
            {
                last.extend(more);
            }
            (_, frame) => self.frames.push_back(frame),
        }
        while self.bytes > BACKLOG_BYTES
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= output_length(&oldest);
        }
    }
}

fn output_length(frame: &Frame) -> usize {
    if let Frame::Stdout(bytes) | Frame::Stderr(bytes) = frame { bytes.len() } else { 0 }
}

/// Where standard input goes.
pub struct Input {
    /// What it is.
    pub kind: Stdin,
    /// The pipe's or terminal's outer end; `None` once closed.
    pub file: Option<Arc<File>>,
    /// Whether it is a terminal.
    pub terminal: bool,
}

impl Hub {
    /// A hub for the running process `pid`.
    pub fn new(log: LogFile, input: Input, pid: Pid) -> Self {
        let state = State {
            log,
            watchers: Vec::new(),
            next_watcher: 0,
            backlog: (input.kind != Stdin::Closed).then(Backlog::default),
            input,
            pid,
            alive: true,
            kill_at: None,
            exit: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A thread that panicked leaves the state as usable as any moment between two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies output from `source` to the log and to everyone attached, until it ends.
    pub fn drain(&self, mut source: impl Read, stream: Stream) {
        let mut cutter = LineCutter::new(stream);
        let mut buffer = vec![0; CHUNK];
        loop {
            match source.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose inner end is closed answers EIO.
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    let chunk = &buffer[..length];
                    self.log(&cutter.push(chunk, Timestamp::now()));
                    self.show(&match stream {
                        Stream::Stdout => Frame::Stdout(chunk.to_vec()),
                        Stream::Stderr => Frame::Stderr(chunk.to_vec()),
                    });
                }
            }
        }
        self.log(&cutter.finish(Timestamp::now()));
    }

    fn log(&self, lines: &[u8]) {
        if let Err(error) = self.lock().log.append(lines) {
            // The container must not stop because a disk is full; the shim's own standard error is in its directory.
            eprintln!("cannot write the log: {error}");
        }
    }

    fn show(&self, frame: &Frame) {
        let watchers: Vec<Watcher> = {
            let mut state = self.lock();
            if let Some(backlog) = &mut state.backlog {
                backlog.push(frame.clone());
            }
            state.watchers.iter().filter(|watcher| watcher.attached).cloned().collect()
        };
        // Outside the lock: a slow watcher slows the container down, and nothing else.
        for watcher in watchers {
            if watcher.frames.send(frame.clone()).is_err() {
                self.forget(watcher.number);
            }
        }
    }

    /// A new watcher's number and what it is to be told: the exit and, once it is attached, output.
    pub fn watch(&self) -> (u64, Receiver<Frame>) {
        let (frames, receiver) = sync_channel(QUEUE);
        let mut state = self.lock();
        state.next_watcher += 1;
        let number = state.next_watcher;
        match &state.exit {
            // There is room: nothing was sent before.
            Some(exit) => drop(frames.try_send(Frame::Exited(exit.clone()))),
            None => state.watchers.push(Watcher { number, attached: false, frames }),
        }
        (number, receiver)
    }

    /// Sends output to watcher `number` from now on; the first one of an interactive container gets what it missed.
    ///
    /// `note` is called before anything is sent, and not at all if the container has ended already.
    pub fn attach(&self, number: u64, note: impl FnOnce()) {
        let mut state = self.lock();
        let missed = state.backlog.take().map(|backlog| backlog.frames).unwrap_or_default();
        if let Some(watcher) = state.watchers.iter_mut().find(|watcher| watcher.number == number) {
            note();
            watcher.attached = true;
            for frame in missed {
                // More pieces than fit are more than anyone would have read.
                let _ = watcher.frames.try_send(frame);
            }
        }
    }

    /// Forgets watcher `number`.
    pub fn forget(&self, number: u64) {
        self.lock().watchers.retain(|watcher| watcher.number != number);
    }

    /// Writes `bytes` to standard input; to a container without one, nowhere.
    pub fn feed(&self, bytes: &[u8]) {
        let file = self.lock().input.file.clone();
        if let Some(file) = file
            && (&*file).write_all(bytes).is_err()
        {
            self.lock().input.file = None;
        }
    }

    /// A client's standard input has ended.
    pub fn end_input(&self) {
        let mut state = self.lock();
        match (state.input.kind, state.input.terminal) {
            (Stdin::Once, false) => state.input.file = None,
            (Stdin::Once, true) => {
                drop(state);
                // What a user types to end a terminal's input.
                self.feed(&[4]);
            }
            _ => {}
        }
    }

    /// Sets the terminal's size, if there is one.
    pub fn resize(&self, columns: u16, rows: u16) {
        let state = self.lock();
        if state.input.terminal
            && let Some(file) = &state.input.file
        {
            // The terminal may be gone by now.
            let _ = terminal::resize(file, columns, rows);
        }
    }

    /// Asks the container to end and has it killed after `grace`.
    pub fn stop(&self, signal: StopSignal, grace: Duration) {
        let mut state = self.lock();
        let deadline = Instant::now() + grace;
        if state.alive {
            let signal = match signal {
                StopSignal::Terminate => Signal::SIGTERM,
                StopSignal::Quit => Signal::SIGQUIT,
            };
            // It may end by itself this moment.
            let _ = kill(state.pid, signal);
            state.kill_at = Some(state.kill_at.map_or(deadline, |earlier| earlier.min(deadline)));
            self.changed.notify_all();
        }
    }

    /// Kills the container when its time is over; returns when it has ended.
    pub fn enforce_deadline(&self) {
        let mut state = self.lock();
        while state.alive {
            let now = Instant::now();
            state = match state.kill_at {
                Some(deadline) if deadline <= now => {
                    let _ = kill(state.pid, Signal::SIGKILL);
                    state.kill_at = None;
                    state
                }
                Some(deadline) => {
                    self.changed.wait_timeout(state, deadline - now).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Notes that the process is dead and about to be reaped: its number must not be signalled any more.
    pub fn note_death(&self) {
        self.lock().alive = false;
        self.changed.notify_all();
    }

    /// Lets everyone know how the container ended.
    pub fn announce(&self, exit: &ExitStatus) {
        let watchers = {
            let mut state = self.lock();
            state.exit = Some(exit.clone());
            std::mem::take(&mut state.watchers)
        };
        for watcher in watchers {
            // A watcher that left does not care.
            let _ = watcher.frames.send(Frame::Exited(exit.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(kind: Stdin) -> (Hub, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile::open(&directory.path().join("0.log")).unwrap();
        (Hub::new(log, Input { kind, file: None, terminal: false }, Pid::this()), directory)
    }

    fn exit() -> ExitStatus {
        let now = Timestamp::now();
        ExitStatus { code: 0, signal: None, started_at: now, finished_at: now, start_error: None }
    }

    #[test]
    fn the_first_to_attach_to_an_interactive_container_misses_nothing() {
        let (hub, _directory) = hub(Stdin::Once);
        hub.drain(&b"early\n"[..], Stream::Stdout);
        let (number, frames) = hub.watch();
        hub.attach(number, || {});
        hub.drain(&b"late\n"[..], Stream::Stdout);
        assert_eq!(
            frames.try_iter().collect::<Vec<_>>(),
            [Frame::Stdout(b"early\n".to_vec()), Frame::Stdout(b"late\n".to_vec())]
        );
        let (second, frames) = hub.watch();
        hub.attach(second, || {});
        assert_eq!(frames.try_iter().count(), 0);
    }

    #[test]
    fn who_only_watches_learns_of_the_exit_even_if_it_comes_late() {
        let (hub, _directory) = hub(Stdin::Closed);
        let (_, before) = hub.watch();
        hub.drain(&b"output\n"[..], Stream::Stdout);
        let exit = exit();
        hub.announce(&exit);
        let (_, after) = hub.watch();
        for frames in [before, after] {
            assert_eq!(frames.iter().collect::<Vec<_>>(), [Frame::Exited(exit.clone())]);
        }
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut backlog = Backlog::default();
        for _ in 0..100 {
            backlog.push(Frame::Stdout(vec![0; 4096]));
        }
        assert!(backlog.bytes <= BACKLOG_BYTES && backlog.bytes > BACKLOG_BYTES / 4, "{}", backlog.bytes);
    }
}
