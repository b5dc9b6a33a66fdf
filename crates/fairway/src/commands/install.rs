//! `fairway install`

mod choose;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kubeapi::{ApiAccess, Applied, ObjectName, Objects, Session};
use manifests::Settings;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::block_on;
use super::check::findings_after;
use super::installed::read_installed;
use super::report::Report;
use super::rollout::{reason_of, rollout_of};
use super::survey::read_survey;
use crate::cli::{ClusterArgs, InstallArgs, ManifestFormat, SettingsArgs};
use choose::{ApiServer, settings_for};

/// The name under which the commands write to the API.
pub const MANAGER: &str = "fairway";
/// How often the cluster is asked how far it is.
pub const POLL: Duration = Duration::from_millis(500);

/// Installs Fairway, or brings an installation to this version and these settings.
pub fn run(args: &InstallArgs) -> Result<ExitCode> {
    block_on(install(args))??;
    Ok(ExitCode::SUCCESS)
}

/// The connection that `args` mean.
pub async fn connect(args: &ClusterArgs) -> Result<(Session, Objects)> {
    let access = ApiAccess { kubeconfig: args.kubeconfig.clone(), context: args.context.clone(), server: None };
    let session = access.connect_as_user().await?;
    let objects = Objects::new(session.client.clone(), MANAGER);
    Ok((session, objects))
}

/// Puts what a user set over what is there; what was typed wins over files.
pub fn take_settings(settings: &mut Settings, args: &SettingsArgs) -> Result<()> {
    if let Some(path) = &args.values {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let values: Option<Map<String, Value>> =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not a mapping in YAML", path.display()))?;
        settings.set_values(&values.unwrap_or_default()).with_context(|| path.display().to_string())?;
    }
    for text in &args.set {
        settings.set_typed(text).with_context(|| format!("--set {text}"))?;
    }
    Ok(())
}

async fn install(args: &InstallArgs) -> Result<()> {
    let mut report = Report::begin();
    let (session, objects) = connect(&args.cluster).await?;
    let survey = read_survey(&objects).await.context("cannot tell what the cluster has")?;
    let mut settings = settings_for(&survey, ApiServer { host: &session.host, port: session.port })?;
    take_settings(&mut settings, &args.settings)?;
    let wanted = manifests::objects(&settings);
    if args.dry_run {
        print(&wanted, args.output)?;
        let stale = read_installed(&objects).await?.not_among(&wanted);
        stale.iter().for_each(|name| eprintln!("would remove {name}"));
        return Ok(());
    }
    report.step(&format!("Kubernetes {}   {} nodes", survey.version, survey.nodes.len()));
    report.step(&format!("API server for nodes   {}:{}", settings.text("apiHost"), settings.text("apiPort")));
    create_namespace(&objects, &settings, &mut report).await?;
    let deadline = Instant::now() + args.timeout;
    let (last, first): (Vec<Value>, Vec<Value>) =
        wanted.iter().cloned().partition(|object| object["kind"] == "Deployment");
    let mut unchanged = apply_all(&objects, &first, &mut report).await?;
    // Nodes become ready with their agents, one by one: what is scheduled before lies on the first of them, both DNS
    // servers of a new cluster for instance. A node that never gets ready must not keep names from the others.
    let mut waiting =
        wait_until_ready(&objects, workloads(&first), Instant::now() + args.timeout / 2, &mut report).await?;
    unchanged += apply_all(&objects, &last, &mut report).await?;
    if unchanged > 0 {
        report.step(&format!("{unchanged} objects as they were"));
    }
    waiting.extend(workloads(&last));
    waiting = wait_until_ready(&objects, waiting, deadline, &mut report).await?;
    if !waiting.is_empty() {
        bail!(why_not_ready(&objects, &waiting).await?);
    }
    remove_stale(&objects, &wanted, &mut report).await?;
    conclude(&objects, &report).await
}

