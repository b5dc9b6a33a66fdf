//! Rulesets for tests.

use std::num::NonZeroU32;
use std::time::Duration;

use compile::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, ConntrackField, Content, Data, DataType, Direction, Dynamic, ElementKey,
    FieldType, HeaderField, Hook, InterfaceName, Load, MetaField, NatKind, Note, Policy, RejectWith, Rule, Ruleset,
    Set, SetSpec, SetUpdate, Statement, Value, Verdict, conntrack_state, conntrack_status,
};
use model::{IpFamily, Name};

const V4: IpFamily = IpFamily::V4;
const V6: IpFamily = IpFamily::V6;

fn ipv4(text: &str) -> Value {
    Value::Ipv4Address(text.parse().expect("a literal address"))
}

fn note(text: &str) -> Note {
    Note::new(text.into())
}

fn set(key: &[FieldType], data: Option<DataType>) -> Set {
    Set::new(SetSpec { key: key.to_vec(), data, interval: false, dynamic: None })
}

fn with(mut set: Set, elements: impl IntoIterator<Item = (ElementKey, Content)>) -> Set {
    set.elements = elements.into_iter().collect();
    set
}

fn chain(rules: Vec<Rule>) -> Chain {
    Chain { hook: None, rules: rules.into() }
}

fn base(kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(BaseHook { kind, hook, priority, policy: Policy::Accept }), rules: rules.into() }
}

fn header(field: HeaderField) -> Load {
    Load::Header(field)
}

fn service_key() -> Vec<Load> {
    vec![
        Load::Meta(MetaField::Protocol),
        header(HeaderField::DestinationAddress(V4)),
        header(HeaderField::DestinationPort),
    ]
}

fn equal(load: Load, value: Value) -> Statement {
    Statement::Match(load, Comparison::Equal, value)
}

/// A ruleset with every kind of set, element, load and statement there is.
pub fn everything() -> Ruleset {
    Ruleset { sets: sets(), chains: chains() }
}

fn sets() -> std::collections::BTreeMap<Name, Set> {
    let service = [FieldType::Protocol, FieldType::Ipv4Address, FieldType::Port];
    let slot = [FieldType::Protocol, FieldType::Ipv4Address, FieldType::Port, FieldType::Mark];
    let endpoint = DataType::Fields(vec![FieldType::Ipv4Address, FieldType::Port]);
    let key = || [Value::Protocol(6), ipv4("10.96.0.1"), Value::Port(443)];
    let slot_key = |mark| ElementKey::Exact([&key()[..], &[Value::Mark(mark)]].concat().into());
    let mut ranges = set(&[FieldType::Ipv4Address], None);
    ranges.spec.interval = true;
    let mut wide_ranges = set(&[FieldType::Ipv4Address, FieldType::Port], Some(DataType::Verdict));
    wide_ranges.spec.interval = true;
    let mut affinity = set(&slot, Some(endpoint.clone()));
    affinity.spec.dynamic = Some(Dynamic { size: 65_536 });
    let mut clients = set(&[FieldType::Ipv4Address], None);
    clients.spec.dynamic = Some(Dynamic { size: 1000 });
    let range = |first: &str, last: &str| ElementKey::range([ipv4(first)], [ipv4(last)]);
    [
        (
            "services",
            with(
                set(&service, Some(DataType::Verdict)),
                [
                    (ElementKey::Exact(key().into()), Data::Verdict(Verdict::Goto("lb_2".into())).into()),
                    (
                        ElementKey::Exact([Value::Protocol(17), ipv4("10.96.0.10"), Value::Port(53)].into()),
                        Content::from(Data::Verdict(Verdict::Drop)).noted(Note::new("shop/dns:udp".into())),
                    ),
                ],
            ),
        ),
        (
            "endpoints",
            with(
                set(&slot, Some(endpoint)),
                [
                    (slot_key(1), Data::Values([ipv4("10.244.0.5"), Value::Port(6443)].into()).into()),
                    (
                        slot_key(2),
                        Content::from(Data::Values([ipv4("10.244.1.5"), Value::Port(6443)].into()))
                            .noted(Note::of_part("default/kubernetes:https".into(), "api-1".into())),
                    ),
                ],
            ),
        ),
        (
            "node_ports",
            with(
                set(&[FieldType::Port], Some(DataType::Fields(vec![FieldType::Mark]))),
                [(ElementKey::Exact([Value::Port(30_080)].into()), Data::Values([Value::Mark(7)].into()).into())],
            ),
        ),
        (
            "links",
            with(
                set(&[FieldType::Interface], None),
                [(
                    ElementKey::Exact([Value::Interface(InterfaceName::new("eth0").expect("a name"))].into()),
                    Content::default(),
                )],
            ),
        ),
        (
            "six",
            with(
                set(&[FieldType::Ipv6Address], None),
                [(
                    ElementKey::Exact([Value::Ipv6Address("2001:db8::1".parse().expect("an address"))].into()),
                    Content::of(note("node two")),
                )],
            ),
        ),
        (
            "ranges",
            with(
                ranges,
                [
                    (range("10.0.0.0", "10.0.0.255"), Content::of(note("pods of node one"))),
                    (range("10.0.1.0", "10.0.1.255"), Content::of(note("pods of node two"))),
                    (range("10.0.2.0", "10.0.3.255"), Content::default()),
                    (range("224.0.0.0", "255.255.255.255"), Content::of(note("the last"))),
                ],
            ),
        ),
        (
            "wide_ranges",
            with(
                wide_ranges,
                [(
                    ElementKey::range([ipv4("10.1.0.0"), Value::Port(80)], [ipv4("10.1.255.255"), Value::Port(90)]),
                    Content::from(Data::Verdict(Verdict::Accept)).noted(note(&"long".repeat(40))),
                )],
            ),
        ),
        ("affinity", affinity),
        ("clients", clients),
    ]
    .map(|(name, set)| (Name::from(name), set))
    .into()
}

