//! Beside the reference plugins, in both orders: needs Debian's package containernetworking-plugins.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use datapath::Netns;
use datapath::route::{Route, Rtnetlink};
use datapath::testing::{self, isolated};
use serde_json::{Value, json};

/// Where Debian has them; `CNI_PATH` says where else.
const PLUGINS: &str = "/usr/lib/cni";
const NODE: &str = "10.89.0.1";
const OTHER: &str = "10.89.0.2";

/// A network of several plugins, called as a runtime calls them.
struct Chain {
    directory: tempfile::TempDir,
    plugins: Vec<Value>,
    others: PathBuf,
}

impl Chain {
    fn new(plugins: impl FnOnce(&Path) -> Vec<Value>) -> Self {
        let others = std::env::var_os("CNI_PATH").map_or_else(|| PLUGINS.into(), PathBuf::from);
        assert!(
            others.join("host-local").is_file(),
            "no plugins in {}: this tier needs the Debian package containernetworking-plugins",
            others.display()
        );
        let directory = tempfile::tempdir().unwrap();
        let plugins = plugins(directory.path());
        Self { directory, plugins, others }
    }

    fn call(&self, command: &str, plugin: &Value, previous: &Value, wishes: &Value) -> Value {
        let kind = plugin["type"].as_str().unwrap();
        let is_ours = matches!(kind, "fairway" | "flannel");
        let program = if is_ours { env!("CARGO_BIN_EXE_cni").into() } else { self.others.join(kind) };
        let mut config = plugin.clone();
        config["cniVersion"] = "1.0.0".into();
        config["name"] = "mixed".into();
        if !previous.is_null() {
            config["prevResult"] = previous.clone();
        }
        let fields = config.as_object_mut().unwrap();
        if let Some(capabilities) = fields.remove("capabilities") {
            let wanted = wishes.as_object().unwrap().iter().filter(|(name, _)| capabilities[name.as_str()] == true);
            let wanted = wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
            fields.insert("runtimeConfig".into(), Value::Object(wanted));
        }
        let mut child = Command::new(program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", "pod")
            .env("CNI_NETNS", self.netns())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.others)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command} {kind}: {said}");
        serde_json::from_str(&said).unwrap_or_default()
    }

    /// Attaches a container and returns its namespace with the last plugin's result.
    fn add(&self, wishes: &Value) -> (Netns, Value) {
        let netns = Netns::create_at(&self.netns()).unwrap();
        let result =
            self.plugins.iter().fold(Value::Null, |previous, plugin| self.call("ADD", plugin, &previous, wishes));
        // Of portmap, versions before 1.2 look for IPv6 rules they did not make.
        for plugin in self.plugins.iter().filter(|plugin| plugin["type"] != "portmap") {
            self.call("CHECK", plugin, &result, wishes);
        }
        (netns, result)
    }

    fn delete(&self, result: &Value, wishes: &Value) {
        for plugin in self.plugins.iter().rev() {
            self.call("DEL", plugin, result, wishes);
        }
    }

    fn netns(&self) -> PathBuf {
        self.directory.path().join("netns")
    }
}

/// Connects the node with another machine, which knows no way to its pods.
fn other_machine() -> Netns {
    testing::other_machine(&[[NODE, OTHER].map(|address| format!("{address}/24").parse().unwrap())])
}

/// Whom a server in the container sees when `client` connects to `to`.
fn seen(server: &Netns, at: IpAddr, client: &Netns, to: SocketAddr) -> IpAddr {
    let listener = server.run(|| TcpListener::bind((at, 8080)).unwrap()).unwrap();
    let connected = client.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5))).unwrap();
    assert!(connected.is_ok(), "{to}: {connected:?}");
    listener.accept().unwrap().1.ip()
}

fn address(result: &Value) -> IpAddr {
    result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()
}

fn links() -> Vec<String> {
    let links = Rtnetlink::open().unwrap().links().unwrap().into_iter();
    links.filter(|link| !matches!(link.name.as_str(), "lo" | "uplink" | "mixed0")).map(|link| link.name).collect()
}

fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn host_local(directory: &Path) -> Value {
    let subnet = json!([[{ "subnet": "10.77.0.0/24" }]]);
    json!({ "type": "host-local", "ranges": subnet, "dataDir": directory.join("host-local") })
}

fn ours(directory: &Path) -> Value {
    json!({ "type": "fairway", "ipam": { "ranges": ["10.77.0.0/24"] }, "stateDir": directory.join("state") })
}

fn mapping() -> Value {
    json!({ "portMappings": [{ "hostPort": 80, "containerPort": 8080, "protocol": "tcp" }] })
}

#[test]
fn host_local_gives_addresses_and_takes_them_back() {
    isolated(|| {
        let _other = other_machine();
        let chain = Chain::new(|directory| {
            let mut plugin = ours(directory);
            plugin["ipam"] = host_local(directory);
            vec![plugin]
        });
        let (netns, result) = chain.add(&json!({}));
        let own = address(&result);
        assert_eq!(own, "10.77.0.2".parse::<IpAddr>().unwrap());
        let host = Netns::current().unwrap();
        assert_eq!(seen(&netns, own, &host, (own, 8080).into()), NODE.parse::<IpAddr>().unwrap());
        let leases = chain.directory.path().join("host-local/mixed");
        assert!(files(&leases).contains(&"10.77.0.2".to_owned()));
        chain.delete(&result, &json!({}));
        assert!(!files(&leases).contains(&"10.77.0.2".to_owned()));
        assert_eq!(links(), Vec::<String>::new());
    });
}

#[test]
fn tuning_bandwidth_and_portmap_come_after_us() {
    isolated(|| {
        let other = other_machine();
        let chain = Chain::new(|directory| {
            vec![
                ours(directory),
                json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.eth0.arp_notify": "1" } }),
                json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
                json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
            ]
        });
        let mut wishes = mapping();
        let rate = 800_000_000;
        wishes["bandwidth"] =
            json!({ "ingressRate": rate, "ingressBurst": rate, "egressRate": rate, "egressBurst": rate });
        let (netns, result) = chain.add(&wishes);
        let own = address(&result);
        let to = format!("{NODE}:80").parse().unwrap();
        assert_eq!(seen(&netns, own, &other, to), OTHER.parse::<IpAddr>().unwrap());
        assert_eq!(netns.run(|| datapath::sysctl::read("ipv4/conf/eth0/arp_notify").unwrap()).unwrap(), "1");
        assert_eq!(links().len(), 2, "our link and the other plugin's block: {:?}", links());
        chain.delete(&result, &wishes);
        assert_eq!(links(), Vec::<String>::new());
    });
}

/// Lets nothing pass the node that no rule accepts, as a host with a firewall does.
fn close_the_node() {
    let closed = Command::new("iptables").args(["-P", "FORWARD", "DROP"]).status();
    assert!(closed.unwrap().success(), "iptables, which the plugin firewall uses too");
}

#[test]
fn firewall_after_us_lets_containers_through_a_closed_node() {
    isolated(|| {
        let other = other_machine();
        let (node, at): (IpAddr, IpAddr) = (NODE.parse().unwrap(), OTHER.parse().unwrap());
        let chain = Chain::new(|directory| vec![ours(directory), json!({ "type": "firewall", "backend": "iptables" })]);
        close_the_node();
        let (netns, result) = chain.add(&json!({}));
        let mut links_of_other = Rtnetlink::open_in(&other).unwrap();
        let uplink = links_of_other.links().unwrap().into_iter().find(|link| link.name != "lo").unwrap();
        let to_containers = Route::via("10.77.0.0/24".parse().unwrap(), node, uplink.index);
        links_of_other.add_route(&to_containers).unwrap();
        assert_eq!(seen(&other, at, &netns, (at, 8080).into()), address(&result));
        chain.call("DEL", &chain.plugins[1], &result, &json!({}));
        let _listener = other.run(|| TcpListener::bind((at, 8081)).unwrap()).unwrap();
        let dropped = netns.run(|| TcpStream::connect_timeout(&(at, 8081).into(), Duration::from_millis(500))).unwrap();
        assert!(dropped.is_err(), "the node is closed without that plugin's rule");
        chain.delete(&result, &json!({}));
        assert_eq!(links(), Vec::<String>::new());
    });
}

