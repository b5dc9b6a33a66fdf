//! What can be known to be in the way before anything is made.

use std::fs;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::spec::Spec;

/// What is in the way of a sandbox, and how to get round it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// The host already routes addresses of a range.
    #[error("{what} range {range} overlaps the host's route {route} via {interface}; choose another with {flag}")]
    RouteOverlap {
        /// What the range is for.
        what: &'static str,
        /// The range.
        range: Ipv4Net,
        /// The host's route.
        route: Ipv4Net,
        /// The interface of that route.
        interface: String,
        /// The flag that chooses another range.
        flag: &'static str,
    },
    /// The kernel has no packet filter we can use.
    #[error("the kernel has no {what}; {fix}")]
    Kernel {
        /// The missing feature.
        what: &'static str,
        /// What to do.
        fix: &'static str,
    },
}

/// Checks the host for what would break this sandbox.
///
/// # Errors
/// The first thing found in the way.
pub fn preflight(spec: &Spec) -> Result<(), PreflightError> {
    check_namespaces()?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    check_routes(spec, &parse_routes(&routes))
}

fn check_namespaces() -> Result<(), PreflightError> {
    let wanted = [("net", "network namespaces"), ("pid", "pid namespaces"), ("mnt", "mount namespaces")];
    for (file, what) in wanted {
        if fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_err() {
            return Err(PreflightError::Kernel { what, fix: "use a kernel built with them, 5.11 or newer" });
        }
    }
    Ok(())
}

fn check_routes(spec: &Spec, routes: &[(String, Ipv4Net)]) -> Result<(), PreflightError> {
    let pods = spec.pod_cidrs().iter().map(|range| ("pod", *range, "--pod-cidr"));
    let services = spec.service_cidrs().iter().map(|range| ("service", *range, "--service-cidr"));
    for (what, range, flag) in pods.chain(services) {
        // Private ranges of IPv6 are drawn at random (RFC 4193), so that nobody has the same by chance.
        let IpNet::V4(range) = range else { continue };
        let hit = routes.iter().find(|(_, route)| {
            route.prefix_len() > 0 && (route.contains(&range.network()) || range.contains(&route.network()))
        });
        if let Some((interface, route)) = hit {
            let interface = interface.clone();
            return Err(PreflightError::RouteOverlap { what, range, route: *route, interface, flag });
        }
    }
    Ok(())
}

/// The routes of `/proc/net/route`: addresses and masks are hexadecimal in the byte order of the machine.
fn parse_routes(table: &str) -> Vec<(String, Ipv4Net)> {
    let parse_line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let address = |field: usize| {
            let bits = u32::from_str_radix(fields.get(field)?, 16).ok()?;
            Some(Ipv4Addr::from(bits.to_ne_bytes()))
        };
        let net = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
        Some(((*fields.first()?).to_owned(), net.trunc()))
    };
    table.lines().skip(1).filter_map(parse_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Shape;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        cni0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    fn spec(pods: &str) -> Spec {
        Spec::new(Shape { pod_cidrs: vec![pods.parse().unwrap()], ..Shape::default() }).unwrap()
    }

    #[test]
    fn a_pod_range_the_host_routes_is_refused_with_the_flag_to_change_it() {
        let error = check_routes(&spec("10.244.0.0/16"), &parse_routes(TABLE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pod range 10.244.0.0/16 overlaps the host's route 10.244.0.0/24 via cni0; choose another with --pod-cidr"
        );
    }

    #[test]
    fn the_default_route_overlaps_nothing() {
        assert_eq!(check_routes(&spec("10.200.0.0/16"), &parse_routes(TABLE)), Ok(()));
    }
}