fn chains() -> std::collections::BTreeMap<Name, Chain> {
    [
        ("lb_2", chain(balance())),
        ("answers", chain(answers())),
        ("remember", chain(remember())),
        ("nat_prerouting", base(ChainKind::Nat, Hook::Prerouting, -100, dispatch())),
        ("nat_postrouting", base(ChainKind::Nat, Hook::Postrouting, 100, leave())),
        ("filter_forward", base(ChainKind::Filter, Hook::Forward, 0, pass())),
        ("filter_input", base(ChainKind::Filter, Hook::Input, -10, vec![])),
        ("filter_prerouting", base(ChainKind::Filter, Hook::Prerouting, -300, guard())),
        ("nat_output", base(ChainKind::Nat, Hook::Output, -100, dispatch())),
    ]
    .map(|(name, chain)| (Name::from(name), chain))
    .into()
}

fn balance() -> Vec<Rule> {
    let slot = Load::Random { modulus: NonZeroU32::MIN.saturating_add(1), offset: 1 };
    let key = [service_key(), vec![Load::Meta(MetaField::Mark)]].concat();
    let to = Load::Lookup { key, map: "endpoints".into(), yields: vec![FieldType::Ipv4Address, FieldType::Port] };
    vec![
        Rule::new([Statement::SetMark(slot)]),
        Rule::new([
            Statement::Counter,
            equal(Load::Meta(MetaField::Family), Value::Family(V4)),
            Statement::Nat { kind: NatKind::Destination, family: V4, to },
        ]),
    ]
}

fn answers() -> Vec<Rule> {
    let protocol = |number| equal(Load::Meta(MetaField::Protocol), Value::Protocol(number));
    vec![
        Rule::new([protocol(6), Statement::Reject(RejectWith::TcpReset)]),
        Rule::new([Statement::Reject(RejectWith::PortUnreachable)]),
    ]
}

