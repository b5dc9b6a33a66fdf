//! The names and shapes of the table's sets and chains.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{IpFamily, Name};

use super::balancer::{SharedChain, standing};
use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, ConntrackField, DataType, Direction, Dynamic, FieldType, HeaderField, Hook,
    Load, MetaField, Policy, RejectWith, Rule, Set, SetSpec, Statement, Value, Verdict, conntrack_status,
};

/// How many clients are remembered for affinity; beyond it they are balanced without.
const AFFINITY_SIZE: u32 = 1 << 18;

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Declares the sets, each with its name per family.
macro_rules! sets {
    ($($(#[$doc:meta])* $kind:ident => $v4:literal, $v6:literal;)*) => {
        /// A set of the table; there is one per family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum SetKind {
            $($(#[$doc])* $kind,)*
        }

        impl SetKind {
            const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name in the table.
            pub(crate) const fn name(self, family: IpFamily) -> &'static str {
                match (self, family) {
                    $((Self::$kind, IpFamily::V4) => $v4, (Self::$kind, IpFamily::V6) => $v6,)*
                }
            }
        }
    };
}

sets! {
    /// Frontend to verdict.
    Services => "services", "services6";
    /// Frontend and slot to endpoint, for the load balancers that are always there.
    Endpoints => "endpoints", "endpoints6";
    /// Original frontends of translated connections whose source is masqueraded when it is outside the cluster.
    MasqueradeOutsiders => "masquerade_outsiders", "masquerade_outsiders6";
    /// Original frontends of translated connections whose source is masqueraded.
    MasqueradeAll => "masquerade_all", "masquerade_all6";
    /// Original frontends of translated connections whose source is masqueraded when its answers may bypass the node.
    MasqueradeBypassing => "masquerade_bypassing", "masquerade_bypassing6";
    /// Cluster addresses of Services; what no frontend takes of them is refused.
    ClusterIps => "cluster_ips", "cluster_ips6";
    /// Pairs of an endpoint's address with itself.
    Hairpins => "hairpins", "hairpins6";
    /// Frontend and range of clients, for frontends that are not for all.
    Clients => "clients", "clients6";
    /// Original frontends of translated connections to what remembers the endpoint a client has.
    Remember => "remember", "remember6";
    /// Client and frontend to the endpoint it had; filled by packets.
    Affinity => "affinity", "affinity6";
    /// Ranges of clients that the policy Local treats as inside: this node and its pods.
    Inside => "inside", "inside6";
    /// Those among them whose answers may not come back by this node: its own addresses, of which others need not know
    /// each, and pods that may be another node's.
    Bypassing => "bypassing", "bypassing6";
    /// Ranges of pods.
    Pods => "pods", "pods6";
    /// Ranges that are not outside the cluster.
    Cluster => "cluster", "cluster6";
    /// This node's addresses.
    Own => "own", "own6";
}

impl SetKind {
    /// Its shape.
    pub(crate) fn spec(self, family: IpFamily) -> SetSpec {
        let address = FieldType::address(family);
        let frontend = [address, FieldType::Protocol, FieldType::Port];
        let endpoint = vec![address, FieldType::Port];
        let plain = |key: Vec<FieldType>| SetSpec { key, data: None, interval: false, dynamic: None };
        let map = |key: Vec<FieldType>, data| SetSpec { data: Some(data), ..plain(key) };
        match self {
            Self::Services | Self::Remember => map(frontend.to_vec(), DataType::Verdict),
            Self::MasqueradeOutsiders | Self::MasqueradeAll | Self::MasqueradeBypassing => plain(frontend.to_vec()),
            Self::Endpoints => map([&frontend[..], &[FieldType::Mark]].concat(), DataType::Fields(endpoint)),
            Self::Hairpins => plain(vec![address, address]),
            Self::Affinity => SetSpec {
                dynamic: Some(Dynamic { size: AFFINITY_SIZE }),
                ..map([&[address], &frontend[..]].concat(), DataType::Fields(endpoint))
            },
            Self::Clients => SetSpec { interval: true, ..plain([&frontend[..], &[address]].concat()) },
            Self::Inside | Self::Bypassing | Self::Pods | Self::Cluster => {
                SetSpec { interval: true, ..plain(vec![address]) }
            }
            Self::Own | Self::ClusterIps => plain(vec![address]),
        }
    }
}

/// All sets, empty.
pub(super) fn sets() -> BTreeMap<Name, Set> {
    let kinds = FAMILIES.into_iter().flat_map(|family| SetKind::ALL.iter().map(move |kind| (*kind, family)));
    kinds.map(|(kind, family)| (kind.name(family).into(), Set::new(kind.spec(family)))).collect()
}

/// The shape of a map from frontend and slot to endpoint.
pub(super) fn endpoints_spec(family: IpFamily) -> SetSpec {
    SetKind::Endpoints.spec(family)
}

/// Connections to a frontend without endpoints go there.
pub(super) const REFUSE: &str = "refuse";
/// Connections whose source is masqueraded whoever they are go there.
pub(super) const MASQUERADE: &str = "masquerade";

/// The chain that masquerades clients from outside the cluster.
pub(super) const fn outsiders(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "outsiders",
        IpFamily::V6 => "outsiders6",
    }
}

/// The chain of connections that are translated already.
const fn translated(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "translated",
        IpFamily::V6 => "translated6",
    }
}

