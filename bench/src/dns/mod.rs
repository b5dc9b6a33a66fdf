//! Names: Fairway's DNS server beside CoreDNS, on the same objects, with the same Corefile.

mod answers;
mod load;
mod questions;
mod servers;
mod world;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use self::answers::differences;
use self::load::measure;
use self::questions::questions;
use self::servers::{Program, Servers};
use self::world::World;

/// What to compare.
#[derive(Debug, Args)]
pub struct DnsArgs {
    /// CoreDNS's binary; `cargo xtask lab build` makes one.
    #[arg(long, value_name = "FILE")]
    coredns: PathBuf,
    /// Fairway's binary; by default the `fairway` beside this program.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How many Services there are, beside a few odd ones.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// How often each server is loaded, one after the other; 0 to compare the answers only.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds a server is loaded.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Compares the answers, then the speed, and prints both.
pub fn run(args: &DnsArgs) -> Result<()> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("fairway"));
    let binary = args.binary.clone().map_or_else(beside, Ok)?;
    for path in [&binary, &args.coredns] {
        ensure!(path.exists(), "{} is missing", path.display());
    }
    let world = World::start(args.services)?;
    let servers = Servers::start(&world, &binary, &args.coredns)?;
    let questions = questions();
    let differing = differences(&questions, &servers)?;
    println!("{} questions, {} answered differently", questions.len(), differing.len());
    for difference in &differing {
        println!("{difference}");
    }
    if args.runs == 0 {
        return Ok(());
    }
    measure(args, &world, &servers, [Program::CoreDns, Program::Fairway])
}
