//! The traffic: each probe says what was tried and what was seen, and never more than it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use apiserver::client::{DeleteOptions, ENDPOINT_SLICES, ExecRequest, ListOptions, PODS};
use model::from_kube::SERVICE_LABEL;
use tokio::process::Command;
use tokio::time::sleep;

use super::super::launch::{Sandbox, until};
use super::Finding;
use super::shop::{self, Shop, ShopPod};

/// Requests that are spread over the replicas.
const SPREAD: usize = 90;
/// How long requests run while a replica is deleted.
const LOAD_SECONDS: u32 = 3;
/// How long every node may take to learn that an endpoint is gone.
const PROGRAMMING_MS: u128 = 100;

/// What a probe saw.
struct Seen {
    from: String,
    to: String,
    seen: String,
    ok: bool,
}

/// Waits until every node that requests come from leads to the shop's Services and every DNS server knows their names.
///
/// Kubernetes has no condition for that: a pod is ready before the nodes can know it, here some ten milliseconds.
pub async fn services_in_force(sandbox: &Sandbox, shop: &Shop) -> Result<()> {
    let probe = Probe { sandbox, shop };
    let servers = shop::pods(&sandbox.client, "kube-system", "k8s-app=kube-dns").await?;
    // The pods that ask below, one a node.
    let clients: BTreeMap<&str, &ShopPod> =
        shop.frontend.iter().chain(&shop.database).map(|pod| (pod.node.as_str(), pod)).collect();
    until("every node leads to the shop's Services", || async {
        for client in clients.values() {
            for server in &servers {
                let asked = ["nslookup", "product-service.shop.svc.cluster.local", &server.address];
                if probe.exec_any(client, None, &asked).await?.exit_code != 0 {
                    return Ok(false);
                }
            }
            let asked = ["wget", "-T", "1", "-t", "1", "-qO-", "http://product-service.shop/hostname"];
            if probe.exec_any(client, None, &asked).await?.exit_code != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// Runs every probe, one after the other; one that cannot run is a line that fails.
pub async fn run_all(sandbox: &Sandbox, shop: &Shop) -> Vec<Finding> {
    let probe = Probe { sandbox, shop };
    let mut findings = Vec::new();
    let mut add = |tried: &'static str, outcome: Result<Seen>| {
        findings.push(match outcome {
            Ok(Seen { from, to, seen, ok }) => Finding { tried, from, to, seen, ok },
            Err(error) => Finding {
                tried,
                from: "-".to_owned(),
                to: "-".to_owned(),
                seen: format!("could not be tried: {error:#}"),
                ok: false,
            },
        });
    };
    add("pod to pod across nodes, no NAT", probe.pod_to_pod().await);
    add("localhost inside a pod", probe.localhost().await);
    add("Service by name, other namespace", probe.service_by_name().await);
    add("load spread over the replicas", probe.spread().await);
    add("UDP Service", probe.udp_service().await);
    add("NodePort from outside", probe.node_port().await);
    add("headless Service", probe.headless().await);
    add("name of one database replica", probe.stateful_name().await);
    add("SRV record", probe.srv().await);
    add("Service without endpoints", probe.no_endpoints().await);
    add("replica deleted under load", probe.deletion_under_load().await);
    findings
}

struct Probe<'a> {
    sandbox: &'a Sandbox,
    shop: &'a Shop,
}

impl Probe<'_> {
    /// The server must see the client pod's own address.
    async fn pod_to_pod(&self) -> Result<Seen> {
        let server = self.shop.products.first().context("no product pod")?;
        let elsewhere = self.shop.frontend.iter().find(|pod| pod.node != server.node);
        let client = elsewhere.context("no frontend on another node; the demo needs two nodes")?;
        let answer = self.fetch(client, &format!("http://{}:8080/clientip", server.address)).await?;
        let address = answer.rsplit_once(':').map_or(answer.as_str(), |(address, _)| address);
        Ok(Seen {
            from: format!("{} ({}, {})", short(client), client.node, client.address),
            to: format!("{}:8080 ({})", server.address, server.node),
            seen: format!("the server sees {address}"),
            ok: address == client.address,
        })
    }

    async fn localhost(&self) -> Result<Seen> {
        let pod = self.shop.products.first().context("no product pod")?;
        let script = ["wget", "-qO-", "http://localhost:8080/hostname"];
        let answer = self.exec(pod, Some("logger"), &script).await?;
        Ok(Seen {
            from: format!("{}, container logger", short(pod)),
            to: "localhost:8080".to_owned(),
            ok: answer == pod.name,
            seen: format!("container products answers: {answer}"),
        })
    }

    async fn service_by_name(&self) -> Result<Seen> {
        let client = self.shop.database.first().context("no database pod")?;
        let answer = self.fetch(client, "http://product-service.shop/hostname").await?;
        Ok(Seen {
            from: format!("{} (namespace data)", client.name),
            to: "product-service.shop:80".to_owned(),
            ok: self.shop.products.iter().any(|pod| pod.name == answer),
            seen: format!("{answer} answers"),
        })
    }

    /// Every replica must take a share that chance explains.
    async fn spread(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        // What a failed request says goes to standard error: its last line, after what was tried.
        let script = format!(
            "for i in $(seq {SPREAD}); do said=$(wget -O- http://product-service/hostname 2>&1 >&3) \
             || echo \"$said\" | tail -n 1 >&2; echo; done 3>&1"
        );
        let Printed { out: answers, err: complaints, .. } = self.exec_any(client, None, &["sh", "-c", &script]).await?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in answers.split_whitespace() {
            *counts.entry(name).or_default() += 1;
        }
        let replicas = self.shop.products.len();
        // A fair draw of 90 over 3 leaves a replica below 12 once in some million runs.
        let fair = counts.len() == replicas && counts.values().all(|count| *count > SPREAD / replicas / 5 * 2);
        let shares: Vec<String> = counts.values().map(ToString::to_string).collect();
        let complaint = complaints.lines().next().map(|line| format!("; {line}")).unwrap_or_default();
        Ok(Seen {
            from: short(client),
            to: "product-service:80".to_owned(),
            seen: format!("{} requests: {}{complaint}", counts.values().sum::<usize>(), shares.join(" + ")),
            ok: fair && counts.values().sum::<usize>() == SPREAD,
        })
    }

    async fn udp_service(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        let answer = self.exec(client, None, &["sh", "-c", "echo hostname | nc -u -w 1 product-service 81"]).await?;
        Ok(Seen {
            from: short(client),
            to: "product-service:81/UDP".to_owned(),
            ok: self.shop.products.iter().any(|pod| pod.name == answer),
            seen: format!("{answer} answers"),
        })
    }

    async fn node_port(&self) -> Result<Seen> {
        let mut answered = BTreeSet::new();
        let spec = &self.sandbox.record.spec;
        let nodes = spec.nodes();
        for index in 0..usize::from(nodes) {
            let url = format!("http://{}/", SocketAddr::new(spec.node_addresses(index)[0], 30080));
            let page = self.fetch_from_outside(&url).await?;
            let pod = self.shop.frontend.iter().find(|pod| page.contains(&pod.name));
            answered.insert(pod.with_context(|| format!("{url} answered {page:?}"))?.name.clone());
        }
        Ok(Seen {
            from: "outside the nodes".to_owned(),
            to: "every node, port 30080".to_owned(),
            seen: format!("{nodes} of {nodes} nodes answer, through {} frontend pods", answered.len()),
            ok: true,
        })
    }

    async fn headless(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        let name = "database.data.svc.cluster.local";
        let answer = self.exec(client, None, &["nslookup", name]).await?;
        let found: BTreeSet<&str> = addresses_of(&answer, name).collect();
        let wanted: BTreeSet<&str> = self.shop.database.iter().map(|pod| pod.address.as_str()).collect();
        Ok(Seen {
            from: short(client),
            to: name.to_owned(),
            ok: found == wanted,
            seen: format!("the pods' own addresses: {}", found.into_iter().collect::<Vec<_>>().join(" ")),
        })
    }

    async fn stateful_name(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        let server = self.shop.database.last().context("no database pod")?;
        let answer = self.fetch(client, &format!("http://{}.database.data:5432/hostname", server.name)).await?;
        Ok(Seen {
            from: short(client),
            to: format!("{}.database.data:5432", server.name),
            ok: answer == server.name,
            seen: format!("{answer} answers"),
        })
    }

    async fn srv(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        let name = "_sql._tcp.database.data.svc.cluster.local";
        let answer = self.exec(client, None, &["nslookup", "-type=srv", name]).await?;
        let named = |pod: &&ShopPod| answer.contains(&format!("5432 {}.database.data.svc.cluster.local", pod.name));
        let found: Vec<&str> = self.shop.database.iter().filter(named).map(|pod| pod.name.as_str()).collect();
        Ok(Seen {
            from: short(client),
            to: name.to_owned(),
            ok: found.len() == self.shop.database.len(),
            seen: format!("port 5432 of {}", found.join(", ")),
        })
    }

    /// A Service nobody stands behind must refuse at once instead of letting its clients wait.
    async fn no_endpoints(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        crate::apply::apply(
            &self.sandbox.client,
            "{apiVersion: v1, kind: Service, metadata: {name: nobody, namespace: shop}, \
              spec: {selector: {app: nobody}, ports: [{port: 80}]}}",
        )
        .await?;
        let resolves = ["nslookup", "nobody.shop.svc.cluster.local"];
        until("the new Service has a name", || async {
            Ok(self.exec_any(client, None, &resolves).await?.exit_code == 0)
        })
        .await?;
        let begun = SystemTime::now();
        let asked = ["wget", "-T", "5", "-t", "1", "-O", "/dev/null", "http://nobody/"];
        let Printed { err: said, exit_code, .. } = self.exec_any(client, None, &asked).await?;
        let waited = begun.elapsed().unwrap_or_default();
        let refused = said.to_lowercase().contains("refused");
        Ok(Seen {
            from: short(client),
            to: "nobody:80".to_owned(),
            seen: format!("{} after {} ms", if refused { "refused" } else { &said }, waited.as_millis()),
            ok: refused && exit_code != 0 && waited < Duration::from_secs(2),
        })
    }

    /// No request may fail that began after every node could know that the replica was gone.
    async fn deletion_under_load(&self) -> Result<Seen> {
        let client = self.shop.frontend.first().context("no frontend pod")?;
        let victim = self.shop.products.last().context("no product pod")?;
        let script = format!(
            "end=$(($(date +%s) + {LOAD_SECONDS})); while [ $(date +%s) -lt $end ]; do \
             at=$(date +%s%3N); wget -T 2 -qO- http://product-service/hostname >/dev/null 2>&1; echo $at $?; done"
        );
        let command = ["sh", "-c", &script];
        let load = self.exec(client, None, &command);
        let deletion = async {
            sleep(Duration::from_secs(1)).await;
            self.delete(victim).await
        };
        let (log, gone_at) = tokio::join!(load, deletion);
        let (log, gone_at) = (log?, gone_at?);
        let requests = log.lines().filter_map(|line| line.split_once(' '));
        let outcomes: Vec<(u128, bool)> =
            requests.filter_map(|(at, code)| Some((at.parse().ok()?, code == "0"))).collect();
        let after = outcomes.iter().filter(|(at, _)| *at > gone_at + PROGRAMMING_MS).count();
        let failed =
            |late: bool| outcomes.iter().filter(|(at, ok)| !ok && (*at > gone_at + PROGRAMMING_MS) == late).count();
        ensure!(after > 10, "only {after} requests were made after the replica was gone");
        Ok(Seen {
            from: short(client),
            to: "product-service:80".to_owned(),
            seen: format!(
                "{} requests, {after} after it left: {} failed ({} before)",
                outcomes.len(),
                failed(true),
                failed(false)
            ),
            ok: failed(true) == 0,
        })
    }

    /// Deletes a pod; the time, in milliseconds since 1970, at which its endpoint was no longer ready.
    async fn delete(&self, pod: &ShopPod) -> Result<u128> {
        let client = &self.sandbox.client;
        client.delete(&PODS, &pod.namespace, &pod.name, &DeleteOptions::default()).await?;
        until("the replica left the endpoints", || async {
            let service = ListOptions::labels(&format!("{SERVICE_LABEL}=product-service"));
            let slices = client.list(&ENDPOINT_SLICES, &pod.namespace, &service).await?;
            let endpoints = slices.items.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
            let mut ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
            Ok(!ready.any(|endpoint| endpoint["addresses"][0] == pod.address.as_str()))
        })
        .await?;
        Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
    }

    async fn fetch(&self, pod: &ShopPod, url: &str) -> Result<String> {
        self.exec(pod, None, &["wget", "-T", "5", "-O-", url]).await
    }

    /// A request from beside the nodes, where whoever is not in the cluster is.
    async fn fetch_from_outside(&self, url: &str) -> Result<String> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let name = self.sandbox.record.spec.name();
        let asked = Command::new(&this)
            .args(["enter", "--name", name, "--"])
            .arg(&this)
            .args(["applet", "wget", "-T", "5", "-qO-", url])
            .stdin(Stdio::null())
            .output();
        let answer = asked.await.context("cannot start a client outside the nodes")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        ensure!(answer.status.success(), "{url}: {}", text(&answer.stderr));
        Ok(text(&answer.stdout))
    }

    /// Runs a command in a pod that must succeed; what it printed.
    async fn exec(&self, pod: &ShopPod, container: Option<&str>, command: &[&str]) -> Result<String> {
        let Printed { out, err, exit_code } = self.exec_any(pod, container, command).await?;
        ensure!(exit_code == 0, "{}: exit code {exit_code}: {}", command[0], err.lines().last().unwrap_or_default());
        Ok(out)
    }

    /// Runs a command in a pod that may fail.
    async fn exec_any(&self, pod: &ShopPod, container: Option<&str>, command: &[&str]) -> Result<Printed> {
        let request = ExecRequest {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: container.map(str::to_owned),
            command: command.iter().map(ToString::to_string).collect(),
            stdin: Vec::new(),
        };
        let output = self.sandbox.client.exec(&request).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(Printed { out: text(&output.stdout), err: text(&output.stderr), exit_code: output.exit_code })
    }
}

