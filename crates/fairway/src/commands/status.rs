//! `fairway status`

use std::process::ExitCode;

use anyhow::Result;
use apiserver::client::{Client, ListOptions, NODES, PODS};
use sandbox::machine::{Record, StateDir, list_records};
use serde_json::{Value, json};

use super::launch::has_condition;
use super::{block_on, state_root};
use crate::apply::comma_separated;
use crate::cli::{Output, StatusArgs};

/// What is known of one sandbox.
struct Sighting {
    record: Record,
    running: bool,
    ready_nodes: usize,
    ready_pods: usize,
    pods: usize,
}

/// Shows every sandbox of this user; exit code 1 when one of them is not well.
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let found = list_records(&state_root()?);
    let sightings = block_on(async {
        let mut sightings = Vec::new();
        for (state, record) in found {
            sightings.push(look_at(&state, record).await);
        }
        sightings
    })?;
    match args.output {
        Output::Json => say!("{:#}", Value::Array(sightings.iter().map(Sighting::to_json).collect())),
        Output::Table if sightings.is_empty() => say!("no sandbox is up; start one with: fairway up"),
        Output::Table => print_table(&sightings),
    }
    Ok(if sightings.iter().all(Sighting::is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look_at(state: &StateDir, record: Record) -> Sighting {
    let client = Client::unix(state.api_socket());
    let running = record.is_running();
    let nodes = client.list(&NODES, "", &ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    let pods = client.list(&PODS, "", &ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    let ready = |objects: &[Value]| objects.iter().filter(|object| has_condition(object, "Ready")).count();
    Sighting { running, ready_nodes: ready(&nodes), ready_pods: ready(&pods), pods: pods.len(), record }
}

impl Sighting {
    fn is_well(&self) -> bool {
        self.running && self.ready_nodes == usize::from(self.record.spec.nodes())
    }

    fn state(&self) -> &'static str {
        match (self.running, self.is_well()) {
            (true, true) => "Ready",
            (true, false) => "NotReady",
            (false, _) => "Dead",
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.record.spec.name(),
            "state": self.state(),
            "nodes": self.record.spec.nodes(),
            "readyNodes": self.ready_nodes,
            "pods": self.pods,
            "readyPods": self.ready_pods,
            "apiServer": format!("https://127.0.0.1:{}", self.record.api_port),
            "context": self.record.context,
            "kubeconfig": self.record.kubeconfig,
            "podCIDR": comma_separated(self.record.spec.pod_cidrs()),
            "serviceCIDR": comma_separated(self.record.spec.service_cidrs()),
        })
    }
}

fn print_table(sightings: &[Sighting]) {
    say!("{:<20} {:<9} {:<7} {:<9} {:<25} CONTEXT", "NAME", "STATE", "NODES", "PODS", "API SERVER");
    for sighting in sightings {
        let Sighting { record, ready_nodes, ready_pods, pods, .. } = sighting;
        say!(
            "{:<20} {:<9} {:<7} {:<9} {:<25} {}",
            record.spec.name(),
            sighting.state(),
            format!("{ready_nodes}/{}", record.spec.nodes()),
            format!("{ready_pods}/{pods}"),
            format!("https://127.0.0.1:{}", record.api_port),
            record.context,
        );
        if !sighting.running {
            say!("  its processes are gone; remove the rest with: fairway down --name {}", record.spec.name());
        }
    }
}
