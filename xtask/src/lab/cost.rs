//! What a stack costs: how long pods and Services take to come up, what its programs use, how fast names resolve.

pub mod footprint;
mod names;
mod reach;
mod sandboxes;
mod services;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::assets::{Assets, repository};
use super::cluster::Cluster;
use super::compare::{NODES, STACKS, in_new_lab};
use super::programs::Programs;
use super::progress::Progress;
use super::site::{Families, Node, Shape, Site};
use super::stack::Stack;
use super::statistics::percentile;
use footprint::Footprint;

/// What was measured on one stack.
#[derive(Debug, Serialize, Deserialize)]
struct Cost {
    /// From the order for a pod's sandbox to its being there, in milliseconds, of pods started at once.
    sandboxes_ms: Vec<f64>,
    /// From `kubectl apply` of a Service to its first answer on the slower node, in milliseconds.
    reach_ms: Vec<f64>,
    /// Answers of the DNS server in a second, run by run.
    names_per_second: Vec<f64>,
    /// With nothing to do.
    idle: Footprint,
    /// With a thousand Services and nothing to do.
    thousand: Footprint,
    /// With a thousand Services whose endpoints change.
    change: Footprint,
    /// How many EndpointSlices changed in that time.
    changes: usize,
}

/// What a measurement works on.
struct Bench<'a> {
    cluster: Cluster,
    nodes: Vec<Node>,
    programs: &'a Programs,
}

/// Measures both stacks, one after the other in labs of their own, and prints the table; Fairway's image is `archive`, or
/// is made.
pub fn compare(archive: Option<&Path>) -> Result<()> {
    for stack in STACKS {
        in_new_lab("cost", &Shape::new(NODES, stack, Families::default())?, archive, measure_site)?;
    }
    print()
}

/// Prints the table of the last measurements that were kept.
pub fn print() -> Result<()> {
    let [reference, ours] = STACKS;
    println!("{}", table(&read(reference)?, &read(ours)?));
    Ok(())
}

/// Measures the stack of a lab that is up.
pub fn measure_site(site: &Site) -> Result<()> {
    let shape = site.read_shape()?;
    write(shape.stack, &measure(site, &shape)?)
}

fn measure(site: &Site, shape: &Shape) -> Result<Cost> {
    let progress = Progress::begin();
    let assets = Assets::build(progress)?;
    let bench = Bench { cluster: Cluster::of(site), nodes: site.nodes(shape), programs: &assets.programs };
    progress.say("idle        half a minute");
    let idle = footprint::over_time(&bench.nodes, |_| Ok(()))?.0;
    progress.say("sandboxes   50 pods at once");
    let sandboxes_ms = sandboxes::measure(&bench)?;
    progress.say("reach       20 Services, one after the other");
    let reach_ms = reach::measure(&bench)?;
    progress.say("names       5 runs");
    let names_per_second = names::measure(&bench)?;
    progress.say("services    1 000");
    services::create(&bench)?;
    let thousand = footprint::over_time(&bench.nodes, |_| Ok(()))?.0;
    progress.say("change      half a minute");
    let (change, changes) = footprint::over_time(&bench.nodes, |round| services::change(&bench, round))?;
    services::delete(&bench)?;
    Ok(Cost { sandboxes_ms, reach_ms, names_per_second, idle, thousand, change, changes: changes * services::CHANGED })
}

fn path(stack: Stack) -> Result<PathBuf> {
    Ok(repository()?.join(format!("lab/results/cost-{}.json", stack.name())))
}

fn write(stack: Stack, cost: &Cost) -> Result<()> {
    let path = path(stack)?;
    fs::write(&path, serde_json::to_vec_pretty(cost)?).with_context(|| format!("cannot write {}", path.display()))?;
    println!("measured: {}", path.display());
    Ok(())
}

fn read(stack: Stack) -> Result<Cost> {
    let path = path(stack)?;
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no measurement", path.display()))
}

/// A line of the table: what it says, and its value for a stack.
type Row = (&'static str, fn(&Cost) -> f64);

fn table(reference: &Cost, ours: &Cost) -> String {
    let rows: [Row; 12] = [
        ("pod sandbox, 50 at once, p50, ms", |cost| percentile(&cost.sandboxes_ms, 50)),
        ("pod sandbox, 50 at once, p99, ms", |cost| percentile(&cost.sandboxes_ms, 99)),
        ("Service applied to answered on both nodes, p50, ms", |cost| percentile(&cost.reach_ms, 50)),
        ("Service applied to answered on both nodes, p99, ms", |cost| percentile(&cost.reach_ms, 99)),
        ("DNS answers per second from a pod, median", |cost| percentile(&cost.names_per_second, 50)),
        ("memory idle, MiB", |cost| cost.idle.memory_mib),
        ("memory at 1 000 Services, MiB", |cost| cost.thousand.memory_mib),
        ("memory under change, MiB", |cost| cost.change.memory_mib),
        ("CPU idle, ms per s", |cost| cost.idle.cpu_ms_per_second()),
        ("CPU at 1 000 Services, ms per s", |cost| cost.thousand.cpu_ms_per_second()),
        ("CPU under change, ms per s", |cost| cost.change.cpu_ms_per_second()),
        ("CPU for a changed EndpointSlice, ms", |cost| cost.change.cpu_ms / cost.changes.max(1) as f64),
    ];
    let mut text = format!("| | {} | {} | ratio |\n|---|---|---|---|", STACKS[0].name(), STACKS[1].name());
    for (name, value) in rows {
        let (theirs, own) = (value(reference), value(ours));
        // Writing into a String cannot fail.
        let _ = write!(text, "\n| {name} | {theirs:.1} | {own:.1} | {:.2} |", own / theirs);
    }
    text
}
