//! Clusters whose nodes are on several networks, and clusters of other families than IPv4 alone.

use std::net::IpAddr;

use apiserver::client::{Client, EVENTS, ExecRequest, Gvr, ListOptions, NODES, PODS, SERVICES};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{Place, until};

const BOTH: [&str; 4] =
    ["--pod-cidr", "10.244.0.0/16,fd00:10:244::/56", "--service-cidr", "10.96.0.0/16,fd00:10:96::/112"];
const IPV6: [&str; 4] = ["--pod-cidr", "fd00:10:244::/56", "--service-cidr", "fd00:10:96::/112"];
const PORT: u16 = 8080;

/// A sandbox, of two nodes unless said otherwise, seen by its administrator.
struct Cluster {
    place: Place,
    name: String,
    client: Client,
    runtime: Runtime,
}

impl Cluster {
    fn up(more: &[&str]) -> Self {
        Self::up_with("2", more)
    }

    /// The same of another number of nodes.
    fn up_with(nodes: &str, more: &[&str]) -> Self {
        let place = Place::new();
        let name = place.up(&[&["--nodes", nodes], more].concat());
        let client = Client::unix(place.state().join(&name).join("apiserver.sock"));
        Self { place, name, client, runtime: Runtime::new().unwrap() }
    }

    fn create(&self, gvr: &Gvr, object: &Value) {
        self.runtime.block_on(self.client.create(gvr, "default", object)).unwrap();
    }

    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Value {
        self.runtime.block_on(self.client.get(gvr, namespace, name)).unwrap()
    }

    /// A pod on a node that serves HTTP and in which commands can be run; its addresses once it is ready.
    fn start_pod(&self, name: &str, node: &str, ports: &Value) -> Vec<IpAddr> {
        let container = json!({
            "name": "main", "image": "agnhost", "args": ["netexec", format!("--http-port={PORT}")], "ports": ports,
            "readinessProbe": { "httpGet": { "path": "/hostname", "port": PORT }, "periodSeconds": 1 },
        });
        let spec = json!({ "nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0 });
        self.create(&PODS, &json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec }));
        self.wait_for_pod(name)
    }

    /// The addresses of a pod once it is ready.
    fn wait_for_pod(&self, name: &str) -> Vec<IpAddr> {
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|each| each["type"] == "Ready" && each["status"] == "True")
        };
        until(&format!("pod {name} is ready"), || is_ready(&self.get(&PODS, "default", name)));
        addresses(&self.get(&PODS, "default", name)["status"]["podIPs"], "ip")
    }

    /// A Service in front of the pod of its name.
    fn create_service(&self, name: &str, app: &str, spec: Value) -> Vec<IpAddr> {
        let mut spec = spec;
        spec["selector"] = json!({ "app": app });
        spec["ports"] = json!([{ "port": 80, "targetPort": PORT }]);
        self.create(&SERVICES, &json!({ "metadata": { "name": name }, "spec": spec }));
        let service = self.get(&SERVICES, "default", name);
        let texts = service["spec"]["clusterIPs"].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().parse().unwrap()).collect()
    }

    /// What a command in a pod prints; nothing when it fails.
    fn exec(&self, pod: &str, command: &[&str]) -> Option<String> {
        let request = ExecRequest {
            namespace: "default".to_owned(),
            pod: pod.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            ..ExecRequest::default()
        };
        let output = self.runtime.block_on(self.client.exec(&request)).unwrap();
        (output.exit_code == 0).then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The address as which a pod is seen by whoever serves at `host`, once somebody does.
    fn seen_at(&self, pod: &str, host: &str) -> IpAddr {
        let url = format!("http://{host}/clientip");
        let mut answer = None;
        until(&format!("{url} answers {pod}"), || {
            answer = self.exec(pod, &["wget", "-T", "2", "-q", "-O", "-", &url]);
            answer.is_some()
        });
        let answer = answer.unwrap();
        let (address, _port) = answer.trim().rsplit_once(':').unwrap();
        address.trim_matches(['[', ']']).parse().unwrap()
    }

    fn on_node(&self, node: &str, command: &[&str]) -> String {
        let enter = ["enter", "--name", &self.name, "--node", node, "--"];
        self.place.succeed(&[&enter[..], command].concat()).out
    }
}

