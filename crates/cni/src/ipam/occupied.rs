//! Addresses that others have given out: pods of another network keep theirs when Fairway comes to their node, and
//! have them out of the same range.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use datapath::route::{RouteFilter, RouteOrigin, Rtnetlink};
use ipnet::IpNet;

use crate::CniError;

/// Where the plugin host-local, which the plugins bridge and flannel and many others use, writes down what it has given:
/// a folder for each network, and in it a file for each address.
pub(crate) const HOST_LOCAL: &str = "/var/lib/cni/networks";
const UPTIME: &str = "/proc/uptime";

/// The addresses that this node's links have, those its routes to single addresses lead to, unless they are our own, and
/// those in the records of host-local that are of this boot.
pub(crate) fn occupied(host_local: &Path) -> Result<BTreeSet<IpAddr>, CniError> {
    let mut kernel = Rtnetlink::open()?;
    let mut occupied: BTreeSet<IpAddr> = kernel.addresses()?.into_iter().map(|(_, network)| network.addr()).collect();
    let routes = kernel.routes(RouteFilter::Main)?.into_iter().filter(|route| route.origin != RouteOrigin::Ours);
    occupied.extend(routes.map(|route| route.destination).filter(is_single).map(|destination| destination.addr()));
    occupied.extend(recorded_since(host_local, booted()));
    Ok(occupied)
}

fn is_single(destination: &IpNet) -> bool {
    destination.prefix_len() == destination.max_prefix_len()
}

/// When this boot began; none when the kernel does not say, and then every record counts.
fn booted() -> Option<SystemTime> {
    let text = fs::read_to_string(UPTIME).ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(seconds).ok()?)
}

/// The addresses with records written since. What cannot be read is not there: only some nodes have such records.
fn recorded_since(host_local: &Path, since: Option<SystemTime>) -> Vec<IpAddr> {
    let networks = fs::read_dir(host_local).into_iter().flatten().flatten();
    let records = networks.flat_map(|network| fs::read_dir(network.path()).into_iter().flatten().flatten());
    let is_recent = |record: &fs::DirEntry| {
        let written = record.metadata().and_then(|metadata| metadata.modified());
        written.is_ok_and(|written| since.is_none_or(|since| written >= since))
    };
    let recent = records.filter(is_recent);
    recent.filter_map(|record| record.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use datapath::route::Route;
    use datapath::testing::isolated;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_records_of_other_plugins_count_unless_they_are_of_an_earlier_boot() {
        let root = tempfile::tempdir().unwrap();
        let network = root.path().join("cbr0");
        fs::create_dir(&network).unwrap();
        for name in ["10.244.1.2", "last_reserved_ip.0", "lock"] {
            fs::write(network.join(name), "container\neth0").unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(recorded_since(root.path(), booted()), [ip("10.244.1.2")]);
        assert_eq!(recorded_since(root.path(), Some(later)), Vec::<IpAddr>::new());
        assert_eq!(recorded_since(&root.path().join("none"), None), Vec::<IpAddr>::new());
    }

    #[test]
    fn addresses_that_the_node_has_or_leads_to_for_others_are_occupied() {
        isolated(|| {
            let mut kernel = Rtnetlink::open().unwrap();
            let loopback = kernel.require_link("lo").unwrap().index;
            kernel.set_up(loopback).unwrap();
            kernel.add_address(loopback, "10.244.1.1/24".parse().unwrap()).unwrap();
            let route = |destination: &str| Route::on_link(destination.parse().unwrap(), loopback);
            kernel.add_route(&route("10.244.1.7/32")).unwrap();
            kernel.add_route(&route("10.244.1.8/32").ours()).unwrap();
            let found = occupied(Path::new("/nowhere")).unwrap();
            let asked = ["10.244.1.1", "10.244.1.7", "10.244.1.8", "10.244.1.2"].map(ip);
            assert_eq!(asked.map(|address| found.contains(&address)), [true, true, false, false]);
        });
    }
}
