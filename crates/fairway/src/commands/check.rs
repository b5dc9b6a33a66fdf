//! `fairway check`

mod findings;
mod machine;
mod objects;

use std::process::ExitCode;

use anyhow::{Context, Result};
use kubeapi::ObjectKind;
use serde_json::{Value, json};

use super::block_on;
use super::install::connect;
use super::snapshot::{Snapshot, read_snapshot};
use super::survey::{Survey, read_survey};
use crate::cli::{CheckArgs, Output};

pub use findings::Finding;

/// Exit code of a command that could not tell.
const COULD_NOT_TELL: u8 = 3;

/// What belongs together, and what is wrong with it.
struct Section {
    title: &'static str,
    findings: Vec<Finding>,
}

/// Looks for what is in the way or broken; 1 when there is something, 3 when the cluster cannot be asked.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let (survey, snapshot) = match block_on(look(args))? {
        Ok(seen) => seen,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(COULD_NOT_TELL));
        }
    };
    let sections = sections(&survey, &snapshot, args);
    let is_fine = sections.iter().all(|section| section.findings.is_empty());
    match args.output {
        Output::Json => say!("{:#}", to_json(&survey, &sections)),
        Output::Table => print(&survey, &sections),
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an installation leaves to be done by hand.
pub fn findings_after(survey: &Survey) -> Vec<Finding> {
    [findings::installation(survey), findings::rivals(survey)].concat()
}

async fn look(args: &CheckArgs) -> Result<(Survey, Snapshot)> {
    const FAILED: &str = "cannot tell what the cluster has";
    let (session, objects) = connect(&args.cluster).await?;
    let survey = read_survey(&objects).await.context(FAILED)?;
    let of_pools = [ObjectKind::Namespace, ObjectKind::LoadBalancerPool];
    let more = if survey.pools.is_empty() { &[][..] } else { &of_pools };
    let snapshot = read_snapshot(session.client, more).await.context(FAILED)?;
    Ok((survey, snapshot))
}

fn sections(survey: &Survey, snapshot: &Snapshot, args: &CheckArgs) -> Vec<Section> {
    let mut sections = vec![
        Section { title: "API server and address ranges", findings: findings::ground(survey) },
        Section { title: "nothing else does the same work", findings: findings::rivals(survey) },
        Section { title: "Nodes, Services and EndpointSlices make sense", findings: objects::refused(snapshot) },
        Section { title: "load balancer addresses", findings: objects::load_balancers(survey, snapshot) },
        Section { title: "Corefile", findings: objects::corefile(survey).into_iter().collect() },
    ];
    if let Some(node) = machine::this_node(survey) {
        sections.push(Section {
            title: "this node",
            findings: machine::findings(survey, node, (&args.state_dir, &snapshot.cluster)),
        });
    }
    if !args.pre {
        sections.push(Section { title: "agents, DNS and controller", findings: findings::installation(survey) });
    }
    sections
}

fn print(survey: &Survey, sections: &[Section]) {
    say!("Kubernetes {}, {} nodes", survey.version, survey.nodes.len());
    for Section { title, findings } in sections {
        if findings.is_empty() {
            say!(" ✓ {title}");
        }
        findings.iter().for_each(|finding| say!(" ‼ {finding}"));
    }
    match sections.iter().map(|section| section.findings.len()).sum() {
        0 => say!("No findings."),
        1 => say!("1 finding. More about a code: fairway explain CODE"),
        number @ 2.. => say!("{number} findings. More about a code: fairway explain CODE"),
    }
}

fn to_json(survey: &Survey, sections: &[Section]) -> Value {
    let findings: Vec<Value> = sections.iter().flat_map(|section| &section.findings).map(Finding::to_json).collect();
    json!({
        "apiVersion": "fairway.network/v1",
        "kind": "CheckResult",
        "kubernetesVersion": survey.version,
        "nodes": survey.nodes.len(),
        "findings": findings,
    })
}
