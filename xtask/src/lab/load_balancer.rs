//! Addresses of load balancers on the nodes' own network: who gets one, who answers for it, and who does when that node
//! loses its power.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::assets::Assets;
use super::cluster::Cluster;
use super::machine::Inside;
use super::programs::Programs;
use super::progress::{Progress, wait_for};
use super::site::{Families, Node, Shape, Site};
use super::stack::Stack;
use super::workloads::{namespace, server};
use super::{network, node};
use crate::process::{output, run};

const NAMESPACE: &str = "load-balancer";
const NAME: &str = "lab";
/// On the bridge, where no machine has them.
const POOL: [&str; 2] = ["10.77.0.230-10.77.0.239", "fd00:10:77::230/124"];
const LIMIT: Duration = Duration::from_secs(120);
/// An agent that is silent is replaced after four seconds.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(20);
const BOOT_LIMIT: Duration = Duration::from_secs(180);

struct Ground {
    control: super::machine::Machine,
    cluster: Cluster,
    shape: Shape,
    nodes: Vec<Node>,
    programs: Programs,
    progress: Progress,
}

/// Checks it on a lab with Fairway that is up; an error tells what is not as it should be.
pub fn check(site: &Site) -> Result<()> {
    let shape = site.read_shape()?;
    ensure!(shape.stack == Stack::Fairway && shape.nodes > 1, "this is for a lab with --stack fairway and two nodes");
    let progress = Progress::begin();
    let (nodes, programs) = (site.nodes(&shape), Assets::build(progress)?.programs);
    let ground = Ground { control: site.control(), cluster: Cluster::of(site), shape, nodes, programs, progress };
    let addresses = ground.create()?;
    for address in addresses {
        ground.fail_over(site, address)?;
    }
    ground.remove()?;
    println!("each address was reached from outside the cluster, and another node answered when one lost its power");
    Ok(())
}

impl Ground {
    /// A pool, and a Service with a pod on every node; the addresses the Service gets.
    fn create(&self) -> Result<Vec<IpAddr>> {
        let families = if self.shape.families == Families::Dual { 2 } else { 1 };
        self.cluster.apply(&pool(&POOL[..families]))?;
        let count = self.shape.nodes;
        let objects = [namespace(NAMESPACE), server(NAMESPACE, count), service(families)];
        self.cluster.apply(&objects.join("\n"))?;
        self.cluster.wait_for_deployment(NAMESPACE, "server", count, LIMIT)?;
        wait_for("the Service's EXTERNAL-IP", LIMIT, || {
            let found = addresses(&self.cluster.read(&["get", "service", "-n", NAMESPACE, "web"])?)?;
            Ok((found.len() == families).then_some(found))
        })
    }

    fn fail_over(&self, site: &Site, address: IpAddr) -> Result<()> {
        self.wait_for_answer(address, LIMIT)?;
        let first = self.announcer(address)?;
        self.progress.say(format!("{address}: {} answers; its power is cut", first.name()));
        cut_power(first)?;
        let cut = Instant::now();
        let second = wait_for(format_args!("another node to answer for {address}"), TAKE_OVER_LIMIT, || {
            // A host only keeps in mind where an address is while it asks there.
            self.ask(address)?;
            let now = self.announcer(address)?;
            Ok((now.name() != first.name()).then_some(now))
        })?;
        self.progress.say(format!("{address}: {} answers after {:.1} s", second.name(), cut.elapsed().as_secs_f64()));
        self.restore(site, first)?;
        self.wait_for_answer(address, LIMIT)
    }

    /// Asks from the control plane's machine, which is no node: a host on the same network.
    fn wait_for_answer(&self, address: IpAddr, limit: Duration) -> Result<()> {
        wait_for(format_args!("an answer from {address}"), limit, || self.ask(address).map(Some))
    }

    fn ask(&self, address: IpAddr) -> Result<()> {
        let program = self.programs.probe.to_str().context("a path that is not text")?;
        let address = SocketAddr::new(address, 80).to_string();
        run(self.control.command(Inside::Network, program)?.args(["ask", &address]))
    }

    /// The node whose Ethernet address the host has learned for it.
    fn announcer(&self, address: IpAddr) -> Result<&Node> {
        let told =
            output(self.control.command(Inside::Network, "ip")?.args(["neighbour", "show", &address.to_string()]))?;
        let learned = told.split_once("lladdr ").and_then(|(_, rest)| rest.split_whitespace().next());
        let learned = learned.with_context(|| format!("nobody answers for {address}"))?;
        for node in self.nodes.iter().filter(|node| matches!(node.machine.first_process(), Ok(Some(_)))) {
            if network::hardware_address(node)? == learned {
                return Ok(node);
            }
        }
        bail!("{address} is at {learned}, which is no node's that is up")
    }

    fn restore(&self, site: &Site, node: &Node) -> Result<()> {
        let before = self.presence(node)?;
        node::boot(site, node, &self.programs)?;
        node::start_kubelet(node, &self.programs)?;
        // The node's own status does not say: it is believed for a while after its last word.
        wait_for(format_args!("the agent of {}", node.name()), BOOT_LIMIT, || {
            Ok((self.presence(node)? != before).then_some(()))
        })?;
        self.cluster.wait_for_nodes(self.shape.nodes, BOOT_LIMIT)?;
        self.cluster.wait_for_deployment(NAMESPACE, "server", self.shape.nodes, BOOT_LIMIT)?;
        self.progress.say(format!("{} is back", node.name()));
        Ok(())
    }

    /// When the node's agent last said that it can answer for addresses.
    fn presence(&self, node: &Node) -> Result<String> {
        let lease = format!("fairway-l2-{}", node.name());
        self.cluster.kubectl(&["get", "lease", "-n", "fairway-presence", &lease, "-o", "jsonpath={.spec.renewTime}"])
    }

    fn remove(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"])?;
        self.cluster.kubectl(&["delete", "lbpool", NAME]).map(|_| ())
    }
}

fn cut_power(node: &Node) -> Result<()> {
    let first = node.machine.first_process()?.with_context(|| format!("{} is not up", node.name()))?;
    run(Command::new("kill").args(["-KILL", &first.to_string()]))
}

fn addresses(service: &Value) -> Result<Vec<IpAddr>> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let addresses = ingress.filter_map(|point| point["ip"].as_str());
    addresses.map(|text| text.parse().with_context(|| format!("{text:?} is no address"))).collect()
}

fn pool(addresses: &[&str]) -> String {
    json!({
        "apiVersion": "fairway.network/v1alpha1",
        "kind": "LoadBalancerPool",
        "metadata": { "name": NAME },
        "spec": { "addresses": addresses },
    })
    .to_string()
}

fn service(families: usize) -> String {
    let policy = if families > 1 { "RequireDualStack" } else { "SingleStack" };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": policy,
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_addresses_its_status_tells() {
        let ingress = json!([{ "ip": "10.77.0.230", "ipMode": "VIP" }, { "ip": "fd00:10:77::230" }]);
        let service = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let expected: [IpAddr; 2] = ["10.77.0.230".parse().unwrap(), "fd00:10:77::230".parse().unwrap()];
        assert_eq!(addresses(&service).unwrap(), expected);
        assert!(addresses(&json!({})).unwrap().is_empty());
    }
}
