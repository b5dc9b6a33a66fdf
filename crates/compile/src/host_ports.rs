//! Ports of this node that lead to a pod (`hostPort`): their part of the table.
//!
//! The CNI plugin knows which pod has which port, and must work while nobody else does. So the table has chains and maps
//! for it that depend on no other, and the elements of the maps are [the plugin's](Keeper::Others): whoever applies a
//! whole ruleset makes the maps with what is known then and leaves their elements alone afterwards. The chains also look
//! into two sets of a [plan](crate::Plan)'s, which are empty where nobody plans.
//!
//! A port at one address is looked for first, then one at any of the node's addresses. Only addresses the node has are
//! served, whatever a pod asks for, and those of the loopback only to the node itself. Addresses of pods that are gone
//! are none of the node's, although their packets [end there](crate::plan::Hop::Refused). The client's address is kept
//! but where an answer would not come back: for a pod that reaches itself, and for clients at the loopback address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use ipnet::IpNet;
use model::{IpFamily, Name, Protocol};

use crate::plan::SetKind;
use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, ConntrackField, Content, Data, DataType, Element, ElementKey, FieldType,
    HeaderField, Hook, InterfaceName, Keeper, Load, MetaField, NatKind, Note, Policy, Rule, Ruleset, Set, SetSpec,
    Statement, Value, Values, Verdict, conntrack_state, conntrack_status,
};

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];
/// Right after Services: a port that is both is the Service's.
const DESTINATION_PRIORITY: i32 = -99;
/// Right before the masquerade of what leaves the cluster.
const SOURCE_PRIORITY: i32 = 99;
/// The addresses of the host itself (RFC 1122, 3.2.1.3).
const LOOPBACK: &str = "loopback";
const LOOPBACK_NET: IpNet = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

/// A port of this node that leads to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The node's address; none for all of the endpoint's family.
    pub address: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The node's port.
    pub port: NonZeroU16,
    /// Where it leads. An `address` is of the same family.
    pub endpoint: SocketAddr,
}

impl HostPort {
    /// Whether both ask for the same port of the same address; one address and all addresses are not the same.
    pub fn clashes_with(&self, other: &Self) -> bool {
        let family = |port: &Self| IpFamily::of(port.endpoint.ip());
        (self.address, self.protocol, self.port, family(self))
            == (other.address, other.protocol, other.port, family(other))
    }
}

/// A port of this node that is in use, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// The port.
    pub port: HostPort,
    /// The pod it leads to, as `namespace/name`, or the container in words; for people who list the table.
    pub owner: Name,
}

/// The part of the table that serves host ports, its maps filled with these.
pub fn ruleset(ports: &[PublishedPort]) -> Ruleset {
    let mut sets: BTreeMap<Name, Set> = FAMILIES.into_iter().flat_map(empty_sets).collect();
    sets.extend(FAMILIES.into_iter().flat_map(planned_sets));
    for (name, element) in elements(ports) {
        if let Some(set) = sets.get_mut(&name) {
            set.elements.insert(element.key, element.content);
        }
    }
    let loopback = SetSpec { key: vec![FieldType::Ipv4Address], data: None, interval: true, dynamic: None };
    let mut loopback = Set::new(loopback);
    loopback.elements.insert(ElementKey::of_net(LOOPBACK_NET), Content::default());
    sets.insert(LOOPBACK.into(), loopback);
    Ruleset { sets, chains: chains() }
}

