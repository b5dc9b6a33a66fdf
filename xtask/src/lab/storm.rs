//! Bad days: everything is killed, one after the other, while pods ask each other all the time.

mod blow;
mod kernel;
mod order;
mod tokens;
mod victims;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::cluster::Cluster;
use super::options::Options;
use super::probes::{Probes, Verdict};
use super::progress::Progress;
use super::site::Site;
use super::stack::Stack;
use super::{fairway, options};
use blow::{Blow, Field};

/// Time between a program's return and the next blow, for what its absence may have broken.
const CALM: Duration = Duration::from_secs(5);
/// A blow for whose judgement the machine had no time is struck again.
const TRIES: usize = 3;

/// How a storm is to be.
pub struct Storm {
    /// Requests of each node's prober in a second.
    rate: usize,
    seed: u64,
    /// The image to upgrade to; the installed program with other bytes behind its end, if there is none.
    upgrade: Option<PathBuf>,
    /// Only blows whose names contain this.
    focus: String,
}

impl Storm {
    /// What the command line asks for.
    pub fn of(mut options: Options) -> Result<Self> {
        let rate = options::take_rate(&mut options)?;
        let seed =
            options.take("seed").map_or_else(fresh_seed, |text| text.parse().context("--seed takes a number"))?;
        let (upgrade, focus) = (options.take("upgrade").map(PathBuf::from), options.take("focus").unwrap_or_default());
        options.finish(0)?;
        Ok(Self { rate, seed, upgrade, focus })
    }

    /// Goes through it; an error if a request was lost, if that could not be told, or if a node's kernel is not as a fresh
    /// agent makes it.
    pub fn rage(self, site: &Site) -> Result<()> {
        let shape = site.read_shape()?;
        ensure!(shape.stack == Stack::Fairway, "the storm is for a lab with --stack fairway");
        let (cluster, nodes, progress) = (Cluster::of(site), site.nodes(&shape), Progress::begin());
        let field = Field { site, nodes: &nodes, cluster: &cluster };
        let blows = self.blows(&field)?;
        progress.say(format!("{} blows, in the order of --seed {}", blows.len(), self.seed));
        let probes = Probes::start(&cluster, &nodes, self.rate)?;
        let mut tale = Tale::default();
        for blow in &blows {
            tale.add(blow, judge(blow, &field, &probes, progress)?);
        }
        // While the probers are there: what is left of a pod that ends goes some time after it.
        for node in &nodes {
            progress.say(format!("kernel      {} against a fresh agent", node.name()));
            tale.wrong.extend(kernel::differences_to_fresh(node, &cluster)?);
        }
        probes.end()?;
        tale.conclude(blows.len())
    }

    fn blows(&self, field: &Field<'_>) -> Result<Vec<Blow>> {
        let other = match &self.upgrade {
            Some(archive) => archive.clone(),
            None => fairway::other_build(field.site, &format!("storm-{}", self.seed))?,
        };
        let mut blows = order::shuffled(Blow::all(field, other), self.seed);
        blows.retain(|blow| blow.to_string().contains(&self.focus));
        ensure!(!blows.is_empty(), "no blow is called {:?}", self.focus);
        Ok(blows)
    }
}

/// Strikes until there is a verdict, or often enough.
fn judge(blow: &Blow, field: &Field<'_>, probes: &Probes, progress: Progress) -> Result<Option<Verdict>> {
    let mut last = None;
    for _ in 0..TRIES {
        if !blow.is_possible()? {
            break;
        }
        let findings = probes.during(blow.excused(), CALM, || blow.strike(field))?;
        progress.say(format!("{blow}: {}", findings.summary));
        let is_verdict = findings.verdict != Verdict::Unclear;
        last = Some(findings.verdict);
        // A second upgrade to the same build would be none.
        if is_verdict || matches!(blow, Blow::Upgrade(_)) {
            break;
        }
    }
    Ok(last)
}

/// What came of it all.
#[derive(Default)]
struct Tale {
    wrong: Vec<String>,
    unclear: Vec<String>,
    absent: usize,
}

impl Tale {
    fn add(&mut self, blow: &Blow, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Clean) => {}
            Some(Verdict::Lost(lines)) => self.wrong.extend(lines.iter().map(|line| format!("{blow}: {line}"))),
            Some(Verdict::Unclear) => self.unclear.push(blow.to_string()),
            None => self.absent += 1,
        }
    }

    fn conclude(self, blows: usize) -> Result<()> {
        self.wrong.iter().for_each(|line| println!("wrong: {line}"));
        self.unclear.iter().for_each(|blow| println!("could not tell: {blow}"));
        if !self.wrong.is_empty() {
            bail!("{} things went wrong", self.wrong.len());
        }
        ensure!(self.unclear.is_empty(), "the machine had too little time for a verdict; try a lower --rate");
        println!(
            "{} blows, no request lost, and every node's kernel is as a fresh agent makes it",
            blows - self.absent
        );
        Ok(())
    }
}

fn fresh_seed() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into())
}
