//! Rules, sets and whole rulesets in nft's notation.

use std::fmt::{Display, Formatter, Result};

use model::IpFamily;

use super::{
    BaseHook, ChainKind, Comparison, ConntrackField, Content, Data, DataType, Direction, Element, ElementKey,
    FieldType, HeaderField, Hook, Load, MetaField, NatKind, Policy, RejectWith, Rule, Ruleset, SetSpec, SetUpdate,
    Statement, TABLE, Value, Verdict,
};

/// `a . b . c`, nft's concatenation.
struct Concatenation<'a, T>(&'a [T]);

impl<T: Display> Display for Concatenation<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" . ")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// A key or data made of loads; a lookup within it stands in parentheses.
struct Loads<'a>(&'a [Load]);

impl Display for Loads<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, load) in self.0.iter().enumerate() {
            let dot = if index > 0 { " . " } else { "" };
            match load {
                Load::Lookup { .. } if self.0.len() > 1 => write!(f, "{dot}({load})")?,
                _ => write!(f, "{dot}{load}")?,
            }
        }
        Ok(())
    }
}

fn header(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ip",
        IpFamily::V6 => "ip6",
    }
}

impl Display for FieldType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Ipv4Address => "ipv4_addr",
            Self::Ipv6Address => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
            Self::Interface => "ifname",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Ipv4Address(address) => address.fmt(f),
            Self::Ipv6Address(address) => address.fmt(f),
            Self::Protocol(6) => f.write_str("tcp"),
            Self::Protocol(17) => f.write_str("udp"),
            Self::Protocol(132) => f.write_str("sctp"),
            Self::Protocol(number) => number.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Mark(mark) => mark.fmt(f),
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::InterfacePrefix(prefix) => write!(f, "\"{prefix}*\""),
            Self::Family(IpFamily::V4) => f.write_str("ipv4"),
            Self::Family(IpFamily::V6) => f.write_str("ipv6"),
            Self::Direction(Direction::Original) => f.write_str("original"),
            Self::Direction(Direction::Reply) => f.write_str("reply"),
        }
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Meta(field) => f.write_str(match field {
                MetaField::Protocol => "meta l4proto",
                MetaField::Family => "meta nfproto",
                MetaField::Mark => "meta mark",
                MetaField::InputInterface => "iifname",
                MetaField::OutputInterface => "oifname",
            }),
            Self::Header(HeaderField::SourceAddress(family)) => write!(f, "{} saddr", header(*family)),
            Self::Header(HeaderField::DestinationAddress(family)) => write!(f, "{} daddr", header(*family)),
            Self::Header(HeaderField::SourcePort) => f.write_str("th sport"),
            Self::Header(HeaderField::DestinationPort) => f.write_str("th dport"),
            Self::Conntrack(ConntrackField::State) => f.write_str("ct state"),
            Self::Conntrack(ConntrackField::Status) => f.write_str("ct status"),
            Self::Conntrack(ConntrackField::Direction) => f.write_str("ct direction"),
            Self::Conntrack(ConntrackField::OriginalDestination(family)) => {
                write!(f, "ct original {} daddr", header(*family))
            }
            Self::Conntrack(ConntrackField::OriginalDestinationPort) => f.write_str("ct original proto-dst"),
            Self::Random { modulus, offset } => write!(f, "numgen random mod {modulus} offset {offset}"),
            Self::Lookup { key, map, .. } => write!(f, "{} map @{map}", Loads(key)),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for SetUpdate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
        })
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Match(load, Comparison::Equal, value) => write!(f, "{load} {value}"),
            Self::Match(load, Comparison::NotEqual, value) => write!(f, "{load} != {value}"),
            Self::AnyBit(load, bits) => write!(f, "{load} & {bits:#x} != 0"),
            Self::InSet { key, set, negate } => {
                write!(f, "{} {}@{set}", Loads(key), if *negate { "!= " } else { "" })
            }
            Self::DestinationIsLocal => f.write_str("fib daddr type local"),
            Self::SourceIsSpoofed => f.write_str("fib saddr . iif oif missing"),
            Self::Branch { key, map } => write!(f, "{} vmap @{map}", Loads(key)),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::SetMark(load) => write!(f, "meta mark set {load}"),
            Self::Update { change, set, key, timeout, data } => {
                write!(f, "{change} @{set} {{ {}", Loads(key))?;
                if let Some(timeout) = timeout {
                    write!(f, " timeout {}s", timeout.as_secs())?;
                }
                if !data.is_empty() {
                    write!(f, " : {}", Loads(data))?;
                }
                f.write_str(" }")
            }
            Self::Nat { kind, family, to } => {
                let verb = match kind {
                    NatKind::Source => "snat",
                    NatKind::Destination => "dnat",
                };
                write!(f, "{verb} {} to {to}", header(*family))
            }
            Self::Masquerade { fully_random: false } => f.write_str("masquerade"),
            Self::Masquerade { fully_random: true } => f.write_str("masquerade fully-random"),
            Self::Reject(RejectWith::TcpReset) => f.write_str("reject with tcp reset"),
            Self::Reject(RejectWith::PortUnreachable) => f.write_str("reject with icmpx port-unreachable"),
            Self::Counter => f.write_str("counter"),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, statement) in self.statements.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            statement.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for BaseHook {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(f, "type {kind} hook {hook} priority {}; policy {policy};", self.priority)
    }
}

impl Display for ElementKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Exact(values) => Concatenation(&values.to_vec()).fmt(f),
            Self::Range(range) => {
                for (index, (first, last)) in range.0.iter().zip(range.1.iter()).enumerate() {
                    let dot = if index > 0 { " . " } else { "" };
                    write!(f, "{dot}{first}-{last}")?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Values(values) => Concatenation(&values.to_vec()).fmt(f),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_element(f, &self.key, &self.content)
    }
}

fn write_element(f: &mut Formatter<'_>, key: &ElementKey, content: &Content) -> Result {
    key.fmt(f)?;
    if let Some(note) = &content.note {
        write!(f, " comment \"{note}\"")?;
    }
    content.data.as_ref().map_or(Ok(()), |data| write!(f, " : {data}"))
}

impl Display for SetSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "type {}", Concatenation(&self.key))?;
        match &self.data {
            Some(DataType::Verdict) => f.write_str(" : verdict")?,
            Some(DataType::Fields(fields)) => write!(f, " : {}", Concatenation(fields))?,
            None => {}
        }
        if self.interval {
            f.write_str("; flags interval")?;
        }
        if let Some(dynamic) = self.dynamic {
            write!(f, "; size {}; flags dynamic,timeout", dynamic.size)?;
        }
        Ok(())
    }
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for (name, set) in &self.sets {
            let keyword = if set.spec.data.is_some() { "map" } else { "set" };
            writeln!(f, "\t{keyword} {name} {{\n\t\t{}", set.spec)?;
            for (key, content) in &set.elements {
                f.write_str("\t\t")?;
                write_element(f, key, content)?;
                f.write_str("\n")?;
            }
            writeln!(f, "\t}}")?;
        }
        for (name, chain) in &self.chains {
            writeln!(f, "\tchain {name} {{")?;
            if let Some(hook) = chain.hook {
                writeln!(f, "\t\t{hook}")?;
            }
            for rule in chain.rules.iter() {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}
