//! Benchmarks. `cargo run --release -p bench -- cni | datapath | dns | sandbox | services`
//!
//! Every claim of speed is a ratio against a named peer in the same run; times alone are printed for orientation.

mod cni;
mod dns;
mod figures;
mod namespaces;
mod packets;
mod plugin;
mod sandbox;
mod services;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks of Fairway, each beside a peer where there is one.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = "Example:\n  cargo run --release -p bench -- sandbox --runs 5")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// How long containers take to be attached and detached.
    Cni(cni::CniArgs),
    /// What packets pay for their way.
    Datapath(packets::DatapathArgs),
    /// What names cost, and whether CoreDNS answers the same.
    Dns(dns::DnsArgs),
    /// How long a sandbox takes to come up, and its pods to start.
    Sandbox(sandbox::SandboxArgs),
    /// What Services cost in the kernel, at rest and when one changes.
    Services(services::ServicesArgs),
}

fn main() -> Result<()> {
    match Cli::parse().benchmark {
        Benchmark::Cni(args) => cni::run(&args),
        Benchmark::Datapath(args) => packets::run(&args),
        Benchmark::Dns(args) => dns::run(&args),
        Benchmark::Sandbox(args) => sandbox::run(&args),
        Benchmark::Services(args) => services::run(&args),
    }
}
