//! What packets pay for their way: pods and Services of Fairway beside bare veth pairs and beside Debian's bridge.
//!
//! The paths take turns, test by test and round by round, and a ratio is the median of the rounds' ratios: what else
//! the machine does meanwhile meets all of them. Client, server and the kernel between them use the processor time of
//! this process, so that the second ratio, per processor second, holds on a busy machine too.

mod bare;
mod bridge;
mod fairway;
mod load;
mod path;
mod pods;
mod report;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::bare::Tracking;
use self::load::{Run, Test};
use self::path::Path;
use crate::namespaces::isolate;
use crate::plugin::Programs;

/// What to measure.
#[derive(Debug, Args)]
pub struct DatapathArgs {
    /// How often each path is measured.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Milliseconds a test takes.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    duration: u64,
    /// Measure, beside the first path, only those with this in their names.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    programs: Programs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A path and what was measured of it: for each of [`Test::ALL`] a run of every round.
struct Measured {
    path: Path,
    runs: [Vec<Run>; Test::ALL.len()],
}

/// Measures and prints.
pub fn run(args: &DatapathArgs) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("fwbench").tempdir()?;
    isolate()?;
    let mut paths = vec![
        bare::path("veth pair", 0, Tracking::Off)?,
        bare::path("veth pair, tracked", 0, Tracking::On)?,
        bare::path("1 router", 1, Tracking::Off)?,
        bare::path("1 router, tracked", 1, Tracking::On)?,
        bare::path("2 routers", 2, Tracking::Off)?,
        bare::path("2 routers, tracked", 2, Tracking::On)?,
    ];
    paths.extend(bridge::paths(&args.programs, folder.path())?);
    paths.extend(fairway::paths(&args.programs, folder.path())?);
    let is_asked_for = |name: &str| args.only.as_deref().is_none_or(|only| name.contains(only));
    let first = paths.first().map(|path| path.name.clone());
    paths.retain(|path| Some(&path.name) == first.as_ref() || is_asked_for(&path.name));
    let mut all: Vec<Measured> = paths.into_iter().map(|path| Measured { path, runs: Default::default() }).collect();
    for round in 0..args.rounds {
        measure_round(&mut all, round, Duration::from_millis(args.duration))?;
    }
    match args.output {
        Format::Table => print!("{}", report::table(&all)),
        Format::Json => println!("{:#}", report::json(&all)),
    }
    Ok(())
}

/// Every other round goes backwards, so that no path always comes after the same other one.
fn measure_round(all: &mut [Measured], round: usize, duration: Duration) -> Result<()> {
    for (test, index) in Test::ALL.into_iter().zip(0..) {
        let mut turns: Vec<&mut Measured> = all.iter_mut().collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for Measured { path, runs } in turns {
            let run = path.server.measure(test, &path.client, path.target, duration);
            runs[index].push(run.with_context(|| format!("on the path {}", path.name))?);
        }
    }
    Ok(())
}
