//! `fairway uninstall`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kubeapi::{ObjectName, Objects};
use manifests::{DNS_SERVICE, Settings};
use serde_json::Value;
use tokio::time::sleep;

use super::block_on;
use super::install::{POLL, connect, take_settings};
use super::installed::{Installed, read_installed};
use super::report::Report;
use super::survey::{Survey, entries, is_part_of_fairway, read_survey};
use crate::cli::UninstallArgs;

/// What the controllers agree with on who leads.
const LEASE: (&str, &str) = ("coordination.k8s.io/v1", "Lease");

/// Removes Fairway from the cluster and from its nodes.
pub fn run(args: &UninstallArgs) -> Result<ExitCode> {
    block_on(uninstall(args))??;
    Ok(ExitCode::SUCCESS)
}

async fn uninstall(args: &UninstallArgs) -> Result<()> {
    let mut report = Report::begin();
    let (_, objects) = connect(&args.cluster).await?;
    let survey = read_survey(&objects).await.context("cannot tell what the cluster has")?;
    let mut settings = settings_found(&survey)?;
    take_settings(&mut settings, &args.settings)?;
    let (running, rest) = find_objects(&objects, &survey, &settings).await?;
    if args.dry_run {
        running.iter().chain(&rest).for_each(|name| say!("would remove {name}"));
        survey.nodes.iter().for_each(|node| say!("would clear {}", ObjectName::of(node)));
        return Ok(());
    }
    let deadline = Instant::now() + args.timeout;
    delete_all(&objects, &running, &mut report).await?;
    wait_until_gone(&objects, &silent_nodes(&survey), deadline).await?;
    report.step("agents ended");
    let cleared = clear_nodes(&objects, &settings, &survey, deadline, &mut report).await;
    // What the roles were allowed goes in any case: nobody is left to use it.
    delete_all(&objects, &rest, &mut report).await?;
    cleared?;
    report.line(&format!(
        "Removed in {:.0} s.  Next: install another network plugin, then restart the pods that ran with Fairway's network",
        report.seconds()
    ));
    Ok(())
}

/// The settings of the installation that matter here, as far as its agent still tells them.
fn settings_found(survey: &Survey) -> Result<Settings> {
    let mut settings = Settings::default();
    let Some(agent) = survey.agent() else { return Ok(settings) };
    let container = &agent["spec"]["template"]["spec"]["containers"][0];
    if let Some((repository, tag)) = container["image"].as_str().and_then(|image| image.rsplit_once(':')) {
        settings.set("image.repository", repository)?;
        settings.set("image.tag", tag)?;
    }
    if let Some(namespace) = agent["metadata"]["namespace"].as_str() {
        settings.set("namespace", namespace)?;
    }
    for (option, setting) in [("--cni-bin-dir=", "cni.binDir"), ("--cni-conf-dir=", "cni.confDir")] {
        let mut arguments = entries(&container["args"]).filter_map(Value::as_str);
        if let Some(directory) = arguments.find_map(|argument| argument.strip_prefix(option)) {
            settings.set(setting, directory)?;
        }
    }
    Ok(settings)
}

/// What there is to remove: what runs, and the rest.
async fn find_objects(
    objects: &Objects,
    survey: &Survey,
    settings: &Settings,
) -> Result<(Vec<ObjectName>, Vec<ObjectName>)> {
    let Installed { running, mut rest } = read_installed(objects).await?;
    if survey.dns_service.is_some() && !is_shared(survey) {
        rest.push(named("v1", "Service", "kube-system", DNS_SERVICE));
    }
    let namespace = settings.text("namespace");
    let lease = named(LEASE.0, LEASE.1, namespace, manifests::CONTROLLER);
    if objects.get(&lease).await?.is_some() {
        rest.push(lease);
    }
    Ok((running, rest))
}

/// Whether somebody else's DNS servers stand behind the Service kube-dns, so that it must stay.
fn is_shared(survey: &Survey) -> bool {
    let others = survey.deployments.iter().filter(|deployment| !is_part_of_fairway(deployment));
    others.into_iter().any(|other| other["spec"]["template"]["metadata"]["labels"]["k8s-app"] == "kube-dns")
}

