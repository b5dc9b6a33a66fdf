//! `fairway ip show`

use std::process::ExitCode;

use anyhow::Result;
use cni::{Allocation, allocations};
use serde_json::{Value, json};

use crate::cli::{IpShowArgs, Output};

/// Shows the addresses this node's pods have; exit code 1 when one of them belongs to a container that is gone.
pub fn run(args: &IpShowArgs) -> Result<ExitCode> {
    let found = allocations(&args.state_dir)?;
    match args.output {
        Output::Json => say!("{:#}", Value::Array(found.iter().map(to_json).collect())),
        Output::Table if !args.state_dir.exists() => say!(
            "no address was ever given out on this machine: there is no {}; of a sandbox's node they are shown by \
             fairway enter --node NODE -- fairway ip show",
            args.state_dir.display()
        ),
        Output::Table if found.is_empty() => say!("no address is given out on this node"),
        Output::Table => print_table(&found),
    }
    Ok(if found.iter().all(|each| each.is_alive) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn to_json(allocation: &Allocation) -> Value {
    json!({
        "address": allocation.address,
        "containerID": allocation.container,
        "ifname": allocation.interface,
        "network": allocation.network,
        "pod": allocation.pod,
        "alive": allocation.is_alive,
    })
}

fn print_table(allocations: &[Allocation]) {
    say!("{:<40} {:<5} {:<40} {:<13} NETWORK", "ADDRESS", "ALIVE", "POD", "CONTAINER");
    for each in allocations {
        let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
        let container: String = text(&each.container).chars().take(13).collect();
        let alive = if each.is_alive { "yes" } else { "no" };
        say!(
            "{:<40} {alive:<5} {:<40} {container:<13} {}",
            each.address.to_string(),
            text(&each.pod),
            text(&each.network)
        );
    }
}
