//! `fairway status`

mod ways;

use std::process::ExitCode;

use anyhow::Result;
use apiserver::client::{Client, ListOptions, NODES, PODS};
use sandbox::machine::{Record, StateDir, list_records};
use serde_json::{Value, json};

use super::launch::has_condition;
use super::{block_on, state_root};
use crate::apply::comma_separated;
use crate::cli::{Output, StatusArgs};
use crate::output::columns;
use ways::Ways;

/// What is known of one sandbox.
struct Sighting {
    record: Record,
    running: bool,
    ready_nodes: usize,
    ready_pods: usize,
    pods: usize,
    ways: Ways,
}

/// Shows every sandbox of this user; exit code 1 when one of them is not well.
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let found = list_records(&state_root()?).into_iter().map(|(state, record)| {
        let ways = if record.is_running() { Ways::ask(&record) } else { Ways::default() };
        (state, record, ways)
    });
    let found: Vec<(StateDir, Record, Ways)> = found.collect();
    let sightings = block_on(async {
        let mut sightings = Vec::new();
        for (state, record, ways) in found {
            sightings.push(look_at(&state, record, ways).await);
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

async fn look_at(state: &StateDir, record: Record, ways: Ways) -> Sighting {
    let client = Client::unix(state.api_socket());
    let running = record.is_running();
    let nodes = client.list(&NODES, "", &ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    let pods = client.list(&PODS, "", &ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    let ready = |objects: &[Value]| objects.iter().filter(|object| has_condition(object, "Ready")).count();
    Sighting { running, ready_nodes: ready(&nodes), ready_pods: ready(&pods), pods: pods.len(), ways, record }
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
            "peers": self.ways.to_json(),
            "apiServer": format!("https://127.0.0.1:{}", self.record.api_port),
            "context": self.record.context,
            "kubeconfig": self.record.kubeconfig,
            "podCIDR": comma_separated(self.record.spec.pod_cidrs()),
            "serviceCIDR": comma_separated(self.record.spec.service_cidrs()),
        })
    }
}

fn print_table(sightings: &[Sighting]) {
    let row = |sighting: &Sighting| {
        let Sighting { record, ready_nodes, ready_pods, pods, ways, .. } = sighting;
        vec![
            record.spec.name().to_owned(),
            sighting.state().to_owned(),
            format!("{ready_nodes}/{}", record.spec.nodes()),
            format!("{ready_pods}/{pods}"),
            ways.summary(),
            format!("https://127.0.0.1:{}", record.api_port),
            record.context.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = sightings.iter().map(row).collect();
    columns(&["NAME", "STATE", "NODES", "PODS", "PEERS", "API SERVER", "CONTEXT"], &rows);
    for sighting in sightings {
        let name = sighting.record.spec.name();
        if !sighting.running {
            say!("{name}: its processes are gone; remove the rest with: fairway down --name {name}");
        }
        for line in sighting.ways.lines(name) {
            say!("{name}: {line}");
        }
    }
}