const fn leaving(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "leaving",
        IpFamily::V6 => "leaving6",
    }
}

/// The chains every node has.
pub(super) fn chains() -> BTreeMap<Name, Chain> {
    let tcp = Value::Protocol(model::Protocol::Tcp.number());
    let refuse = [
        Rule::new([
            Statement::Match(Load::Meta(MetaField::Protocol), Comparison::Equal, tcp),
            Statement::Reject(RejectWith::TcpReset),
        ]),
        Rule::new([Statement::Reject(RejectWith::PortUnreachable)]),
    ];
    let mut chains = BTreeMap::from([
        (REFUSE.into(), regular(refuse)),
        (MASQUERADE.into(), regular([Rule::new([masquerade()])])),
        ("prerouting".into(), base(ChainKind::Nat, Hook::Prerouting, -100, &[services_rule, closed_rule])),
        ("input".into(), base(ChainKind::Filter, Hook::Input, 0, &[gone_rule])),
        ("output".into(), base(ChainKind::Nat, Hook::Output, -100, &[services_rule, closed_rule])),
        ("arrival".into(), base(ChainKind::Nat, Hook::Input, 100, &[arrival_rule])),
        ("postrouting".into(), base(ChainKind::Nat, Hook::Postrouting, 100, &[|family| vec![goto(leaving(family))]])),
    ]);
    for family in FAMILIES {
        chains.insert(leaving(family).into(), regular(leaving_rules(family)));
        chains.insert(translated(family).into(), regular(translated_rules(family)));
        let is_known = in_set(vec![source(family)], SetKind::Cluster, family, false);
        let known = rule_of(family, [is_known, Statement::Verdict(Verdict::Return)]);
        chains.insert(outsiders(family).into(), regular([known, Rule::new([masquerade()])]));
        chains.extend(standing(family).map(SharedChain::Balancer).map(|shared| (shared.name(), shared.chain())));
    }
    chains
}

pub(super) fn regular(rules: impl Into<Arc<[Rule]>>) -> Chain {
    Chain { hook: None, rules: rules.into() }
}

/// A rule for packets of one family. Those whose statements read addresses say so even where only such packets come: nft
/// lists what is read as `ip saddr` then, and as so many bits of the packet otherwise.
pub(super) fn rule_of(family: IpFamily, statements: impl IntoIterator<Item = Statement>) -> Rule {
    let is_family = Statement::Match(Load::Meta(MetaField::Family), Comparison::Equal, Value::Family(family));
    Rule { statements: [is_family].into_iter().chain(statements).collect() }
}

/// A base chain with a rule for each family of each of `acts`.
fn base(kind: ChainKind, hook: Hook, priority: i32, acts: &[fn(IpFamily) -> Vec<Statement>]) -> Chain {
    let rules = acts.iter().flat_map(|act| FAMILIES.map(|family| rule_of(family, act(family))));
    Chain { hook: Some(BaseHook { kind, hook, priority, policy: Policy::Accept }), rules: rules.collect() }
}