/// The elements that serve these ports, each with the set it belongs to; none twice.
pub fn elements(ports: &[PublishedPort]) -> Vec<(Name, Element)> {
    let mut elements: BTreeMap<_, (Option<Data>, BTreeSet<&Name>)> = BTreeMap::new();
    for PublishedPort { port, owner } in ports {
        let mut add = |map: Map, family, key: Values, data: Option<Data>| {
            let (held, owners) = elements.entry((map.name(family), ElementKey::Exact(key))).or_default();
            if *held != data {
                owners.clear();
            }
            *held = data;
            owners.insert(owner);
        };
        let family = IpFamily::of(port.endpoint.ip());
        let endpoint = [port.endpoint.ip().into(), Value::Port(port.endpoint.port())];
        let wanted = [Value::Protocol(port.protocol.number()), Value::Port(port.port.get())];
        let (map, key) = match port.address {
            Some(address) => (Map::AtAddress, [&[address.into()], &wanted[..]].concat()),
            None => (Map::Anywhere, wanted.to_vec()),
        };
        add(map, family, key.into(), Some(Data::Values(endpoint.into())));
        add(Map::Hairpins, family, [port.endpoint.ip().into(); 2].into(), None);
    }
    let content = |data, owners: BTreeSet<&Name>| Content { data, note: Note::of_several(owners) };
    let element =
        |((name, key), (data, owners)): ((&str, _), _)| (name.into(), Element { key, content: content(data, owners) });
    elements.into_iter().map(element).collect()
}

/// The sets whose elements are the plugin's.
#[derive(Clone, Copy)]
enum Map {
    /// Address, protocol and port to endpoint.
    AtAddress,
    /// Protocol and port to endpoint.
    Anywhere,
    /// Pairs of an endpoint's address with itself.
    Hairpins,
}

impl Map {
    const fn name(self, family: IpFamily) -> &'static str {
        match (self, family) {
            (Self::AtAddress, IpFamily::V4) => "host_ports",
            (Self::AtAddress, IpFamily::V6) => "host_ports6",
            (Self::Anywhere, IpFamily::V4) => "host_ports_any",
            (Self::Anywhere, IpFamily::V6) => "host_ports_any6",
            (Self::Hairpins, IpFamily::V4) => "host_port_hairpins",
            (Self::Hairpins, IpFamily::V6) => "host_port_hairpins6",
        }
    }

    fn spec(self, family: IpFamily) -> SetSpec {
        let address = FieldType::address(family);
        let endpoint = Some(DataType::Fields(endpoint_type(family)));
        let (key, data) = match self {
            Self::AtAddress => (vec![address, FieldType::Protocol, FieldType::Port], endpoint),
            Self::Anywhere => (vec![FieldType::Protocol, FieldType::Port], endpoint),
            Self::Hairpins => (vec![address, address], None),
        };
        SetSpec { key, data, interval: false, dynamic: None }
    }
}

fn endpoint_type(family: IpFamily) -> Vec<FieldType> {
    vec![FieldType::address(family), FieldType::Port]
}

fn empty_sets(family: IpFamily) -> [(Name, Set); 3] {
    [Map::AtAddress, Map::Anywhere, Map::Hairpins]
        .map(|map| (map.name(family).into(), Set { keeper: Keeper::Others, ..Set::new(map.spec(family)) }))
}

/// What tells a pod that is gone from the node: whoever plans the node fills it, here it is empty.
fn planned_sets(family: IpFamily) -> [(Name, Set); 2] {
    [SetKind::Pods, SetKind::Own].map(|kind| (kind.name(family).into(), Set::new(kind.spec(family))))
}

fn chains() -> BTreeMap<Name, Chain> {
    let nat = |hook, priority, rules: Vec<Rule>| base(ChainKind::Nat, hook, priority, rules);
    let destination: Vec<Rule> = FAMILIES.into_iter().flat_map(destination_rules).collect();
    // What the node sends to itself was translated on its way out; the rest has no business with the loopback address.
    let from_links = [loopback_rule()].into_iter().chain(destination.iter().cloned()).collect();
    let from_node = [localhost6_rule()].into_iter().chain(destination).collect();
    let source = FAMILIES.into_iter().flat_map(source_rules).collect();
    BTreeMap::from([
        ("host_ports_prerouting".into(), nat(Hook::Prerouting, DESTINATION_PRIORITY, from_links)),
        ("host_ports_output".into(), nat(Hook::Output, DESTINATION_PRIORITY, from_node)),
        ("host_ports_postrouting".into(), nat(Hook::Postrouting, SOURCE_PRIORITY, source)),
        ("loopback_guard".into(), base(ChainKind::Filter, Hook::Input, 0, guard_rules())),
    ])
}