/// What a command in a pod left behind.
struct Printed {
    out: String,
    err: String,
    exit_code: i32,
}

/// The addresses that follow `Name: NAME` in what nslookup prints.
fn addresses_of<'a>(answer: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut named = false;
    answer.lines().filter_map(move |line| {
        if let Some(rest) = line.strip_prefix("Name:") {
            named = rest.trim() == name;
            return None;
        }
        let address = line.strip_prefix("Address").and_then(|rest| rest.split_once(':'))?.1;
        named.then(|| address.split_whitespace().next()).flatten()
    })
}

/// The pod's workload and the end of its name.
fn short(pod: &ShopPod) -> String {
    let mut parts = pod.name.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(end), Some(_), Some(workload)) => format!("{workload}…{end}"),
        _ => pod.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_either_form_of_nslookup() {
        let bind = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\nName:\ta.b\nAddress: 10.0.0.1\nName:\ta.b\nAddress: 10.0.0.2\n";
        let busybox = "Server:    10.96.0.10\nAddress:   10.96.0.10:53\n\nName:      a.b\nAddress 1: 10.0.0.1 x\nAddress: 10.0.0.2\n";
        for answer in [bind, busybox] {
            assert_eq!(addresses_of(answer, "a.b").collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
        }
    }

    #[test]
    fn a_pod_name_is_shortened_to_workload_and_end() {
        let pod = |name: &str| ShopPod {
            namespace: String::new(),
            name: name.into(),
            node: String::new(),
            address: String::new(),
        };
        assert_eq!(short(&pod("product-service-6d4c9-x7x2p")), "product-service…x7x2p");
        assert_eq!(short(&pod("database-0")), "database-0");
    }
}
