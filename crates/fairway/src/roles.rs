//! What this binary is when nobody types at it: the agent, the DNS server, and the parts of a sandbox.

pub mod agent;
mod api_args;
mod apiserver;
pub mod cleanup;
mod client_metrics;
pub mod controller;
mod controllers;
pub mod dns;
pub mod early;
mod last_words;
mod names;
mod node;
mod process_metrics;
mod ranges;
mod status_pages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use sandbox::machine::{RoleArgs, run_boot, run_supervisor};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

/// The processes of a sandbox; users never type these.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Makes the namespaces of a sandbox and starts its supervisor.
    #[command(hide = true)]
    SandboxBoot(PartArgs),
    /// Process 1 of a sandbox.
    #[command(hide = true)]
    SandboxSupervisor(PartArgs),
    /// The API server of a sandbox.
    #[command(hide = true)]
    Apiserver(PartArgs),
    /// The scheduler and the controllers of a sandbox.
    #[command(hide = true)]
    Controllers(PartArgs),
    /// Answers a sandbox's nodes about the names of the host.
    #[command(hide = true)]
    Names(PartArgs),
    /// The runtime of one node of a sandbox.
    #[command(hide = true)]
    Node(node::NodeArgs),
}

/// What every part of a sandbox is told.
#[derive(Debug, Args)]
pub struct PartArgs {
    /// State directory of the sandbox.
    #[arg(long)]
    state: PathBuf,
    /// Shape of the sandbox, JSON.
    #[arg(long)]
    spec: String,
}

impl PartArgs {
    fn parse(&self) -> Result<RoleArgs> {
        RoleArgs::parse(&self.state, &self.spec).context("the arguments of a sandbox's part")
    }
}

/// Runs a part of a sandbox until it is told to end.
pub fn run_part(part: Part) -> Result<ExitCode> {
    logging::start();
    match part {
        Part::SandboxBoot(args) => run_boot(&args.parse()?)?,
        Part::SandboxSupervisor(args) => run_supervisor(&args.parse()?)?,
        Part::Apiserver(args) => apiserver::run(&args.parse()?)?,
        Part::Controllers(args) => controllers::run(&args.parse()?)?,
        Part::Names(args) => names::run(&args.parse()?)?,
        Part::Node(args) => node::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the agent until it is told to end.
pub fn run_agent(args: agent::AgentArgs) -> Result<ExitCode> {
    logging::start();
    until_told(|cancel| agent::run(args, cancel))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the controller until it is told to end.
pub fn run_controller(args: controller::ControllerArgs) -> Result<ExitCode> {
    logging::start();
    until_told(|cancel| controller::run(args, cancel))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the DNS server until it is told to end.
pub fn run_dns(args: dns::DnsArgs) -> Result<ExitCode> {
    logging::start();
    until_told(|cancel| dns::run(args, cancel))?;
    Ok(ExitCode::SUCCESS)
}

/// Clears this node.
pub fn run_cleanup(args: &cleanup::CleanupArgs) -> Result<ExitCode> {
    logging::start();
    cleanup::run(args)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs an async role on a runtime of its own; SIGTERM and SIGINT ask it to end.
fn until_told<F>(role: impl FnOnce(CancellationToken) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    // Two threads carry every role well; a node with many cores must not pay for them in every process.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(async {
        let cancel = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive signals")?;
        let told = cancel.clone();
        let listener = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.cancel();
        });
        let outcome = role(cancel).await;
        listener.abort();
        outcome
    })
}
