//! Pods that ask other pods and the DNS server all the time.

mod tally;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cluster::{Cluster, has_condition, list};
use super::progress::{pause, wait_for};
use super::site::{CLUSTER_DOMAIN, DNS_SERVICE, Node};
use super::versions::IMAGES;
use super::workloads::{cpu_request, namespace};
use tally::{Judgement, Tally, Window};

/// Where all of it is.
pub const NAMESPACE: &str = "probes";
const SERVICE: &str = "10.96.210.1";
const LIMIT: Duration = Duration::from_secs(120);
/// A second is told when its last request is decided; a loaded machine may take its time.
const TELL_LIMIT: Duration = Duration::from_secs(20);
/// In the first seconds after a blow most is to be seen: they must all be clear.
const IMPACT_S: u64 = 3;
/// Of all seconds at most one in so many may be unclear.
const UNCLEAR_PART: usize = 4;
/// The task that asks a server in its own pod, beside each prober and beside each server. What it loses, the machine had
/// no time for.
const CONTROL: &str = "control";
const CONTROL_PORT: u16 = 8090;
const SERVER_PORT: u16 = 8080;
/// What the names of the servers' pods begin with.
const SERVER: &str = "server-";
/// The task that asks the DNS server.
pub const NAME: &str = "name";

/// What each prober does, and how many of a thousand requests that are.
const TASKS: [Task; 5] = [
    Task { name: "service", verb: "steady", share: 300 },
    Task { name: "pod", verb: "steady", share: 300 },
    Task { name: "held", verb: "hold", share: 100 },
    Task { name: NAME, verb: "resolve", share: 100 },
    Task { name: CONTROL, verb: "steady", share: 200 },
];

struct Task {
    name: &'static str,
    verb: &'static str,
    share: usize,
}

/// A prober on every node.
pub struct Probes {
    cluster: Cluster,
    nodes: Vec<Node>,
    /// Requests a second of each.
    rate: usize,
}

/// What the probers say of a window.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Nothing was lost.
    Clean,
    /// What was lost by the network, a line for each prober and task.
    Lost(Vec<String>),
    /// The machine had too little time for a verdict.
    Unclear,
}

/// A verdict and what it rests on.
pub struct Findings {
    /// The verdict.
    pub verdict: Verdict,
    /// The figures, in a line.
    pub summary: String,
}

impl Probes {
    /// Starts a server on every node and a prober on every node, which sends `rate` requests a second.
    pub fn start(cluster: &Cluster, nodes: &[Node], rate: usize) -> Result<Self> {
        ensure!((10..=10_000).contains(&rate), "{rate} requests a second: between 10 and 10000 are possible");
        cluster.apply(&[namespace(NAMESPACE), servers(rate), service_at("server", SERVICE)].join("\n"))?;
        let servers = wait_for("the servers to be ready", LIMIT, || {
            let pods = cluster.read(&["get", "pods", "-n", NAMESPACE, "-l", "app=server"])?;
            let ready = list(&pods).filter(|pod| has_condition(pod, "Ready")).count();
            Ok((ready == nodes.len()).then_some(pods))
        })?;
        for node in nodes {
            let elsewhere = list(&servers).find(|pod| nodes.len() == 1 || pod["spec"]["nodeName"] != node.name());
            let address = elsewhere.and_then(|pod| pod["status"]["podIP"].as_str()).context("no server elsewhere")?;
            cluster.apply(&prober(node, address, rate))?;
        }
        wait_for("the probers to run", LIMIT, || {
            let pods = cluster.read(&["get", "pods", "-n", NAMESPACE])?;
            Ok(list(&pods).all(|pod| has_condition(pod, "Ready")).then_some(()))
        })?;
        // The first second of each is not a whole one.
        pause(Duration::from_secs(3));
        Ok(Self { cluster: cluster.clone(), nodes: nodes.to_vec(), rate })
    }

