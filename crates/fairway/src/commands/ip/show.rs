//! `fairway ip show`

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use cni::{Allocation, RangeUse, allocations, usage};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{IpShowArgs, Output};
use crate::output::columns;
use crate::roles::agent::PLUGIN;

/// Above this a number tells no more than that it is large: nobody counts the addresses of a /64.
const COUNTED_MAX: u128 = 1 << 32;

/// Shows the addresses this node's pods have and what is left of its ranges; exit code 1 when one of them belongs to a
/// container that is gone.
pub fn run(args: &IpShowArgs) -> Result<ExitCode> {
    let found = allocations(&args.state_dir)?;
    let mut ranges = Vec::new();
    for pools in read_pools(&args.conf_dir, &args.state_dir)? {
        ranges.extend(usage(&args.state_dir, &pools.ranges, Duration::from_secs(pools.reuse_delay_seconds))?);
    }
    match args.output {
        Output::Json => say!("{:#}", to_json(&found, &ranges)),
        Output::Table => {
            if found.is_empty() {
                say_nothing(&args.state_dir);
            } else {
                print_allocations(&found);
            }
            if !ranges.is_empty() {
                say!("");
                print_ranges(&ranges);
            }
        }
    }
    Ok(if found.iter().all(|each| each.is_alive) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What configurations of networks say of addresses this plugin gives.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Pools {
    ranges: Vec<IpNet>,
    #[serde(default)]
    reuse_delay_seconds: u64,
}

/// The pools of the configurations in a directory that are kept in this state directory, by the names of their files.
/// Those of other plugins are none, and where there is no directory there are none either.
fn read_pools(conf_dir: &Path, state_dir: &Path) -> Result<Vec<Pools>> {
    let failed = || format!("cannot read the CNI configurations in {}", conf_dir.display());
    if !conf_dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(conf_dir).with_context(failed)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>().with_context(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conflist" || extension == "conf"));
    paths.sort();
    let mut pools = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(failed)?;
        // A file of somebody else's may hold anything.
        let network: Value = serde_json::from_str(&text).unwrap_or_default();
        pools.extend(pools_of(&network, state_dir));
    }
    Ok(pools)
}

/// The pools of one configuration, a list of plugins or a single one.
fn pools_of(network: &Value, state_dir: &Path) -> Vec<Pools> {
    let plugins = network["plugins"].as_array().map_or(std::slice::from_ref(network), Vec::as_slice);
    let is_kept_here = |plugin: &&Value| {
        let named = plugin["stateDir"].as_str().unwrap_or(cni::STATE_DIR);
        plugin["type"] == PLUGIN && Path::new(named) == state_dir
    };
    let ipam = plugins.iter().filter(is_kept_here).map(|plugin| plugin["ipam"].clone());
    ipam.filter_map(|ipam| serde_json::from_value(ipam).ok()).collect()
}

fn to_json(allocations: &[Allocation], ranges: &[RangeUse]) -> Value {
    let allocations = allocations.iter().map(|allocation| {
        json!({
            "address": allocation.address,
            "containerID": allocation.container,
            "ifname": allocation.interface,
            "network": allocation.network,
            "pod": allocation.pod,
            "alive": allocation.is_alive,
        })
    });
    let ranges = ranges.iter().map(|used| {
        let free = saturated(used.free);
        let total = saturated(total(used));
        json!({ "range": used.range, "taken": used.taken, "resting": used.resting, "free": free, "total": total })
    });
    json!({
        "apiVersion": "fairway.network/v1",
        "kind": "AllocationList",
        "items": allocations.collect::<Vec<_>>(),
        "ranges": ranges.collect::<Vec<_>>(),
    })
}

/// JSON has no larger numbers that every program reads.
fn saturated(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn total(used: &RangeUse) -> u128 {
    used.free + (used.taken + used.resting) as u128
}

fn say_nothing(state_dir: &Path) {
    if state_dir.exists() {
        return say!("no address is given out on this node");
    }
    say!(
        "no address was ever given out on this machine: there is no {}; of a sandbox's node they are shown by \
         fairway enter --node NODE -- fairway ip show",
        state_dir.display()
    );
}

fn print_allocations(allocations: &[Allocation]) {
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

fn print_ranges(ranges: &[RangeUse]) {
    let row = |used: &RangeUse| {
        let (taken, resting) = (used.taken.to_string(), used.resting.to_string());
        vec![used.range.to_string(), taken, resting, count(used.free), count(total(used))]
    };
    let rows: Vec<Vec<String>> = ranges.iter().map(row).collect();
    columns(&["RANGE", "TAKEN", "RESTING", "FREE", "TOTAL"], &rows);
}

fn count(count: u128) -> String {
    if count > COUNTED_MAX { "over 2^32".to_owned() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_are_those_of_the_configurations_that_are_kept_here() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &Value| fs::write(root.path().join(name), content.to_string()).unwrap();
        let ours = |range: &str, state: &str| json!({ "type": "fairway", "stateDir": state, "ipam": { "ranges": [range], "reuseDelaySeconds": 30 } });
        write("05-fairway.conflist", &json!({ "plugins": [ours("10.244.1.0/24", "/state"), { "type": "portmap" }] }));
        write("10-single.conf", &ours("fd00::/64", "/state"));
        write("20-elsewhere.conf", &ours("10.9.0.0/24", "/elsewhere"));
        write("30-other.conflist", &json!({ "plugins": [{ "type": "bridge", "ipam": { "type": "host-local" } }] }));
        write("40-chained.conflist", &json!({ "plugins": [{ "type": "fairway", "stateDir": "/state" }] }));
        fs::write(root.path().join("50-broken.conf"), "{").unwrap();
        fs::write(root.path().join(".05-fairway.conflist.1.new"), "{").unwrap();
        let found = read_pools(root.path(), Path::new("/state")).unwrap();
        let pools = |range: &str| Pools { ranges: vec![range.parse().unwrap()], reuse_delay_seconds: 30 };
        assert_eq!(found, [pools("10.244.1.0/24"), pools("fd00::/64")]);
        assert_eq!(read_pools(&root.path().join("none"), Path::new("/state")).unwrap(), []);
    }

    #[test]
    fn what_nobody_counts_is_large_and_a_number_for_programs() {
        let used = RangeUse { range: "fd00::/56".parse().unwrap(), taken: 2, resting: 1, free: (1 << 72) - 4 };
        assert_eq!((count(used.free), count(254)), ("over 2^32".to_owned(), "254".to_owned()));
        let list = to_json(&[], &[used]);
        assert_eq!((&list["ranges"][0]["total"], &list["ranges"][0]["resting"]), (&json!(u64::MAX), &json!(1)));
    }
}
