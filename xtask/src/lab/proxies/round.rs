//! One turn: from nothing in the kernel to all Services carried, then changes, connections and rest.

use std::fmt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contender::Contender;
use super::load::{CHANGES, Load, NAMESPACE, change_address, change_name};
use super::{Bench, client_files, text};
use crate::lab::cost::footprint::Usage;
use crate::lab::machine::Inside;
use crate::lab::progress::pause;
use crate::lab::site::{API_PORT, CONTROL};
use crate::lab::statistics::percentile;
use crate::process::{output, output_with_input};

/// So many Services are asked, from the first to the last of all.
const SAMPLE: usize = 100;
const CONNECTIONS: &str = "2000";
/// After the first sync both programs look once more at what they have done.
const SETTLE: Duration = Duration::from_secs(5);
/// kube-proxy syncs at most once a second: a change that had to wait for that would say nothing about its size.
const BETWEEN_CHANGES: Duration = Duration::from_millis(1_500);
const REST: Duration = Duration::from_secs(10);

/// What was measured in one turn.
#[derive(Debug, Serialize, Deserialize)]
pub struct Round {
    /// From the start of the program until the last Service that was asked answered.
    pub cold_ms: f64,
    /// The processor time it took until then.
    pub cold_cpu_ms: f64,
    /// From the order to the API server until the Service answered, of each change.
    pub change_ms: Vec<f64>,
    /// The processor time of a change.
    pub change_cpu_ms: f64,
    /// From the first packet of a connection until it was accepted.
    pub connect_p50_us: f64,
    /// Of the slowest in a hundred.
    pub connect_p99_us: f64,
    /// Connections that were not accepted in 0.9 seconds.
    pub connect_failed: usize,
    /// Resident memory, after all of that.
    pub memory_mib: f64,
    /// Processor time in a second of rest.
    pub rest_cpu_ms: f64,
}

/// Gives one of them its turn.
pub fn measure(bench: &Bench<'_>, contender: &Contender, load: &Load) -> Result<Round> {
    contender.start(bench)?;
    let measured = measure_running(bench, load);
    let ended = contender.end(bench);
    let round =
        measured.with_context(|| format!("{}:\n{}", contender.name(), bench.node.machine.log_end(contender.name())))?;
    ended.map(|()| round)
}

fn measure_running(bench: &Bench<'_>, load: &Load) -> Result<Round> {
    let sample = load.sample(SAMPLE);
    let cold_ms = wait_for_all(bench, &sample)?;
    let cold = usage(bench)?;
    pause(SETTLE);
    let before = usage(bench)?;
    let change_ms = change_all(bench, load)?;
    let changed = usage(bench)?;
    let connections = connect(bench, &sample)?;
    let resting = usage(bench)?;
    pause(REST);
    let rested = usage(bench)?;
    Ok(Round {
        cold_ms,
        cold_cpu_ms: cold.cpu_ms,
        change_ms,
        change_cpu_ms: (changed.cpu_ms - before.cpu_ms) / CHANGES as f64,
        connect_p50_us: percentile(&connections.microseconds, 50),
        connect_p99_us: percentile(&connections.microseconds, 99),
        connect_failed: connections.failed,
        memory_mib: rested.memory_mib,
        rest_cpu_ms: (rested.cpu_ms - resting.cpu_ms) / REST.as_secs_f64(),
    })
}

fn usage(bench: &Bench<'_>) -> Result<Usage> {
    Usage::of(std::slice::from_ref(&bench.node))?.context("the program has ended")
}

/// Waits until each of them answers; how long that was.
fn wait_for_all(bench: &Bench<'_>, sample: &[String]) -> Result<f64> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let told = output(probe(bench)?.arg("first").args(sample))?;
    let last = told.lines().next_back().context("the probe told no time")?.parse().context("the probe told no time")?;
    Ok(Duration::from_nanos(last).saturating_sub(began).as_secs_f64() * 1000.0)
}

/// Gives Services without endpoints some, one after the other, and takes them away again.
fn change_all(bench: &Bench<'_>, load: &Load) -> Result<Vec<f64>> {
    let times = (0..CHANGES).map(|number| change(bench, load, number)).collect::<Result<Vec<_>>>();
    let names: Vec<String> = (0..CHANGES).map(change_name).collect();
    let mut delete = bench.cluster.command()?;
    output(delete.args(["delete", "endpointslice", "-n", NAMESPACE, "--ignore-not-found"]).args(names))?;
    times
}

fn change(bench: &Bench<'_>, load: &Load, number: usize) -> Result<f64> {
    pause(BETWEEN_CHANGES);
    let url = format!("https://{CONTROL}:{API_PORT}/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
    let mut probe = probe(bench)?;
    probe.args(["change", &url]).args(client_files(&bench.authority)).arg(format!("{}:80", change_address(number)));
    let told: Value = serde_json::from_str(&output_with_input(&mut probe, load.change(number).as_bytes())?)?;
    told["milliseconds"].as_f64().context("the probe told no time")
}

#[derive(Deserialize)]
struct Connections {
    microseconds: Vec<f64>,
    failed: usize,
    #[serde(default)]
    why: String,
}

fn connect(bench: &Bench<'_>, sample: &[String]) -> Result<Connections> {
    let told = output(probe(bench)?.args(["connects", CONNECTIONS]).args(sample))?;
    let connections: Connections = serde_json::from_str(&told).context("the probe told nothing")?;
    if connections.failed > 0 {
        bench.progress.say(format!("{} of {CONNECTIONS} connections failed: {}", connections.failed, connections.why));
    }
    Ok(connections)
}

fn probe(bench: &Bench<'_>) -> Result<Command> {
    bench.node.machine.command(Inside::Processes, text(&bench.programs.probe)?)
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cold, change) = (self.cold_ms, percentile(&self.change_ms, 50));
        let (connect, memory) = (self.connect_p50_us, self.memory_mib);
        write!(out, "cold {cold:.0} ms, change {change:.1} ms, connection {connect:.0} us, {memory:.0} MiB")
    }
}