fn base(kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(BaseHook { kind, hook, priority, policy: Policy::Accept }), rules: rules.into() }
}

/// Leaves alone what is sent to a loopback address. For IPv6 the kernel does it itself.
fn loopback_rule() -> Rule {
    let key = vec![Load::Header(HeaderField::DestinationAddress(IpFamily::V4))];
    let is_loopback = Statement::InSet { key, set: LOOPBACK.into(), negate: false };
    Rule::new([is_of(IpFamily::V4), is_loopback, Statement::Verdict(Verdict::Return)])
}

/// Leaves alone what is sent to a pod: one that lives gets it, and one that is gone has no ports of the node.
fn pods_rule(family: IpFamily) -> Rule {
    let in_set = |kind: SetKind, negate| {
        let key = vec![Load::Header(HeaderField::DestinationAddress(family))];
        Statement::InSet { key, set: kind.name(family).into(), negate }
    };
    let (is_pod, is_not_own) = (in_set(SetKind::Pods, false), in_set(SetKind::Own, true));
    Rule::new([is_of(family), is_pod, is_not_own, Statement::Verdict(Verdict::Return)])
}

/// Leaves alone what the node sends to ::1: no answer from elsewhere comes back there, so the agent relays it.
fn localhost6_rule() -> Rule {
    let destination = Load::Header(HeaderField::DestinationAddress(IpFamily::V6));
    let is_localhost = Statement::Match(destination, Comparison::Equal, Value::Ipv6Address(Ipv6Addr::LOCALHOST));
    Rule::new([is_of(IpFamily::V6), is_localhost, Statement::Verdict(Verdict::Return)])
}

fn destination_rules(family: IpFamily) -> [Rule; 3] {
    let protocol_and_port = || vec![Load::Meta(MetaField::Protocol), Load::Header(HeaderField::DestinationPort)];
    let at_address = [vec![Load::Header(HeaderField::DestinationAddress(family))], protocol_and_port()].concat();
    let to = |key, map: Map| Statement::Nat {
        kind: NatKind::Destination,
        family,
        to: Load::Lookup { key, map: map.name(family).into(), yields: endpoint_type(family) },
    };
    [
        pods_rule(family),
        Rule::new([is_of(family), Statement::DestinationIsLocal, to(at_address, Map::AtAddress)]),
        Rule::new([is_of(family), Statement::DestinationIsLocal, to(protocol_and_port(), Map::Anywhere)]),
    ]
}

fn source_rules(family: IpFamily) -> Vec<Rule> {
    let translated = || Statement::AnyBit(Load::Conntrack(ConntrackField::Status), conntrack_status::DESTINATION_NAT);
    let in_set = |key, set: &str| Statement::InSet { key, set: set.into(), negate: false };
    let source = Load::Header(HeaderField::SourceAddress(family));
    let pair = vec![source.clone(), Load::Header(HeaderField::DestinationAddress(family))];
    let masquerade = || Statement::Masquerade { fully_random: true };
    let mut rules =
        vec![Rule::new([is_of(family), translated(), in_set(pair, Map::Hairpins.name(family)), masquerade()])];
    // The kernel never routes ::1 away from the host, so there is nothing to masquerade.
    if family == IpFamily::V4 {
        rules.push(Rule::new([is_of(family), translated(), in_set(vec![source], LOOPBACK), masquerade()]));
    }
    rules
}

/// The host takes packets for its loopback addresses from pods that have a port there (`route_localnet`), since the
/// answers to masqueraded clients look like that; nothing else may come this way.
fn guard_rules() -> Vec<Rule> {
    let unasked = conntrack_state::NEW | conntrack_state::INVALID | conntrack_state::UNTRACKED;
    let Some(lo) = InterfaceName::new("lo") else { return Vec::new() };
    vec![Rule::new([
        is_of(IpFamily::V4),
        Statement::Match(Load::Meta(MetaField::InputInterface), Comparison::NotEqual, Value::Interface(lo)),
        Statement::InSet {
            key: vec![Load::Header(HeaderField::DestinationAddress(IpFamily::V4))],
            set: LOOPBACK.into(),
            negate: false,
        },
        Statement::AnyBit(Load::Conntrack(ConntrackField::State), unasked),
        Statement::Verdict(Verdict::Drop),
    ])]
}

