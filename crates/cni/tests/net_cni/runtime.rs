//! A container runtime, as the plugin meets it: containers with namespaces of their own, calls as processes.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datapath::Netns;
use datapath::route::{RouteFilter, Rtnetlink, Veth, VethEnd};
use serde_json::{Value, json};

/// Far longer than an answer takes that is to come.
pub const SECONDS: Duration = Duration::from_secs(30);

/// A node: its state directory and where its containers' namespaces are bound.
pub struct Node {
    pub directory: tempfile::TempDir,
    pub config: Value,
}

/// What the plugin said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub is_success: bool,
    pub output: Value,
}

impl Node {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "fairway",
            "ipam": { "ranges": ["10.244.1.0/24"] },
            "stateDir": directory.path().join("state"),
        });
        Self { directory, config }
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Its configuration with the wishes of its runtime for one container.
    pub fn config_with(&self, wishes: Value) -> Value {
        let mut config = self.config.clone();
        config["runtimeConfig"] = wishes;
        config
    }

    /// A container with a namespace of its own.
    pub fn container(&self, name: &str) -> Netns {
        Netns::create_at(&self.netns(name)).unwrap()
    }

    pub fn netns(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start(&self, command: &str, container: &str, config: &Value) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cni"))
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", self.netns(container))
            .env("CNI_IFNAME", "eth0")
            // Plugins of tests are scripts, which need programs.
            .env("CNI_PATH", self.directory.path())
            .env("PATH", "/usr/bin:/bin")
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        child
    }

    pub fn call(&self, command: &str, container: &str) -> Said {
        self.call_with(command, container, &self.config)
    }

    pub fn call_with(&self, command: &str, container: &str, config: &Value) -> Said {
        finish(self.start(command, container, config))
    }

    pub fn add(&self, container: &str) -> (Netns, Value) {
        let netns = self.container(container);
        let said = self.call("ADD", container);
        assert!(said.is_success, "{said:?}");
        (netns, said.output)
    }

    /// Where the plugin remembers.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn reserved(&self) -> Vec<String> {
        self.addresses_in("addresses")
    }

    /// Addresses that rest.
    pub fn released(&self) -> Vec<String> {
        self.addresses_in("released")
    }

    fn addresses_in(&self, part: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.state().join(part)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Links, routes and reservations of this node.
    pub fn leftovers(&self) -> Vec<String> {
        let mut host = Rtnetlink::open().unwrap();
        let links = host.links().unwrap().into_iter().map(|link| link.name).filter(|name| name.starts_with("fw"));
        let routes = host.routes(RouteFilter::Ours).unwrap();
        let routes = routes.into_iter().map(|route| route.destination.to_string());
        let attachments = std::fs::read_dir(self.state().join("attachments")).into_iter().flatten();
        let attachments = attachments.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        links.chain(routes).chain(self.reserved()).chain(attachments).collect()
    }
}

/// How long an addition takes here and now: the shortest of a few, as one may have waited for its turn.
pub fn time_of_an_addition(node: &Node, container: &str, config: &Value) -> Duration {
    let once = |_| {
        let started = Instant::now();
        assert!(node.call_with("ADD", container, config).is_success);
        let taken = started.elapsed();
        assert!(node.call_with("DEL", container, config).is_success);
        taken
    };
    (0..5).map(once).min().unwrap()
}

pub fn finish(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    Said { is_success: output.status.success(), output: value }
}

pub fn address(result: &Value) -> IpAddr {
    result["ips"][0]["address"].as_str().unwrap().split_once('/').unwrap().0.parse().unwrap()
}

/// Gives the node an address of its own, as its uplink would.
pub fn uplink(address: &str, mtu: u32) {
    let mut host = Rtnetlink::open().unwrap();
    let end = |name| VethEnd { name, mac: None, netns: None };
    let link = host.create_veth(&Veth { end: end("uplink"), peer: end("world"), mtu }).unwrap();
    let world = host.require_link("world").unwrap();
    host.set_up(world.index).unwrap();
    host.add_address(link.index, address.parse().unwrap()).unwrap();
    let address: ipnet::IpNet = address.parse().unwrap();
    let gateway = address.hosts().next_back().unwrap();
    let default = "0.0.0.0/0".parse().unwrap();
    host.replace_route(&datapath::route::Route::via(default, gateway, link.index)).unwrap();
}

/// Sends a word over TCP from one namespace to another and returns who the server saw.
pub fn seen_by(server: &Netns, client: &Netns, to: IpAddr) -> IpAddr {
    let listener = server.run(|| TcpListener::bind((to, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let mut stream = client.run(|| TcpStream::connect_timeout(&target, SECONDS).unwrap()).unwrap();
    stream.write_all(b"hello").unwrap();
    let (mut accepted, from) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(SECONDS)).unwrap();
    let mut word = [0; 5];
    accepted.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    from.ip()
}
