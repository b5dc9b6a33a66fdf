//! The names of one Service.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Endpoint, EndpointSlice, Fitness, Name, Protocol, Service, ServiceKind};

use super::{Addresses, EndpointNames, ZoneSettings};
use crate::wire::DomainName;

/// All records of one Service and its endpoints.
#[derive(Debug)]
pub struct ServiceNames {
    /// `service.namespace.svc.origin`.
    pub name: DomainName,
    /// What the Service's own name resolves to: cluster addresses, or the endpoints of a headless Service.
    pub addresses: Addresses,
    /// The endpoints by the label their name starts with, sorted by it.
    pub hosts: Box<[Host]>,
    /// Where each named or unnamed port is served, in the order of the Service.
    pub ports: Box<[PortRecords]>,
    /// What an ExternalName Service is an alias for.
    pub alias: Option<DomainName>,
    headless: bool,
    /// Whether nothing is behind it and such Services have no name.
    hidden: bool,
}

/// Endpoints that share a host name.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    /// The label in front of the Service's name.
    pub label: Box<str>,
    /// Their addresses.
    pub addresses: Addresses,
    /// Whether the label is a host name somebody gave, not one made from the address.
    pub named: bool,
}

/// Where one port of a Service is served.
#[derive(Debug, PartialEq, Eq)]
pub struct PortRecords {
    /// The port's name; empty when it has none.
    pub name: Name,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The places, never empty.
    pub places: Box<[SrvPlace]>,
}

/// A port and the host it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrvPlace {
    /// Index of the host among the Service's hosts; the Service itself when there is none.
    pub host: Option<usize>,
    /// The port number.
    pub port: u16,
}

/// The facts a Service's names are made from.
struct Source<'a> {
    service: &'a Service,
    slices: Vec<&'a EndpointSlice>,
    named: EndpointNames,
}

impl ServiceNames {
    /// The names of `service` and of the endpoints in `slices`, under the domain `svc.` of the zone's origin.
    ///
    /// Nothing when the Service has no name that fits into a domain name.
    pub fn of<'a>(
        service: &Service,
        slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
        settings: &ZoneSettings,
    ) -> Option<Self> {
        let key = &service.name;
        let name = DomainName::parse(&format!("{}.{}.svc.{}", key.name, key.namespace, settings.origin)).ok()?;
        let named = settings.endpoints;
        let slices = slices.map(|slice| &**slice).filter(|_| named != EndpointNames::None).collect();
        let source = Source { service, slices, named };
        let hosts = hosts_of(&source);
        let headless = matches!(service.kind, ServiceKind::Headless { .. });
        let is_virtual = matches!(service.kind, ServiceKind::Virtual { .. });
        let hidden = settings.ignore_empty && is_virtual && hosts.is_empty();
        let addresses = match &service.kind {
            ServiceKind::Virtual { cluster_ips, .. } => cluster_ips.iter().copied().collect(),
            ServiceKind::Headless { .. } => hosts.iter().flat_map(|host| host.addresses.all()).copied().collect(),
            ServiceKind::ExternalName { .. } => Addresses::default(),
        };
        let alias = match &service.kind {
            ServiceKind::ExternalName { target } => DomainName::parse(target.as_str()).ok(),
            _ => None,
        };
        let ports = if headless { ports_of_endpoints(&source, &hosts) } else { ports_of_service(service) };
        Some(Self { name, addresses, hosts, ports, alias, headless, hidden })
    }

    /// Whether the Service's own name exists: a headless Service has one while it has endpoints.
    pub fn exists(&self) -> bool {
        !self.hidden && (!self.headless || !self.addresses.is_empty())
    }

    /// The endpoints whose name starts with `label`.
    pub fn host(&self, label: &str) -> Option<&Host> {
        let index = self.hosts.binary_search_by(|host| (*host.label).cmp(label)).ok()?;
        Some(&self.hosts[index])
    }

    /// The records of the port called `name`.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<&PortRecords> {
        self.ports.iter().find(|port| port.protocol == protocol && port.name.as_str() == name && !name.is_empty())
    }

    /// Whether some named port has this protocol, so that `_protocol` in front of the Service's name exists.
    pub fn has_named_port(&self, protocol: Protocol) -> bool {
        self.ports.iter().any(|port| port.protocol == protocol && !port.name.as_str().is_empty())
    }

    /// Addresses that resolve back to a name of this Service: to its own, or to that of a host.
    pub(super) fn reverse(&self) -> impl Iterator<Item = (IpAddr, Option<&Host>)> {
        let own = if self.headless { &[][..] } else { self.addresses.all() };
        let hosts = self.hosts.iter().filter(|host| host.named || self.headless);
        let of_hosts = hosts.flat_map(|host| host.addresses.all().iter().map(move |&address| (address, Some(host))));
        own.iter().map(|&address| (address, None)).chain(of_hosts)
    }
}

