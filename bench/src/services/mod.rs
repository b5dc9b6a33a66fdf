//! Services in the kernel: cold sync, restart, one change and the first packet of connections at different sizes, beside the same Services as one chain
//! each written with `nft`, which is kube-proxy's shape and way.
//!
//! The peer is favoured: for Fairway everything counts from the snapshot to the kernel's acknowledgement, for the peer
//! only `nft` with a text made beforehand. Every case runs in a process and a network namespace of its own.

mod case;
mod chains;
mod connects;
mod flat;

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::figures::Series;
use case::Measured;

/// What to measure.
#[derive(Debug, Args)]
pub struct ServicesArgs {
    /// How many Services.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    sizes: Vec<u32>,
    /// How many endpoints each.
    #[arg(long, default_value_t = 5)]
    endpoints: u32,
    /// How often a single change is made.
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// Leave the peer out, which takes minutes at 10000 Services.
    #[arg(long)]
    without_peer: bool,
    /// Measure this shape at the first size, in this process, and print the figures as JSON.
    #[arg(long, hide = true)]
    case: Option<Shape>,
}

/// How Services become rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Fairway's flat maps.
    Flat,
    /// A chain per Service, by `nft`.
    Chains,
}

/// Measures and prints.
pub fn run(args: &ServicesArgs) -> Result<()> {
    if let Some(shape) = args.case {
        let size = args.sizes.first().copied().unwrap_or_default();
        let size = case::Size { services: size, endpoints: args.endpoints, repeats: args.repeats };
        let measured = match shape {
            Shape::Flat => case::measure::<flat::Flat>(&size)?,
            Shape::Chains => case::measure::<chains::Chains>(&size)?,
        };
        println!("{}", measured.to_json());
        return Ok(());
    }
    for size in &args.sizes {
        let flat = measure_apart(args, Shape::Flat, *size)?;
        let chains = if args.without_peer { None } else { Some(measure_apart(args, Shape::Chains, *size)?) };
        println!("{}", table(args, *size, &flat, chains.as_ref()));
    }
    Ok(())
}

/// Measures one case in a new process.
fn measure_apart(args: &ServicesArgs, shape: Shape, size: u32) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    let shape = shape.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    command.args(["services", "--case", &shape, "--sizes", &size.to_string()]);
    command.args(["--endpoints", &args.endpoints.to_string(), "--repeats", &args.repeats.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the case's process")?;
    ensure!(output.status.success(), "the case {shape} with {size} Services failed");
    Measured::from_json(&serde_json::from_slice(&output.stdout)?)
}

fn table(args: &ServicesArgs, size: u32, flat: &Measured, chains: Option<&Measured>) -> String {
    let mut text = String::new();
    let title = format!("{size} Services of {} endpoints", args.endpoints);
    let _ = writeln!(text, "{title:<38} {:>22} {:>22} {:>7}", "Fairway", "chain per Service", "ratio");
    let mut line = |what: &str, of: &dyn Fn(&Measured) -> Option<Duration>, note: &dyn Fn(&Measured) -> String| {
        let show =
            |measured: &Measured| of(measured).map_or("-".to_owned(), |took| format!("{}{}", ms(took), note(measured)));
        let ratio = match (of(flat), chains.and_then(of)) {
            (Some(flat), Some(chains)) => format!("{:.1}", chains.as_secs_f64() / flat.as_secs_f64()),
            _ => "-".to_owned(),
        };
        let _ =
            writeln!(text, "  {what:<36} {:>22} {:>22} {ratio:>7}", show(flat), chains.map_or("-".to_owned(), show));
    };
    let quiet: &dyn Fn(&Measured) -> String = &|_| String::new();
    line("cold sync", &|measured| Some(measured.cold.wall), quiet);
    line("  of which on the CPU", &|measured| Some(measured.cold.cpu), quiet);
    line("restart with the right state", &|measured| Some(measured.restart?.wall), &|measured| {
        if measured.restart_wrote { ", WROTE".to_owned() } else { ", wrote nothing".to_owned() }
    });
    for (index, what) in case::CHANGES.iter().enumerate() {
        line(what, &|measured| measured.changes.get(index).map(Series::median), &|measured| {
            let most = measured.changes.get(index).map(|change| change.percentile(100)).unwrap_or_default();
            format!(" (most {})", ms(most))
        });
    }
    for percent in [50, 99] {
        let what = format!("connection answered, p{percent}");
        line(&what, &|measured| Some(measured.connects.percentile(percent)), quiet);
    }
    let memory = |measured: &Measured| format!("{} MiB", measured.peak_kib / 1024);
    let of_chains = chains.map_or("-".to_owned(), memory);
    let _ = writeln!(text, "  {:<36} {:>22} {of_chains:>22}", "peak memory", memory(flat));
    text
}

fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ..1.0 => format!("{:.1} us", ms * 1000.0),
        ..100.0 => format!("{ms:.2} ms"),
        _ => format!("{ms:.0} ms"),
    }
}
