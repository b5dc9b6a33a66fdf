//! A cluster of one node in a namespace: an API server in this process, roles as processes of the binary, and pods
//! that are addresses of the loopback interface.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apiserver::client::{Client, DeleteOptions, ENDPOINT_SLICES, Gvr, NODES, Patch, SERVICES};
use apiserver::tls::{Authority, Kubeconfig, ServerName};
use apiserver::{Config, Durability, Limits, Listener, NoNodes, Running, Server, Version};
use datapath::route::{LinkIndex, Route, Rtnetlink};
use datapath::testing::wait_for;
use jiff::Timestamp;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::permissions::{self, Account};

/// Far longer than anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// What roles do, without the steps of the libraries below them.
const LOG: &str = "debug,hyper_util=info,kube_client=info,rustls=info,tower=info";
pub const NODE: &str = "node1";
pub const NODE_ADDRESS: &str = "10.89.0.1";
/// No client gets this port for its own, so it is free whenever the API server starts again.
const API_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);

/// A running API server, and this namespace made a node.
pub struct World {
    pub runtime: Runtime,
    pub client: Client,
    pub directory: TempDir,
    authority: Authority,
    /// Where roles reach the API server.
    address: SocketAddr,
    server: Option<Running>,
}

/// Who can reach the API server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The test and the roles.
    Everybody,
    /// The test alone.
    Test,
}

impl World {
    /// Starts the API server of an empty cluster; call it inside `isolated`.
    pub fn start() -> Self {
        prepare_network();
        let directory = tempfile::tempdir().unwrap();
        let mut world = Self {
            runtime: Runtime::new().unwrap(),
            client: Client::unix(directory.path().join("api.sock")),
            authority: Authority::create(Timestamp::now()).unwrap(),
            address: API_ADDRESS,
            server: None,
            directory,
        };
        world.start_server(Reach::Everybody);
        world.runtime.block_on(permissions::apply(&world.client));
        world
    }

    /// The same with this node and the Service `shop` at 10.96.0.50, without endpoints.
    pub fn start_with_shop(protocol: &str) -> Self {
        let world = Self::start();
        world.create_node();
        world.create_service("shop", "10.96.0.50", protocol);
        world
    }