    /// Does something and waits for `calm`, then tells what was lost meanwhile. Tasks in `excused` are told of and not
    /// judged.
    pub fn during(&self, excused: &[&str], calm: Duration, act: impl FnOnce() -> Result<()>) -> Result<Findings> {
        let began = now()?;
        act()?;
        pause(calm);
        let window = began..=now()?;
        let deadline = now()? + TELL_LIMIT.as_secs();
        while now()? < deadline && !self.have_told(*window.end() + 1)? {
            pause(Duration::from_millis(500));
        }
        self.judge(excused, &window)
    }

    /// Removes them.
    pub fn end(self) -> Result<()> {
        self.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"]).map(|_| ())
    }

    fn judge(&self, excused: &[&str], window: &Window) -> Result<Findings> {
        let mut controls = Vec::new();
        for (node, pod) in self.nodes.iter().flat_map(|node| [(node, prober_name(node)), (node, SERVER.to_owned())]) {
            controls.push((tally_of(node, &pod, CONTROL)?, rate_of(CONTROL, self.rate)));
        }
        let mut judged = Vec::new();
        for node in &self.nodes {
            for Task { name, .. } in TASKS.iter().filter(|task| task.name != CONTROL) {
                let tally = tally_of(node, &prober_name(node), name)?;
                let judgement = tally.judge(rate_of(name, self.rate), &controls, window);
                judged.push((format!("{} {name}", node.name()), !excused.contains(name), judgement));
            }
        }
        let mine: Vec<_> =
            judged.iter().filter(|(_, counts, _)| *counts).map(|(who, _, found)| (&**who, found)).collect();
        Ok(Findings { verdict: verdict(&mine, window), summary: summary(&judged, window) })
    }

    fn have_told(&self, second: u64) -> Result<bool> {
        for node in &self.nodes {
            for task in &TASKS {
                if tally_of(node, &prober_name(node), task.name)?.last().is_none_or(|last| last < second) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn verdict(judged: &[(&str, &Judgement)], window: &Window) -> Verdict {
    let lost = judged.iter().filter(|(_, found)| found.lost > 0);
    let told = |(who, found): &(&str, &Judgement)| {
        format!("{who}: {} of {} lost: {}", found.lost, found.sent, found.why.as_deref().unwrap_or_default())
    };
    let lost: Vec<String> = lost.map(told).collect();
    let is_unclear = |found: &Judgement| {
        let early = found.unclear.iter().any(|second| *second < *window.start() + IMPACT_S);
        early || found.unclear.len() * UNCLEAR_PART > window.clone().count()
    };
    match lost.is_empty() {
        false => Verdict::Lost(lost),
        true if judged.iter().any(|(_, found)| is_unclear(found)) => Verdict::Unclear,
        true => Verdict::Clean,
    }
}

/// All probers together, task by task.
fn summary(judged: &[(String, bool, Judgement)], window: &Window) -> String {
    let of_task = |task: &Task| {
        let of_it = judged.iter().filter(|(who, ..)| who.ends_with(&format!(" {}", task.name)));
        let (sent, lost) = of_it.fold((0, 0), |(sent, lost), (.., found)| (sent + found.sent, lost + found.lost));
        format!("{} {lost}/{sent}", task.name)
    };
    let tasks: Vec<String> = TASKS.iter().filter(|task| task.name != CONTROL).map(of_task).collect();
    let unclear = judged.iter().map(|(.., found)| found.unclear.len()).max().unwrap_or_default();
    let seconds = window.clone().count();
    format!("{seconds} s, {unclear} unclear; lost/sent: {}", tasks.join("  "))
}

/// What a task of a node's pod has told so far, from the file that the node's runtime writes: it is to be had whatever is
/// killed.
fn tally_of(node: &Node, pod: &str, task: &str) -> Result<Tally> {
    let path = log_folder(node, pod)?.join(task).join("0.log");
    let log = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Tally::parse(&String::from_utf8_lossy(&log)))
}

/// The kubelet names it after the pod, of whose name the beginning is enough, and the pod's UID.
fn log_folder(node: &Node, pod: &str) -> Result<PathBuf> {
    let folder = node.machine.folder.join("var/log/pods");
    let listed = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let prefix = format!("{NAMESPACE}_{pod}");
    let mut found = listed.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    found.next().map(|entry| entry.path()).with_context(|| format!("no {pod} has run on {}", node.name()))
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn rate_of(task: &str, rate: usize) -> usize {
    let share = TASKS.iter().find(|known| known.name == task).map_or(0, |task| task.share);
    (rate * share / 1000).max(1)
}

/// The pod that asks from a node.
pub fn prober_name(node: &Node) -> String {
    format!("prober-{}", node.name())
}

fn prober(node: &Node, pod: &str, rate: usize) -> String {
    let container = |task: &Task| {
        let address = match task.name {
            CONTROL => format!("127.0.0.1:{CONTROL_PORT}"),
            "pod" => format!("{pod}:{SERVER_PORT}"),
            NAME => format!("{DNS_SERVICE}:53"),
            _ => format!("{SERVICE}:80"),
        };
        probe(task, address, rate)
    };
    let containers: Vec<Value> = [quiet_server(CONTROL_PORT)].into_iter().chain(TASKS.iter().map(container)).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": prober_name(node), "namespace": NAMESPACE },
        "spec": {
            "nodeName": node.name(), "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": containers,
        },
    })
    .to_string()
}

fn probe(Task { name, verb, .. }: &Task, address: String, rate: usize) -> Value {
    let mut command = vec!["/probe".to_owned(), (*verb).to_owned(), address, rate_of(name, rate).to_string()];
    if *name == NAME {
        command.push(format!("kubernetes.default.svc.{CLUSTER_DOMAIN}."));
    }
    json!({ "name": name, "image": IMAGES[0].name, "command": command, "resources": cpu_request() })
}

/// A server that says nothing: while containerd is away nobody reads, and one that speaks of every request stands still
/// as soon as the pipe is full.
fn quiet_server(port: u16) -> Value {
    let start = format!("exec /agnhost netexec --http-port={port} --udp-port=-1 > /dev/null 2>&1");
    json!({
        "name": "server", "image": IMAGES[0].name, "command": ["sh", "-c", start], "resources": cpu_request(),
        "readinessProbe": { "httpGet": { "path": "/hostname", "port": port }, "periodSeconds": 1 },
    })
}

/// A server on every node, each with a control of its own.
fn servers(rate: usize) -> String {
    let labels = json!({ "app": "server" });
    let control = Task { name: CONTROL, verb: "steady", share: 0 };
    let containers = [quiet_server(SERVER_PORT), probe(&control, format!("127.0.0.1:{SERVER_PORT}"), rate)];
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "server", "namespace": NAMESPACE },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": 0, "containers": containers },
            },
        },
    })
    .to_string()
}