fn print(objects: &[Value], format: ManifestFormat) -> Result<()> {
    let text = match format {
        ManifestFormat::Json => format!("{:#}\n", json!({ "apiVersion": "v1", "kind": "List", "items": objects })),
        ManifestFormat::Yaml => {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            format!("---\n{}", documents.context("cannot write YAML")?.join("---\n"))
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}

async fn create_namespace(objects: &Objects, settings: &Settings, report: &mut Report) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": settings.text("namespace") },
    });
    if objects.get(&ObjectName::of(&namespace)).await?.is_none() {
        objects.apply(&namespace).await?;
        report.step(&format!("{} created", ObjectName::of(&namespace)));
    }
    Ok(())
}

/// Applies objects in their order; how many were as they are wanted.
async fn apply_all(objects: &Objects, wanted: &[Value], report: &mut Report) -> Result<usize> {
    let mut unchanged = 0;
    for object in wanted {
        if is_the_clusters_own(object) && objects.get(&ObjectName::of(object)).await?.is_some() {
            report.step(&format!("{} left as it is", ObjectName::of(object)));
            continue;
        }
        match objects.apply(object).await? {
            Applied::Created => report.step(&format!("{} created", ObjectName::of(object))),
            Applied::Changed => report.step(&format!("{} changed", ObjectName::of(object))),
            Applied::Unchanged => unchanged += 1,
        }
    }
    Ok(unchanged)
}

/// Whether an object that is there already has the last word: what the cluster's names are is not ours to change.
fn is_the_clusters_own(object: &Value) -> bool {
    object["kind"] == "ConfigMap" && object["metadata"]["name"] == manifests::DNS_CONFIG
}

/// The objects that make pods.
fn workloads(objects: &[Value]) -> Vec<ObjectName> {
    let is_workload = |object: &&Value| object["kind"] == "DaemonSet" || object["kind"] == "Deployment";
    objects.iter().filter(is_workload).map(ObjectName::of).collect()
}

/// Follows workloads until they are as they should be; those that are not at the deadline.
async fn wait_until_ready(
    objects: &Objects,
    mut waiting: Vec<ObjectName>,
    deadline: Instant,
    report: &mut Report,
) -> Result<Vec<ObjectName>> {
    let mut shown = BTreeMap::new();
    loop {
        let mut left = Vec::new();
        for name in waiting {
            let workload = objects.get(&name).await?.with_context(|| format!("{name} is gone"))?;
            let rollout = rollout_of(&workload);
            let line = format!("{name}   {} of {} ready", rollout.ready, rollout.wanted);
            if rollout.is_done {
                report.step(&line);
                continue;
            }
            if shown.insert(name.clone(), rollout).is_none_or(|before| before != rollout) {
                report.line(&format!("   {line}"));
            }
            left.push(name);
        }
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left);
        }
        waiting = left;
        sleep(POLL).await;
    }
}

/// Removes what earlier settings wanted and these do not, once all that they want is there.
async fn remove_stale(objects: &Objects, wanted: &[Value], report: &mut Report) -> Result<()> {
    for name in read_installed(objects).await?.not_among(wanted) {
        if objects.delete(&name).await? {
            report.step(&format!("{name} removed: these settings do not want it"));
        }
    }
    Ok(())
}

/// What is not ready and why, once the time is up.
async fn why_not_ready(objects: &Objects, waiting: &[ObjectName]) -> Result<String> {
    let (label, part) = manifests::PART_OF;
    let pods = objects.list(("v1", "Pod"), None, &format!("{label}={part}")).await?;
    let told: Vec<String> = pods
        .iter()
        .filter_map(|pod| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or("no node");
            Some(format!("\n  {} on {node}: {}", ObjectName::of(pod), reason_of(pod)?))
        })
        .collect();
    let names: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    Ok(format!(
        "not ready in time: {}{}\nWhat is applied stays; installing again goes on from here.",
        names.join(", "),
        told.concat()
    ))
}

/// Says what is left to do.
async fn conclude(objects: &Objects, report: &Report) -> Result<()> {
    let survey = read_survey(objects).await?;
    ensure!(survey.agent().is_some(), "the DaemonSet of the agents is gone again");
    for finding in findings_after(&survey) {
        report.line(&format!(" ‼ {finding}"));
    }
    report.line(&format!(
        "Installed in {:.0} s.  Next:  fairway check  |  kubectl get nodes -o wide  |  fairway uninstall",
        report.seconds()
    ));
    Ok(())
}
