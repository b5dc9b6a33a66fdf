//! Clients and servers that send as netperf's tests do.
//!
//! Both run in this process, each on a thread of its own with sockets in its own network namespace, so that the
//! processor time of the process is that of everything a packet costs on its way, in both directions.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use datapath::Netns;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Where servers listen, over TCP and UDP.
pub const PORT: u16 = 8080;
/// How much a stream's two ends hand to the kernel at once.
const CHUNK: usize = 128 * 1024;
/// The first byte of a connection: the server answers every byte with one.
const ECHO: u8 = b'e';
/// The first byte of a connection: the server takes what comes.
const TAKE: u8 = b't';
/// How long an answer may take; whoever waits longer has lost a packet and asks again.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is measured of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A byte to and fro on one connection.
    TcpRr,
    /// A connection for each byte to and fro.
    TcpCrr,
    /// As much as goes through one connection.
    Stream,
    /// A byte to and fro over UDP.
    UdpRr,
}

impl Test {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::TcpRr, Self::TcpCrr, Self::Stream, Self::UdpRr];

    /// netperf's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpRr => "TCP_RR",
            Self::TcpCrr => "TCP_CRR",
            Self::Stream => "STREAM",
            Self::UdpRr => "UDP_RR",
        }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Transactions a second, or bytes a second for a stream.
    pub per_second: f64,
    /// The same in a second of processor time, of client, server and kernel together.
    pub per_cpu_second: f64,
}

/// A server of all tests; it runs until this program ends.
pub struct Server {
    /// Bytes streams have brought.
    taken: Arc<AtomicU64>,
}

impl Server {
    /// Starts it in a namespace.
    pub fn start(netns: &Netns) -> Result<Self> {
        let bind = || -> std::io::Result<_> {
            let any = (Ipv4Addr::UNSPECIFIED, PORT);
            Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?))
        };
        let (tcp, udp) = netns.run(bind)?.context("cannot listen in the server's namespace")?;
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        // They end with the process: a server that fails shows as clients without answers.
        thread::spawn(move || tcp.incoming().flatten().for_each(|stream| drop(serve(stream, &counted))));
        thread::spawn(move || echo(&udp));
        Ok(Self { taken })
    }

    /// Has a client in `netns` send to `target`, which leads to this server, for a while.
    pub fn measure(&self, test: Test, netns: &Netns, target: SocketAddr, duration: Duration) -> Result<Run> {
        let (begun, cpu) = (Instant::now(), cpu_time()?);
        let count = netns.run(|| self.run(test, target, duration))??;
        let (took, used) = (begun.elapsed(), cpu_time()?.saturating_sub(cpu));
        let count = count as f64;
        Ok(Run { per_second: count / took.as_secs_f64(), per_cpu_second: count / used.as_secs_f64() })
    }

    fn run(&self, test: Test, target: SocketAddr, duration: Duration) -> Result<u64> {
        let counted = match test {
            Test::TcpRr => {
                let mut stream = connect(target, ECHO)?;
                repeat(duration, || exchange(&mut stream))
            }
            Test::TcpCrr => repeat(duration, || connect(target, ECHO).map(drop)),
            Test::Stream => self.stream(target, duration),
            Test::UdpRr => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(target)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                repeat(duration, || ask(&socket))
            }
        };
        counted.with_context(|| format!("{} to {target}", test.name()))
    }

    fn stream(&self, target: SocketAddr, duration: Duration) -> std::io::Result<u64> {
        let mut stream = connect(target, TAKE)?;
        let (before, chunk) = (self.taken.load(Ordering::Relaxed), vec![0; CHUNK]);
        repeat(duration, || stream.write_all(&chunk))?;
        Ok(self.taken.load(Ordering::Relaxed) - before)
    }
}

/// Does something until time is up; how often.
fn repeat(duration: Duration, mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<u64> {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < duration {
        work()?;
        count += 1;
    }
    Ok(count)
}

/// A connection whose first byte was answered.
fn connect(target: SocketAddr, kind: u8) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&[ECHO])?;
    stream.read_exact(&mut [0])
}

fn ask(socket: &UdpSocket) -> std::io::Result<()> {
    loop {
        socket.send(&[ECHO])?;
        match socket.recv(&mut [0; 16]) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn serve(mut stream: TcpStream, taken: &AtomicU64) -> std::io::Result<()> {
    let mut kind = [0];
    stream.set_nodelay(true)?;
    stream.read_exact(&mut kind)?;
    stream.write_all(&kind)?;
    let mut buffer = vec![0; if kind == [TAKE] { CHUNK } else { 1 }];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length if kind == [TAKE] => taken.fetch_add(length as u64, Ordering::Relaxed),
            _ => stream.write_all(&buffer).map(|()| 0)?,
        };
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 16];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        // A client that is gone wants no answer.
        let _ = socket.send_to(&buffer[..length], client);
    }
}

/// What this process has spent on the CPU, in the kernel or not.
fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
