//! The sandbox: from nothing to nodes that are ready, and from a pod's creation to its readiness.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use apiserver::client::{Client, Event, ListOptions, PODS};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::figures::Series;

/// How long pods may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "bench";

/// What to measure.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// How often a sandbox is brought up.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How many pods are started one after the other.
    #[arg(long, default_value_t = 30)]
    pods: usize,
    /// How many pods are started at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
    /// The binary; by default the `fairway` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

struct Bench {
    binary: PathBuf,
    folder: TempDir,
}

/// Measures and prints.
pub fn run(args: &SandboxArgs) -> Result<()> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("fairway"));
    let binary = args.binary.clone().map_or_else(beside, Ok)?;
    ensure!(binary.exists(), "{} is missing; build it with: cargo build --release", binary.display());
    let bench = Bench { binary, folder: tempfile::Builder::new().prefix("fwbench").tempdir()? };
    let mut up = Series::default();
    for _ in 0..args.runs {
        let begun = Instant::now();
        bench.fairway(&["up", "--name", NAME])?;
        up.push(begun.elapsed());
        bench.fairway(&["down", "--name", NAME])?;
    }
    println!("up, 3 nodes and DNS ready   {}", up.spread());
    bench.fairway(&["up", "--name", NAME])?;
    let measured = tokio::runtime::Runtime::new()?.block_on(bench.measure_pods(args));
    bench.fairway(&["down", "--name", NAME])?;
    measured
}

impl Bench {
    fn fairway(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).stderr(Stdio::null());
        command.env("FAIRWAY_STATE_DIR", self.folder.path()).env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        let status = command.status().context("cannot start fairway")?;
        ensure!(status.success(), "fairway {} failed", arguments.join(" "));
        Ok(())
    }

    async fn measure_pods(&self, args: &SandboxArgs) -> Result<()> {
        let client = Client::unix(self.folder.path().join(NAME).join("apiserver.sock"));
        let mut single = Series::default();
        for index in 0..args.pods {
            single.push(start_pods(&client, &format!("one{index}"), 1).await?);
        }
        println!("one pod, created to ready   {}", single.spread());
        println!("                            p99 {:.1} ms", single.percentile(99).as_secs_f64() * 1000.0);
        let burst = start_pods(&client, "burst", args.burst).await?;
        println!("{} pods at once, all ready   {:.0} ms", args.burst, burst.as_secs_f64() * 1000.0);
        Ok(())
    }
}

/// Creates pods and waits until all of them are ready.
async fn start_pods(client: &Client, run: &str, count: usize) -> Result<Duration> {
    let mut watch = client.watch(&PODS, "default", ListOptions::labels(&format!("run={run}")));
    let begun = Instant::now();
    for index in 0..count {
        client.create(&PODS, "default", &pod(run, index)).await?;
    }
    let mut ready = std::collections::BTreeSet::new();
    let all_ready = async {
        while ready.len() < count {
            let event = watch.next().await;
            let pods = match event {
                Event::Restarted(pods) => pods,
                Event::Applied(pod) => vec![pod],
                Event::Deleted(_) => Vec::new(),
            };
            ready.extend(pods.iter().filter(|pod| is_ready(pod)).map(|pod| pod["metadata"]["name"].to_string()));
        }
    };
    timeout(PATIENCE, all_ready).await.with_context(|| format!("{count} pods were not ready in time"))?;
    Ok(begun.elapsed())
}

fn pod(run: &str, index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("{run}-{index}"), "labels": {"run": run}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "pause", "image": "pause"}]},
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