/// A Service of the servers at that address.
pub fn service_at(name: &str, address: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "clusterIP": address,
            "selector": { "app": "server" },
            "ports": [{ "port": 80, "targetPort": SERVER_PORT }],
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lost: usize, unclear: &[u64]) -> Judgement {
        Judgement { sent: 100, lost, why: (lost > 0).then(|| "timeout".into()), unclear: unclear.to_vec() }
    }

    #[test]
    fn a_loss_is_told_even_when_other_seconds_are_unclear() {
        let (clean, bad) = (found(0, &[100]), found(2, &[]));
        let told = verdict(&[("node-1 pod", &clean), ("node-2 pod", &bad)], &(100..=120));
        assert_eq!(told, Verdict::Lost(vec!["node-2 pod: 2 of 100 lost: timeout".into()]));
    }

    #[test]
    fn no_verdict_without_the_seconds_of_the_blow_or_with_too_few_others() {
        let judge = |unclear: &[u64]| verdict(&[("a", &found(0, unclear))], &(100..=119));
        assert_eq!(judge(&[110, 115]), Verdict::Clean);
        assert_eq!(judge(&[102]), Verdict::Unclear);
        assert_eq!(judge(&[110, 111, 112, 113, 114, 115]), Verdict::Unclear);
    }

    #[test]
    fn the_tasks_share_the_rate() {
        assert_eq!(TASKS.iter().map(|task| rate_of(task.name, 1000)).sum::<usize>(), 1000);
        assert_eq!(rate_of("held", 10), 1);
    }
}
