//! The names of the host for a sandbox's nodes: asked at the sandbox's router, answered by the host's own DNS servers.
//!
//! It runs in the host's network, where it asks, and listens in the sandbox's: a socket stays in the one it was made in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use datapath::Netns;
use dns::io::Server;
use dns::{Config, Defaults, Surroundings, Zones};
use model::NamespacedName;
use sandbox::machine::RoleArgs;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Where process 1 of the sandbox is, and with it the router.
const SANDBOX_NETWORK: &str = "/proc/1/ns/net";
const PORT: u16 = 53;
/// How often the host's resolver configuration is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Answers until told to end.
pub fn run(args: &RoleArgs) -> Result<()> {
    let sandbox = Netns::open(Path::new(SANDBOX_NETWORK))?;
    let text = corefile(args);
    super::until_told(|cancel| serve(sandbox, text, cancel))
}

async fn serve(sandbox: Netns, text: String, cancel: CancellationToken) -> Result<()> {
    let server = Server::new(Zones::default());
    let follow = async {
        let mut current = None;
        loop {
            match read(&text) {
                Ok(config) if current.as_ref() == Some(&config) => {}
                Ok(config) => {
                    apply(&sandbox, &server, &config)?;
                    current = Some(config);
                }
                Err(error) => warn!(error = format!("{error:#}"), "cannot read the host's resolver configuration"),
            }
            sleep(LOOK).await;
        }
    };
    let outcome = cancel.run_until_cancelled(follow).await;
    cancel.cancel();
    server.run(cancel).await;
    outcome.unwrap_or(Ok(()))
}

/// Listens in the sandbox's network; what is asked elsewhere is asked by this process's runtime, in the host's.
fn apply(sandbox: &Netns, server: &Server, config: &Config) -> Result<()> {
    let runtime = Handle::current();
    let listen = || {
        let _entered = runtime.enter();
        server.apply(config)
    };
    sandbox.run(listen)?.context("cannot answer the nodes' queries")
}

/// The servers in their order, each query over the protocol it came by; nothing is kept, the cluster's DNS does that.
fn corefile(args: &RoleArgs) -> String {
    let addresses: Vec<String> = args.spec().gateways().iter().map(ToString::to_string).collect();
    let forward = "forward . /etc/resolv.conf {\n policy sequential\n max_concurrent 1000\n max_fails 0\n }";
    format!(".:{PORT} {{\n bind {}\n errors\n {forward}\n}}\n", addresses.join(" "))
}

fn read(text: &str) -> Result<Config> {
    let defaults = Defaults { dns_service: NamespacedName::new("", ""), port: PORT, unsupported: Default::default() };
    Ok(Config::read(("names of the host", text), &defaults, &Host)?)
}

/// The host's files.
struct Host;

impl Surroundings for Host {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn import(&self, pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        Err(format!("{pattern} is not to be imported"))
    }

    fn read(&self, path: &str) -> Result<String, String> {
        match std::fs::read_to_string(path) {
            // Without a configuration there is nobody to ask, and names fail.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| error.to_string()),
        }
    }
}
