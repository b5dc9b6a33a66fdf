//! Running tests in namespaces of their own, and containers in tests.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use sandbox::images::StopSignal;
use sandbox::rootfs::Purpose;
use sandbox::shim::log::Line;
use sandbox::shim::protocol::Frame;
use sandbox::shim::{ContainerSpec, ExitStatus, Namespaces, Place, Running, Started, Stdin};

/// A test: its name and what it does.
pub type Test = (&'static str, fn());

/// Set in the process that is inside.
const INSIDE: &str = "FAIRWAY_TEST_INSIDE";
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `tests`, or as one of the node's helpers what the arguments ask for.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    if let Some(code) = sandbox::node::entry::dispatch(&arguments) {
        return code;
    }
    let filters: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let tests: Vec<&Test> = tests.iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if env::var_os(INSIDE).is_none() {
        return run_inside();
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).expect("a /proc of our own");
    println!("\nrunning {} tests", tests.len());
    let failed: Vec<&str> = tests
        .iter()
        .filter(|(name, test)| {
            let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            !passed
        })
        .map(|(name, _)| *name)
        .collect();
    let (passed, verdict) = (tests.len() - failed.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!("\ntest result: {verdict}. {passed} passed; {} failed\n", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts this program again as process 1 of new namespaces.
fn run_inside() -> ExitCode {
    let (user, group) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(own).expect("these tests need user namespaces: see /proc/sys/user/max_user_namespaces");
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let status = Command::new(env::current_exe().unwrap()).args(env::args_os().skip(1)).env(INSIDE, "1").status();
    ExitCode::from(status.unwrap().code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Waits until `condition` holds.
#[expect(clippy::disallowed_methods, reason = "this is the poll loop")]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A container that runs `script` in a shell.
pub fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        arguments: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        environment: vec![
            ("PATH".to_owned(), sandbox::images::PATH.to_owned()),
            ("GREETING".to_owned(), "hello".to_owned()),
        ],
        working_directory: "/".into(),
        terminal: false,
        stdin: Stdin::Closed,
        namespaces: Namespaces::default(),
        purpose: Purpose::Container,
        capabilities: Default::default(),
        binds: Vec::new(),
        links: Vec::new(),
        node_name: "node1".to_owned(),
        stop_signal: StopSignal::Terminate,
        log: PathBuf::new(),
    }
}

/// A container of a test, with its directory.
pub struct Container {
    directory: tempfile::TempDir,
    place: Place,
    shim: RefCell<Child>,
    /// The connection over which the exit is learned.
    watch: RefCell<Option<UnixStream>>,
}

impl Container {
    /// Starts a container that must start.
    pub fn start(spec: ContainerSpec) -> Self {
        let (container, started) = Self::try_start(spec);
        assert!(matches!(started, Started::Running(_)), "{started:?}");
        container
    }

    /// Starts a container and tells how that went.
    pub fn try_start(mut spec: ContainerSpec) -> (Self, Started) {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        spec.log = directory.path().join("log/0.log");
        place.write_spec(&spec).unwrap();
        let mut shim = Command::new(env::current_exe().unwrap())
            .arg("container-shim")
            .arg(place.directory())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let watch = RefCell::new(UnixStream::connect(place.socket()).ok());
        (Self { directory, place, shim: RefCell::new(shim), watch }, started)
    }

    /// Waits for the end.
    pub fn wait(&self) -> ExitStatus {
        if let Some(mut watch) = self.watch.take() {
            watch.set_read_timeout(Some(DEADLINE)).unwrap();
            if let Some(Frame::Exited(exit)) = Frame::read(&mut watch).unwrap() {
                assert_eq!(self.place.exit().unwrap(), exit);
                return exit;
            }
        }
        self.place.exit().unwrap()
    }

    pub fn was_attached(&self) -> bool {
        self.place.was_attached()
    }

    pub fn running(&self) -> Running {
        self.place.running().unwrap()
    }

    pub fn send(&self, frame: &Frame) {
        frame.write(&mut UnixStream::connect(self.place.socket()).unwrap()).unwrap();
    }

    pub fn connect(&self) -> Client {
        Client(UnixStream::connect(self.place.socket()).unwrap())
    }

    pub fn log_lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log/0.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// What the container wrote, both streams as they came.
    pub fn output(&self) -> String {
        let mut output = String::new();
        for line in self.log_lines() {
            let line = Line::parse(line.as_bytes()).unwrap();
            output.push_str(std::str::from_utf8(line.text).unwrap());
            output.push_str(if line.partial { "" } else { "\n" });
        }
        output
    }

    pub fn exec(&self, command: &[&str]) -> Output {
        Command::new(env::current_exe().unwrap())
            .arg("container-exec")
            .arg(self.place.directory())
            .arg("-")
            .arg(self.directory.path().join("exec-error"))
            .args(command)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub fn exec_error(&self) -> String {
        fs::read_to_string(self.directory.path().join("exec-error")).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.shim.borrow_mut().kill();
        let _ = self.shim.borrow_mut().wait();
    }
}

/// A client of a shim.
pub struct Client(UnixStream);

impl Client {
    pub fn send(&mut self, frame: &Frame) {
        frame.write(&mut self.0).unwrap();
    }

    /// Collects output until it contains `end`.
    pub fn read_until(&mut self, end: &str) -> String {
        self.0.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut seen = String::new();
        while !seen.contains(end) || !seen.ends_with('\n') {
            match Frame::read(&mut self.0).unwrap() {
                Some(Frame::Stdout(bytes) | Frame::Stderr(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }
}