impl Source<'_> {
    fn publishes(&self, endpoint: &Endpoint) -> bool {
        self.service.fitness_of(endpoint) == Fitness::Ready
    }

    fn published(&self) -> impl Iterator<Item = (&EndpointSlice, &Endpoint)> {
        self.slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (*slice, endpoint)))
            .filter(|(_, endpoint)| self.publishes(endpoint))
    }
}

/// The label of an endpoint's own name: its host name, its pod's name if so wished, or one made from its address.
fn label_of(endpoint: &Endpoint, named: EndpointNames) -> Cow<'_, str> {
    let pod = endpoint.pod.as_ref().filter(|_| named == EndpointNames::Pods).map(|pod| &pod.name);
    match endpoint.hostname.as_ref().or(pod) {
        Some(name) => Cow::Borrowed(name.as_str()),
        None => Cow::Owned(address_label(endpoint.address)),
    }
}

/// An address as a label: dots and colons become hyphens, and a label never ends in one.
fn address_label(address: IpAddr) -> String {
    let mut label = address.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

fn hosts_of(source: &Source<'_>) -> Box<[Host]> {
    let mut by_label: BTreeMap<Box<str>, (Vec<IpAddr>, bool)> = BTreeMap::new();
    for (_, endpoint) in source.published() {
        let label = label_of(endpoint, source.named).to_ascii_lowercase().into();
        let (addresses, named) = by_label.entry(label).or_default();
        addresses.push(endpoint.address);
        *named |= endpoint.hostname.is_some();
    }
    let host = |(label, (addresses, named)): (_, (Vec<_>, _))| Host {
        label,
        addresses: addresses.into_iter().collect(),
        named,
    };
    by_label.into_iter().map(host).collect()
}

fn ports_of_service(service: &Service) -> Box<[PortRecords]> {
    let is_alias = matches!(service.kind, ServiceKind::ExternalName { .. });
    let ports = service.ports.iter().filter(|_| !is_alias);
    ports
        .map(|port| PortRecords {
            name: port.name.clone(),
            protocol: port.protocol,
            places: Box::new([SrvPlace { host: None, port: port.port.get() }]),
        })
        .collect()
}

/// A headless Service's ports: for each name and protocol, every endpoint that has one.
fn ports_of_endpoints(source: &Source<'_>, hosts: &[Host]) -> Box<[PortRecords]> {
    let mut places: BTreeMap<(Name, Protocol), Vec<SrvPlace>> = BTreeMap::new();
    for (slice, endpoint) in source.published() {
        let label = label_of(endpoint, source.named).to_ascii_lowercase();
        let host = hosts.binary_search_by(|host| (*host.label).cmp(&label)).ok();
        for port in &slice.ports {
            let place = SrvPlace { host, port: port.port.get() };
            places.entry((port.name.clone(), port.protocol)).or_default().push(place);
        }
    }
    let records = |((name, protocol), mut places): ((Name, Protocol), Vec<SrvPlace>)| {
        places.sort_unstable();
        places.dedup();
        PortRecords { name, protocol, places: places.into() }
    };
    places.into_iter().map(records).collect()
}
