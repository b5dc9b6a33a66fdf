//! Every file below `scenarios/`: the meaning of the objects and the compiled ruleset must both do what it says.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod load_balancers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compile::plan::LinkNetwork;
use compile::{
    Entry, Host, NodePortAddresses, NodeView, Outcome, Packet, Plan, PodAddresses, Routing, RoutingMode, SourceNat,
    evaluate, trace,
};
use ipnet::IpNet;
use model::{Cluster, Protocol, Rejected, from_kube};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use load_balancers::LoadBalancers;

const NODE: &str = "node1";
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The network node1 is on.
const NETWORK: &str = "10.89.0.1/24";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[serde(rename = "about")]
    _about: String,
    objects: Vec<Value>,
    packets: Vec<Expectation>,
    #[serde(default)]
    rejected: Vec<String>,
    routes: Option<BTreeMap<String, String>>,
    /// Which way packets take between nodes; native when left out.
    #[serde(default)]
    routing: Routes,
    /// Addresses of node1's links beside those its Node tells.
    #[serde(default)]
    link_addresses: Vec<IpAddr>,
    /// Which of node1's addresses serve node ports; all of them when left out.
    node_port_addresses: Option<Serving>,
    /// Where pods have their addresses from; their node's ranges when left out.
    #[serde(default)]
    pod_addresses: Ranges,
    /// Gateways of node1's tunnel and the nodes behind them.
    #[serde(default)]
    tunnel: BTreeMap<IpAddr, IpAddr>,
    /// The ways to other nodes' pods by `node range`; not looked at when left out.
    ways: Option<BTreeMap<String, String>>,
    /// Local endpoints by `port family` of the health checks load balancers ask for.
    #[serde(default)]
    health_checks: BTreeMap<String, usize>,
    /// Who gets load balancer addresses; decided, and written into the objects before the packets come, when it is there.
    load_balancers: Option<LoadBalancers>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Routes {
    #[default]
    Native,
    Vxlan,
    Auto,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Serving {
    Named(Named),
    Within(Vec<IpNet>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Primary,
}

impl From<&Serving> for NodePortAddresses {
    fn from(serving: &Serving) -> Self {
        match serving {
            Serving::Named(Named::Primary) => Self::Primary,
            Serving::Within(ranges) => Self::Within(ranges.clone()),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ranges {
    #[default]
    Node,
    Any,
}

impl From<Ranges> for PodAddresses {
    fn from(ranges: Ranges) -> Self {
        match ranges {
            Ranges::Node => Self::NodeRanges,
            Ranges::Any => Self::AnyRange,
        }
    }
}

impl From<Routes> for RoutingMode {
    fn from(routes: Routes) -> Self {
        match routes {
            Routes::Native => Self::Native,
            Routes::Vxlan => Self::Vxlan,
            Routes::Auto => Self::Auto,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    from: String,
    to: String,
    fate: Fate,
    affinity_seconds: Option<u64>,
    because: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    Refused,
    Dropped,
    Passed(Source),
    Balanced(BTreeMap<SocketAddr, Source>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Kept,
    Masqueraded,
}

impl From<Source> for SourceNat {
    fn from(source: Source) -> Self {
        match source {
            Source::Kept => Self::Kept,
            Source::Masqueraded => Self::Masqueraded,
        }
    }
}

impl Expectation {
    fn packet(&self) -> Packet {
        let (entered, source) = self.from.split_once(' ').expect("from: pod 10.244.1.9");
        let (protocol, destination) = self.to.split_once(' ').expect("to: TCP 10.96.0.10:80");
        let destination: SocketAddr = destination.parse().expect("an address and a port");
        Packet {
            source: source.parse().expect("an address"),
            destination: destination.ip(),
            protocol: match protocol {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                other => panic!("{other} is not a protocol"),
            },
            port: destination.port(),
            entered: match entered {
                "pod" => Entry::Pod,
                "host" => Entry::Host,
                "outside" => Entry::Outside,
                other => panic!("{other} is not pod, host or outside"),
            },
        }
    }

    fn outcome(&self) -> Outcome {
        match &self.fate {
            Fate::Refused => Outcome::Refused,
            Fate::Dropped => Outcome::Dropped,
            Fate::Passed(source) => Outcome::Passed { source: (*source).into() },
            Fate::Balanced(endpoints) => Outcome::Balanced {
                endpoints: endpoints.iter().map(|(endpoint, source)| (*endpoint, (*source).into())).collect(),
                affinity: self.affinity_seconds.map(Duration::from_secs),
            },
        }
    }
}

/// A cluster made of API objects, and what was refused at the door.
#[derive(Default)]
struct Admission {
    cluster: Cluster,
    rejected: Vec<Rejected>,
}

impl Admission {
    fn admit(&mut self, object: &Value) {
        match object["kind"].as_str().expect("an object has a kind") {
            "Node" => {
                if let Some(node) = self.keep(from_kube::node(&read(object))) {
                    self.cluster.nodes.insert(node.name.clone(), Arc::new(node));
                }
            }
            "Service" => {
                if let Some(service) = self.keep(from_kube::service(&read(object))) {
                    self.cluster.services.insert(service.name.clone(), Arc::new(service));
                }
            }
            "LoadBalancerPool" => {
                if let Some(pool) = self.keep(from_kube::address_pool(&read(object))) {
                    self.cluster.pools.insert(pool.name.clone(), Arc::new(pool));
                }
            }
            "Namespace" => {
                let (name, labels) = from_kube::namespace(&read(object)).fact.expect("a namespace");
                self.cluster.namespaces.insert(name, Arc::new(labels));
            }
            "EndpointSlice" => {
                if let Some(slice) = self.keep(from_kube::endpoint_slice(&read(object))) {
                    self.cluster.insert_slice(slice);
                }
            }
            other => panic!("scenarios have no {other} yet"),
        }
    }

    fn keep<T>(&mut self, admitted: from_kube::Admitted<T>) -> Option<T> {
        self.rejected.extend(admitted.rejected);
        admitted.fact
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object}"))
}

fn read_yaml<T: DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn scenario_files() -> Vec<PathBuf> {
    let folders = ["load-balancers", "network", "services"].map(|name| folder().join(name));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

fn health_checks(plan: &Plan) -> BTreeMap<String, usize> {
    let checks = plan.health_checks().values();
    let of_check = checks.flat_map(|check| {
        let counts = check.local_endpoints.iter();
        counts.map(|(family, count)| (format!("{} IP{}", check.port, format!("{family:?}").to_lowercase()), *count))
    });
    of_check.collect()
}

fn view(scenario: &Scenario) -> NodeView {
    let service_ranges = vec![SERVICE_RANGE.parse().expect("a range")];
    let network = LinkNetwork { address: NETWORK.parse().expect("a range"), mtu: 1500 };
    let routing = Routing { mode: scenario.routing.into(), networks: vec![network], ..Routing::default() };
    NodeView {
        service_ranges,
        routing,
        pod_addresses: scenario.pod_addresses.into(),
        link_addresses: scenario.link_addresses.clone(),
        node_port_addresses: scenario.node_port_addresses.as_ref().map(NodePortAddresses::from).unwrap_or_default(),
        ..NodeView::new(NODE)
    }
}

/// Where each gateway of the tunnel is.
fn tunnel(plan: &Plan) -> BTreeMap<IpAddr, IpAddr> {
    let gateways = plan
        .tunnel()
        .into_iter()
        .flat_map(|tunnel| tunnel.neighbours.iter().map(|(gateway, mac)| (*gateway, tunnel.forwarding[mac])));
    gateways.collect()
}

/// How the pods of each other node are reached.
fn ways(plan: &Plan) -> BTreeMap<String, String> {
    let ways = plan.peers().iter().map(|peer| {
        let pods = peer.pods.map(|pods| format!(" {pods}")).unwrap_or_default();
        let way = peer.way.as_ref().map_or_else(|no_way| format!("none: {no_way}"), ToString::to_string);
        (format!("{}{pods}", peer.node), way)
    });
    ways.collect()
}

/// The cluster of a scenario, with the load balancer addresses that are given in it.
fn admit(scenario: &Scenario) -> Admission {
    let mut objects: Vec<Value> = read_yaml(&folder().join("cluster.yaml"));
    objects.extend(scenario.objects.iter().cloned());
    let admit = |objects: &[Value]| {
        let mut admission = Admission::default();
        objects.iter().for_each(|object| admission.admit(object));
        admission
    };
    let admission = admit(&objects);
    if scenario.load_balancers.is_none() {
        return admission;
    }
    let (objects, refused) = LoadBalancers::give(&admission.cluster, &objects);
    let mut admission = admit(&objects);
    admission.rejected.extend(refused);
    admission
}

/// What is not as the scenario says, one line each.
fn faults(scenario: &Scenario) -> Vec<String> {
    let Admission { cluster, mut rejected } = admit(scenario);
    let view = view(scenario);
    let plan = Plan::of(view.clone(), &cluster);
    rejected.extend(plan.rejected());

    let mut faults: Vec<String> =
        scenario.load_balancers.iter().flat_map(|load_balancers| load_balancers.faults(&cluster)).collect();
    let rejected: Vec<String> = rejected.iter().map(ToString::to_string).collect();
    if rejected != scenario.rejected {
        faults.push(format!("rejected {rejected:#?}, not {:#?}", scenario.rejected));
    }
    let routes = plan.routes().iter().map(|route| (route.destination.to_string(), route.hop.to_string())).collect();
    if scenario.routes.as_ref().is_some_and(|wanted| *wanted != routes) {
        faults.push(format!("routes {routes:?}, not {:?}", scenario.routes));
    }
    let tunnel = tunnel(&plan);
    if tunnel != scenario.tunnel {
        faults.push(format!("tunnel {tunnel:?}, not {:?}", scenario.tunnel));
    }
    let ways = ways(&plan);
    if scenario.ways.as_ref().is_some_and(|wanted| *wanted != ways) {
        faults.push(format!("ways {ways:#?}, not {:#?}", scenario.ways));
    }
    let health_checks = health_checks(&plan);
    if health_checks != scenario.health_checks {
        faults.push(format!("health checks {health_checks:?}, not {:?}", scenario.health_checks));
    }
    let told = &cluster.nodes.get(NODE).expect("node1 is there").addresses;
    let own = &[&told[..], &scenario.link_addresses].concat();
    for expectation in &scenario.packets {
        let (packet, wanted) = (expectation.packet(), expectation.outcome());
        let verdict = evaluate(&cluster, &view, &packet);
        if (&verdict.outcome, verdict.by.to_string()) != (&wanted, expectation.because.clone()) {
            faults.push(format!("{packet}: evaluate says {:?} because {}", verdict.outcome, verdict.by));
        }
        let traced = trace(plan.ruleset(), Host { addresses: own, routes: plan.routes() }, &packet);
        if traced.as_ref() != Ok(&wanted) {
            faults.push(format!("{packet}: trace says {traced:?}\n{}", plan.ruleset()));
        }
    }
    faults
}

#[test]
fn every_scenario_holds() {
    let mut broken = Vec::new();
    for file in scenario_files() {
        let faults = faults(&read_yaml(&file));
        broken.extend(faults.into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_scenarios_are_found() {
    assert!(scenario_files().len() >= 25, "found only {:?}", scenario_files());
}
