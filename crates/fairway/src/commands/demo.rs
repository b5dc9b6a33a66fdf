//! `fairway demo`: a cluster, a shop in it, real traffic, and a table of what was tried and seen.

mod probes;
mod shop;

use std::process::ExitCode;

use anyhow::Result;
use sandbox::machine::Spec;
use serde::Serialize;
use serde_json::json;

use super::launch::{self, Request, Sandbox};
use super::report::Report;
use super::{block_on, down, kubeconfig, state_root};
use crate::cli::{DemoArgs, Output};
use shop::Shop;

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was tried.
    tried: &'static str,
    /// Who tried it.
    from: String,
    /// What was asked.
    to: String,
    /// What came back.
    seen: String,
    /// Whether that is what Kubernetes promises.
    ok: bool,
}

/// Runs the demo; exit code 1 when a line fails.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let mut shape = args.shape.named(&args.name);
    // One that is gone in a moment needs no way in for users, so that nothing of this machine is touched.
    shape.isolated |= !args.keep;
    let spec = Spec::new(shape)?;
    let kubeconfig = match args.keep {
        true => kubeconfig::default_path()?,
        // A cluster that will be gone in a moment has no business in the user's kubeconfig.
        false => state_root()?.join(&args.name).join("kubeconfig"),
    };
    let request = Request { spec, shape: &args.shape, api_port: None, kubeconfig };
    block_on(async {
        let mut report = Report::begin();
        let sandbox = launch::launch(&request, &mut report).await?;
        let outcome = show(&sandbox, &mut report).await;
        if !args.keep {
            down::remove(&sandbox.state)?;
        }
        let findings = outcome?;
        print(&findings, args.output);
        conclude(&findings, &report, args, &sandbox)
    })?
}

async fn show(sandbox: &Sandbox, report: &mut Report) -> Result<Vec<Finding>> {
    let shop = Shop::open(sandbox, report).await?;
    probes::services_in_force(sandbox, &shop).await?;
    report.step("Services      every node leads to them");
    let findings = probes::run_all(sandbox, &shop).await;
    report.step(&format!("traffic       {} kinds of it", findings.len()));
    Ok(findings)
}

fn print(findings: &[Finding], output: Output) {
    match output {
        Output::Json => say!("{:#}", json!(findings)),
        Output::Table => print_table(findings),
    }
}

fn print_table(findings: &[Finding]) {
    say!("");
    let width =
        |column: fn(&Finding) -> &str| findings.iter().map(|line| column(line).chars().count()).max().unwrap_or(0);
    let tried = width(|line| line.tried).max(5);
    let from = width(|line| &line.from).max(4);
    let to = width(|line| &line.to).max(2);
    say!("    {:<tried$}  {:<from$}  {:<to$}  SEEN", "TRIED", "FROM", "TO");
    for line in findings {
        let mark = if line.ok { "✓" } else { "✗" };
        say!("  {mark} {:<tried$}  {:<from$}  {:<to$}  {}", line.tried, line.from, line.to, line.seen);
    }
    say!("");
}

fn conclude(findings: &[Finding], report: &Report, args: &DemoArgs, sandbox: &Sandbox) -> Result<ExitCode> {
    let failed = findings.iter().filter(|line| !line.ok).count();
    match failed {
        0 => report.line(&format!("All {} as Kubernetes promises, in {:.1} s.", findings.len(), report.seconds())),
        _ => report.line(&format!("{failed} of {} are not as Kubernetes promises.", findings.len())),
    }
    if args.keep {
        let name = &args.name;
        report.line(&format!(
            "The cluster is yours (context {:?}).  Next:  kubectl get pods -A -o wide  |  fairway down --name {name}",
            sandbox.record.context
        ));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
