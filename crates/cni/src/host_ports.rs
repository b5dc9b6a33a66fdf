//! Ports of the node that lead to a container (`portMappings`).
//!
//! They are written down before they are put into the kernel and struck out after they are taken from it, so that
//! `DEL` finds what a killed `ADD` left, and whoever has to make the kernel's table anew finds what belongs in it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::time::SystemTime;

use compile::host_ports::{HostPort, PublishedPort};
use datapath::route::{Link, Rtnetlink};
use datapath::{HostPorts, sysctl};
use model::Protocol;
use serde::Deserialize;

use crate::CniError;
use crate::attachments::{self, Record};
use crate::owner::Owner;
use crate::state::{StateDirectory, StateLock};

/// A port mapping as the runtime asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortMapping {
    /// The node's address; none or an unspecified one for all, of both families or of its own.
    address: Option<IpAddr>,
    protocol: Protocol,
    host: NonZeroU16,
    container: NonZeroU16,
}

/// An entry of `runtimeConfig.portMappings`. The other spelling is containerd's, whose type has Go's own names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawPortMapping {
    #[serde(default, alias = "HostPort")]
    host_port: i64,
    #[serde(default, alias = "ContainerPort")]
    container_port: i64,
    #[serde(default, alias = "Protocol")]
    protocol: String,
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

/// Reads the mappings; those without a port of the host ask for nothing.
pub(crate) fn parse_mappings(raw: &[RawPortMapping]) -> Result<Vec<PortMapping>, CniError> {
    let asking = raw.iter().enumerate().filter(|(_, mapping)| mapping.host_port != 0);
    asking.map(|(index, mapping)| parse_mapping(index, mapping)).collect()
}

fn parse_mapping(index: usize, raw: &RawPortMapping) -> Result<PortMapping, CniError> {
    let refuse = |field: &str, why: String| CniError::Config {
        field: format!("runtimeConfig.portMappings[{index}].{field}"),
        why,
    };
    let port = |field: &str, number: i64| {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        port.ok_or_else(|| refuse(field, format!("{number} must be 1 to 65535")))
    };
    let address = match raw.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| refuse("hostIP", format!("{text:?} must be an IP address")))?),
    };
    let protocol = match raw.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(refuse("protocol", format!("{other:?} must be tcp, udp or sctp"))),
    };
    let (host, container) = (port("hostPort", raw.host_port)?, port("containerPort", raw.container_port)?);
    Ok(PortMapping { address, protocol, host, container })
}

/// The mappings for a container with these addresses. One of a family the container does not have leads nowhere.
pub(crate) fn plan(mappings: &[PortMapping], addresses: &[IpAddr]) -> Vec<HostPort> {
    let pairs = mappings.iter().flat_map(|mapping| addresses.iter().map(move |address| (mapping, *address)));
    let matching =
        pairs.filter(|(mapping, address)| mapping.address.is_none_or(|host| host.is_ipv4() == address.is_ipv4()));
    let planned = matching.map(|(mapping, address)| HostPort {
        address: mapping.address.filter(|host| !host.is_unspecified()),
        protocol: mapping.protocol,
        port: mapping.host,
        endpoint: SocketAddr::new(address, mapping.container.get()),
    });
    planned.collect()
}

/// Refuses ports of `record` that another container has.
pub(crate) fn refuse_taken(state: &StateDirectory, record: &Record) -> Result<(), CniError> {
    if record.host_ports.is_empty() {
        return Ok(());
    }
    let lock = state.lock()?;
    refuse_clashes(state, &lock, record)
}

