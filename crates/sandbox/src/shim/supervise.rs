//! `container-shim`: starts a container, stays with it, and tells what became of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::images::StopSignal;

use super::hub::{Hub, Input};
use super::init::TERMINAL_WANTED;
use super::log::{LogFile, Stream};
use super::protocol::Frame;
use super::spec::{ContainerSpec, ExitStatus, Running, Started, Stdin};
use super::{Place, Terminal};

/// How long a watcher may block before it is given up.
const WATCHER_PATIENCE: Duration = Duration::from_secs(10);

/// The exit code of a container that could not be started, as container runtimes report it.
const START_FAILED: i32 = 128;

/// Runs `fairway container-shim DIRECTORY` until the container has ended.
///
/// Once the container runs, or could not be started, one line on standard output says so ([`Started`] as JSON).
pub fn container_shim(arguments: &[OsString]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: fairway container-shim DIRECTORY");
        return ExitCode::from(2);
    };
    super::inherited::shed();
    match supervise(&Place::new(PathBuf::from(directory))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("container-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(place: &Place) -> io::Result<()> {
    let begun = Timestamp::now();
    // A session of its own: what ends the runtime's terminal or group must not end the container.
    let _ = nix::unistd::setsid();
    let spec = place.spec()?;
    let log = LogFile::open(&spec.log)?;
    let listener = bind(place.socket())?;
    let container = match start(place, &spec) {
        Ok(container) => container,
        Err(error) => {
            let exit = ExitStatus {
                code: START_FAILED,
                signal: None,
                started_at: begun,
                finished_at: Timestamp::now(),
                start_error: Some(error.to_string()),
            };
            place.write_exit(&exit)?;
            return report(&Started::Failed(exit));
        }
    };
    let running =
        Running { pid: container.child.id() as i32, shim_pid: std::process::id() as i32, started_at: Timestamp::now() };
    place.write_running(&running)?;
    report(&Started::Running(running.clone()))?;
    let Ending { code, signal, finished_at, reception } = stay(container, log, listener, place)?;
    let exit = ExitStatus { code, signal, started_at: running.started_at, finished_at, start_error: None };
    let written = place.write_exit(&exit);
    reception.dismiss(&exit);
    written.and_then(|()| fs::remove_file(place.socket()))
}

fn bind(path: PathBuf) -> io::Result<UnixListener> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Says how the start went and closes standard output.
fn report(started: &Started) -> io::Result<()> {
    let mut out = io::stdout();
    // A runtime that died meanwhile will find the files.
    let _ = serde_json::to_writer(&mut out, started).map_err(io::Error::from).and_then(|()| writeln!(out));
    let nowhere = File::options().write(true).open("/dev/null")?;
    Ok(nix::unistd::dup2_stdout(nowhere)?)
}

/// A container that has just been started.
struct Container {
    child: Child,
    terminal: Option<Terminal>,
}

/// Starts the container: process 1 of a new pid namespace. The error says why, for a user.
fn start(place: &Place, spec: &ContainerSpec) -> io::Result<Container> {
    let listener = bind(place.start_socket())?;
    let stdin = if spec.stdin == Stdin::Closed || spec.terminal { Stdio::null() } else { Stdio::piped() };
    let stream = || if spec.terminal { Stdio::null() } else { Stdio::piped() };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("fairway").arg("container-init").arg(place.directory());
    let child = spawn_as_process_1(command.stdin(stdin).stdout(stream()).stderr(stream()))?;
    let mut container = Container { child, terminal: None };
    match accompany(&listener, &mut container) {
        Ok(()) => {
            fs::remove_file(place.start_socket())?;
            Ok(container)
        }
        Err(error) => {
            // It has failed or will not get further; either way nothing of it may stay.
            let _ = container.child.kill();
            let _ = container.child.wait();
            fs::remove_file(place.start_socket())?;
            Err(error)
        }
    }
}

/// Spawns `command` as the first process of a new pid namespace.
fn spawn_as_process_1(command: &mut Command) -> io::Result<Child> {
    let own = File::open("/proc/thread-self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let child = command.spawn()?;
    // A thread whose children would live in another pid namespace may not start threads: fork(2), EINVAL.
    setns(own, CloneFlags::CLONE_NEWPID)?;
    Ok(child)
}

/// Answers the starting container's requests until it has become its program.
fn accompany(listener: &UnixListener, container: &mut Container) -> io::Result<()> {
    let mut stream = accept_from(listener, &mut container.child)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        if line.trim() == TERMINAL_WANTED {
            let terminal = Terminal::open(container.child.id() as i32)?;
            writeln!(stream, "{}", terminal.inner.display())?;
            container.terminal = Some(terminal);
        } else {
            let reason = line.trim().strip_prefix("failed ").unwrap_or(&line).to_owned();
            return Err(io::Error::other(reason));
        }
        line.clear();
    }
    Ok(())
}

/// Accepts the connection of `child`, or notices that it died before it could connect.
fn accept_from(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    loop {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        // The step takes milliseconds; only a crash of it makes this wait end without a connection.
        if poll(&mut ready, PollTimeout::from(100u8))? > 0 {
            return Ok(listener.accept()?.0);
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("the container's first process ended early: {status}")));
        }
    }
}

