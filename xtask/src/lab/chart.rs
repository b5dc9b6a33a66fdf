//! Installing by the Helm chart on a cluster without a network, and removing it again, as `docs/install.md` and
//! `docs/uninstall.md` have it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::assets::{self, repository};
use super::cluster::Cluster;
use super::fairway::{self, SETTINGS};
use super::machine::Inside;
use super::progress::Progress;
use super::site::{API_PORT, CONTROL, DNS_SERVICE, Node, Site};
use super::stack::Stack;
use super::suite::{self, Selection};
use super::traces::Traces;
use crate::process::run;

const NAMESPACE: &str = "kube-system";
const RELEASE: &str = "fairway";
const CHART: &str = "deploy/helm/fairway";
const LIMIT: Duration = Duration::from_secs(120);

/// Installs, runs a handful of specs and removes; an error if one of them fails or if anything of Fairway's stays.
pub fn try_out(site: &Site, archive: Option<&Path>) -> Result<()> {
    let shape = site.read_shape()?;
    ensure!(shape.stack == Stack::Bare, "the chart is for a lab with --stack bare, which has no network yet");
    let progress = Progress::begin();
    let (helm, nodes) = (assets::helm(progress)?, site.nodes(&shape));
    let program = fairway::bring(site, &nodes, archive, progress)?;
    let before = traces(&nodes)?;
    progress.say("install     by the chart");
    run(&mut install(site, &helm)?)?;
    Cluster::of(site).wait_for_nodes(nodes.len(), LIMIT)?;
    progress.say("smoke       a handful of specs");
    let report = suite::run(site, &Selection::of_name("smoke", None, None))?;
    println!("{report}");
    progress.say("remove      the release, then what is on the nodes");
    run(command(site, &helm)?.args(["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]))?;
    eprint!("{}", fairway::command(site, &program, &["uninstall"])?);
    let after = traces(&nodes)?;
    let left = nodes.iter().zip(after.iter().zip(&before)).flat_map(|(node, (after, before))| {
        after.beyond(before).into_iter().map(|line| format!("{}: {line}", node.name()))
    });
    let left: Vec<String> = left.chain(objects(site)?).collect();
    left.iter().for_each(|line| println!("left on {line}"));
    report.verdict()?;
    ensure!(left.is_empty(), "{} things are left", left.len());
    println!("installed by the chart, judged and removed: no object, interface, rule, route, file or mount left");
    Ok(())
}

fn install(site: &Site, helm: &Path) -> Result<Command> {
    let mut command = command(site, helm)?;
    let chart: PathBuf = repository()?.join(CHART);
    command.arg("install").arg(RELEASE).arg(chart).args(["--namespace", NAMESPACE, "--wait", "--timeout", "5m"]);
    // Helm does not look at the cluster: what `fairway install` finds there must be said.
    let found = [format!("apiHost={CONTROL}"), format!("apiPort={API_PORT}"), format!("dns.serviceIP={DNS_SERVICE}")];
    for setting in SETTINGS.into_iter().chain(found.iter().map(String::as_str)) {
        command.args(["--set", setting]);
    }
    Ok(command)
}

fn command(site: &Site, helm: &Path) -> Result<Command> {
    let helm = helm.to_str().context("a path that is not text")?;
    let mut command = site.control().command(Inside::Network, helm)?;
    command.arg("--kubeconfig").arg(site.kubeconfig());
    Ok(command)
}

fn traces(nodes: &[Node]) -> Result<Vec<Traces>> {
    nodes.iter().map(Traces::read).collect()
}

/// What carries its label in the cluster.
fn objects(site: &Site) -> Result<Vec<String>> {
    let kinds = "namespaces,daemonsets,deployments,pods,services,serviceaccounts,roles,rolebindings,configmaps,clusterroles,\
                 clusterrolebindings,poddisruptionbudgets,customresourcedefinitions,leases";
    let chosen = ["get", kinds, "-A", "-l", "app.kubernetes.io/part-of=fairway", "-o", "name"];
    let told = Cluster::of(site).kubectl(&chosen)?;
    Ok(told.lines().map(|line| format!("the API server: {line}")).collect())
}
