//! A pod's network and what its containers share besides it: made once, before the first of them.

use std::fs;
use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::Context;
use crate::node::amount::Amount;
use crate::node::cni::{Attachment, Wishes, port_mapping};
use crate::node::names::{
    ClusterNames, PodName, Resolver, host_network_hosts_file, hosts_file, plan_name, plan_resolver,
};
use crate::node::namespaces::{NamespacesError, Places};
use crate::node::records::SandboxRecord;
use crate::shim::Namespaces;

/// What a pod may receive and send, in bits a second.
const INGRESS_BANDWIDTH: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS_BANDWIDTH: &str = "kubernetes.io/egress-bandwidth";
/// The amounts Kubernetes allows there.
const BANDWIDTHS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// A sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The pod's name cannot be one.
    #[error("{0}")]
    Name(String),
    /// A limit of what it may receive or send is none; runtimes refuse the same.
    #[error("annotation {annotation}: {value:?} must be an amount of bits a second from 1k to 1P, such as \"10M\"")]
    Bandwidth {
        /// Which annotation.
        annotation: &'static str,
        /// What stands there.
        value: String,
    },
    /// The kernel refused its namespaces.
    #[error("failed to create the namespaces of sandbox")]
    Namespaces(#[from] NamespacesError),
    /// No network.
    #[error("failed to setup network for sandbox {sandbox:?}: {why}")]
    Network {
        /// The sandbox.
        sandbox: String,
        /// What the plugins said.
        why: String,
    },
    /// A shared file could not be written.
    #[error("failed to write {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The files that show up in every container: where, and their name in the pod's directory.
const SHARED_FILES: [(&str, &str); 3] =
    [("/etc/hosts", "hosts"), ("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")];

/// Whether a pod lives in its node's network.
pub fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default()
}

/// What the pod is called inside.
pub fn name_of(context: &Context, pod: &Pod) -> Result<PodName, SandboxError> {
    let mut name = plan_name(pod, &context.config.cluster_domain).map_err(SandboxError::Name)?;
    if is_host_network(pod) {
        name.host_name = context.config.name.clone();
    }
    Ok(name)
}

/// Makes a pod's namespaces, attaches it to the network and writes the files its containers share.
///
/// After a failure nothing is left.
pub async fn make(context: &Context, pod: &Pod, id: String) -> Result<SandboxRecord, SandboxError> {
    let name = name_of(context, pod)?;
    if is_host_network(pod) {
        let sandbox = SandboxRecord { id, netns: None, addresses: context.config.addresses.clone() };
        write_files(context, pod, &name, &sandbox)?;
        return Ok(sandbox);
    }
    bandwidth(pod)?;
    let places = places(context, pod, &id);
    let (make, host_name) = (places.clone(), name.host_name.clone());
    let made = tokio::task::spawn_blocking(move || make.make(&host_name)).await;
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let mut sandbox = SandboxRecord { id, netns: Some(places.network.clone()), addresses: Vec::new() };
    let attached = context.networks.add(&attachment(pod, &sandbox)).await;
    let written = match attached {
        Ok(addresses) => {
            sandbox.addresses = addresses;
            write_files(context, pod, &name, &sandbox)
        }
        Err(error) => Err(SandboxError::Network { sandbox: sandbox.id.clone(), why: chain(&error) }),
    };
    match written {
        Ok(()) => Ok(sandbox),
        Err(error) => {
            // The first failure is the one to tell.
            if let Err(more) = remove(context, pod, &sandbox).await {
                tracing::warn!(sandbox = sandbox.id, error = more, "not detached after a failure");
                // Its namespaces go all the same: the next try needs their places, and a link ends with its namespace.
                let left = places.remove().map_err(|error| chain(&error));
                left.unwrap_or_else(|error| tracing::warn!(sandbox = sandbox.id, error, "half a sandbox is left"));
            }
            Err(error)
        }
    }
}

/// Detaches a pod from the network and gives up its namespaces. Works twice. The error is for a log or event.
pub async fn remove(context: &Context, pod: &Pod, sandbox: &SandboxRecord) -> Result<(), String> {
    if sandbox.netns.is_none() {
        return Ok(());
    }
    context.networks.delete(&attachment(pod, sandbox)).await.map_err(|error| chain(&error))?;
    places(context, pod, &sandbox.id).remove().map_err(|error| chain(&error))
}

/// Asks the CNI plugins whether a pod's network is still as they made it. The error is for an event.
pub async fn check(context: &Context, pod: &Pod, sandbox: &SandboxRecord) -> Result<(), String> {
    match sandbox.netns {
        Some(_) => context.networks.check(&attachment(pod, sandbox)).await.map_err(|error| chain(&error)),
        None => Ok(()),
    }
}

/// The namespaces a container of the pod joins.
pub fn namespaces(context: &Context, pod: &Pod, sandbox: &SandboxRecord) -> Namespaces {
    match sandbox.netns {
        Some(_) => places(context, pod, &sandbox.id).as_namespaces(),
        None => Namespaces::default(),
    }
}