impl Container {
    /// Where its standard input comes from.
    fn take_input(&mut self, kind: Stdin) -> Input {
        let terminal = self.terminal.as_ref().map(|terminal| Arc::clone(&terminal.file));
        let pipe = self.child.stdin.take().map(|pipe| Arc::new(File::from(OwnedFd::from(pipe))));
        Input { kind, terminal: terminal.is_some(), file: terminal.or(pipe) }
    }

    /// Starts a thread for each stream of its output.
    fn drain_into(&mut self, hub: &Arc<Hub>) -> Vec<JoinHandle<()>> {
        let drain = |source: File, stream| {
            let hub = Arc::clone(hub);
            thread::spawn(move || hub.drain(source, stream))
        };
        let terminal = self.terminal.take().and_then(|terminal| terminal.file.try_clone().ok());
        let out = self.child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let err = self.child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let outputs = [(terminal, Stream::Stdout), (out, Stream::Stdout), (err, Stream::Stderr)];
        outputs.into_iter().filter_map(|(source, stream)| source.map(|source| drain(source, stream))).collect()
    }
}

/// Serves everyone until the container has ended and all its output is written.
fn stay(mut container: Container, log: LogFile, listener: UnixListener, place: &Place) -> io::Result<Ending> {
    let spec = place.spec()?;
    let pid = Pid::from_raw(container.child.id() as i32);
    let hub = Arc::new(Hub::new(log, container.take_input(spec.stdin), pid));
    let readers = container.drain_into(&hub);
    let reception =
        Arc::new(Reception { place: place.clone(), hub, stop_signal: spec.stop_signal, writers: Mutex::default() });
    let receiving = Arc::clone(&reception);
    thread::spawn(move || receiving.receive(&listener));
    let enforcing = Arc::clone(&reception);
    thread::spawn(move || enforcing.hub.enforce_deadline());
    let (code, signal) = wait(&reception.hub, &mut container.child)?;
    let finished_at = Timestamp::now();
    for reader in readers {
        // A reader that panicked has nothing more to say.
        let _ = reader.join();
    }
    Ok(Ending { code, signal, finished_at, reception })
}

/// How a container ended, and who is to be told.
struct Ending {
    code: i32,
    signal: Option<i32>,
    finished_at: Timestamp,
    reception: Arc<Reception>,
}

/// Waits for the end of `child`: its exit code and the signal that ended it.
///
/// While it is dead but not reaped, its number is still its own: the hub stops signalling it then.
fn wait(hub: &Hub, child: &mut Child) -> io::Result<(i32, Option<i32>)> {
    let pid = Pid::from_raw(child.id() as i32);
    let status = loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            status => break status?,
        }
    };
    hub.note_death();
    child.wait()?;
    Ok(match status {
        WaitStatus::Exited(_, code) => (code, None),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
        _ => (255, None),
    })
}

/// Receives clients.
struct Reception {
    place: Place,
    hub: Arc<Hub>,
    stop_signal: StopSignal,
    /// The threads that write to clients: joined before the shim ends, so that everyone hears of the exit.
    writers: Mutex<Vec<JoinHandle<()>>>,
}

impl Reception {
    fn receive(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let reception = Arc::clone(self);
            thread::spawn(move || reception.converse(stream));
        }
    }

    /// Serves one client until it leaves.
    fn converse(&self, stream: UnixStream) {
        let outgoing = match stream.try_clone() {
            Ok(outgoing) if outgoing.set_write_timeout(Some(WATCHER_PATIENCE)).is_ok() => outgoing,
            _ => return,
        };
        let (number, frames) = self.hub.watch();
        let hub = Arc::clone(&self.hub);
        self.add_writer(thread::spawn(move || {
            tell(outgoing, &frames);
            hub.forget(number);
        }));
        let mut incoming = BufReader::new(stream);
        let mut provides_input = false;
        while let Ok(Some(frame)) = Frame::read(&mut incoming) {
            match frame {
                Frame::Attach { stdin } => {
                    provides_input |= stdin;
                    self.hub.attach(number, || {
                        if let Err(error) = self.place.note_attached() {
                            eprintln!("cannot note that somebody attached: {error}");
                        }
                    });
                }
                Frame::Stdin(bytes) => self.hub.feed(&bytes),
                Frame::CloseStdin => self.hub.end_input(),
                Frame::Resize { columns, rows } => self.hub.resize(columns, rows),
                Frame::Stop { grace_ms } => self.hub.stop(self.stop_signal, Duration::from_millis(grace_ms)),
                Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exited(_) => break,
            }
        }
        self.hub.forget(number);
        if provides_input {
            self.hub.end_input();
        }
    }

    fn add_writer(&self, writer: JoinHandle<()>) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|writer| !writer.is_finished());
        writers.push(writer);
    }

    fn dismiss(&self, exit: &ExitStatus) {
        self.hub.announce(exit);
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            let _ = writer.join();
        }
    }
}

/// Passes frames on until there are no more or the client cannot take them.
fn tell(mut to: UnixStream, frames: &Receiver<Frame>) {
    for frame in frames {
        if frame.write(&mut to).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
