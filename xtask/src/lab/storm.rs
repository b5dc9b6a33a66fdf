//! Bad days: everything is killed, one after the other, while pods ask each other all the time.

mod count;
mod kernel;
mod probes;
mod victims;

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::Cluster;
use super::progress::{Progress, pause, wait_for};
use super::site::Site;
use super::stack::Stack;
use victims::Victim;

/// How long a program may take to be back; kubelet waits up to ten seconds before it starts a container again.
const BACK_LIMIT: Duration = Duration::from_secs(90);
/// Time between a program's return and the next blow, for what its absence may have broken.
const CALM: Duration = Duration::from_secs(3);
/// etcd is frozen for so long.
const FREEZE: Duration = Duration::from_secs(120);
const STOP: u8 = 19;
const CONTINUE: u8 = 18;
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Goes through the storm; an error if a probe was lost or a node's kernel is not as a fresh agent makes it.
pub fn run(site: &Site) -> Result<()> {
    let shape = site.read_shape()?;
    ensure!(shape.stack == Stack::Fairway, "the storm is for a lab with --stack fairway");
    let (cluster, nodes, progress) = (Cluster::of(site), site.nodes(shape), Progress::begin());
    progress.say("probes      on every node, to a Service and to a pod");
    let probes = probes::start(&cluster, &nodes)?;
    for victim in victims::all(site, &nodes) {
        strike(&victim, progress)?;
    }
    progress.say(format!("freezing    etcd for {} s", FREEZE.as_secs()));
    site.control().signal("etcd", STOP)?;
    pause(FREEZE);
    site.control().signal("etcd", CONTINUE)?;
    cluster.wait_for_api(READY_LIMIT)?;
    cluster.wait_for_nodes(shape.nodes, READY_LIMIT)?;
    progress.say("calm        reading the probes");
    let mut wrong = probes::finish(&cluster, &probes)?;
    for node in &nodes {
        progress.say(format!("kernel      {} against a fresh agent", node.name()));
        wrong.extend(kernel::differences_to_fresh(node, &cluster)?);
    }
    cluster.kubectl(&["delete", "namespace", probes::NAMESPACE, "--wait"])?;
    wrong.iter().for_each(|line| println!("wrong: {line}"));
    ensure!(wrong.is_empty(), "{} things went wrong", wrong.len());
    println!("no probe lost, and every node's kernel is as a fresh agent makes it");
    Ok(())
}

/// Kills it and waits until it is back.
fn strike(victim: &Victim, progress: Progress) -> Result<()> {
    let before = victim.processes()?;
    if before.is_empty() {
        progress.say(format!("not there   {victim}"));
        return Ok(());
    }
    progress.say(format!("kill -9     {victim}"));
    victim.kill(&before)?;
    wait_for(format_args!("{victim} to be back"), BACK_LIMIT, || {
        let now = victim.processes()?;
        Ok((now.len() >= before.len() && now.iter().all(|id| !before.contains(id))).then_some(()))
    })?;
    pause(CALM);
    Ok(())
}
