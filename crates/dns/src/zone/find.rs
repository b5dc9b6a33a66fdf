//! What a name stands for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::Protocol;

use super::reverse::reverse_address;
use super::{Host, NamespaceNames, PodNames, PortRecords, ReverseNames, ServiceNames, Zone, text};
use crate::config::is_within;
use crate::wire::QueryName;

/// What a name stands for.
#[derive(Debug)]
pub enum Found<'z> {
    /// The cluster domain itself.
    Apex,
    /// The name that says which version of the specification is served.
    Version,
    /// The name of the zone's server.
    NameServer,
    /// A name that exists and has no records of its own.
    Empty,
    /// A Service.
    Service(&'z ServiceNames),
    /// Endpoints of a Service that share a host name.
    Host(&'z Host),
    /// A named port of a Service.
    Port(&'z ServiceNames, &'z PortRecords),
    /// A pod named by its address.
    Pod(IpAddr),
    /// An address that resolves back to names.
    Address(&'z ReverseNames),
    /// No such name in the zone.
    Missing,
    /// A name in the zone that the first snapshot may or may not have.
    Unknown,
    /// A name of another zone.
    Elsewhere,
}

impl Zone {
    /// What `name` stands for.
    pub fn find(&self, name: &QueryName) -> Found<'_> {
        if let Some(under) = name.labels_under(&self.settings.origin) {
            return match self.synced {
                true => self.or_elsewhere(name, self.find_under_origin(name, under)),
                false => Found::Unknown,
            };
        }
        if !is_within(name, &self.settings.reverse) {
            return Found::Elsewhere;
        }
        match self.find_address(name) {
            Some(names) => Found::Address(names),
            None if self.settings.falls_through(name) => Found::Elsewhere,
            None if self.synced => Found::Missing,
            None => Found::Unknown,
        }
    }

    /// What was found, unless it is nothing and somebody else may know the name.
    fn or_elsewhere<'z>(&self, name: &QueryName, found: Found<'z>) -> Found<'z> {
        match found {
            Found::Missing if self.settings.falls_through(name) => Found::Elsewhere,
            found => found,
        }
    }

    fn find_under_origin(&self, name: &QueryName, under: usize) -> Found<'_> {
        let Some(last) = under.checked_sub(1) else {
            return Found::Apex;
        };
        match (name.label(last), last) {
            (b"svc", _) => self.find_service(name, last),
            (b"pod", _) => self.find_pod(name, last),
            (b"dns-version", 0) => Found::Version,
            (b"dns", 0) => Found::Empty,
            (b"dns", 1) if name.label(0) == b"ns" => Found::NameServer,
            _ => Found::Missing,
        }
    }

    /// Finds a name with `left` labels in front of `svc`.
    fn find_service(&self, name: &QueryName, left: usize) -> Found<'_> {
        if left == 0 {
            return Found::Empty;
        }
        let Some(namespace) = self.namespaces.get(text(name.label(left - 1))) else {
            return Found::Missing;
        };
        if left == 1 {
            return namespace.itself();
        }
        let service = namespace.services.get(text(name.label(left - 2))).filter(|service| service.exists());
        match (service, left) {
            (None, _) => Found::Missing,
            (Some(service), 2) => Found::Service(service),
            (Some(service), 3) => find_in_service(service, name.label(0)),
            (Some(service), 4) => find_port(service, name.label(0), name.label(1)),
            (Some(_), _) => Found::Missing,
        }
    }

    /// Finds a name with `left` labels in front of `pod`.
    fn find_pod(&self, name: &QueryName, left: usize) -> Found<'_> {
        if left == 0 {
            return Found::Empty;
        }
        let namespace = self.namespaces.get(text(name.label(left - 1))).filter(|namespace| namespace.exists);
        match (namespace, left) {
            (Some(_), 1) => Found::Empty,
            (Some(_), 2) => self.pod_at(text(name.label(1)), text(name.label(0))),
            _ => Found::Missing,
        }
    }

    fn pod_at(&self, namespace: &str, label: &str) -> Found<'_> {
        let has_name = |&address: &IpAddr| match self.settings.pods {
            PodNames::Disabled => false,
            PodNames::Insecure => true,
            PodNames::Verified => self.pods.has(namespace, address),
        };
        parse_address_label(label).filter(has_name).map_or(Found::Missing, Found::Pod)
    }

    fn find_address(&self, name: &QueryName) -> Option<&ReverseNames> {
        self.reverse.get(reverse_address(name)?)
    }
}

impl NamespaceNames {
    fn itself(&self) -> Found<'static> {
        if self.exists || !self.services.is_empty() { Found::Empty } else { Found::Missing }
    }
}

fn find_in_service<'z>(service: &'z ServiceNames, label: &[u8]) -> Found<'z> {
    match parse_protocol(label) {
        Some(protocol) if service.has_named_port(protocol) => Found::Empty,
        _ => service.host(text(label)).map_or(Found::Missing, Found::Host),
    }
}

fn find_port<'z>(service: &'z ServiceNames, port: &[u8], protocol: &[u8]) -> Found<'z> {
    let name = port.strip_prefix(b"_").map(text);
    let records = name.zip(parse_protocol(protocol)).and_then(|(name, protocol)| service.port(name, protocol));
    records.map_or(Found::Missing, |records| Found::Port(service, records))
}

fn parse_protocol(label: &[u8]) -> Option<Protocol> {
    match label {
        b"_tcp" => Some(Protocol::Tcp),
        b"_udp" => Some(Protocol::Udp),
        b"_sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// Reads `10-244-1-5` or `fd00--1` as the address it was made from.
fn parse_address_label(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    v4().or_else(v6)
}