fn remember() -> Vec<Rule> {
    let client = || vec![header(HeaderField::SourceAddress(V4))];
    let update =
        |change, timeout, key, set: &str, data| Statement::Update { change, set: set.into(), key, timeout, data };
    let key = [service_key(), vec![Load::Meta(MetaField::Mark)]].concat();
    let data = vec![header(HeaderField::SourceAddress(V4)), header(HeaderField::SourcePort)];
    let minute = Some(Duration::from_secs(60));
    let family = equal(Load::Meta(MetaField::Family), Value::Family(V4));
    vec![
        Rule::new([family.clone(), update(SetUpdate::Add, minute, client(), "clients", vec![])]),
        Rule::new([family.clone(), update(SetUpdate::Delete, None, client(), "clients", vec![])]),
        Rule::new([family, update(SetUpdate::Update, minute, key, "affinity", data)]),
    ]
}

fn guard() -> Vec<Rule> {
    let prefix = InterfaceName::new("fwp").expect("a short name");
    let from_pods = equal(Load::Meta(MetaField::InputInterface), Value::InterfacePrefix(prefix));
    vec![Rule::new([from_pods, Statement::SourceIsSpoofed, Statement::Verdict(Verdict::Drop)])]
}

fn dispatch() -> Vec<Rule> {
    let in_set = |key, set: &str, negate| Statement::InSet { key: vec![key], set: set.into(), negate };
    vec![
        Rule::new([
            equal(Load::Meta(MetaField::Family), Value::Family(V4)),
            Statement::DestinationIsLocal,
            Statement::Branch { key: service_key(), map: "services".into() },
        ]),
        Rule::new([
            equal(Load::Meta(MetaField::Family), Value::Family(V4)),
            in_set(header(HeaderField::DestinationAddress(V4)), "ranges", true),
            Statement::Verdict(Verdict::Return),
        ]),
        Rule::new([
            equal(Load::Meta(MetaField::Family), Value::Family(V6)),
            in_set(header(HeaderField::SourceAddress(V6)), "six", false),
            Statement::Verdict(Verdict::Jump("answers".into())),
        ]),
        Rule::new([in_set(Load::Meta(MetaField::InputInterface), "links", false), Statement::Verdict(Verdict::Accept)]),
    ]
}

fn leave() -> Vec<Rule> {
    let eth0 = Value::Interface(InterfaceName::new("eth0").expect("a name"));
    let original = |field| Load::Conntrack(field);
    vec![
        Rule::new([
            Statement::AnyBit(Load::Conntrack(ConntrackField::Status), conntrack_status::DESTINATION_NAT),
            equal(Load::Meta(MetaField::OutputInterface), eth0),
            Statement::Masquerade { fully_random: true },
        ]),
        Rule::new([
            equal(Load::Meta(MetaField::Protocol), Value::Protocol(6)),
            equal(original(ConntrackField::OriginalDestination(V4)), ipv4("10.96.0.1")),
            equal(original(ConntrackField::OriginalDestinationPort), Value::Port(443)),
            Statement::Masquerade { fully_random: false },
        ]),
        Rule::new([
            Statement::Match(Load::Meta(MetaField::Mark), Comparison::NotEqual, Value::Mark(0x4000)),
            Statement::Verdict(Verdict::Return),
        ]),
    ]
}

fn pass() -> Vec<Rule> {
    vec![
        Rule::new([
            Statement::AnyBit(Load::Conntrack(ConntrackField::State), conntrack_state::NEW),
            Statement::Verdict(Verdict::Goto("remember".into())),
        ]),
        Rule::new([
            equal(Load::Meta(MetaField::Family), Value::Family(V4)),
            Statement::Branch {
                key: vec![header(HeaderField::DestinationAddress(V4)), header(HeaderField::DestinationPort)],
                map: "wide_ranges".into(),
            },
        ]),
        Rule::new([
            equal(Load::Conntrack(ConntrackField::Direction), Value::Direction(Direction::Reply)),
            Statement::Verdict(Verdict::Accept),
        ]),
        Rule::new([Statement::Verdict(Verdict::Drop)]),
    ]
}