/// The files all containers of a pod share.
pub fn shared_files(context: &Context, pod: &Pod) -> Vec<(&'static str, PathBuf)> {
    let directory = context.config.paths.pod(uid(pod)).join("etc");
    SHARED_FILES.iter().map(|(target, name)| (*target, directory.join(name))).collect()
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn places(context: &Context, pod: &Pod, id: &str) -> Places {
    let (paths, own) = (&context.config.paths, context.config.paths.pod(uid(pod)));
    Places { network: paths.netns.join(id), uts: own.join("uts"), ipc: own.join("ipc") }
}

fn attachment<'a>(pod: &'a Pod, sandbox: &'a SandboxRecord) -> Attachment<'a> {
    Attachment {
        sandbox: &sandbox.id,
        netns: sandbox.netns.as_deref().unwrap_or(std::path::Path::new("")),
        pod_namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod_name: pod.metadata.name.as_deref().unwrap_or_default(),
        pod_uid: uid(pod),
        wishes: wishes(pod),
    }
}

/// What the pod's specification and annotations ask of the network.
fn wishes(pod: &Pod) -> Wishes {
    let ports = Some(host_ports(pod)).filter(|ports| !ports.is_empty());
    let ports = ports.map(|ports| ("portMappings", Value::from(ports)));
    // Of a pod whose limits make no sense nothing is made, so there is nothing to take down by them.
    let limits = bandwidth(pod).ok().flatten();
    ports.into_iter().chain(limits.map(|limits| ("bandwidth", limits))).collect()
}

/// Limits in bits a second, by the annotations kubelet's runtimes read.
fn bandwidth(pod: &Pod) -> Result<Option<Value>, SandboxError> {
    /// What runtimes say for a burst nobody asked for: as large as can be.
    const ANY_BURST: u32 = u32::MAX;
    let mut fields = serde_json::Map::new();
    for (way, annotation) in [("ingress", INGRESS_BANDWIDTH), ("egress", EGRESS_BANDWIDTH)] {
        let Some(value) = pod.metadata.annotations.as_ref().and_then(|all| all.get(annotation)) else { continue };
        let bits = Amount::parse(value).map(|amount| amount.divided_rounding_up(Amount::of_units(1)));
        let bits = bits.and_then(|bits| u64::try_from(bits).ok()).filter(|bits| BANDWIDTHS.contains(bits));
        let bits = bits.ok_or_else(|| SandboxError::Bandwidth { annotation, value: value.clone() })?;
        fields.insert(format!("{way}Rate"), Value::from(bits));
        fields.insert(format!("{way}Burst"), Value::from(ANY_BURST));
    }
    Ok((!fields.is_empty()).then_some(Value::Object(fields)))
}

fn host_ports(pod: &Pod) -> Vec<Value> {
    let ports =
        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let mapped = ports.filter_map(|port| {
        let host_port = port.host_port.filter(|&port| port > 0)?;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        Some(port_mapping(host_port, port.container_port, protocol, port.host_ip.as_deref()))
    });
    mapped.collect()
}

fn write_files(context: &Context, pod: &Pod, name: &PodName, sandbox: &SandboxRecord) -> Result<(), SandboxError> {
    let config = &context.config;
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.clone()).unwrap_or_default();
    let node_file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let hosts = match sandbox.netns {
        Some(_) => hosts_file(&sandbox.addresses, name, &aliases),
        None => host_network_hosts_file(&node_file("/etc/hosts"), &aliases),
    };
    let cluster = ClusterNames { servers: &config.cluster_dns, domain: &config.cluster_domain };
    let resolver = plan_resolver(pod, cluster, &Resolver::parse(&node_file("/etc/resolv.conf")));
    let directory = config.paths.pod(uid(pod)).join("etc");
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| SandboxError::File { path, source }
    };
    fs::create_dir_all(&directory).map_err(failed(&directory))?;
    let contents = [hosts, format!("{}\n", name.host_name), resolver.to_file()];
    for ((_, file), content) in SHARED_FILES.iter().zip(contents) {
        let path = directory.join(file);
        fs::write(&path, content).map_err(failed(&path))?;
    }
    Ok(())
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wishes_of(annotations: &Value, ports: &Value) -> Value {
        let pod = json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "name": "web", "ports": ports }] },
        });
        json!(wishes(&serde_json::from_value(pod).unwrap()))
    }

    #[test]
    fn a_pod_wishes_for_host_ports_and_limits() {
        let annotations = json!({ INGRESS_BANDWIDTH: "10M", EGRESS_BANDWIDTH: "1Gi", "other": "1" });
        let ports = json!([{ "containerPort": 80, "hostPort": 8080 }, { "containerPort": 81 }]);
        let expected = json!({
            "bandwidth": {
                "ingressRate": 10_000_000, "ingressBurst": u32::MAX, "egressRate": 1_u64 << 30, "egressBurst": u32::MAX,
            },
            "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" }],
        });
        assert_eq!(wishes_of(&annotations, &ports), expected);
    }

    #[test]
    fn what_a_pod_does_not_ask_for_is_not_wished() {
        assert_eq!(wishes_of(&json!({}), &json!([{ "containerPort": 81 }])), json!({}));
    }

    #[test]
    fn a_limit_that_is_none_is_refused_by_its_annotation() {
        let limits = |value: &str| {
            let pod = json!({ "metadata": { "annotations": { EGRESS_BANDWIDTH: value } } });
            bandwidth(&serde_json::from_value(pod).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(limits("1e6"), Ok(Some(json!({ "egressRate": 1_000_000, "egressBurst": u32::MAX }))));
        for value in ["foo", "", "10", "2P", "-1M"] {
            let refusal = limits(value).unwrap_err();
            let expected = format!("annotation kubernetes.io/egress-bandwidth: {value:?} must be an amount of bits");
            assert!(refusal.starts_with(&expected), "{refusal}");
        }
    }
}
