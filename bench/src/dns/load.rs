//! How many queries each server answers.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::DnsArgs;
use super::servers::{Program, Server, Servers};
use super::world::World;

/// What clients ask for, one line a query.
struct Mix {
    name: &'static str,
    queries: String,
}

/// What one run came to.
#[derive(Clone, Copy)]
struct Run {
    per_second: f64,
    per_cpu_second: f64,
    lost: u64,
}

/// Loads the servers in turn and prints medians and their ratio.
pub fn measure(args: &DnsArgs, world: &World, servers: &Servers, order: [Program; 2]) -> Result<()> {
    println!(
        "\nqueries answered a second of the server's processor time (and a second of time), medians of {}",
        args.runs
    );
    for mix in mixes(args.services) {
        let path = world.folder.path().join("queries");
        std::fs::write(&path, &mix.queries)?;
        let mut runs: [Vec<Run>; 2] = Default::default();
        for _ in 0..args.runs {
            for (program, runs) in order.iter().zip(&mut runs) {
                runs.push(load(servers.of(*program), &path, args.seconds)?);
            }
        }
        let medians = runs.each_ref().map(|runs| median(runs));
        for ((program, median), runs) in order.iter().zip(&medians).zip(&runs) {
            let lost: u64 = runs.iter().map(|run| run.lost).sum();
            println!(
                "{:<24} {:<8} {:>9.0} ({:>7.0})   {}   lost {lost}",
                mix.name,
                program.name(),
                median.per_cpu_second,
                median.per_second,
                spread(runs),
            );
        }
        println!(
            "{:<24} ratio    {:>9.1} ({:>7.1})",
            mix.name,
            medians[1].per_cpu_second / medians[0].per_cpu_second,
            medians[1].per_second / medians[0].per_second
        );
    }
    Ok(())
}

fn mixes(services: usize) -> Vec<Mix> {
    let of = |line: &dyn Fn(usize) -> String| {
        (0..services.max(1)).fold(String::new(), |mut text, index| {
            let _ = writeln!(text, "{}", line(index));
            text
        })
    };
    vec![
        Mix { name: "Services, A", queries: of(&|index| format!("web-{index}.default.svc.cluster.local A")) },
        Mix {
            name: "search path, missing",
            queries: of(&|index| format!("host-{index}.example.com.default.svc.cluster.local A")),
        },
        Mix {
            name: "ports, SRV",
            queries: of(&|index| format!("_http._tcp.web-{index}.default.svc.cluster.local SRV")),
        },
        Mix { name: "addresses, PTR", queries: of(&|index| format!("{}.1.245.10.in-addr.arpa PTR", index % 250)) },
    ]
}

/// One run of dnsperf, on another core than the servers.
fn load(server: &Server, queries: &Path, seconds: u64) -> Result<Run> {
    let before = server.cpu_time()?;
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "dnsperf", "-s", "127.0.0.1", "-c", "128", "-q", "256", "-l", &seconds.to_string()]);
    command.args(["-p", &server.address.port().to_string()]).arg("-d").arg(queries);
    let output = command.output().context("cannot start taskset and dnsperf; install the package dnsperf")?;
    ensure!(output.status.success(), "dnsperf failed: {}", String::from_utf8_lossy(&output.stderr));
    let used = server.cpu_time()? - before;
    let text = String::from_utf8(output.stdout)?;
    let completed = figure(&text, "Queries completed:")?;
    Ok(Run {
        per_second: figure(&text, "Queries per second:")?,
        per_cpu_second: completed / used.as_secs_f64(),
        lost: figure(&text, "Queries lost:")? as u64,
    })
}

/// The number behind a label in what dnsperf prints.
fn figure(text: &str, label: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("dnsperf does not say {label:?}"))
}

/// The run in the middle, by processor time.
fn median(runs: &[Run]) -> Run {
    let mut sorted = runs.to_vec();
    sorted.sort_by(|a, b| a.per_cpu_second.total_cmp(&b.per_cpu_second));
    sorted[sorted.len() / 2]
}

fn spread(runs: &[Run]) -> String {
    let numbers = runs.iter().map(|run| run.per_cpu_second);
    let (least, most) = numbers.fold((f64::MAX, 0_f64), |(least, most), number| (least.min(number), most.max(number)));
    format!("{least:.0} to {most:.0}")
}