/// Writes down what there is of the attachment, and makes its ports, and none that an earlier call wrote down, lead to the
/// container.
pub(crate) fn publish(state: &StateDirectory, record: &Record) -> Result<(), CniError> {
    let ports = &record.host_ports;
    let earlier = attachments::read(state, &record.owner)?.map(|record| record.published()).unwrap_or_default();
    allow_loopback_clients(ports)?;
    let lock = state.lock()?;
    if ports.is_empty() && earlier.is_empty() {
        return Ok(attachments::write(state, &lock, record)?);
    }
    refuse_clashes(state, &lock, record)?;
    let mut kernel = HostPorts::open()?;
    let wanted = record.published();
    if earlier != wanted {
        kernel.remove(&earlier)?;
    }
    attachments::write(state, &lock, record)?;
    kernel.add(&wanted)?;
    Ok(())
}

/// Makes the attachment's ports lead nowhere.
pub(crate) fn withdraw(state: &StateDirectory, record: &Record) -> Result<(), CniError> {
    if record.host_ports.is_empty() {
        return Ok(());
    }
    let _lock = state.lock()?;
    HostPorts::open()?.remove(&record.published())?;
    Ok(())
}

/// What is wrong with the container's ports, each as a sentence.
pub(crate) fn faults(state: &StateDirectory, owner: &Owner, ports: &[HostPort]) -> Result<Vec<String>, CniError> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let recorded = attachments::read(state, owner)?.map(|record| record.host_ports).unwrap_or_default();
    let published = |port: &HostPort| PublishedPort { port: *port, owner: owner.container_in_words() };
    let missing = HostPorts::open()?.missing(&ports.iter().map(published).collect::<Vec<_>>())?;
    let unrecorded = ports.iter().filter(|port| !recorded.contains(port) && !missing.contains(port));
    let unrecorded = unrecorded.map(|port| format!("the reservation of {} is gone", describe(port)));
    Ok(missing
        .iter()
        .map(|port| format!("{} does not lead to {}", describe(port), port.endpoint))
        .chain(unrecorded)
        .collect())
}

/// The host ports of all containers, as written down in a state directory; none when there is no such directory.
///
/// For whoever has to make the kernel's table anew: [`compile::Plan::set_host_ports`].
pub fn recorded_host_ports(state_dir: &Path) -> Result<Vec<PublishedPort>, CniError> {
    let records = attachments::read_all(&StateDirectory::open(state_dir))?;
    Ok(records.iter().flat_map(Record::published).collect())
}

/// When attachments were last written down in a state directory or struck out: [`recorded_host_ports`] are the same as
/// long as this is.
pub fn recorded_at(state_dir: &Path) -> Option<SystemTime> {
    fs::metadata(StateDirectory::open(state_dir).attachments()).and_then(|found| found.modified()).ok()
}

/// Brings the kernel's host ports in step with what is written down and tells how many elements that took.
///
/// Calls of the plugin wait meanwhile. Nothing happens where there is no state directory: then it is not ours to know
/// what is right.
pub fn restore_host_ports(state_dir: &Path) -> Result<usize, CniError> {
    let state = StateDirectory::open(state_dir);
    if !state.exists() {
        return Ok(0);
    }
    let _lock = state.lock()?;
    Ok(HostPorts::open()?.replace_all(&recorded_host_ports(state_dir)?)?)
}

/// Refuses ports another container has. One that is gone without a `DEL` has none any more.
fn refuse_clashes(state: &StateDirectory, lock: &StateLock<'_>, record: &Record) -> Result<(), CniError> {
    for mut other in attachments::read_all(state)?.into_iter().filter(|other| other.owner != record.owner) {
        let is_taken = |port: &&HostPort| other.host_ports.iter().any(|taken| taken.clashes_with(port));
        let Some(port) = record.host_ports.iter().find(is_taken) else { continue };
        if other.is_alive(&mut Rtnetlink::open()?)? {
            return Err(CniError::PortTaken { port: describe(port), container: other.owner.container });
        }
        HostPorts::open()?.remove(&other.published())?;
        other.host_ports.clear();
        attachments::write(state, lock, &other)?;
    }
    Ok(())
}

