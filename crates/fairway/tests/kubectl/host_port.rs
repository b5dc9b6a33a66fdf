//! `hostPort`: a port of a node that leads to a pod on it.

use crate::kubectl::Kubectl;

crate::tests!(reached_from_its_node_and_from_pods_anywhere_until_the_pod_goes);

/// Other kubectls test at the same time on the same nodes.
fn free_port(kubectl: &Kubectl) -> u32 {
    20_000 + kubectl.namespace.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 10_000)
}

fn server(port: u32) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: published}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: agnhost
    args: [netexec, --http-port=8080]
    ports: [{{containerPort: 8080, hostPort: {port}}}]
"
    )
}

fn client(name: &str, node: &str, on_host: bool) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  hostNetwork: {on_host}
  containers: [{{name: main, image: busybox, args: [sleep, '600']}}]
"
    )
}

fn reached_from_its_node_and_from_pods_anywhere_until_the_pod_goes(kubectl: &Kubectl) {
    let port = free_port(kubectl);
    kubectl.ok_with("apply -f -", &server(port));
    kubectl.ok("wait --for=condition=Ready pod/published --timeout=60s");
    let pod = kubectl.json("get pod published");
    let (node, host) = (pod["spec"]["nodeName"].as_str().unwrap(), pod["status"]["hostIP"].as_str().unwrap());
    let nodes = kubectl.ok("get nodes -o jsonpath={.items[*].metadata.name}");
    let elsewhere = nodes.split(' ').find(|other| *other != node).unwrap_or(node);
    for (name, node, on_host) in [("inside", node, false), ("outside", elsewhere, false), ("host", node, true)] {
        kubectl.ok_with("apply -f -", &client(name, node, on_host));
    }
    kubectl.ok("wait --for=condition=Ready pod/inside pod/outside pod/host --timeout=60s");
    let from =
        |name: &str, host: &str| kubectl.run(&format!("exec {name} -- wget -q -T 5 -O - {host}:{port}/hostname"));
    for (name, host) in [("inside", host), ("outside", host), ("host", host), ("host", "127.0.0.1")] {
        let said = from(name, host);
        assert_eq!((said.code, said.out.trim()), (0, "published"), "from {name} to {host}: {}", said.err);
    }
    kubectl.ok("delete pod published");
    assert_ne!(from("outside", host).code, 0);
}
