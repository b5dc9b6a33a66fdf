//! `fairway up`

use std::process::ExitCode;

use anyhow::{Context, Result};
use sandbox::machine::Spec;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::launch::{self, Request, Sandbox};
use super::report::Report;
use super::{block_on, down, kubeconfig};
use crate::cli::{Output, UpArgs};

/// Brings a sandbox up and says what to type next.
pub fn run(args: &UpArgs) -> Result<ExitCode> {
    let spec = Spec::new(args.shape.named(&args.sandbox.name))?;
    let kubeconfig = match &args.kubeconfig {
        Some(file) => std::path::absolute(file).context("--kubeconfig")?,
        None => kubeconfig::default_path()?,
    };
    let request = Request { spec, shape: &args.shape, api_port: args.api_port, kubeconfig };
    block_on(async {
        let mut report = Report::begin();
        let sandbox = launch::launch(&request, &mut report).await?;
        say_what_next(&sandbox, &report, args);
        if args.foreground {
            wait_for_interrupt().await?;
            down::remove(&sandbox.state)?;
        }
        Ok(ExitCode::SUCCESS)
    })?
}

fn say_what_next(sandbox: &Sandbox, report: &Report, args: &UpArgs) {
    let record = &sandbox.record;
    let config = record.kubeconfig.display();
    report.line(&format!(" ✓ kubeconfig    context {:?} in {config}", record.context));
    for line in sandbox.reach.lines() {
        report.line(&format!(" {line}"));
    }
    let flag = args.kubeconfig.as_ref().map(|_| format!(" --kubeconfig {config}")).unwrap_or_default();
    let name = match record.spec.name() {
        "fairway" => String::new(),
        name => format!(" --name {name}"),
    };
    report.line(&format!(
        "Ready in {:.2} s.  Next:  kubectl{flag} get nodes -o wide  |  fairway status  |  fairway down{name}",
        report.seconds()
    ));
    if args.output == Output::Json {
        say!(
            "{:#}",
            json!({
                "name": record.spec.name(),
                "context": record.context,
                "kubeconfig": record.kubeconfig,
                "apiServer": format!("https://127.0.0.1:{}", record.api_port),
                "nodes": record.spec.node_names().collect::<Vec<_>>(),
                "reachedDirectly": sandbox.reach.link().map(|link| &link.ranges),
                "seconds": report.seconds(),
            })
        );
    }
}

async fn wait_for_interrupt() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot receive signals")?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome.context("cannot receive signals")?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