/// What arrives here for a pod's address has no pod to go to, see [`Hop::Refused`](super::Hop::Refused): a client gets
/// a reset in place of silence, and no process of the node ever answers in a pod's name.
fn gone_rule(family: IpFamily) -> Vec<Statement> {
    let original = Value::Direction(Direction::Original);
    vec![
        // What answers a process of the node is for that process, whatever address it took for its own.
        Statement::Match(Load::Conntrack(ConntrackField::Direction), Comparison::Equal, original),
        in_set(vec![destination(family)], SetKind::Pods, family, false),
        in_set(vec![destination(family)], SetKind::Own, family, true),
        goto(REFUSE),
    ]
}

fn services_rule(family: IpFamily) -> Vec<Statement> {
    vec![Statement::Branch { key: frontend_key(family), map: SetKind::Services.name(family).into() }]
}

/// A port of a cluster IP that no Service has is refused: such a packet would leave by the default route, and its sender
/// hang. Only first packets that no frontend took come here. An address that is the node's too serves what else it may.
fn closed_rule(family: IpFamily) -> Vec<Statement> {
    vec![
        in_set(vec![destination(family)], SetKind::ClusterIps, family, false),
        in_set(vec![destination(family)], SetKind::Own, family, true),
        goto(REFUSE),
    ]
}

/// What happens to the source of a connection that leaves this node, by whatever way.
fn leaving_rules(family: IpFamily) -> Vec<Rule> {
    vec![
        Rule::new([is_translated(), Statement::Verdict(Verdict::Jump(translated(family).into()))]),
        rule_of(
            family,
            [
                in_set(vec![source(family)], SetKind::Pods, family, false),
                in_set(vec![destination(family)], SetKind::Cluster, family, true),
                masquerade(),
            ],
        ),
    ]
}

/// What is remembered of a translated connection, and what happens to its source.
fn translated_rules(family: IpFamily) -> Vec<Rule> {
    let original = original_frontend_key(family);
    let pair = vec![source(family), destination(family)];
    vec![
        Rule::new([remember_branch(family)]),
        rule_of(family, [in_set(pair, SetKind::Hairpins, family, false), masquerade()]),
        Rule::new([in_set(original.clone(), SetKind::MasqueradeAll, family, false), masquerade()]),
        rule_of(
            family,
            [
                // Few are in the first set: it is asked before the large one.
                in_set(vec![source(family)], SetKind::Bypassing, family, false),
                in_set(original.clone(), SetKind::MasqueradeBypassing, family, false),
                masquerade(),
            ],
        ),
        Rule::new([
            in_set(original, SetKind::MasqueradeOutsiders, family, false),
            Statement::Verdict(Verdict::Jump(outsiders(family).into())),
        ]),
    ]
}

/// A connection that ends on this node does not leave it: what is remembered of it is so as it arrives.
fn arrival_rule(family: IpFamily) -> Vec<Statement> {
    vec![is_translated(), remember_branch(family)]
}

fn remember_branch(family: IpFamily) -> Statement {
    Statement::Branch { key: original_frontend_key(family), map: SetKind::Remember.name(family).into() }
}

const fn is_translated() -> Statement {
    Statement::AnyBit(Load::Conntrack(ConntrackField::Status), conntrack_status::DESTINATION_NAT)
}

/// The key of the frontend to which a connection's first packet was sent, whatever has become of it since.
pub(super) fn original_frontend_key(family: IpFamily) -> Vec<Load> {
    vec![
        Load::Conntrack(ConntrackField::OriginalDestination(family)),
        Load::Meta(MetaField::Protocol),
        Load::Conntrack(ConntrackField::OriginalDestinationPort),
    ]
}

pub(super) fn frontend_key(family: IpFamily) -> Vec<Load> {
    vec![destination(family), Load::Meta(MetaField::Protocol), destination_port()]
}

pub(super) const fn destination_port() -> Load {
    Load::Header(HeaderField::DestinationPort)
}

pub(super) const fn source(family: IpFamily) -> Load {
    Load::Header(HeaderField::SourceAddress(family))
}

pub(super) const fn destination(family: IpFamily) -> Load {
    Load::Header(HeaderField::DestinationAddress(family))
}

pub(super) fn in_set(key: Vec<Load>, kind: SetKind, family: IpFamily, negate: bool) -> Statement {
    Statement::InSet { key, set: kind.name(family).into(), negate }
}

pub(super) const fn masquerade() -> Statement {
    Statement::Masquerade { fully_random: true }
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}
