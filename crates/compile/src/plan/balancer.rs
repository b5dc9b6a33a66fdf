//! Chains that exist once for all frontends that need the same.

use std::num::NonZeroU32;
use std::time::Duration;

use model::{IpFamily, Name};

use super::layout::{
    REFUSE, SetKind, destination, endpoints_spec, frontend_key, in_set, original_frontend_key, regular, rule_of, source,
};
use crate::ruleset::{Chain, FieldType, HeaderField, Load, NatKind, Rule, SetSpec, SetUpdate, Statement, Verdict};

/// Load balancers for up to this many endpoints exist whether used or not. A new chain makes the kernel validate the
/// table anew, which takes it three times as long as a new Service; most Services never need one.
const STANDING: u32 = 16;

/// What is done with connections to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// They are refused.
    Refuse,
    /// They are dropped.
    Drop,
    /// A chain that others share decides.
    Chain(SharedChain),
}

impl Target {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Refuse => Verdict::Goto(REFUSE.into()),
            Self::Drop => Verdict::Drop,
            Self::Chain(shared) => Verdict::Goto(shared.name()),
        }
    }
}

/// The load balancers every node has.
pub(super) fn standing(family: IpFamily) -> impl Iterator<Item = LoadBalancer> {
    let counts = (1..=STANDING).filter_map(NonZeroU32::new);
    counts.map(move |count| LoadBalancer { family, choice: Choice::Any(count), affinity: None })
}

/// A chain that frontends share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SharedChain {
    /// One that chooses an endpoint.
    Balancer(LoadBalancer),
    /// One that lets only a frontend's clients on to a load balancer, or to the refusal when there is no endpoint.
    Guard(IpFamily, Option<LoadBalancer>),
    /// One that remembers which endpoint a client has, for so many seconds.
    Remember(IpFamily, u32),
}

impl SharedChain {
    /// The chain's name: that of the load balancer, or with `guard_` before it.
    pub(super) fn name(self) -> Name {
        match self {
            Self::Balancer(balancer) => balancer.chain_name(),
            Self::Guard(_, Some(balancer)) => format!("guard_{}", balancer.chain_name()).into(),
            Self::Guard(IpFamily::V4, None) => format!("guard_{REFUSE}").into(),
            Self::Guard(IpFamily::V6, None) => format!("guard6_{REFUSE}").into(),
            Self::Remember(IpFamily::V4, seconds) => format!("remember_{seconds}s").into(),
            Self::Remember(IpFamily::V6, seconds) => format!("remember6_{seconds}s").into(),
        }
    }

    pub(super) fn chain(self) -> Chain {
        match self {
            Self::Balancer(balancer) => balancer.chain(),
            Self::Guard(family, balancer) => guard(family, balancer),
            Self::Remember(family, seconds) => remember(family, Duration::from_secs(seconds.into())),
        }
    }

    /// The map of endpoints that is there for this chain alone.
    ///
    /// When a rule comes that looks something up in a map, the kernel walks the whole map: one that all load balancers
    /// share would make a new one cost time in proportion to the cluster.
    pub(super) fn own_endpoints(self) -> Option<(Name, SetSpec)> {
        match self {
            Self::Balancer(balancer) if balancer.chooses() && !balancer.is_standing() => {
                Some((balancer.endpoints_map(), endpoints_spec(balancer.family)))
            }
            Self::Balancer(_) | Self::Guard(..) | Self::Remember(..) => None,
        }
    }

    /// Whether it exists however many frontends need it.
    pub(super) fn is_standing(self) -> bool {
        matches!(self, Self::Balancer(balancer) if balancer.is_standing())
    }

    /// This chain and all it goes on to, those first that others go to.
    pub(super) fn with_parts(self) -> Vec<Self> {
        let balancer = match self {
            Self::Balancer(balancer) => Some(balancer),
            Self::Guard(_, balancer) => balancer,
            Self::Remember(..) => None,
        };
        let memory = balancer.and_then(LoadBalancer::memory);
        let parts = balancer.into_iter().flat_map(|balancer| balancer.parts().into_iter().chain([balancer]));
        let itself = (!matches!(self, Self::Balancer(_))).then_some(self);
        parts.map(Self::Balancer).chain(memory).chain(itself).collect()
    }
}

/// Ranges are looked up here, behind the map of all frontends: others do not pay for them.
fn guard(family: IpFamily, balancer: Option<LoadBalancer>) -> Chain {
    let mut key = frontend_key(family);
    key.push(source(family));
    let on = balancer.map_or_else(|| REFUSE.into(), LoadBalancer::chain_name);
    let allowed = in_set(key, SetKind::Clients, family, false);
    regular([
        rule_of(family, [allowed, Statement::Verdict(Verdict::Goto(on))]),
        Rule::new([Statement::Verdict(Verdict::Drop)]),
    ])
}

