//! Runs a test in namespaces of its own, as root or as an ordinary user.
//!
//! A test that touches the kernel wraps its body: `isolated(|| { ... })`. The body runs in a new process, the test
//! binary started again for this one test, in fresh user (unless root), network, mount and IPC namespaces, where it
//! is root. What it makes there disappears with it. A machine that does not allow this fails the test and is told what
//! is missing; nothing is ever skipped.

use std::any::type_name_of_val;
use std::env;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getegid, geteuid, write};

use crate::Netns;
use crate::route::{Rtnetlink, Veth, VethEnd};

/// Set in the process that is inside.
const INSIDE: &str = "FAIRWAY_TEST_ISOLATED";
/// No single test may take longer: on an idle machine all end within a minute, beside forty busy processes within five.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long a link may take to carry packets.
const LINK_DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` in namespaces of its own; call it as the whole body of a `#[test]` function.
///
/// # Panics
/// When `test` does, when it takes longer than ten minutes, or when the machine gives us no namespaces.
#[expect(clippy::panic, reason = "a panic is how a test fails")]
pub fn isolated(test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let name = test_name(&test);
    let Ended { status, stdout, stderr } = match run_inside(&name) {
        Ok(ended) => ended,
        Err(error) => panic!("{}", advice(&error)),
    };
    assert!(stdout.contains("1 passed") || !status.success(), "the test {name} did not run inside:\n{stdout}");
    assert!(status.success(), "inside its namespaces ({status}):\n{stdout}{stderr}");
    // For whoever asked to see what tests print.
    print!("{stdout}");
}

/// Waits until `condition` gives a value; checks every few milliseconds.
///
/// # Panics
/// When `deadline` passes first.
#[expect(clippy::panic, reason = "a panic is how a test fails")]
#[expect(clippy::disallowed_methods, reason = "this is the poll loop")]
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if started.elapsed() > deadline {
            panic!("waited {deadline:?} for {what}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The link of [`other_machine`].
pub const UPLINK: &str = "uplink";

/// Connects the calling namespace by the link [`UPLINK`] with another machine, which knows no way to what lies behind:
/// for each pair the address here and the one there.
///
/// # Panics
/// When the kernel refuses.
#[expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
pub fn other_machine(addresses: &[[IpNet; 2]]) -> Netns {
    let other = Netns::create().unwrap();
    let (mut here, mut there) = (Rtnetlink::open().unwrap(), Rtnetlink::open_in(&other).unwrap());
    let end = VethEnd { name: UPLINK, mac: None, netns: None };
    let peer = VethEnd { netns: Some(&other), ..end };
    let near = here.create_veth(&Veth { end, peer, mtu: 1500 }).unwrap();
    let far = there.require_link(UPLINK).unwrap();
    there.set_up(far.index).unwrap();
    let lo = here.require_link("lo").unwrap();
    here.set_up(lo.index).unwrap();
    for [own, remote] in addresses {
        here.add_address(near.index, *own).unwrap();
        there.add_address(far.index, *remote).unwrap();
    }
    // Either end drops what is sent before it runs, and on a busy machine one does long before the other.
    for end in [&mut here, &mut there] {
        end.wait_until_running(UPLINK, LINK_DEADLINE).unwrap();
        assert!(end.require_link(UPLINK).unwrap().is_running, "{UPLINK} does not run");
    }
    addresses.iter().for_each(|[own, _]| wait_until_heard(own.addr(), &other));
    other
}

/// Waits until what another machine sends to an address of this namespace arrives. On a busy machine a neighbour that is
/// asked for while its link comes up is not found for seconds, and what waits for it is lost.
#[expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
fn wait_until_heard(own: IpAddr, other: &Netns) {
    let any: IpAddr = if own.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let receiver = wait_for("an address of our own", LINK_DEADLINE, || UdpSocket::bind((own, 0)).ok());
    receiver.set_nonblocking(true).unwrap();
    let to = receiver.local_addr().unwrap();
    wait_for("the other machine", LINK_DEADLINE, || {
        // Without an address it may send from it cannot, yet.
        let _ = other.run(|| UdpSocket::bind((any, 0))?.send_to(b"x", to)).unwrap();
        receiver.recv(&mut [0]).ok()
    });
}

/// The path of the test function whose body the closure is, as libtest names it.
fn test_name<F>(closure: &F) -> String {
    let path = type_name_of_val(closure).trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_crate, name)| name).to_owned()
}