const fn is_of(family: IpFamily) -> Statement {
    Statement::Match(Load::Meta(MetaField::Family), Comparison::Equal, Value::Family(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Host, Outcome, Packet, SourceNat, trace};

    fn port(address: Option<&str>, protocol: Protocol, port: u16, endpoint: &str) -> PublishedPort {
        let address = address.map(|text| text.parse().unwrap());
        let port = HostPort { address, protocol, port: port.try_into().unwrap(), endpoint: endpoint.parse().unwrap() };
        PublishedPort { port, owner: "shop/web-0".into() }
    }

    const OWN: [&str; 3] = ["10.0.0.1", "10.0.0.2", "127.0.0.1"];

    fn outcome(ruleset: &Ruleset, source: &str, destination: &str) -> Outcome {
        outcome_from(Entry::Host, ruleset, source, destination)
    }

    fn outcome_from(entered: Entry, ruleset: &Ruleset, source: &str, destination: &str) -> Outcome {
        let destination: SocketAddr = destination.parse().unwrap();
        let packet = Packet {
            source: source.parse().unwrap(),
            destination: destination.ip(),
            port: destination.port(),
            protocol: Protocol::Tcp,
            entered,
        };
        let addresses = OWN.map(|address| address.parse().unwrap());
        trace(ruleset, Host { addresses: &addresses, routes: &[] }, &packet).unwrap()
    }

    fn sent_to(endpoint: &str, source: SourceNat) -> Outcome {
        Outcome::Balanced { endpoints: BTreeMap::from([(endpoint.parse().unwrap(), source)]), affinity: None }
    }

    #[test]
    fn a_port_at_one_address_comes_before_one_at_all() {
        let ruleset = ruleset(&[
            port(None, Protocol::Tcp, 80, "10.244.0.5:8080"),
            port(Some("10.0.0.1"), Protocol::Tcp, 80, "10.244.0.6:8080"),
            port(None, Protocol::Udp, 80, "10.244.0.7:8080"),
        ]);
        let client = "192.0.2.7";
        assert_eq!(outcome(&ruleset, client, "10.0.0.1:80"), sent_to("10.244.0.6:8080", SourceNat::Kept));
        assert_eq!(outcome(&ruleset, client, "10.0.0.2:80"), sent_to("10.244.0.5:8080", SourceNat::Kept));
        assert_eq!(outcome(&ruleset, client, "10.0.0.3:80"), Outcome::Passed { source: SourceNat::Kept });
        assert_eq!(outcome(&ruleset, client, "10.0.0.1:81"), Outcome::Passed { source: SourceNat::Kept });
    }

    #[test]
    fn a_pod_that_reaches_itself_and_loopback_clients_are_masqueraded() {
        let ruleset = ruleset(&[port(None, Protocol::Tcp, 80, "10.244.0.5:8080")]);
        for source in ["10.244.0.5", "127.0.0.1"] {
            assert_eq!(outcome(&ruleset, source, "10.0.0.1:80"), sent_to("10.244.0.5:8080", SourceNat::Masqueraded));
        }
    }

    #[test]
    fn a_port_at_an_address_the_node_does_not_have_leads_nowhere() {
        let ruleset = ruleset(&[port(Some("10.0.0.3"), Protocol::Tcp, 80, "10.244.0.5:8080")]);
        for entered in [Entry::Host, Entry::Pod, Entry::Outside] {
            let found = outcome_from(entered, &ruleset, "192.0.2.7", "10.0.0.3:80");
            assert_eq!(found, Outcome::Passed { source: SourceNat::Kept });
        }
    }

    #[test]
    fn a_port_at_the_loopback_address_is_for_the_node_alone() {
        let ports = [(Some("127.0.0.1"), 80), (None, 81)];
        let ruleset = ruleset(&ports.map(|(address, number)| port(address, Protocol::Tcp, number, "10.244.0.5:8080")));
        for to in ["127.0.0.1:80", "127.0.0.1:81"] {
            assert_eq!(outcome(&ruleset, "127.0.0.1", to), sent_to("10.244.0.5:8080", SourceNat::Masqueraded));
            for entered in [Entry::Pod, Entry::Outside] {
                let found = outcome_from(entered, &ruleset, "192.0.2.7", to);
                assert_eq!(found, Outcome::Passed { source: SourceNat::Kept });
            }
        }
    }

    #[test]
    fn a_port_at_all_addresses_is_not_at_those_of_pods_that_are_gone() {
        let mut ruleset = ruleset(&[port(None, Protocol::Tcp, 80, "10.244.0.5:8080")]);
        let mut fill = |set: &str, range: &str| {
            let key = if set == "pods" {
                ElementKey::of_net(range.parse().unwrap())
            } else {
                ElementKey::Exact([range.parse::<IpAddr>().unwrap().into()].into())
            };
            ruleset.sets.get_mut(set).unwrap().elements.insert(key, Content::default());
        };
        fill("pods", "10.244.0.0/24");
        fill("own", "10.244.0.1");
        // The node takes packets for all three: it routes the range of its pods to itself.
        let delivered = ["10.0.0.1", "10.244.0.1", "10.244.0.9"].map(|address| address.parse().unwrap());
        for entered in [Entry::Host, Entry::Pod] {
            let outcome = |to: &str| {
                let (source, destination) = ("192.0.2.7".parse().unwrap(), to.parse().unwrap());
                let packet = Packet { source, destination, port: 80, protocol: Protocol::Tcp, entered };
                trace(&ruleset, Host { addresses: &delivered, routes: &[] }, &packet).unwrap()
            };
            assert_eq!(outcome("10.0.0.1"), sent_to("10.244.0.5:8080", SourceNat::Kept));
            assert_eq!(outcome("10.244.0.1"), sent_to("10.244.0.5:8080", SourceNat::Kept));
            assert_eq!(outcome("10.244.0.9"), Outcome::Passed { source: SourceNat::Kept });
        }
    }

    #[test]
    fn a_port_is_not_translated_at_the_loopback_address_of_ipv6() {
        let ruleset = ruleset(&[port(None, Protocol::Tcp, 80, "[fd00::5]:8080")]);
        let own = ["fd00::1", "::1"].map(|address| address.parse().unwrap());
        let outcome = |to: &str| {
            let (source, destination) = (to.parse().unwrap(), to.parse().unwrap());
            let packet = Packet { source, destination, port: 80, protocol: Protocol::Tcp, entered: Entry::Host };
            trace(&ruleset, Host { addresses: &own, routes: &[] }, &packet).unwrap()
        };
        assert_eq!(outcome("fd00::1"), sent_to("[fd00::5]:8080", SourceNat::Kept));
        assert_eq!(outcome("::1"), Outcome::Passed { source: SourceNat::Kept });
    }

    #[test]
    fn elements_are_named_once() {
        let ports = [80, 81].map(|number| port(None, Protocol::Tcp, number, "[fd00::5]:8080"));
        let told: Vec<String> = elements(&ports).iter().map(|(name, element)| format!("{name}: {element}")).collect();
        assert_eq!(
            told,
            [
                "host_port_hairpins6: fd00::5 . fd00::5 comment \"shop/web-0\"",
                "host_ports_any6: tcp . 80 comment \"shop/web-0\" : fd00::5 . 8080",
                "host_ports_any6: tcp . 81 comment \"shop/web-0\" : fd00::5 . 8080",
            ]
        );
        assert!(!ports[0].port.clashes_with(&ports[1].port) && ports[0].port.clashes_with(&ports[0].port));
    }
}
