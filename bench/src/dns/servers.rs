//! The two servers as processes.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The peer.
    CoreDns,
    /// The server under test.
    Fairway,
}

impl Program {
    /// Its name in what is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CoreDns => "CoreDNS",
            Self::Fairway => "Fairway",
        }
    }
}

/// Both servers, each on a port of its own of the loopback interface and on the machine's first core.
pub struct Servers {
    coredns: Server,
    fairway: Server,
}

/// A server that ends with this value.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Servers {
    /// Starts both and waits until they know the cluster.
    pub fn start(world: &World, fairway: &Path, coredns: &Path) -> Result<Self> {
        let start = |program: Program, binary: &Path| {
            Server::start(world, program, binary).with_context(|| format!("cannot start {}", program.name()))
        };
        Ok(Self { coredns: start(Program::CoreDns, coredns)?, fairway: start(Program::Fairway, fairway)? })
    }

    /// One of them.
    pub fn of(&self, program: Program) -> &Server {
        match program {
            Program::CoreDns => &self.coredns,
            Program::Fairway => &self.fairway,
        }
    }
}

impl Server {
    fn start(world: &World, program: Program, binary: &Path) -> Result<Self> {
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let ready = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let kubeconfig = world.kubeconfig();
        let kubeconfig = kubeconfig.to_str().context("a temporary path that is not text")?;
        let path = world.folder.path().join(format!("Corefile-{}", program.name()));
        std::fs::write(&path, corefile(address, ready, kubeconfig))?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(binary).stdin(Stdio::null()).stdout(Stdio::null());
        match program {
            Program::CoreDns => command.arg("-conf").arg(path),
            // It is told the API server by its options.
            Program::Fairway => command
                .args(["dns", "--unsupported", "ignore", "--kubeconfig", kubeconfig, "--conf"])
                .arg(path)
                .env("FAIRWAY_LOG", "warn"),
        };
        let mut server = Self { process: command.spawn().context("cannot start taskset")?, address };
        server.wait_until_ready(ready)?;
        Ok(server)
    }

    /// Processor time it has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name, in parentheses, may hold spaces; of what follows, the 12th and 13th are user and system time.
        let fields = stat.rsplit_once(')').context("an odd /proc")?.1;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        // Linux shows a hundred a second, whatever it counts.
        Ok(Duration::from_millis(ticks * 10))
    }

    fn wait_until_ready(&mut self, ready: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(ready) {
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended: {status}");
            }
            if Instant::now() > deadline {
                bail!("it was not ready in time");
            }
            #[expect(clippy::disallowed_methods, reason = "the condition of a poll loop with a deadline")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    ask().is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
}

/// What kubeadm writes, on the loopback interface, with a few names in place of the Internet.
fn corefile(address: SocketAddr, ready: SocketAddr, kubeconfig: &str) -> String {
    format!(
        ".:{port} {{
    bind {ip}
    errors
    ready {ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 30
    }}
    hosts /dev/null {{
        192.0.2.50 gate.example.com
        fallthrough
    }}
    loadbalance
}}
",
        port = address.port(),
        ip = address.ip(),
    )
}