/// How a test inside its namespaces ended, and what it and whatever it started printed.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Runs the test of this name inside; kills it when it takes too long.
fn run_inside(name: &str) -> io::Result<Ended> {
    let ids = Ids { user: geteuid().as_raw(), group: getegid().as_raw() };
    // Files and no pipes: a process that a killed test leaves behind would hold a pipe open for ever.
    let (stdout, stderr) = (memory_file(c"stdout")?, memory_file(c"stderr")?);
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"]);
    command.env(INSIDE, "1").stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    // SAFETY: the closure runs between fork and exec of a process that may have threads, where only async-signal-safe
    // calls are allowed: it makes system calls only, formats into a buffer on its stack and takes no lock.
    unsafe { command.pre_exec(move || enter_namespaces(ids)) };
    let status = wait(command.spawn()?, DEADLINE)?;
    Ok(Ended { status, stdout: written_to(stdout)?, stderr: written_to(stderr)? })
}

fn memory_file(name: &CStr) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

fn written_to(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Clone, Copy)]
struct Ids {
    user: u32,
    group: u32,
}

fn enter_namespaces(ids: Ids) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    if ids.user == 0 {
        unshare(own)?;
    } else {
        unshare(own | CloneFlags::CLONE_NEWUSER)?;
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/uid_map", MapLine::to_root(ids.user).as_bytes())?;
        write_file(c"/proc/self/gid_map", MapLine::to_root(ids.group).as_bytes())?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&CStr>, c"/", None::<&CStr>, private, None::<&CStr>)?;
    Ok(())
}

fn write_file(path: &CStr, content: &[u8]) -> io::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, content)?;
    Ok(())
}

/// `0 <id> 1` without allocation.
struct MapLine {
    bytes: [u8; 16],
    length: usize,
}

impl MapLine {
    fn to_root(id: u32) -> Self {
        let mut line = Self { bytes: [b' '; 16], length: 0 };
        let mut digits = [0; 10];
        let mut count = 0;
        let mut rest = id;
        loop {
            digits[count] = b'0' + (rest % 10) as u8;
            count += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        line.push(b"0 ");
        for digit in digits[..count].iter().rev() {
            line.push(&[*digit]);
        }
        line.push(b" 1");
        line
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Waits for the end of `child`; kills it when it takes longer than `limit`.
fn wait(mut child: Child, limit: Duration) -> io::Result<ExitStatus> {
    let id = Pid::from_raw(child.id() as i32);
    let (finished, is_finished) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if is_finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill(id, Signal::SIGKILL);
        }
    });
    let status = child.wait();
    drop(finished);
    let _ = watchdog.join();
    status
}

fn advice(error: &io::Error) -> String {
    format!(
        "this test needs user and network namespaces and the machine refused: {error}. \
         Look at /proc/sys/user/max_user_namespaces (must not be 0), /proc/sys/kernel/unprivileged_userns_clone \
         (must be 1 where it exists) and /proc/sys/kernel/apparmor_restrict_unprivileged_userns (must be 0), or run as root."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_to_root() {
        assert_eq!(MapLine::to_root(0).as_bytes(), b"0 0 1");
        assert_eq!(MapLine::to_root(u32::MAX).as_bytes(), b"0 4294967295 1");
    }

    #[test]
    fn a_closure_knows_the_test_it_is_the_body_of() {
        assert_eq!(test_name(&|| {}), "testing::tests::a_closure_knows_the_test_it_is_the_body_of");
    }
}
