//! The state of one packet on its way and what statements do to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::{IpFamily, Name};

use super::{Host, TraceError};
use crate::packet::Packet;
use crate::plan::{Hop, TUNNEL_DEVICE};
use crate::ruleset::{
    BaseHook, ChainKind, Comparison, ConntrackField, Data, Direction, ElementKey, FieldType, HeaderField, Hook,
    InterfaceName, Load, MetaField, NatKind, Policy, Rule, Ruleset, Set, SetUpdate, Statement, Value, Values, Verdict,
    conntrack_state, conntrack_status,
};

/// How deep chains may jump (`NFT_JUMP_STACK_SIZE`).
const JUMP_LIMIT: usize = 16;

/// How a base chain ended for the packet.
pub(super) enum End {
    Accept,
    Drop,
    Refuse,
}

/// What a statement says of the packet's further way.
enum Step {
    /// The next statement.
    Next,
    /// The next rule.
    NextRule,
    /// Back to the chain that jumped here.
    Return,
    /// Out of the base chain.
    End(End),
}

/// A packet, its connection and the ruleset it goes through.
pub(super) struct Machine<'a> {
    ruleset: &'a Ruleset,
    host: Host<'a>,
    /// What every random number is, modulo its range.
    draw: u32,
    /// The largest range a random number was drawn from; 1 when none was.
    pub(super) choices: u32,
    packet: &'a Packet,
    /// Where the packet goes by now.
    pub(super) destination: SocketAddr,
    pub(super) translated: bool,
    pub(super) masqueraded: bool,
    mark: u32,
    /// What packets put into dynamic sets, and how long the last one stays.
    memory: BTreeMap<Name, BTreeMap<Vec<Value>, Vec<Value>>>,
    pub(super) remembered: Option<Duration>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(ruleset: &'a Ruleset, host: Host<'a>, packet: &'a Packet, draw: u32) -> Self {
        Self {
            ruleset,
            host,
            draw,
            choices: 1,
            packet,
            destination: SocketAddr::new(packet.destination, packet.port),
            translated: false,
            masqueraded: false,
            mark: 0,
            memory: BTreeMap::new(),
            remembered: None,
        }
    }

    /// The base chains of a hook, in the order of their priorities.
    pub(super) fn base_chains(&self, hook: Hook) -> Vec<Name> {
        let chains = self.ruleset.chains.iter();
        let mut chains: Vec<(i32, &Name)> = chains
            .filter_map(|(name, chain)| Some((chain.hook.filter(|base| base.hook == hook)?.priority, name)))
            .collect();
        chains.sort_by_key(|(priority, _)| *priority);
        chains.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Runs a base chain.
    pub(super) fn run(&mut self, chain: &Name) -> Result<End, TraceError> {
        let base = self.ruleset.chains.get(chain).and_then(|chain| chain.hook);
        if base.is_some_and(|base| self.is_settled(base)) {
            return Ok(End::Accept);
        }
        let policy = base.map(|base| base.policy);
        match self.run_chain(chain, 0)? {
            Step::End(end) => Ok(end),
            _ if policy == Some(Policy::Drop) => Ok(End::Drop),
            _ => Ok(End::Accept),
        }
    }

    /// Whether the chain translates what is translated already; the kernel does not ask it then.
    const fn is_settled(&self, base: BaseHook) -> bool {
        match (base.kind, base.hook) {
            (ChainKind::Nat, Hook::Prerouting | Hook::Output) => self.translated,
            (ChainKind::Nat, Hook::Input | Hook::Postrouting) => self.masqueraded,
            _ => false,
        }
    }

    fn run_chain(&mut self, name: &Name, depth: usize) -> Result<Step, TraceError> {
        if depth > JUMP_LIMIT {
            return Err(TraceError::TooDeep(JUMP_LIMIT));
        }
        let chain = self.ruleset.chains.get(name).ok_or_else(|| TraceError::NoChain(name.clone()))?;
        for rule in chain.rules.iter() {
            match self.run_rule(rule, depth)? {
                Step::Next | Step::NextRule => {}
                stop => return Ok(stop),
            }
        }
        Ok(Step::Return)
    }

    fn run_rule(&mut self, rule: &Rule, depth: usize) -> Result<Step, TraceError> {
        for statement in &rule.statements {
            match self.run_statement(statement, depth)? {
                Step::Next => {}
                stop => return Ok(stop),
            }
        }
        Ok(Step::Next)
    }

    fn run_statement(&mut self, statement: &Statement, depth: usize) -> Result<Step, TraceError> {
        match statement {
            Statement::Match(load, comparison, value) => {
                let is_equal = self.load(load)?.map(|loaded| loaded == [*value]);
                Ok(go_on_if(is_equal == Some(*comparison == Comparison::Equal)))
            }
            Statement::AnyBit(load, bits) => {
                let loaded = self.load(load)?;
                Ok(go_on_if(matches!(loaded.as_deref(), Some([Value::Mark(number)]) if number & bits != 0)))
            }
            Statement::InSet { key, set, negate } => {
                let Some(key) = self.load_all(key)? else { return Ok(Step::NextRule) };
                let set = self.set(set, &key)?;
                Ok(go_on_if(find(set, &key).is_some() != *negate))
            }
            Statement::DestinationIsLocal => Ok(go_on_if(self.host.addresses.contains(&self.destination.ip()))),
            // A packet here is known by its addresses, and these are the sender's own.
            Statement::SourceIsSpoofed => Ok(Step::NextRule),
            Statement::Branch { key, map } => self.branch(key, map, depth),
            Statement::Verdict(verdict) => self.follow(verdict, depth),
            Statement::SetMark(load) => match self.load(load)?.as_deref() {
                Some([Value::Mark(mark)]) => {
                    self.mark = *mark;
                    Ok(Step::Next)
                }
                _ => Ok(Step::NextRule),
            },
            Statement::Update { change, set, key, timeout, data } => {
                let (Some(key), Some(data)) = (self.load_all(key)?, self.load_all(data)?) else {
                    return Ok(Step::NextRule);
                };
                self.set(set, &key)?;
                Ok(go_on_if(self.update(*change, set, (key, data), *timeout)))
            }
            Statement::Nat { kind, to, .. } => self.translate(*kind, to),
            Statement::Masquerade { .. } => {
                self.masqueraded = true;
                Ok(Step::End(End::Accept))
            }
            Statement::Reject(_) => Ok(Step::End(End::Refuse)),
            Statement::Counter => Ok(Step::Next),
        }
    }

    fn branch(&mut self, key: &[Load], map: &Name, depth: usize) -> Result<Step, TraceError> {
        let Some(key) = self.load_all(key)? else { return Ok(Step::NextRule) };
        match find(self.set(map, &key)?, &key) {
            None => Ok(Step::NextRule),
            Some(data) => match data.and_then(Data::verdict) {
                Some(verdict) => self.follow(verdict, depth),
                None => Err(TraceError::DataType(map.clone())),
            },
        }
    }

    fn follow(&mut self, verdict: &Verdict, depth: usize) -> Result<Step, TraceError> {
        match verdict {
            Verdict::Accept => Ok(Step::End(End::Accept)),
            Verdict::Drop => Ok(Step::End(End::Drop)),
            Verdict::Return => Ok(Step::Return),
            Verdict::Goto(chain) => self.run_chain(chain, depth + 1),
            Verdict::Jump(chain) => match self.run_chain(chain, depth + 1)? {
                Step::End(end) => Ok(Step::End(end)),
                _ => Ok(Step::NextRule),
            },
        }
    }

    fn translate(&mut self, kind: NatKind, to: &Load) -> Result<Step, TraceError> {
        let Some(to) = self.load(to)? else { return Ok(Step::NextRule) };
        let address = to.first().copied().and_then(address_of);
        let (Some(address), Some(Value::Port(port)), NatKind::Destination) = (address, to.get(1), kind) else {
            return Ok(Step::NextRule);
        };
        self.destination = SocketAddr::new(address, *port);
        self.translated = true;
        Ok(Step::End(End::Accept))
    }

    /// Changes a dynamic set; whether that succeeded.
    fn update(
        &mut self,
        change: SetUpdate,
        set: &Name,
        (key, data): (Vec<Value>, Vec<Value>),
        timeout: Option<Duration>,
    ) -> bool {
        let elements = self.memory.entry(set.clone()).or_default();
        if change == SetUpdate::Delete {
            return elements.remove(&key).is_some();
        }
        elements.entry(key).or_insert(data);
        self.remembered = timeout;
        true
    }

    fn load_all(&mut self, loads: &[Load]) -> Result<Option<Vec<Value>>, TraceError> {
        let mut values = Vec::new();
        for load in loads {
            let Some(loaded) = self.load(load)? else { return Ok(None) };
            values.extend(loaded);
        }
        Ok(Some(values))
    }

    /// The values a load yields; none when the rule ends there.
    fn load(&mut self, load: &Load) -> Result<Option<Vec<Value>>, TraceError> {
        Ok(match load {
            Load::Meta(field) => self.meta(*field).map(|value| vec![value]),
            Load::Header(field) => self.header(*field).map(|value| vec![value]),
            Load::Conntrack(field) => self.conntrack(*field).map(|value| vec![value]),
            Load::Random { modulus, offset } => {
                self.choices = self.choices.max(modulus.get());
                Some(vec![Value::Mark(offset + self.draw % modulus.get())])
            }
            Load::Lookup { key, map, .. } => match self.load_all(key)? {
                Some(key) => self.lookup(map, &key)?,
                None => None,
            },
        })
    }

    fn lookup(&self, map: &Name, key: &[Value]) -> Result<Option<Vec<Value>>, TraceError> {
        let set = self.set(map, key)?;
        if set.spec.dynamic.is_some() {
            return Ok(self.memory.get(map).and_then(|elements| elements.get(key)).cloned());
        }
        match find(set, key) {
            None => Ok(None),
            Some(data) => match data.and_then(Data::values) {
                Some(values) => Ok(Some(values.to_vec())),
                None => Err(TraceError::DataType(map.clone())),
            },
        }
    }

    fn meta(&self, field: MetaField) -> Option<Value> {
        match field {
            MetaField::Protocol => Some(Value::Protocol(self.packet.protocol.number())),
            MetaField::Family => Some(Value::Family(IpFamily::of(self.packet.destination))),
            MetaField::Mark => Some(Value::Mark(self.mark)),
            // A packet here is known by its addresses, not by its links, but for the one that routes say.
            MetaField::InputInterface => None,
            MetaField::OutputInterface => {
                self.leaves_by_tunnel().then(|| InterfaceName::new(TUNNEL_DEVICE))?.map(Value::Interface)
            }
        }
    }

    /// Whether the narrowest route leads into the tunnel; of other links packets are not known by.
    fn leaves_by_tunnel(&self) -> bool {
        let routes = self.host.routes.iter().filter(|route| route.destination.contains(&self.destination.ip()));
        let narrowest = routes.max_by_key(|route| route.destination.prefix_len());
        narrowest.is_some_and(|route| matches!(route.hop, Hop::Tunnel(_)))
    }

    fn header(&self, field: HeaderField) -> Option<Value> {
        let of_family = |family, address: IpAddr| (IpFamily::of(address) == family).then(|| address.into());
        match field {
            HeaderField::SourceAddress(family) => of_family(family, self.packet.source),
            HeaderField::DestinationAddress(family) => of_family(family, self.destination.ip()),
            HeaderField::SourcePort => None,
            HeaderField::DestinationPort => Some(Value::Port(self.destination.port())),
        }
    }

    fn conntrack(&self, field: ConntrackField) -> Option<Value> {
        match field {
            ConntrackField::State => Some(Value::Mark(conntrack_state::NEW)),
            ConntrackField::Status if self.translated => Some(Value::Mark(conntrack_status::DESTINATION_NAT)),
            ConntrackField::Status => Some(Value::Mark(0)),
            ConntrackField::Direction => Some(Value::Direction(Direction::Original)),
            ConntrackField::OriginalDestination(family) if IpFamily::of(self.packet.destination) == family => {
                Some(self.packet.destination.into())
            }
            ConntrackField::OriginalDestination(_) => None,
            ConntrackField::OriginalDestinationPort => Some(Value::Port(self.packet.port)),
        }
    }

    /// A set that takes keys like `key`.
    fn set(&self, name: &Name, key: &[Value]) -> Result<&'a Set, TraceError> {
        let set = self.ruleset.sets.get(name).ok_or_else(|| TraceError::NoSet(name.clone()))?;
        let types: Vec<Option<FieldType>> = key.iter().map(Value::field_type).collect();
        if types.into_iter().eq(set.spec.key.iter().copied().map(Some)) {
            Ok(set)
        } else {
            Err(TraceError::KeyType(name.clone()))
        }
    }
}

fn go_on_if(condition: bool) -> Step {
    if condition { Step::Next } else { Step::NextRule }
}

fn address_of(value: Value) -> Option<IpAddr> {
    match value {
        Value::Ipv4Address(address) => Some(address.into()),
        Value::Ipv6Address(address) => Some(address.into()),
        _ => None,
    }
}

/// The data of the element that has the key; `Some(None)` in a plain set.
fn find<'s>(set: &'s Set, key: &[Value]) -> Option<Option<&'s Data>> {
    if !set.spec.interval {
        return set.elements.get(&ElementKey::Exact(key.into())).map(|content| content.data.as_ref());
    }
    let within = |first: &Values, last: &Values| {
        key.iter().zip(first.iter()).zip(last.iter()).all(|((value, first), last)| first <= *value && *value <= last)
    };
    set.elements.iter().find_map(|(element, content)| match element {
        ElementKey::Exact(exact) => (*exact == Values::from(key)).then_some(content.data.as_ref()),
        ElementKey::Range(range) => within(&range.0, &range.1).then_some(content.data.as_ref()),
    })
}