fn addresses(list: &Value, field: &str) -> Vec<IpAddr> {
    list.as_array().unwrap().iter().map(|each| each[field].as_str().unwrap().parse().unwrap()).collect()
}

/// An address as it stands in a URL.
fn host(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn has_tunnel(cluster: &Cluster, node: &str) -> bool {
    cluster.on_node(node, &["cat", "/proc/net/dev"]).contains("fw-vxlan")
}

#[test]
fn pods_of_two_networks_meet_through_the_tunnel_under_their_own_addresses() {
    let cluster = Cluster::up(&["--networks", "2"]);
    let nodes = cluster.runtime.block_on(cluster.client.list(&NODES, "", &ListOptions::default())).unwrap().items;
    let node_addresses: Vec<IpAddr> =
        nodes.iter().map(|node| node["status"]["addresses"][0]["address"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(node_addresses, ["10.89.0.1", "10.89.1.1"].map(|text| text.parse::<IpAddr>().unwrap()));
    let server = cluster.start_pod("server", "node1", &json!([]));
    let client = cluster.start_pod("client", "node2", &json!([]));
    let service = cluster.create_service("server", "server", json!({}));
    assert_eq!(cluster.seen_at("client", &format!("{}:{PORT}", server[0])), client[0]);
    assert_eq!(cluster.seen_at("client", &host(&service[0])), client[0]);
    assert_eq!(cluster.seen_at("client", "server"), client[0]);
    assert!(has_tunnel(&cluster, "node1") && has_tunnel(&cluster, "node2"));
}

#[test]
fn every_node_tells_which_way_leads_to_each_other_one_and_why() {
    let cluster = Cluster::up_with("3", &[&BOTH[..], &["--networks", "2"]].concat());
    let expected = [
        ("node2", "IPv4", "VXLAN", 1450, "no network has both nodes"),
        ("node2", "IPv6", "VXLAN", 1450, "no network has both nodes"),
        ("node3", "IPv4", "native", 1500, "both nodes are on 10.89.0.0/24"),
        ("node3", "IPv6", "native", 1500, "both nodes are on fd00:10:89::/64"),
    ];
    until("the ways are as expected", || {
        let list: Value = serde_json::from_str(&cluster.on_node("node1", &["fairway", "peers", "-o", "json"])).unwrap();
        let told = list["items"].as_array().unwrap().iter().map(|peer| {
            let text = |field: &str| peer[field].as_str().unwrap_or_default();
            (text("node"), text("family"), text("way"), peer["mtu"].as_u64().unwrap_or_default(), text("reason"))
        });
        told.collect::<Vec<_>>() == expected
    });
    let peers = || -> Value {
        let list: Value = serde_json::from_str(&cluster.place.run(&["status", "-o", "json"]).out).unwrap();
        list[0]["peers"].clone()
    };
    let all = json!({ "ranges": 12, "reached": 12, "unreached": [], "silent": [] });
    until("every node tells", || peers() == all);
}

#[test]
fn nodes_of_one_network_need_no_tunnel_unless_told_to_use_one() {
    let cluster = Cluster::up(&[]);
    assert!(!has_tunnel(&cluster, "node1"));
    let tunnelled = Cluster::up(&["--routing", "vxlan"]);
    let server = tunnelled.start_pod("server", "node1", &json!([]));
    let client = tunnelled.start_pod("client", "node2", &json!([]));
    assert_eq!(tunnelled.seen_at("client", &format!("{}:{PORT}", server[0])), client[0]);
    assert!(has_tunnel(&tunnelled, "node1") && has_tunnel(&tunnelled, "node2"));
}

#[test]
fn a_pod_whose_network_failed_starts_once_there_is_one() {
    const MISSING: &str = r#"{"cniVersion": "1.0.0", "name": "missing", "plugins": [{"type": "no-such-plugin"}]}"#;
    const CONFIGURATION: &str = "/etc/cni/net.d/00-missing.conflist";
    let cluster = Cluster::up(&[]);
    // What cannot attach a pod cannot detach it either.
    cluster.on_node("node1", &["sh", "-c", &format!("echo '{MISSING}' > {CONFIGURATION}")]);
    let container = json!({ "name": "main", "image": "agnhost", "args": ["netexec"] });
    let spec = json!({ "nodeName": "node1", "containers": [container], "terminationGracePeriodSeconds": 0 });
    cluster.create(&PODS, &json!({ "metadata": { "name": "late" }, "spec": spec }));
    let failures = || {
        let events =
            cluster.runtime.block_on(cluster.client.list(&EVENTS, "default", &ListOptions::default())).unwrap();
        let failures = events.items.into_iter().filter(|event| event["reason"] == "FailedCreatePodSandBox");
        failures.map(|event| (event["count"].as_u64().unwrap_or(1), event["message"].to_string())).collect::<Vec<_>>()
    };
    until("a second try failed", || failures().iter().map(|(count, _)| count).sum::<u64>() > 1);
    for (_, message) in failures() {
        assert!(message.contains("no-such-plugin"), "{message}");
    }
    cluster.on_node("node1", &["rm", CONFIGURATION]);
    cluster.wait_for_pod("late");
}

#[test]
fn in_a_dual_stack_cluster_everything_answers_over_both_families() {
    let cluster = Cluster::up(&[&BOTH[..], &["--networks", "2"]].concat());
    let server = cluster.start_pod("server", "node1", &json!([{ "containerPort": PORT, "hostPort": 18080 }]));
    let client = cluster.start_pod("client", "node2", &json!([]));
    let families = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>();
    assert_eq!((families(&server), families(&client)), (vec![true, false], vec![true, false]));
    let service = cluster.create_service("server", "server", json!({ "ipFamilyPolicy": "RequireDualStack" }));
    let service6 = cluster.create_service("server6", "server", json!({ "ipFamilies": ["IPv6"] }));
    assert_eq!((families(&service), families(&service6)), (vec![true, false], vec![false]));
    for (index, own) in client.iter().enumerate() {
        assert_eq!(cluster.seen_at("client", &format!("{}:{PORT}", host(&server[index]))), *own);
        assert_eq!(cluster.seen_at("client", &host(&service[index])), *own);
    }
    // Its name has an address of IPv6 alone.
    assert_eq!(cluster.seen_at("client", "server6"), client[1]);
    let node = addresses(&cluster.get(&PODS, "default", "server")["status"]["hostIPs"], "ip");
    assert_eq!(families(&node), [true, false]);
    for address in &node {
        cluster.seen_at("client", &format!("{}:18080", host(address)));
    }
}

#[test]
fn a_cluster_of_ipv6_alone_has_pods_services_and_names() {
    let cluster = Cluster::up(&[&IPV6[..], &["--networks", "2"]].concat());
    let server = cluster.start_pod("server", "node1", &json!([]));
    let client = cluster.start_pod("client", "node2", &json!([]));
    let service = cluster.create_service("server", "server", json!({}));
    assert!(server.iter().chain(&client).chain(&service).all(IpAddr::is_ipv6));
    assert_eq!(cluster.seen_at("client", &format!("{}:{PORT}", host(&server[0]))), client[0]);
    assert_eq!(cluster.seen_at("client", "server"), client[0]);
    let dns = cluster.get(&SERVICES, "kube-system", "kube-dns");
    assert_eq!(dns["spec"]["clusterIP"], "fd00:10:96::a");
}
