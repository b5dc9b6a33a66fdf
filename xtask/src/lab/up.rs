//! Bringing a lab up.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::assets::Assets;
use super::cluster::Cluster;
use super::progress::Progress;
use super::site::{Node, Shape, Site};
use super::stack::{self, Stack};
use super::{control_plane, down, network, node, packages};

const JOIN_LIMIT: Duration = Duration::from_secs(120);
const PODS_LIMIT: Duration = Duration::from_secs(180);

/// Brings up a lab that is not there; with Fairway's image from `archive`, if there is one already.
pub fn up(site: &Site, shape: &Shape, archive: Option<PathBuf>) -> Result<()> {
    if !packages::is_root()? {
        bail!("a lab needs root: its nodes mount file systems and own cgroups");
    }
    if down::anything_runs(site)? {
        bail!("the lab {:?} is up already; `cargo xtask lab down` ends it", site.name);
    }
    let progress = Progress::begin();
    let assets = Assets { fairway: archive, ..Assets::build(progress)? };
    for line in down::remove(site)? {
        progress.say(format!("left over   {line}"));
    }
    let made = make(site, shape, &assets, progress);
    made.with_context(|| format!("the lab {:?} is half up; `cargo xtask lab down` clears it away", site.name))?;
    progress.say("up");
    Ok(())
}

fn make(site: &Site, shape: &Shape, assets: &Assets, progress: Progress) -> Result<()> {
    progress.say("control     etcd, kube-apiserver, kube-controller-manager, kube-scheduler");
    std::fs::create_dir_all(&site.folder)?;
    site.write_shape(shape)?;
    control_plane::start(site, shape.families, &assets.programs)?;
    let nodes = site.nodes(shape);
    let names: Vec<&str> = nodes.iter().map(Node::name).collect();
    progress.say(format!("nodes       {}: containerd, images, kubelet", names.join(" ")));
    join(site, shape, &nodes, assets)?;
    progress.say(format!("network     {}", shape.stack.name()));
    route_to_pods(site, &nodes)?;
    stack::install(site, shape, assets, progress)?;
    if shape.stack == Stack::Bare {
        return Ok(());
    }
    let cluster = Cluster::of(site);
    cluster.wait_for_nodes(shape.nodes, JOIN_LIMIT)?;
    progress.say("ready       all nodes");
    cluster.wait_for_pods("kube-system", PODS_LIMIT)?;
    progress.say("ready       all pods of kube-system");
    Ok(())
}

/// Boots all nodes at once.
fn join(site: &Site, shape: &Shape, nodes: &[Node], assets: &Assets) -> Result<()> {
    let start = |node: &Node| {
        node::create(site, node, &assets.programs)?;
        shape.stack.prepare(node, &assets.programs.plugins)?;
        node::import_images(node, &assets.images)?;
        node::start_kubelet(node, &assets.programs)
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = nodes.iter().map(|node| scope.spawn(|| start(node))).collect();
        started.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// The suites and the API server reach pods from the control plane's machine.
fn route_to_pods(site: &Site, nodes: &[Node]) -> Result<()> {
    let cluster = Cluster::of(site);
    nodes.iter().try_for_each(|node| {
        let ranges = cluster.wait_for_pod_ranges(node.name(), JOIN_LIMIT)?;
        network::route(&site.control(), &ranges, node)
    })
}

/// Prints what may be done with a lab that has come up.
pub fn say_what_next(site: &Site, shape: &Shape) {
    let name = if site.name == super::DEFAULT_NAME { String::new() } else { format!(" --name {}", site.name) };
    println!("What next:");
    println!("    cargo xtask lab kubectl{name} get pods -A -o wide");
    if shape.stack != Stack::Bare {
        println!("    cargo xtask lab suite{name} conformance");
    }
    println!("    cargo xtask lab down{name}");
}