#[test]
fn flannels_list_with_portmap_makes_a_network() {
    isolated(|| {
        let other = other_machine();
        let chain = Chain::new(|directory| {
            let subnet = directory.join("subnet.env");
            std::fs::write(&subnet, "FLANNEL_NETWORK=10.77.0.0/16\nFLANNEL_SUBNET=10.77.0.1/24\nFLANNEL_MTU=1450\n")
                .unwrap();
            vec![
                json!({
                    "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true },
                    "subnetFile": subnet, "stateDir": directory.join("state"),
                }),
                json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
            ]
        });
        let (netns, result) = chain.add(&mapping());
        let to = format!("{NODE}:80").parse().unwrap();
        assert_eq!(seen(&netns, address(&result), &other, to), OTHER.parse::<IpAddr>().unwrap());
        chain.delete(&result, &mapping());
        assert_eq!(links(), Vec::<String>::new());
    });
}

/// A list of the plugin that makes the link and ours behind it, for ports and limits; and a call's wishes for both.
fn before_us(link: impl Fn(&Path) -> Value) -> (Chain, Value) {
    let chain = Chain::new(|directory| {
        let capabilities = json!({ "portMappings": true, "bandwidth": true });
        vec![
            link(directory),
            json!({ "type": "fairway", "stateDir": directory.join("state"), "capabilities": capabilities }),
        ]
    });
    let mut wishes = mapping();
    wishes["bandwidth"] = json!({ "ingressRate": 800_000_000, "egressRate": 800_000_000 });
    (chain, wishes)
}

#[test]
fn we_come_after_ptp() {
    isolated(|| {
        let other = other_machine();
        let (chain, wishes) =
            before_us(|directory| json!({ "type": "ptp", "ipam": with_default_route(host_local(directory)) }));
        let (netns, result) = chain.add(&wishes);
        let to = format!("{NODE}:80").parse().unwrap();
        assert_eq!(seen(&netns, address(&result), &other, to), OTHER.parse::<IpAddr>().unwrap());
        chain.delete(&result, &wishes);
        assert_eq!(links(), Vec::<String>::new());
    });
}

/// The same addresses, with a way to everywhere.
fn with_default_route(mut ipam: Value) -> Value {
    ipam["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    ipam
}

#[test]
fn we_come_after_bridge() {
    isolated(|| {
        let other = other_machine();
        let (chain, wishes) = before_us(|directory| {
            // A port of a bridge takes nothing back that it brought, unless told to.
            json!({
                "type": "bridge", "bridge": "mixed0", "isGateway": true, "hairpinMode": true,
                "ipam": host_local(directory),
            })
        });
        let (netns, result) = chain.add(&wishes);
        let own = address(&result);
        let mut inside = Rtnetlink::open_in(&netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        let back = Route::via("0.0.0.0/0".parse().unwrap(), "10.77.0.1".parse().unwrap(), eth0.index);
        inside.replace_route(&back).unwrap();
        let host = Netns::current().unwrap();
        let to: SocketAddr = format!("{NODE}:80").parse().unwrap();
        assert_eq!(seen(&netns, own, &other, to), OTHER.parse::<IpAddr>().unwrap());
        assert_eq!(seen(&netns, own, &host, "127.0.0.1:80".parse().unwrap()), "10.77.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(seen(&netns, own, &netns, to), "10.77.0.1".parse::<IpAddr>().unwrap(), "itself");
        chain.delete(&result, &wishes);
        assert_eq!(links(), Vec::<String>::new());
        let refused = other.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5))).unwrap();
        assert!(refused.is_err());
    });
}