fn named(api_version: &str, kind: &str, namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

async fn delete_all(objects: &Objects, names: &[ObjectName], report: &mut Report) -> Result<()> {
    for name in names {
        if objects.delete(name).await? {
            report.step(&format!("{name} removed"));
        }
    }
    Ok(())
}

/// The nodes that nothing has been heard of for a while; no pod of theirs begins or ends.
fn silent_nodes(survey: &Survey) -> Vec<String> {
    let is_silent = |node: &&Value| {
        let mut conditions = entries(&node["status"]["conditions"]);
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown")
    };
    survey.nodes.iter().filter(is_silent).map(|node| ObjectName::of(node).name).collect()
}

/// Waits for the end of every pod of Fairway: an agent that still runs would put back what is cleared.
async fn wait_until_gone(objects: &Objects, silent: &[String], deadline: Instant) -> Result<()> {
    let (label, part) = manifests::PART_OF;
    let is_heard_of = |pod: &&Value| !silent.iter().any(|node| pod["spec"]["nodeName"] == node.as_str());
    loop {
        let pods = objects.list(("v1", "Pod"), None, &format!("{label}={part}")).await?;
        let Some(pod) = pods.iter().find(is_heard_of) else { return Ok(()) };
        ensure!(Instant::now() < deadline, "{} does not end", ObjectName::of(pod));
        sleep(POLL).await;
    }
}

/// Runs the clean-up on every node and tells what each removed.
async fn clear_nodes(
    objects: &Objects,
    settings: &Settings,
    survey: &Survey,
    deadline: Instant,
    report: &mut Report,
) -> Result<()> {
    let silent = silent_nodes(survey);
    let mut failures: Vec<String> = silent.iter().map(|node| format!("\n  {node}: it is not heard of")).collect();
    let mut pods = Vec::new();
    let names = survey.nodes.iter().map(|node| ObjectName::of(node).name);
    for node in names.filter(|node| !silent.contains(node)) {
        let pod = objects.create(&manifests::cleanup_pod(settings, &node)).await?;
        pods.push((node, ObjectName::of(&pod)));
    }
    for (node, pod) in &pods {
        match wait_for_end(objects, pod, deadline).await {
            Ok(message) => report.step(&format!("{node}: {message}")),
            Err(error) => failures.push(format!("\n  {node}: {error:#}")),
        }
    }
    for (_, pod) in &pods {
        objects.delete(pod).await?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("not every node is cleared:{}\nOn such a node, run: fairway cleanup", failures.concat())
}

/// What the pod said at its end.
async fn wait_for_end(objects: &Objects, pod: &ObjectName, deadline: Instant) -> Result<String> {
    loop {
        let object = objects.get(pod).await?.context("its clean-up was deleted")?;
        let container = &object["status"]["containerStatuses"][0];
        if object["status"]["phase"] == "Succeeded" {
            return Ok(message(&container["state"]));
        }
        if Instant::now() >= deadline {
            let last = [&container["state"], &container["lastState"]].map(message).concat();
            bail!("the clean-up did not end in time {last}");
        }
        sleep(POLL.min(Duration::from_millis(200))).await;
    }
}

fn message(state: &Value) -> String {
    let told = [&state["terminated"]["message"], &state["waiting"]["message"]];
    told.into_iter().filter_map(Value::as_str).next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_installation_is_cleared_with_its_own_image_and_directories() {
        let args = json!(["agent", "--cni-bin-dir=/bin/cni", "--cni-conf-dir=/conf"]);
        let agent = json!({
            "metadata": {
                "name": "fairway-agent", "namespace": "net", "labels": { "app.kubernetes.io/part-of": "fairway" },
            },
            "spec": { "template": { "spec": { "containers": [{ "image": "host:5000/fairway:2", "args": args }] } } },
        });
        let survey = Survey { daemon_sets: vec![agent], ..Survey::default() };
        let settings = settings_found(&survey).unwrap();
        let found =
            ["namespace", "image.repository", "image.tag", "cni.binDir", "cni.confDir"].map(|name| settings.text(name));
        assert_eq!(found, ["net", "host:5000/fairway", "2", "/bin/cni", "/conf"]);
    }

    #[test]
    fn a_node_is_waited_for_unless_nothing_is_heard_of_it() {
        let node = |name: &str, ready: &str| {
            let condition = json!({ "type": "Ready", "status": ready });
            json!({ "metadata": { "name": name }, "status": { "conditions": [condition] } })
        };
        let nodes = vec![node("well", "True"), node("without-network", "False"), node("gone", "Unknown"), json!({})];
        assert_eq!(silent_nodes(&Survey { nodes, ..Survey::default() }), ["gone"]);
    }

    #[test]
    fn the_dns_service_stays_while_another_server_stands_behind_it() {
        let deployment = |part: &str| {
            json!({
                "metadata": { "labels": { "app.kubernetes.io/part-of": part } },
                "spec": { "template": { "metadata": { "labels": { "k8s-app": "kube-dns" } } } },
            })
        };
        let survey = |part: &str| Survey { deployments: vec![deployment(part)], ..Survey::default() };
        assert!(is_shared(&survey("coredns")));
        assert!(!is_shared(&survey("fairway")));
    }
}
