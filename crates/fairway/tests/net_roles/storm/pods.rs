//! Pods that come and go by the CNI plugin, whose calls are killed at any point.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use datapath::Netns;
use datapath::route::{RouteFilter, Rtnetlink};
use serde_json::{Value, json};

use super::random::Random;
use crate::world::World;

const PODS: u64 = 6;
/// Not the node's own, of which the test serves some addresses itself.
const RANGE: &str = "10.246.1.0/24";
/// About what a call takes.
const CALL: u64 = 20_000;

pub struct Pods {
    state: PathBuf,
    directory: PathBuf,
    _namespaces: Vec<Netns>,
    pub killed: u32,
}

impl Pods {
    /// Namespaces for pods, none of them connected yet.
    pub fn new(world: &World) -> Self {
        let directory = world.directory.path().to_owned();
        let namespaces = (0..PODS).map(|pod| Netns::create_at(&directory.join(name(pod))).unwrap()).collect();
        Self { state: directory.join("state"), directory, _namespaces: namespaces, killed: 0 }
    }

    /// Connects or disconnects one, or is killed at it.
    pub fn step(&mut self, random: &mut Random) {
        let (pod, command) = (random.below(PODS), ["ADD", "DEL"][usize::from(random.below(3) == 0)]);
        let mut call = self.start(pod, command);
        if random.below(2) == 0 {
            thread::park_timeout(Duration::from_micros(random.below(CALL)));
            self.killed += u32::from(call.try_wait().unwrap().is_none());
            call.kill().unwrap();
        }
        call.wait().unwrap();
    }

    /// Disconnects all, and says what is left then.
    pub fn end(self) -> Vec<String> {
        for pod in 0..PODS {
            assert!(self.start(pod, "DEL").wait().unwrap().success(), "{}", name(pod));
        }
        let mut kernel = Rtnetlink::open().unwrap();
        let links = kernel.links().unwrap().into_iter().map(|link| link.name).filter(|name| name.starts_with("fwp"));
        let routes = kernel.routes(RouteFilter::Ours).unwrap().into_iter().map(|route| route.destination.to_string());
        let attachments = std::fs::read_dir(self.state.join("attachments")).into_iter().flatten();
        let attachments = attachments.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let ports = cni::recorded_host_ports(&self.state).unwrap().into_iter().map(|port| format!("{port:?}"));
        links.chain(routes.filter(|route| route.starts_with("10.246."))).chain(attachments).chain(ports).collect()
    }

    fn start(&self, pod: u64, command: &str) -> Child {
        let mut call = Command::new(env!("CARGO_BIN_EXE_fairway"))
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", name(pod))
            .env("CNI_NETNS", self.directory.join(name(pod)))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // One that was refused before it read all has said why.
        let _ = call.stdin.take().unwrap().write_all(self.config(pod).to_string().as_bytes());
        call
    }

    fn config(&self, pod: u64) -> Value {
        let mapping = json!({ "hostPort": 20_000 + pod, "containerPort": 80, "protocol": "tcp" });
        json!({
            "cniVersion": "1.1.0", "name": "fairway", "type": "fairway", "ipam": { "ranges": [RANGE] },
            "stateDir": self.state, "runtimeConfig": { "portMappings": [mapping] },
        })
    }
}

fn name(pod: u64) -> String {
    format!("pod{pod}")
}