/// Lets clients at the host's loopback address through to the containers: they are masqueraded, and what the answers
/// are sent to is a loopback address, which the kernel takes from no link but those it is told of.
fn allow_loopback_clients(ports: &[HostPort]) -> Result<(), CniError> {
    let mut ports = ports.iter().filter(serves_loopback).peekable();
    if ports.peek().is_none() {
        return Ok(());
    }
    let mut host = Rtnetlink::open()?;
    for port in ports {
        let towards = host.link_towards(port.endpoint.ip())?;
        let link = host.links()?.into_iter().find(|link| Some(link.index) == towards);
        if let Some(link) = link {
            sysctl::write(&loopback_setting(&link), "1")?;
        }
    }
    Ok(())
}

fn serves_loopback(port: &&HostPort) -> bool {
    port.endpoint.is_ipv4() && port.address.is_none_or(|address| address.is_loopback())
}

/// Whether the host's end of a container with these ports lets such clients through, if any of them is for them.
pub(crate) fn lets_loopback_clients_through(ports: &[HostPort], link: &Link) -> bool {
    let is_let = || sysctl::read(&loopback_setting(link)).is_ok_and(|value| value == "1");
    !ports.iter().any(|port| serves_loopback(&port)) || is_let()
}

/// Has the host's end of a container with these ports let such clients through, if any of them is for them.
pub(crate) fn let_loopback_clients_through(ports: &[HostPort], link: &Link) -> Result<(), CniError> {
    if ports.iter().any(|port| serves_loopback(&port)) {
        sysctl::write(&loopback_setting(link), "1")?;
    }
    Ok(())
}

fn loopback_setting(link: &Link) -> String {
    format!("ipv4/conf/{}/route_localnet", link.name)
}

fn describe(port: &HostPort) -> String {
    match port.address {
        Some(address) => format!("host port {} {}", port.protocol, SocketAddr::new(address, port.port.get())),
        None => format!("host port {} {}", port.protocol, port.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(mappings: Value) -> Result<Vec<PortMapping>, String> {
        let raw: Vec<RawPortMapping> = serde_json::from_value(mappings).unwrap();
        parse_mappings(&raw).map_err(|error| error.to_string())
    }

    fn planned(mappings: Value) -> Vec<String> {
        let addresses = ["10.244.1.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let ports = plan(&parse(mappings).unwrap(), &addresses);
        ports.iter().map(|port| format!("{} -> {}", describe(port), port.endpoint)).collect()
    }

    #[test]
    fn containerds_spelling_means_the_same() {
        let mapping = json!([{ "HostPort": 54323, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": "127.0.0.1" }]);
        assert_eq!(planned(mapping), ["host port TCP 127.0.0.1:54323 -> 10.244.1.5:8080"]);
    }

    #[test]
    fn a_mapping_without_an_address_is_for_both_families_and_one_with_an_address_for_its_own() {
        assert_eq!(
            planned(json!([
                { "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" },
                { "hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "0.0.0.0" },
                { "hostPort": 81, "containerPort": 80, "hostIP": "fd00::1" },
                { "hostPort": 0, "containerPort": 80 },
            ])),
            [
                "host port TCP 8080 -> 10.244.1.5:80",
                "host port TCP 8080 -> [fd00::5]:80",
                "host port UDP 53 -> 10.244.1.5:5353",
                "host port TCP [fd00::1]:81 -> [fd00::5]:80",
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        for (mapping, expected) in [
            (json!({ "hostPort": 70000, "containerPort": 80 }), "hostPort: 70000 must be 1 to 65535"),
            (json!({ "hostPort": 80 }), "containerPort: 0 must be 1 to 65535"),
            (json!({ "hostPort": 80, "containerPort": 80, "protocol": "icmp" }), "protocol: \"icmp\" must be tcp"),
            (json!({ "hostPort": 80, "containerPort": 80, "hostIP": "x" }), "hostIP: \"x\" must be an IP address"),
        ] {
            let refusal = parse(json!([mapping])).unwrap_err();
            assert!(
                refusal.starts_with(&format!("configuration field runtimeConfig.portMappings[0].{expected}")),
                "{refusal}"
            );
        }
    }
}
