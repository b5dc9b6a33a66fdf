//! Rules as nf_tables expressions: which register holds what is decided here.
//!
//! A key's fields are loaded left to right into consecutive 32-bit registers, from the first one on. What a load needs
//! besides its own place lies behind that place, where nothing has been loaded yet.

mod number;

use std::time::Duration;

use compile::ruleset::{
    Comparison, ConntrackField, FieldType, HeaderField, Load, MetaField, NatKind, RejectWith, Rule, SetUpdate,
    Statement, Value,
};
use model::{IpFamily, Name};

use super::constant::{IP_CT_DIR_ORIGINAL, LIST_ELEMENT, NFPROTO_IPV4, NFPROTO_IPV6, data, rule};
use super::value::{field_length, fields_length, put_verdict, value_bytes};
use crate::netlink::Attributes;
use number::{bitwise, cmp, counter, ct, dynset, fib, immediate, lookup, masq, meta, nat, numgen, payload, reject};

/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_REG32_00`; there are sixteen, four bytes each.
const FIRST_REGISTER: u32 = 8;
const REGISTERS: u32 = 16;

/// A rule that needs more room than the kernel's registers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooWide;

/// The number of a 32-bit register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Register(u32);

impl Register {
    const FIRST: Self = Self(0);

    /// The register after a value of `length` bytes that starts here.
    fn after(self, length: usize) -> Result<Self, TooWide> {
        let next = self.0 + length.div_ceil(4) as u32;
        if next <= REGISTERS { Ok(Self(next)) } else { Err(TooWide) }
    }

    /// As the kernel's interface names it.
    const fn number(self) -> u32 {
        FIRST_REGISTER + self.0
    }
}

/// The value of `NFTA_RULE_EXPRESSIONS` for `rule`.
pub(super) fn encode_rule(rule: &Rule) -> Result<Vec<u8>, TooWide> {
    let mut encoder = Encoder { list: Attributes::new() };
    for statement in &rule.statements {
        encoder.statement(statement)?;
    }
    Ok(encoder.list.into_bytes())
}

struct Encoder {
    list: Attributes,
}

impl Encoder {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes)) {
        self.list.nest(LIST_ELEMENT, |entry| {
            entry.text(rule::EXPRESSION_NAME, name).nest(rule::EXPRESSION_DATA, fill);
        });
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), TooWide> {
        match statement {
            Statement::Match(load, comparison, value) => self.compare(load, *comparison, value)?,
            Statement::AnyBit(load, bits) => self.any_bit(load, *bits)?,
            Statement::InSet { key, set, negate } => self.in_set(key, set, *negate)?,
            Statement::DestinationIsLocal => self.fib(fib::DESTINATION, fib::ADDRESS_TYPE, fib::LOCAL),
            Statement::SourceIsSpoofed => {
                let flags = fib::SOURCE | fib::INPUT_INTERFACE | fib::IS_PRESENT;
                self.fib(flags, fib::OUTPUT_INTERFACE, 0);
            }
            Statement::Branch { key, map } => self.branch(key, map)?,
            Statement::Verdict(verdict) => self.expression("immediate", |immediate| {
                immediate.u32_be(immediate::DREG, VERDICT_REGISTER);
                immediate.nest(immediate::DATA, |data| put_verdict(data, verdict));
            }),
            Statement::SetMark(load) => {
                self.load(load, Register::FIRST)?;
                self.expression("meta", |meta| {
                    meta.u32_be(meta::KEY, meta::MARK).u32_be(meta::SREG, Register::FIRST.number());
                });
            }
            Statement::Update { change, set, key, timeout, data } => {
                self.update(&Update { change: *change, set, key, timeout: *timeout, data })?;
            }
            Statement::Nat { kind, family, to } => self.nat(*kind, *family, to)?,
            Statement::Masquerade { fully_random } => self.masquerade(*fully_random),
            Statement::Reject(with) => self.reject(*with),
            Statement::Counter => self.expression("counter", |counter| {
                counter.u64_be(counter::BYTES, 0).u64_be(counter::PACKETS, 0);
            }),
        }
        Ok(())
    }

    fn compare(&mut self, load: &Load, comparison: Comparison, value: &Value) -> Result<(), TooWide> {
        self.load(load, Register::FIRST)?;
        let operator = match comparison {
            Comparison::Equal => cmp::EQ,
            Comparison::NotEqual => cmp::NEQ,
        };
        self.cmp(operator, &value_bytes(value));
        Ok(())
    }

    fn cmp(&mut self, operator: u32, value: &[u8]) {
        self.expression("cmp", |cmp| {
            cmp.u32_be(cmp::SREG, Register::FIRST.number()).u32_be(cmp::OP, operator);
            cmp.nest(cmp::DATA, |constant| {
                constant.put(data::VALUE, value);
            });
        });
    }

    fn any_bit(&mut self, load: &Load, bits: u32) -> Result<(), TooWide> {
        self.load(load, Register::FIRST)?;
        let register = Register::FIRST.number();
        self.expression("bitwise", |bitwise| {
            bitwise.u32_be(bitwise::SREG, register).u32_be(bitwise::DREG, register).u32_be(bitwise::LENGTH, 4);
            bitwise.nest(bitwise::MASK, |mask| {
                mask.put(data::VALUE, &bits.to_ne_bytes());
            });
            bitwise.nest(bitwise::XOR, |xor| {
                xor.put(data::VALUE, &[0; 4]);
            });
        });
        self.cmp(cmp::NEQ, &[0; 4]);
        Ok(())
    }

    fn in_set(&mut self, key: &[Load], set: &Name, negate: bool) -> Result<(), TooWide> {
        self.load_key(key, Register::FIRST)?;
        self.expression("lookup", |lookup| {
            lookup.text(lookup::SET, set.as_str()).u32_be(lookup::SREG, Register::FIRST.number());
            if negate {
                lookup.u32_be(lookup::FLAGS, lookup::FLAG_INVERT);
            }
        });
        Ok(())
    }

    /// Asks the routing table, and compares what it says.
    fn fib(&mut self, flags: u32, result: u32, expected: u32) {
        self.expression("fib", |fib| {
            fib.u32_be(fib::DREG, Register::FIRST.number()).u32_be(fib::RESULT, result).u32_be(fib::FLAGS, flags);
        });
        self.cmp(cmp::EQ, &expected.to_ne_bytes());
    }

    fn branch(&mut self, key: &[Load], map: &Name) -> Result<(), TooWide> {
        self.load_key(key, Register::FIRST)?;
        self.lookup(map, Register::FIRST, VERDICT_REGISTER);
        Ok(())
    }

    fn lookup(&mut self, map: &Name, key: Register, result: u32) {
        self.expression("lookup", |lookup| {
            lookup.text(lookup::SET, map.as_str()).u32_be(lookup::SREG, key.number()).u32_be(lookup::DREG, result);
        });
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), TooWide> {
        let (key_register, data_register) = self.load_element(update.key, update.data)?;
        self.expression("dynset", |dynset| {
            let operation = match update.change {
                SetUpdate::Add => dynset::ADD,
                SetUpdate::Update => dynset::UPDATE,
                SetUpdate::Delete => dynset::DELETE,
            };
            dynset.text(dynset::SET, update.set.as_str()).u32_be(dynset::OPERATION, operation);
            dynset.u32_be(dynset::SREG_KEY, key_register.number());
            if !update.data.is_empty() {
                dynset.u32_be(dynset::SREG_DATA, data_register.number());
            }
            if let Some(timeout) = update.timeout {
                dynset.u64_be(dynset::TIMEOUT_MS, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            }
        });
        Ok(())
    }

    /// Loads key and data and returns where each begins. The data go first when what they are looked up by has no
    /// room behind the key, as with clients of IPv6.
    fn load_element(&mut self, key: &[Load], data: &[Load]) -> Result<(Register, Register), TooWide> {
        if Register::FIRST.after(loads_length(key) + room_for(data)).is_ok() {
            let data_register = self.load_key(key, Register::FIRST)?;
            self.load_key(data, data_register)?;
            return Ok((Register::FIRST, data_register));
        }
        let key_register = self.load_key(data, Register::FIRST)?;
        self.load_key(key, key_register)?;
        Ok((key_register, Register::FIRST))
    }

    fn nat(&mut self, kind: NatKind, family: IpFamily, to: &Load) -> Result<(), TooWide> {
        let address = Register::FIRST;
        self.load(to, address)?;
        let port = address.after(field_length(FieldType::address(family)))?;
        self.expression("nat", |nat| {
            let kind = match kind {
                NatKind::Source => nat::SOURCE,
                NatKind::Destination => nat::DESTINATION,
            };
            let family = match family {
                IpFamily::V4 => NFPROTO_IPV4,
                IpFamily::V6 => NFPROTO_IPV6,
            };
            nat.u32_be(nat::TYPE, kind).u32_be(nat::FAMILY, family.into());
            nat.u32_be(nat::REG_ADDRESS, address.number()).u32_be(nat::REG_PORT, port.number());
        });
        Ok(())
    }

    fn masquerade(&mut self, fully_random: bool) {
        self.expression("masq", |masq| {
            if fully_random {
                masq.u32_be(masq::FLAGS, masq::RANDOM_FULLY);
            }
        });
    }

    fn reject(&mut self, with: RejectWith) {
        self.expression("reject", |reject| match with {
            RejectWith::TcpReset => {
                reject.u32_be(reject::TYPE, reject::TCP_RESET);
            }
            RejectWith::PortUnreachable => {
                reject.u32_be(reject::TYPE, reject::ICMPX_UNREACHABLE);
                reject.put(reject::ICMP_CODE, &[reject::ICMPX_PORT_UNREACHABLE]);
            }
        });
    }

    /// Loads a key's fields one after the other and returns the register behind the last.
    fn load_key(&mut self, key: &[Load], first: Register) -> Result<Register, TooWide> {
        let mut register = first;
        for load in key {
            register = self.load(load, register)?;
        }
        Ok(register)
    }

    /// Loads one value and returns the register behind it.
    fn load(&mut self, load: &Load, register: Register) -> Result<Register, TooWide> {
        let end = register.after(load_length(load))?;
        match load {
            Load::Meta(field) => self.expression("meta", |meta| {
                meta.u32_be(meta::KEY, meta_key(*field)).u32_be(meta::DREG, register.number());
            }),
            Load::Header(field) => self.header(*field, register),
            Load::Conntrack(field) => self.conntrack(*field, register),
            Load::Random { modulus, offset } => self.expression("numgen", |numgen| {
                numgen.u32_be(numgen::DREG, register.number()).u32_be(numgen::MODULUS, modulus.get());
                numgen.u32_be(numgen::TYPE, numgen::RANDOM).u32_be(numgen::OFFSET, *offset);
            }),
            Load::Lookup { key, map, .. } => {
                self.load_key(key, register)?;
                self.lookup(map, register, register.number());
            }
        }
        Ok(end)
    }

    fn header(&mut self, field: HeaderField, register: Register) {
        let place = HeaderPlace::of(field);
        self.expression("payload", |payload| {
            payload.u32_be(payload::DREG, register.number()).u32_be(payload::BASE, place.base);
            payload.u32_be(payload::OFFSET, place.offset).u32_be(payload::LENGTH, place.length);
        });
    }

    fn conntrack(&mut self, field: ConntrackField, register: Register) {
        let (key, is_directed) = match field {
            ConntrackField::State => (ct::STATE, false),
            ConntrackField::Status => (ct::STATUS, false),
            ConntrackField::Direction => (ct::WAY, false),
            ConntrackField::OriginalDestination(IpFamily::V4) => (ct::DESTINATION_IP, true),
            ConntrackField::OriginalDestination(IpFamily::V6) => (ct::DESTINATION_IP6, true),
            ConntrackField::OriginalDestinationPort => (ct::PROTOCOL_DESTINATION, true),
        };
        self.expression("ct", |ct| {
            ct.u32_be(ct::DREG, register.number()).u32_be(ct::KEY, key);
            if is_directed {
                ct.put(ct::DIRECTION, &[IP_CT_DIR_ORIGINAL]);
            }
        });
    }
}

/// What [`Statement::Update`] says.
struct Update<'a> {
    change: SetUpdate,
    set: &'a Name,
    key: &'a [Load],
    timeout: Option<Duration>,
    data: &'a [Load],
}

/// Where a header field lies.
struct HeaderPlace {
    base: u32,
    offset: u32,
    length: u32,
}

impl HeaderPlace {
    /// RFC 791 (addresses at 12 and 16), RFC 8200 (8 and 24), and the ports all transports begin with.
    fn of(field: HeaderField) -> Self {
        let (base, offset, length) = match field {
            HeaderField::SourceAddress(IpFamily::V4) => (payload::NETWORK_HEADER, 12, 4),
            HeaderField::DestinationAddress(IpFamily::V4) => (payload::NETWORK_HEADER, 16, 4),
            HeaderField::SourceAddress(IpFamily::V6) => (payload::NETWORK_HEADER, 8, 16),
            HeaderField::DestinationAddress(IpFamily::V6) => (payload::NETWORK_HEADER, 24, 16),
            HeaderField::SourcePort => (payload::TRANSPORT_HEADER, 0, 2),
            HeaderField::DestinationPort => (payload::TRANSPORT_HEADER, 2, 2),
        };
        Self { base, offset, length }
    }
}

/// Bytes a load yields.
fn load_length(load: &Load) -> usize {
    let field = match load {
        Load::Meta(MetaField::Protocol | MetaField::Family) | Load::Conntrack(ConntrackField::Direction) => {
            FieldType::Protocol
        }
        Load::Meta(MetaField::Mark) | Load::Random { .. } => FieldType::Mark,
        Load::Meta(MetaField::InputInterface | MetaField::OutputInterface) => FieldType::Interface,
        Load::Header(HeaderField::SourceAddress(family) | HeaderField::DestinationAddress(family))
        | Load::Conntrack(ConntrackField::OriginalDestination(family)) => FieldType::address(*family),
        Load::Header(HeaderField::SourcePort | HeaderField::DestinationPort)
        | Load::Conntrack(ConntrackField::OriginalDestinationPort) => FieldType::Port,
        Load::Conntrack(ConntrackField::State | ConntrackField::Status) => FieldType::Mark,
        Load::Lookup { yields, .. } => return fields_length(yields),
    };
    field_length(field)
}

/// Bytes loads yield together, each from a register's beginning.
fn loads_length(loads: &[Load]) -> usize {
    loads.iter().map(|load| load_length(load).next_multiple_of(4)).sum()
}

/// Bytes loads need until all of them are done: the key of a lookup may be longer than what it yields.
fn room_for(loads: &[Load]) -> usize {
    let mut begin = 0;
    let mut room = 0;
    for load in loads {
        let inner = if let Load::Lookup { key, .. } = load { room_for(key) } else { 0 };
        let length = load_length(load).next_multiple_of(4);
        room = room.max(begin + inner.max(length));
        begin += length;
    }
    room
}

const fn meta_key(field: MetaField) -> u32 {
    match field {
        MetaField::Mark => meta::MARK,
        MetaField::InputInterface => 6,
        MetaField::OutputInterface => 7,
        MetaField::Family => 15,
        MetaField::Protocol => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_that_changes_gets_a_new_version() {
        const VERSION_AND_HASH: (u8, u64) = (1, 0x11c7_49fc_c212_c39f);
        let chains = super::super::support::everything().chains;
        let rules = chains.values().flat_map(|chain| chain.rules.iter());
        let bytes: Vec<u8> = rules.flat_map(|rule| encode_rule(rule).unwrap()).collect();
        assert_eq!(
            (super::super::batch::ENCODING, model::fnv1a(&bytes)),
            VERSION_AND_HASH,
            "count ENCODING up if a rule is encoded otherwise than before, then correct this pair"
        );
    }

    fn names(rule: &Rule) -> Vec<String> {
        crate::netlink::parse_attributes(&encode_rule(rule).unwrap())
            .map(|(_, entry)| crate::netlink::parse_text(crate::netlink::parse_attributes(entry).next().unwrap().1))
            .collect()
    }

    #[test]
    fn a_match_is_a_load_and_a_comparison_in_these_bytes() {
        let rule =
            Rule::new([Statement::Match(Load::Meta(MetaField::Protocol), Comparison::Equal, Value::Protocol(6))]);
        let expected: &[u8] = &[
            36, 0, 1, 0x80, // the first expression
            9, 0, 1, 0, b'm', b'e', b't', b'a', 0, 0, 0, 0, //
            20, 0, 2, 0x80, 8, 0, 2, 0, 0, 0, 0, 16, 8, 0, 1, 0, 0, 0, 0, 8, //
            44, 0, 1, 0x80, // the second
            8, 0, 1, 0, b'c', b'm', b'p', 0, //
            32, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 8, 8, 0, 2, 0, 0, 0, 0, 0, //
            12, 0, 3, 0x80, 5, 0, 1, 0, 6, 0, 0, 0,
        ];
        assert_eq!(encode_rule(&rule).unwrap(), expected);
    }

    #[test]
    fn a_lookup_inside_a_key_loads_before_it_looks_up() {
        let key = vec![Load::Header(HeaderField::DestinationAddress(IpFamily::V4)), Load::Meta(MetaField::Mark)];
        let yields = vec![FieldType::Ipv4Address, FieldType::Port];
        let to = Load::Lookup { key, map: "endpoints".into(), yields };
        let rule = Rule::new([Statement::Nat { kind: NatKind::Destination, family: IpFamily::V4, to }]);
        assert_eq!(names(&rule), ["payload", "meta", "lookup", "nat"]);
    }

    #[test]
    fn what_is_remembered_of_a_client_of_ipv6_fits_the_registers() {
        let address = |field| Load::Header(field);
        let frontend = vec![
            address(HeaderField::DestinationAddress(IpFamily::V6)),
            Load::Meta(MetaField::Protocol),
            Load::Header(HeaderField::DestinationPort),
        ];
        let key = [vec![address(HeaderField::SourceAddress(IpFamily::V6))], frontend].concat();
        let yields = vec![FieldType::Ipv6Address, FieldType::Port];
        let data = vec![Load::Lookup { key: key.clone(), map: "affinity6".into(), yields }];
        let (change, set, timeout) = (SetUpdate::Update, "affinity6".into(), Some(Duration::from_secs(60)));
        let rule = Rule::new([Statement::Update { change, set, key, timeout, data }]);
        let key = ["payload", "payload", "meta", "payload"];
        assert_eq!(names(&rule), [&key[..], &["lookup"], &key, &["dynset"]].concat());
    }

    #[test]
    fn a_key_wider_than_the_registers_is_refused() {
        let address = Load::Header(HeaderField::SourceAddress(IpFamily::V6));
        let rule = |count| {
            Rule::new([Statement::InSet { key: vec![address.clone(); count], set: "wide".into(), negate: false }])
        };
        assert!(encode_rule(&rule(4)).is_ok());
        assert_eq!(encode_rule(&rule(5)), Err(TooWide));
    }
}
