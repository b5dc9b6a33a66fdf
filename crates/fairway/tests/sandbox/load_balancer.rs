//! Services of type LoadBalancer, from the pool to a client outside the nodes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use apiserver::client::{Client, EVENTS, Gvr, ListOptions, PODS, Patch, SERVICES};
use sandbox::machine::StateDir;
use serde_json::{Value, json};

use crate::harness::{Place, Said, until};

const NAMESPACE: &str = "default";
const POOLS: Gvr = Gvr {
    group: "fairway.network",
    version: "v1alpha1",
    plural: "loadbalancerpools",
    kind: "LoadBalancerPool",
    namespaced: false,
};

/// A sandbox of this test.
struct Sandbox {
    place: Place,
    name: String,
}

impl Sandbox {
    fn up(nodes: &str) -> Self {
        Self::up_with(&["--nodes", nodes])
    }

    fn up_with(options: &[&str]) -> Self {
        let place = Place::new();
        let name = place.up(options);
        Self { place, name }
    }

    fn enter(&self, arguments: &[&str]) -> Said {
        self.place.run(&[&["enter", "--name", &self.name], arguments].concat())
    }
}

fn client(sandbox: &Sandbox) -> Client {
    Client::unix(StateDir::new(&sandbox.place.state(), &sandbox.name).unwrap().api_socket())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A Service with an endpoint on each of the nodes.
fn servers(sandbox: &Sandbox, nodes: &[&str]) {
    let api = client(sandbox);
    let pod = |node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("web-{node}"), "labels": { "app": "web" } },
            "spec": {
                "nodeName": node,
                "containers": [{ "name": "web", "image": "agnhost", "args": ["netexec", "--http-port=8080"] }],
            },
        })
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    block_on(async {
        for node in nodes {
            api.create(&PODS, NAMESPACE, &pod(node)).await.unwrap();
        }
        api.create(&SERVICES, NAMESPACE, &service).await.unwrap();
    });
}

/// The address the Service was given, once it was.
fn address(sandbox: &Sandbox) -> String {
    let (api, mut found) = (client(sandbox), String::new());
    until("the service has an address", || {
        let service = block_on(api.get(&SERVICES, NAMESPACE, "web")).unwrap();
        found = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or_default().to_owned();
        !found.is_empty()
    });
    found
}

/// Whether a client outside the nodes is answered.
fn is_reached(sandbox: &Sandbox, address: &str) -> bool {
    let url = format!("http://{address}/hostname");
    let said = sandbox.enter(&["--", "curl", "-sS", "-m", "1", &url]);
    said.code == 0 && said.out.starts_with("web-")
}

fn events(sandbox: &Sandbox) -> Vec<Value> {
    block_on(client(sandbox).list(&EVENTS, NAMESPACE, &ListOptions::default())).unwrap().items
}

/// The node that answers for the address, as the last Event on the Service says.
fn answering(sandbox: &Sandbox) -> Option<String> {
    let mut assigned: Vec<Value> =
        events(sandbox).into_iter().filter(|event| event["reason"] == "NodeAssigned").collect();
    assigned.sort_by_key(|event| event["eventTime"].to_string());
    let message = assigned.last()?["message"].as_str()?.to_owned();
    message.split_whitespace().nth(1).map(str::to_owned)
}

#[test]
fn a_service_gets_an_address_that_is_reached_from_outside_and_from_the_host() {
    let sandbox = Sandbox::up("2");
    servers(&sandbox, &["node1"]);
    let address = address(&sandbox);
    assert_eq!(address, "10.89.0.220", "the one its name chooses");
    until("it is reached from outside the nodes", || is_reached(&sandbox, &address));
    until("its address was told", || events(&sandbox).iter().any(|event| event["reason"] == "IPAllocated"));

    let mut forward = sandbox
        .place
        .command(&["service", "web", "--url", "--sandbox", &sandbox.name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(forward.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let mut stream = TcpStream::connect(url.trim().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.") && answer.ends_with("web-node1"), "{answer}");

    let inside = Patch::Merge(json!({ "spec": { "type": "ClusterIP" } }));
    block_on(client(&sandbox).patch(&SERVICES, NAMESPACE, "web", &inside)).unwrap();
    let released = || events(&sandbox).into_iter().filter(|event| event["reason"] == "IPReleased").count();
    until("it is told that the address is given back", || released() == 1);
}

#[test]
fn only_nodes_on_the_network_of_an_address_answer_for_it_and_an_address_of_no_network_is_told() {
    let sandbox = Sandbox::up_with(&["--nodes", "2", "--networks", "2"]);
    servers(&sandbox, &["node2"]);
    let api = client(&sandbox);
    let pool = json!({ "metadata": { "name": "elsewhere" }, "spec": { "addresses": ["203.0.113.0/28"], "autoAssign": false } });
    block_on(api.create(&POOLS, "", &pool)).unwrap();
    let service = |name: &str, pool: &str| {
        json!({
            "metadata": { "name": name, "annotations": { "fairway.network/address-pool": pool } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        })
    };
    let near = ["one", "two", "three", "four", "five", "six"];
    for name in near {
        block_on(api.create(&SERVICES, NAMESPACE, &service(name, "default"))).unwrap();
    }
    block_on(api.create(&SERVICES, NAMESPACE, &service("far", "elsewhere"))).unwrap();
    let told = |reason: &str| {
        let about =
            |event: Value| Some((event["involvedObject"]["name"].as_str()?.to_owned(), event["message"].to_string()));
        let events = events(&sandbox).into_iter().filter(|event| event["reason"] == reason);
        events.filter_map(about).collect::<Vec<_>>()
    };
    // node2 is on 10.89.1.0/24, behind a router; nobody would ask it.
    until("all are answered for", || near.iter().all(|name| told("NodeAssigned").iter().any(|(of, _)| of == name)));
    for (service, message) in told("NodeAssigned") {
        assert!(message.contains("node node1 answers for 10.89.0."), "{service}: {message}");
    }
    until("the pool of no network is told", || !told("NoNodeOnNetwork").is_empty());
    assert!(told("NoNodeOnNetwork").iter().all(|(service, why)| service == "far" && why.contains("203.0.113.")));
}

#[test]
fn another_node_answers_when_the_one_that_did_is_cut_off() {
    let sandbox = Sandbox::up("3");
    servers(&sandbox, &["node1", "node2", "node3"]);
    let address = address(&sandbox);
    until("it is reached from outside the nodes", || is_reached(&sandbox, &address));
    until("it is told who answers", || answering(&sandbox).is_some());
    let first = answering(&sandbox).unwrap();
    let down = sandbox.enter(&["--node", &first, "--", "ip", "link", "set", "eth0", "down"]);
    assert_eq!(down.code, 0, "{}", down.err);
    until("another node answers", || answering(&sandbox).is_some_and(|node| node != first));
    // Connections to the endpoint that was cut off fail until its node is known to be gone.
    until("it is reached again", || is_reached(&sandbox, &address));
}