    /// Starts the API server, with what it kept, after [`stop_server`](Self::stop_server).
    pub fn start_server(&mut self, reach: Reach) {
        let socket = self.directory.path().join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let mut listeners = vec![Listener::Unix(UnixListener::bind(socket).unwrap())];
        if reach == Reach::Everybody {
            let tls = self.authority.server_config(&[ServerName::Ip(self.address.ip())]).unwrap();
            listeners.push(Listener::Tls(TcpListener::bind(self.address).unwrap(), tls));
        }
        let config = self.server_config(listeners);
        self.server = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    pub fn stop_server(&mut self) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.stop());
    }

    /// Writes the kubeconfig of a role, which says that it is the account its manifest gives it.
    fn kubeconfig_of(&self, role: &str) -> PathBuf {
        let account = Account::of_role(role);
        let groups = account.groups();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        self.write_kubeconfig(role, &account.user(), &groups)
    }

    fn write_kubeconfig(&self, name: &str, user: &str, groups: &[&str]) -> PathBuf {
        let kubeconfig = Kubeconfig {
            name: "test",
            server: &format!("https://{}", self.address),
            authority_pem: self.authority.certificate_pem(),
            client: &self.authority.client_certificate(user, groups).unwrap(),
        };
        let path = self.directory.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, kubeconfig.render()).unwrap();
        path
    }

    fn server_config(&self, listeners: Vec<Listener>) -> Config {
        Config {
            database: self.directory.path().join("db"),
            durability: Durability::Process,
            listeners,
            token_key: self.authority.token_key().unwrap(),
            authority_pem: self.authority.certificate_pem().to_owned(),
            advertise: SocketAddr::new(NODE_ADDRESS.parse().unwrap(), self.address.port()),
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()],
            node_ports: 30000..=32767,
            nodes: Arc::new(NoNodes),
            version: Version { git_version: "v1.36.0+fairway".into() },
            clock: Arc::new(Timestamp::now),
            limits: Limits::default(),
        }
    }

    pub fn create(&self, gvr: &Gvr, namespace: &str, object: &Value) {
        self.runtime.block_on(self.client.create(gvr, namespace, object)).unwrap();
    }

    pub fn delete(&self, gvr: &Gvr, namespace: &str, name: &str) {
        let now = DeleteOptions::now();
        self.runtime.block_on(self.client.delete(gvr, namespace, name, &now)).unwrap();
    }

    pub fn merge(&self, gvr: &Gvr, namespace: &str, name: &str, patch: Value) {
        self.runtime.block_on(self.client.patch(gvr, namespace, name, &Patch::Merge(patch))).unwrap();
    }

    pub fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Value {
        self.runtime.block_on(self.client.get(gvr, namespace, name)).unwrap()
    }

    /// The node all of this runs on, with a range for pods.
    pub fn create_node(&self) {
        self.create_node_at(NODE, NODE_ADDRESS, "10.244.1.0/24");
    }

    pub fn create_node_at(&self, name: &str, address: &str, pod_range: &str) {
        self.create_node_with(name, &[address], &[pod_range]);
    }

    /// A node of these InternalIPs and ranges for pods, the preferred family's first.
    pub fn create_node_with(&self, name: &str, addresses: &[&str], pod_ranges: &[&str]) {
        let spec = json!({ "podCIDR": pod_ranges[0], "podCIDRs": pod_ranges });
        self.create(&NODES, "", &json!({ "metadata": { "name": name }, "spec": spec }));
        let address = |address: &&str| json!({ "type": "InternalIP", "address": address });
        let addresses: Vec<Value> = addresses.iter().map(address).collect();
        self.set_status(&NODES, "", name, &json!({ "addresses": addresses }));
    }

    pub fn set_status(&self, gvr: &Gvr, namespace: &str, name: &str, status: &Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.runtime.block_on(self.client.patch_status(gvr, namespace, name, &patch)).unwrap();
    }

    /// A Service at `cluster_ip`:80 of the protocol.
    pub fn create_service(&self, name: &str, cluster_ip: &str, protocol: &str) {
        let ports = json!([{ "name": "main", "port": 80, "protocol": protocol, "targetPort": 8080 }]);
        let spec = json!({ "clusterIP": cluster_ip, "ports": ports });
        self.create(&SERVICES, "default", &json!({ "metadata": { "name": name }, "spec": spec }));
    }

    /// The endpoints of a Service, all ready, all on this node.
    pub fn create_endpoints(&self, service: &str, protocol: &str, endpoints: &[SocketAddr]) {
        let slice = json!({
            "metadata": {
                "name": format!("{service}-1"), "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "main", "port": 8080, "protocol": protocol }],
            "endpoints": endpoint_values(endpoints),
        });
        self.create(&ENDPOINT_SLICES, "default", &slice);
    }

    pub fn set_endpoints(&self, service: &str, endpoints: &[SocketAddr]) {
        let patch = json!({ "endpoints": endpoint_values(endpoints) });
        self.merge(&ENDPOINT_SLICES, "default", &format!("{service}-1"), patch);
    }

    /// Runs a command for people against this cluster; its exit code and what it printed.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        let kubeconfig = self.write_kubeconfig("admin", "admin", &["system:masters"]);
        command.args(arguments).arg("--kubeconfig").arg(kubeconfig).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// A role as a process, which may do what its manifest permits.
    pub fn spawn(&self, role: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.arg(role).arg("--kubeconfig").arg(self.kubeconfig_of(role)).args(arguments);
        command.env("FAIRWAY_LOG", LOG).stdin(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// A role as a pod starts it: told the API server by its environment, and who it is by the files of a service account.
    pub fn spawn_in_pod(&self, role: &str, arguments: &[&str]) -> Process {
        self.mount_service_account(&Account::of_role(role));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.arg(role).args(arguments).stdin(Stdio::null());
        command.env("KUBERNETES_SERVICE_HOST", self.address.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", self.address.port().to_string());
        Process(command.spawn().unwrap())
    }

    /// Puts the files of a service account where every pod has them, in this test's mounts only.
    fn mount_service_account(&self, Account { namespace, name }: &Account) {
        let request = json!({ "spec": {} });
        let token = self.runtime.block_on(self.client.create_token(namespace, name, &request)).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let directory = Path::new("/run/secrets/kubernetes.io/serviceaccount");
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("token"), token["status"]["token"].as_str().unwrap()).unwrap();
        std::fs::write(directory.join("ca.crt"), self.authority.certificate_pem()).unwrap();
        std::fs::write(directory.join("namespace"), namespace).unwrap();
    }

    pub fn cni_conf_dir(&self) -> PathBuf {
        self.directory.path().join("net.d")
    }

    /// The agent, once it is ready.
    pub fn spawn_agent(&self) -> Process {
        self.spawn_agent_with(&[])
    }

    /// Where the CNI plugin of this world's agents writes down what it gave.
    pub fn cni_state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The agent with these arguments more, once it is ready.
    pub fn spawn_agent_with(&self, more: &[&str]) -> Process {
        let agent = self.spawn_agent_alone(more);
        wait_for("the agent to be ready", DEADLINE, || agent_page("/readyz").filter(|(code, _)| *code == 200));
        agent
    }

    /// The agent, which may have to wait for something.
    pub fn spawn_agent_alone(&self, more: &[&str]) -> Process {
        let bin_dir = self.directory.path().join("bin");
        let (bin_dir, conf_dir) = (bin_dir.to_str().unwrap().to_owned(), self.cni_conf_dir());
        let conf_dir = conf_dir.to_str().unwrap();
        let state_dir = self.cni_state_dir();
        let state_dir = ["--cni-state-dir", state_dir.to_str().unwrap()];
        let arguments = ["--node-name", NODE, "--cni-bin-dir", &bin_dir, "--cni-conf-dir", conf_dir];
        let arguments = [&arguments[..], &state_dir, more].concat();
        self.spawn("agent", &arguments)
    }
}

fn endpoint_values(endpoints: &[SocketAddr]) -> Vec<Value> {
    let value = |endpoint: &SocketAddr| json!({ "addresses": [endpoint.ip()], "conditions": { "ready": true }, "nodeName": NODE });
    endpoints.iter().map(value).collect()
}

/// A process that ends with the test.
pub struct Process(Child);

impl Process {
    /// Ends it as a crash would.
    pub fn crash(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Process {
    /// Asks it to end, as the node's runtime does, and waits until it has.
    pub fn end(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the loopback interface the node's and the pods' addresses, and Service addresses a way out.
fn prepare_network() {
    let mut links = Rtnetlink::open().unwrap();
    let loopback: LinkIndex = links.require_link("lo").unwrap().index;
    links.set_up(loopback).unwrap();
    for address in [NODE_ADDRESS, "10.244.1.5", "10.244.1.6"] {
        links.add_address(loopback, format!("{address}/32").parse().unwrap()).unwrap();
    }
    links.add_route(&Route::on_link("10.96.0.0/16".parse().unwrap(), loopback)).unwrap();
}

/// The status and body of a page; nothing while nobody answers.
pub fn page(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut request = String::new();
    write!(request, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A page of the agent.
pub fn agent_page(path: &str) -> Option<(u16, String)> {
    page("127.0.0.1:10246", path)
}

/// A number the agent shows among its metrics.
pub fn agent_metric(name: &str) -> Option<f64> {
    let (_, text) = agent_page("/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}
