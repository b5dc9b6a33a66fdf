//! CNI plugins: Fairway's and Debian's, called as a container runtime calls them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

/// Where the programs are.
#[derive(Clone, Debug, Args)]
pub struct Programs {
    /// Fairway's plugin; by default the `fairway` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the peer's plugins are.
    #[arg(long, default_value = "/usr/lib/cni")]
    peers: PathBuf,
}

/// A plugin with its network.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// What it is called in tables.
    pub name: &'static str,
    program: PathBuf,
    search: PathBuf,
    config: Value,
}

impl Programs {
    /// Fairway's plugin with a range of addresses; what it keeps is kept in `state`.
    pub fn fairway(&self, range: &str, state: &Path) -> Result<Plugin> {
        let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("fairway"));
        let program = self.binary.clone().map_or_else(beside, Ok)?;
        ensure!(program.exists(), "{} is missing; build it with: cargo build --release", program.display());
        let config = json!({
            "cniVersion": "1.0.0", "name": "ours", "type": "fairway",
            "ipam": { "ranges": [range] }, "stateDir": state.display().to_string(),
        });
        Ok(Plugin { name: "fairway", program, search: self.peers.clone(), config })
    }

    /// Debian's bridge with host-local and a subnet; what that keeps is kept in `state`.
    pub fn bridge(&self, subnet: &str, state: &Path) -> Result<Plugin> {
        let program = self.peers.join("bridge");
        ensure!(program.exists(), "{} is missing; Debian has it in containernetworking-plugins", program.display());
        let config = json!({
            "cniVersion": "1.0.0", "name": "peer", "type": "bridge", "bridge": "peer0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": state,
                "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        Ok(Plugin { name: "bridge", program, search: self.peers.clone(), config })
    }
}

impl Plugin {
    /// Starts a call for the namespace bound to `netns`, from the network namespace of the calling thread.
    pub fn start(&self, command: &str, netns: &Path) -> Result<Child> {
        let container = netns.file_name().unwrap_or_default();
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.search)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(self.config.to_string().as_bytes())?;
        Ok(child)
    }

    /// Waits for a call and returns what it printed.
    pub fn finish(&self, child: Child) -> Result<Vec<u8>> {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{} failed: {}", self.name, String::from_utf8_lossy(&output.stdout));
        }
        Ok(output.stdout)
    }
}
