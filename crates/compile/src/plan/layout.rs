//! The names and shapes of the table's sets and chains.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use model::{IpFamily, Name};

use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, ConntrackField, DataType, Dynamic, FieldType, HeaderField, Hook, Load,
    MetaField, NatKind, Policy, RejectWith, Rule, Set, SetSpec, SetUpdate, Statement, Value, Verdict, conntrack_status,
};

/// The first slot of the endpoints that serve clients outside the cluster, where those differ from the others.
pub(super) const OUTSIDE_SLOTS: u32 = 1 << 31;
/// How many clients are remembered for affinity; beyond it they are balanced without.
const AFFINITY_SIZE: u32 = 1 << 18;

/// Load balancers for up to this many endpoints exist whether used or not. A new chain makes the kernel validate the
/// table anew, which takes it three times as long as a new Service; most Services never need one.
const STANDING: u32 = 16;

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Declares the sets, each with its name per family.
macro_rules! sets {
    ($($(#[$doc:meta])* $kind:ident => $v4:literal, $v6:literal;)*) => {
        /// A set of the table; there is one per family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum SetKind {
            $($(#[$doc])* $kind,)*
        }

        impl SetKind {
            const ALL: &[Self] = &[$(Self::$kind),*];

            pub(super) const fn name(self, family: IpFamily) -> &'static str {
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
    /// Frontend and slot to endpoint.
    Endpoints => "endpoints", "endpoints6";
    /// Original frontend of a translated connection to the verdict on its source.
    Sources => "sources", "sources6";
    /// Pairs of an endpoint's address with itself.
    Hairpins => "hairpins", "hairpins6";
    /// Frontend and endpoint, for frontends with affinity: who may still be remembered.
    Live => "live", "live6";
    /// Client and frontend to the endpoint it had; filled by packets.
    Affinity => "affinity", "affinity6";
    /// Ranges of pods.
    Pods => "pods", "pods6";
    /// Ranges that are not outside the cluster.
    Cluster => "cluster", "cluster6";
    /// This node's addresses.
    Own => "own", "own6";
}

impl SetKind {
    fn spec(self, family: IpFamily) -> SetSpec {
        let address = FieldType::address(family);
        let frontend = [address, FieldType::Protocol, FieldType::Port];
        let endpoint = vec![address, FieldType::Port];
        let plain = |key: Vec<FieldType>| SetSpec { key, data: None, interval: false, dynamic: None };
        let map = |key: Vec<FieldType>, data| SetSpec { data: Some(data), ..plain(key) };
        match self {
            Self::Services | Self::Sources => map(frontend.to_vec(), DataType::Verdict),
            Self::Endpoints => map([&frontend[..], &[FieldType::Mark]].concat(), DataType::Fields(endpoint)),
            Self::Hairpins => plain(vec![address, address]),
            Self::Live => plain([&frontend[..], &endpoint].concat()),
            Self::Affinity => SetSpec {
                dynamic: Some(Dynamic { size: AFFINITY_SIZE }),
                ..map([&[address], &frontend[..]].concat(), DataType::Fields(endpoint))
            },
            Self::Pods | Self::Cluster => SetSpec { interval: true, ..plain(vec![address]) },
            Self::Own => plain(vec![address]),
        }
    }
}

/// All sets, empty.
pub(super) fn sets() -> BTreeMap<Name, Set> {
    let kinds = FAMILIES.into_iter().flat_map(|family| SetKind::ALL.iter().map(move |kind| (*kind, family)));
    kinds.map(|(kind, family)| (kind.name(family).into(), Set::new(kind.spec(family)))).collect()
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
        ("prerouting".into(), base(Hook::Prerouting, -100, services_rule)),
        ("output".into(), base(Hook::Output, -100, services_rule)),
        ("postrouting".into(), base(Hook::Postrouting, 100, |family| goto(leaving(family)))),
    ]);
    for family in FAMILIES {
        chains.insert(leaving(family).into(), regular(leaving_rules(family)));
        let is_known = in_set(vec![source(family)], SetKind::Cluster, family, false);
        let known = Rule::new([is_known, Statement::Verdict(Verdict::Return)]);
        chains.insert(outsiders(family).into(), regular([known, Rule::new([masquerade()])]));
        chains.extend(standing(family).map(|balancer| (balancer.chain_name(), balancer.chain())));
    }
    chains
}

fn standing(family: IpFamily) -> impl Iterator<Item = LoadBalancer> {
    let counts = (1..=STANDING).filter_map(NonZeroU32::new);
    counts.map(move |count| LoadBalancer { family, choice: Choice::Any(count), affinity: None })
}

fn regular(rules: impl Into<Vec<Rule>>) -> Chain {
    Chain { hook: None, rules: rules.into() }
}

/// A NAT chain that does one thing for each family.
fn base(hook: Hook, priority: i32, act: impl Fn(IpFamily) -> Statement) -> Chain {
    let rules = FAMILIES.map(|family| {
        let is_family = Statement::Match(Load::Meta(MetaField::Family), Comparison::Equal, Value::Family(family));
        Rule::new([is_family, act(family)])
    });
    Chain { hook: Some(BaseHook { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept }), rules: rules.into() }
}

fn services_rule(family: IpFamily) -> Statement {
    Statement::Branch { key: frontend_key(family), map: SetKind::Services.name(family).into() }
}

/// What happens to the source of a connection that leaves this node, by whatever way.
fn leaving_rules(family: IpFamily) -> Vec<Rule> {
    let translated = || Statement::AnyBit(Load::Conntrack(ConntrackField::Status), conntrack_status::DESTINATION_NAT);
    let original = vec![
        Load::Conntrack(ConntrackField::OriginalDestination(family)),
        Load::Meta(MetaField::Protocol),
        Load::Conntrack(ConntrackField::OriginalDestinationPort),
    ];
    let pair = vec![source(family), destination(family)];
    vec![
        Rule::new([translated(), in_set(pair, SetKind::Hairpins, family, false), masquerade()]),
        Rule::new([translated(), Statement::Branch { key: original, map: SetKind::Sources.name(family).into() }]),
        Rule::new([
            in_set(vec![source(family)], SetKind::Pods, family, false),
            in_set(vec![destination(family)], SetKind::Cluster, family, true),
            masquerade(),
        ]),
    ]
}

/// A chain that exists once for all frontends that need the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LoadBalancer {
    pub(super) family: IpFamily,
    pub(super) choice: Choice,
    /// Affinity's time-out in seconds.
    pub(super) affinity: Option<u32>,
}

/// How a load balancer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Choice {
    /// One of the slots from 0.
    Any(NonZeroU32),
    /// One of the slots from [`OUTSIDE_SLOTS`].
    Outside(NonZeroU32),
    /// By where the client is; none means drop.
    Split { inside: NonZeroU32, outside: Option<NonZeroU32> },
}

impl LoadBalancer {
    /// The chain's name: `lb_5` for five endpoints, `lb_local_2`, `lb_split_5_2`; `lb6` for IPv6 and the affinity's
    /// time-out at the end.
    pub(super) fn chain_name(self) -> Name {
        let lb = match self.family {
            IpFamily::V4 => "lb",
            IpFamily::V6 => "lb6",
        };
        let choice = match self.choice {
            Choice::Any(count) => format!("{count}"),
            Choice::Outside(count) => format!("local_{count}"),
            Choice::Split { inside, outside } => format!("split_{inside}_{}", outside.map_or(0, NonZeroU32::get)),
        };
        let affinity = self.affinity.map(|seconds| format!("_{seconds}s")).unwrap_or_default();
        format!("{lb}_{choice}{affinity}").into()
    }

    /// Whether it exists however many frontends need it.
    pub(super) fn is_standing(self) -> bool {
        self.affinity.is_none() && matches!(self.choice, Choice::Any(count) if count.get() <= STANDING)
    }

    /// The load balancers this one goes on to.
    pub(super) fn parts(self) -> Vec<Self> {
        let Choice::Split { inside, outside } = self.choice else { return Vec::new() };
        let inside = Self { choice: Choice::Any(inside), ..self };
        let outside = outside.map(|count| Self { choice: Choice::Outside(count), ..self });
        [Some(inside), outside].into_iter().flatten().collect()
    }

    pub(super) fn chain(self) -> Chain {
        regular(match self.choice {
            Choice::Any(count) => self.choose(count, 0),
            Choice::Outside(count) => self.choose(count, OUTSIDE_SLOTS),
            Choice::Split { .. } => self.split(),
        })
    }

    fn split(self) -> Vec<Rule> {
        let parts = self.parts();
        let go = |part: Option<&Self>| {
            Statement::Verdict(part.map_or(Verdict::Drop, |part| Verdict::Goto(part.chain_name())))
        };
        let from = |kind| in_set(vec![source(self.family)], kind, self.family, false);
        vec![
            Rule::new([from(SetKind::Pods), go(parts.first())]),
            Rule::new([from(SetKind::Own), go(parts.first())]),
            Rule::new([go(parts.get(1))]),
        ]
    }

    fn choose(self, modulus: NonZeroU32, offset: u32) -> Vec<Rule> {
        let mut key = frontend_key(self.family);
        key.push(Load::Random { modulus, offset });
        let random = self.endpoint_in(SetKind::Endpoints, key);
        let balance = Rule::new([self.translate_to(random.clone())]);
        match self.affinity {
            None => vec![balance],
            Some(seconds) => self.remember(&random, Duration::from_secs(seconds.into()), balance),
        }
    }

    /// The client's endpoint when it has one that still serves, else a new one that is remembered, else (the memory is
    /// full) any.
    fn remember(self, random: &Load, timeout: Duration, balance: Rule) -> Vec<Rule> {
        let mut key = frontend_key(self.family);
        key.insert(0, source(self.family));
        let remembered = self.endpoint_in(SetKind::Affinity, key.clone());
        let mut live = frontend_key(self.family);
        live.push(remembered.clone());
        let update = |change, data: &Load| Statement::Update {
            change,
            set: SetKind::Affinity.name(self.family).into(),
            key: key.clone(),
            timeout: (change != SetUpdate::Delete).then_some(timeout),
            data: vec![data.clone()],
        };
        vec![
            Rule::new([
                in_set(live, SetKind::Live, self.family, false),
                update(SetUpdate::Update, &remembered),
                self.translate_to(remembered.clone()),
            ]),
            Rule::new([update(SetUpdate::Delete, &remembered)]),
            Rule::new([update(SetUpdate::Add, random)]),
            Rule::new([self.translate_to(remembered)]),
            balance,
        ]
    }

    fn endpoint_in(self, map: SetKind, key: Vec<Load>) -> Load {
        let yields = vec![FieldType::address(self.family), FieldType::Port];
        Load::Lookup { key, map: map.name(self.family).into(), yields }
    }

    fn translate_to(self, to: Load) -> Statement {
        Statement::Nat { kind: NatKind::Destination, family: self.family, to }
    }
}

fn frontend_key(family: IpFamily) -> Vec<Load> {
    vec![destination(family), Load::Meta(MetaField::Protocol), Load::Header(HeaderField::DestinationPort)]
}

const fn source(family: IpFamily) -> Load {
    Load::Header(HeaderField::SourceAddress(family))
}

const fn destination(family: IpFamily) -> Load {
    Load::Header(HeaderField::DestinationAddress(family))
}

fn in_set(key: Vec<Load>, kind: SetKind, family: IpFamily, negate: bool) -> Statement {
    Statement::InSet { key, set: kind.name(family).into(), negate }
}

const fn masquerade() -> Statement {
    Statement::Masquerade { fully_random: true }
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}