/// Connections come here when they are translated already. One that is there stays as it is, for another time-out.
fn remember(family: IpFamily, timeout: Duration) -> Chain {
    let mut key = original_frontend_key(family);
    key.insert(0, source(family));
    let update = Statement::Update {
        change: SetUpdate::Update,
        set: SetKind::Affinity.name(family).into(),
        key,
        timeout: Some(timeout),
        data: vec![destination(family), Load::Header(HeaderField::DestinationPort)],
    };
    regular([rule_of(family, [update])])
}

/// A chain that sends each connection to one of a number of endpoints.
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
    /// Any of so many.
    Any(NonZeroU32),
    /// Any of so many, for clients that are neither this node nor its pods, where those have more to choose from.
    Outside(NonZeroU32),
    /// By where the client is; none means drop.
    Split { inside: NonZeroU32, outside: Option<NonZeroU32> },
}

impl LoadBalancer {
    /// The chain's name: `lb_5` for five endpoints, `lb_local_2`, `lb_split_5_2`; `lb6` for IPv6 and the affinity's
    /// time-out at the end.
    fn chain_name(self) -> Name {
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

    /// The chain that remembers which endpoint it chose for a client, when there is affinity.
    pub(super) fn memory(self) -> Option<SharedChain> {
        self.affinity.map(|seconds| SharedChain::Remember(self.family, seconds))
    }

    const fn chooses(self) -> bool {
        !matches!(self.choice, Choice::Split { .. })
    }

    /// The load balancers that choose an endpoint: itself, or those it goes on to.
    pub(super) fn choosing(self) -> Vec<Self> {
        if self.chooses() { vec![self] } else { self.parts() }
    }

    /// The map in which it finds the endpoint it chose.
    pub(super) fn endpoints_map(self) -> Name {
        if self.is_standing() {
            return SetKind::Endpoints.name(self.family).into();
        }
        format!("{}_endpoints", self.chain_name()).into()
    }

    fn is_standing(self) -> bool {
        self.affinity.is_none() && matches!(self.choice, Choice::Any(count) if count.get() <= STANDING)
    }

    /// The load balancers this one goes on to.
    fn parts(self) -> Vec<Self> {
        let Choice::Split { inside, outside } = self.choice else { return Vec::new() };
        let inside = Self { choice: Choice::Any(inside), ..self };
        let outside = outside.map(|count| Self { choice: Choice::Outside(count), ..self });
        [Some(inside), outside].into_iter().flatten().collect()
    }

    fn chain(self) -> Chain {
        regular(match self.choice {
            Choice::Any(count) | Choice::Outside(count) => self.choose(count),
            Choice::Split { .. } => self.split(),
        })
    }

    fn split(self) -> Vec<Rule> {
        let parts = self.parts();
        let go = |part: Option<&Self>| {
            Statement::Verdict(part.map_or(Verdict::Drop, |part| Verdict::Goto(part.chain_name())))
        };
        let is_inside = in_set(vec![source(self.family)], SetKind::Inside, self.family, false);
        vec![rule_of(self.family, [is_inside, go(parts.first())]), Rule::new([go(parts.get(1))])]
    }

    fn choose(self, modulus: NonZeroU32) -> Vec<Rule> {
        let mut key = frontend_key(self.family);
        key.push(Load::Random { modulus, offset: 0 });
        let random = self.endpoint_in(self.endpoints_map(), key);
        let balance = rule_of(self.family, [self.translate_to(random)]);
        self.affinity.map(|_| self.stay()).into_iter().chain([balance]).collect()
    }

    /// The endpoint the client had.
    ///
    /// Whether that still serves is not asked: nft up to 1.0.6 at least aborts when it lists a rule that looks up what it
    /// looked up. What is remembered of endpoints that left is [taken out](super::affinity::stale) instead.
    fn stay(self) -> Rule {
        let mut key = frontend_key(self.family);
        key.insert(0, source(self.family));
        let remembered = self.endpoint_in(SetKind::Affinity.name(self.family).into(), key);
        rule_of(self.family, [self.translate_to(remembered)])
    }

    fn endpoint_in(self, map: Name, key: Vec<Load>) -> Load {
        Load::Lookup { key, map, yields: vec![FieldType::address(self.family), FieldType::Port] }
    }

    fn translate_to(self, to: Load) -> Statement {
        Statement::Nat { kind: NatKind::Destination, family: self.family, to }
    }
}
