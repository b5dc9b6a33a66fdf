//! Calls of the CNI plugin.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::scene::POD_RANGES;
use super::servers::BANNER;
use crate::world::World;

/// The plugin, with its state and the namespaces of pods in the world's directory.
pub struct Plugin {
    pub state: PathBuf,
    directory: PathBuf,
}

/// A pod's name and the port of its node that leads to it.
#[derive(Clone, Copy)]
pub struct Attachment<'a> {
    pub pod: &'a str,
    pub host_port: u16,
}

impl Plugin {
    pub fn of(world: &World) -> Self {
        Self { state: world.cni_state_dir(), directory: world.directory.path().to_owned() }
    }

    /// Where a pod's namespace is.
    pub fn netns(&self, pod: &str) -> PathBuf {
        self.directory.join(pod)
    }

    /// Begins a call.
    pub fn start(&self, command: &str, attachment: Attachment<'_>) -> Child {
        let mut call = Command::new(env!("CARGO_BIN_EXE_fairway"))
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", attachment.pod)
            .env("CNI_NETNS", self.netns(attachment.pod))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // One that was refused before it read all has said why.
        let _ = call.stdin.take().unwrap().write_all(self.config(attachment.host_port).to_string().as_bytes());
        call
    }

    /// Makes a call, which must succeed.
    pub fn call(&self, command: &str, attachment: Attachment<'_>) -> String {
        let outcome = finish(self.start(command, attachment));
        assert!(outcome.is_ok(), "{command} of {}: {outcome:?}", attachment.pod);
        outcome.unwrap()
    }

    /// Connects a pod; its addresses.
    pub fn add(&self, attachment: Attachment<'_>) -> Vec<IpAddr> {
        addresses(&self.call("ADD", attachment))
    }

    fn config(&self, host_port: u16) -> Value {
        let mapping = |protocol| json!({ "hostPort": host_port, "containerPort": BANNER, "protocol": protocol });
        json!({
            "cniVersion": "1.1.0", "name": "fairway", "type": "fairway", "ipam": { "ranges": POD_RANGES },
            "stateDir": self.state, "runtimeConfig": { "portMappings": [mapping("tcp"), mapping("udp")] },
        })
    }
}

/// What a call answered; what it said when it failed, or was killed.
pub fn finish(mut call: Child) -> Result<String, String> {
    let mut answer = String::new();
    call.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    if call.wait().unwrap().success() { Ok(answer) } else { Err(answer) }
}

/// The addresses in the answer to ADD.
pub fn addresses(answer: &str) -> Vec<IpAddr> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let address = |ip: &Value| ip["address"].as_str().unwrap().parse::<IpNet>().unwrap().addr();
    answer["ips"].as_array().unwrap().iter().map(address).collect()
}
