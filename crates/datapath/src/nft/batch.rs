//! Operations as nfnetlink messages, and messages as batches: one batch is one transaction.

use compile::ruleset::{
    BaseHook, ChainKind, Content, DataType, ElementKey, FieldType, Hook, Note, Operation, Policy, Rule, SetSpec, TABLE,
};
use model::Name;

use super::constant::{FAMILY_INET, LIST_ELEMENT, SUBSYSTEM, chain, data, element, message, rule, set, table};
use super::error::NftError;
use super::expression::encode_rule;
use super::value::{bounds, data_type_number, field_length, fields_length, fields_number, put_data, successor};
use crate::netlink::{Attributes, Head, MessageBuffer, flag};

/// Elements of one message share one attribute, whose length has 16 bits; one more element must still fit.
const ELEMENTS_LENGTH_MAX: usize = 60_000;
/// nft's kind of user data for an element's comment.
const USERDATA_COMMENT: u8 = 0;
/// Our kind of user data in a rule; nft passes over kinds it does not know.
const USERDATA_FINGERPRINT: u8 = 0xf0;
/// Count this up when rules are encoded otherwise than before: what an older version wrote is then written anew.
pub(super) const ENCODING: u8 = 1;
/// The length of the message a batch begins with, and of the one it ends with.
const FRAME_LEN: usize = 20;
/// The `struct nfgenmsg` of both.
const RESOURCE: [u8; 4] = [0, 0, 0, SUBSYSTEM];

/// Operations as messages, in order, not yet cut into transactions.
///
/// Sequence numbers count operations, starting with the one given, so that an answer names its operation.
#[derive(Debug)]
pub(super) struct Encoded {
    messages: MessageBuffer,
    ends: Vec<usize>,
}

impl Encoded {
    pub(super) fn new(operations: &[Operation], first_sequence: u32) -> Result<Self, NftError> {
        let mut encoder = Encoder { messages: begin(), ends: Vec::new(), sequence: first_sequence };
        for operation in operations {
            encoder.operation(operation)?;
            encoder.sequence = encoder.sequence.wrapping_add(1);
        }
        Ok(Self { messages: encoder.messages, ends: encoder.ends })
    }

    /// Bytes of all of it as a single transaction.
    pub(super) fn len(&self) -> usize {
        self.messages.as_bytes().len() + FRAME_LEN
    }

    /// As few transactions as fit `length_max` bytes each, in order; the last message of each asks for an answer.
    ///
    /// There is more than one only when the send buffer cannot hold them all, which an ordinary user cannot change.
    /// Operations come in an order in which every beginning of the list is a consistent ruleset.
    pub(super) fn transactions(self, length_max: usize) -> Vec<Vec<u8>> {
        match self.ends[..] {
            [] => Vec::new(),
            // Many megabytes are not copied once more.
            [.., last, _] if self.len() <= length_max => vec![finish(self.messages, last)],
            [_] => vec![finish(self.messages, FRAME_LEN)],
            _ => self.cut(length_max),
        }
    }

    fn cut(&self, length_max: usize) -> Vec<Vec<u8>> {
        let bytes = self.messages.as_bytes();
        let mut transactions = Vec::new();
        let (mut first, mut last_message, mut end) = (FRAME_LEN, FRAME_LEN, FRAME_LEN);
        for next_end in &self.ends {
            if next_end - first + 2 * FRAME_LEN > length_max && end > first {
                transactions.push(frame(&bytes[first..end], last_message - first));
                first = end;
            }
            last_message = end;
            end = *next_end;
        }
        if end > first {
            transactions.push(frame(&bytes[first..end], last_message - first));
        }
        transactions
    }
}

/// Puts messages between begin and end of a batch and makes the one at `last` ask for an answer.
fn frame(messages: &[u8], last: usize) -> Vec<u8> {
    let mut bytes = begin().into_bytes();
    bytes.extend_from_slice(messages);
    finish(MessageBuffer::continue_with(bytes), FRAME_LEN + last)
}

/// The beginning of a batch.
fn begin() -> MessageBuffer {
    let mut batch = MessageBuffer::new();
    batch.push(Head { kind: message::BATCH_BEGIN, flags: 0, sequence: 0 }, &RESOURCE, |_| {});
    batch
}

/// Ends a batch and makes the message at `last` ask for an answer.
fn finish(batch: MessageBuffer, last: usize) -> Vec<u8> {
    const FLAGS_OFFSET: usize = 6;
    let mut bytes = batch.into_bytes();
    bytes[last + FLAGS_OFFSET] |= flag::ACK as u8;
    let mut batch = MessageBuffer::continue_with(bytes);
    batch.push(Head { kind: message::BATCH_END, flags: 0, sequence: 0 }, &RESOURCE, |_| {});
    batch.into_bytes()
}

struct Encoder {
    messages: MessageBuffer,
    ends: Vec<usize>,
    sequence: u32,
}

impl Encoder {
    fn operation(&mut self, operation: &Operation) -> Result<(), NftError> {
        match operation {
            Operation::AddTable => self.message(message::NEW_TABLE, flag::CREATE, |table| {
                table.text(table::NAME, TABLE).u32_be(table::FLAGS, 0);
            }),
            Operation::DeleteTable => self.message(message::DEL_TABLE, 0, |table| {
                table.text(table::NAME, TABLE);
            }),
            Operation::AddSet(name, spec) => self.add_set(name, spec),
            Operation::DeleteSet(name) => self.message(message::DEL_SET, 0, |set| {
                set.text(set::TABLE, TABLE).text(set::NAME, name.as_str());
            }),
            Operation::AddChain(name, hook) => self.add_chain(name, hook.as_ref()),
            Operation::FlushChain(name) => self.message(message::DEL_RULE, 0, |rule| {
                rule.text(rule::TABLE, TABLE).text(rule::CHAIN, name.as_str());
            }),
            Operation::DeleteChain(name) => self.message(message::DEL_CHAIN, 0, |chain| {
                chain.text(chain::TABLE, TABLE).text(chain::NAME, name.as_str());
            }),
            Operation::AddRule(chain, rule) => return self.add_rule(chain, rule),
            Operation::FillSet(set, elements) => {
                self.add_elements(set, elements.iter().map(|(key, content)| (key, Some(content))));
            }
            Operation::AddElements(set, elements) => {
                self.add_elements(set, elements.iter().map(|element| (&element.key, Some(&element.content))));
            }
            Operation::DeleteElements(set, elements) => {
                let keys = elements.iter().map(|element| (&element.key, None));
                self.elements(message::DEL_ELEMENTS, 0, set, keys);
            }
        }
        Ok(())
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes)) {
        let head = Head { kind, flags, sequence: self.sequence };
        self.messages.push(head, &[FAMILY_INET, 0, 0, 0], fill);
        self.ends.push(self.messages.as_bytes().len());
    }

    fn add_set(&mut self, name: &Name, spec: &SetSpec) {
        // The kernel wants a number that is unique in the transaction.
        let id = self.sequence;
        self.message(message::NEW_SET, flag::CREATE | flag::EXCLUSIVE, |set| {
            set.text(set::TABLE, TABLE).text(set::NAME, name.as_str());
            set.u32_be(set::FLAGS, set_flags(spec));
            set.u32_be(set::KEY_TYPE, fields_number(&spec.key));
            set.u32_be(set::KEY_LENGTH, fields_length(&spec.key) as u32);
            if let Some(data_type) = &spec.data {
                set.u32_be(set::DATA_TYPE, data_type_number(data_type));
                if let DataType::Fields(fields) = data_type {
                    set.u32_be(set::DATA_LENGTH, fields_length(fields) as u32);
                }
            }
            put_description(set, spec);
            set.put(set::USERDATA, &byte_orders(spec));
            set.u32_be(set::ID, id);
        });
    }

    fn add_chain(&mut self, name: &Name, hook: Option<&BaseHook>) {
        self.message(message::NEW_CHAIN, flag::CREATE | flag::EXCLUSIVE, |chain| {
            chain.text(chain::TABLE, TABLE).text(chain::NAME, name.as_str());
            if let Some(base) = hook {
                chain.nest(chain::HOOK, |hook| {
                    hook.u32_be(chain::HOOK_NUMBER, hook_number(base.hook));
                    hook.u32_be(chain::HOOK_PRIORITY, base.priority.cast_unsigned());
                });
                chain.u32_be(chain::POLICY, policy_number(base.policy)).text(chain::TYPE, kind_name(base.kind));
            }
        });
    }

    fn add_rule(&mut self, chain: &Name, rule: &Rule) -> Result<(), NftError> {
        let expressions = encode_rule(rule).map_err(|_| NftError::RuleTooWide { chain: chain.as_str().to_owned() })?;
        self.message(message::NEW_RULE, flag::CREATE | flag::APPEND, |request| {
            request.text(rule::TABLE, TABLE).text(rule::CHAIN, chain.as_str());
            request.put(rule::USERDATA, &userdata(rule));
            request.nest(rule::EXPRESSIONS, |list| {
                list.raw(&expressions);
            });
        });
        Ok(())
    }

    fn add_elements<'a>(&mut self, set: &Name, elements: impl Iterator<Item = (&'a ElementKey, Option<&'a Content>)>) {
        self.elements(message::NEW_ELEMENTS, flag::CREATE | flag::EXCLUSIVE, set, elements);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &Name,
        elements: impl Iterator<Item = (&'a ElementKey, Option<&'a Content>)>,
    ) {
        let mut rest = elements.peekable();
        while rest.peek().is_some() {
            self.message(kind, flags, |list| {
                list.text(element::LIST_TABLE, TABLE).text(element::LIST_SET, set.as_str());
                list.nest(element::LIST_ELEMENTS, |list| {
                    let start = list.len();
                    while let Some((key, content)) = rest.next_if(|_| list.len() - start < ELEMENTS_LENGTH_MAX) {
                        put_element(list, key, content);
                    }
                });
            });
        }
    }
}

/// nft's user data: kind, length, value. Ours is the version of the encoding and the rule's fingerprint.
fn userdata(rule: &Rule) -> Vec<u8> {
    let mut bytes = vec![USERDATA_FINGERPRINT, 9, ENCODING];
    bytes.extend_from_slice(&rule.fingerprint().to_be_bytes());
    bytes
}

/// The fingerprint in a rule's user data; `None` in a rule that is not of our making, or was encoded otherwise.
pub(super) fn parse_userdata(userdata: &[u8]) -> Option<u64> {
    match userdata {
        [USERDATA_FINGERPRINT, 9, ENCODING, fingerprint @ ..] => fingerprint.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

/// nft's user data of an element: a comment, which ends with a zero byte.
fn comment(note: &Note) -> Vec<u8> {
    let text = note.to_string();
    // A note is never longer than nft reads.
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[USERDATA_COMMENT, length], text.as_bytes(), &[0]].concat()
}

/// The comment in an element's user data.
pub(super) fn parse_comment(userdata: &[u8]) -> Option<Note> {
    match userdata {
        [USERDATA_COMMENT, _, text @ .., 0] => std::str::from_utf8(text).ok().map(|text| Note::new(text.into())),
        _ => None,
    }
}

/// The `NFT_SET_*` flags of a set of this shape.
pub(super) fn set_flags(spec: &SetSpec) -> u32 {
    let mut flags = 0;
    if spec.data.is_some() {
        flags |= set::FLAG_MAP;
    }
    if spec.interval {
        flags |= set::FLAG_INTERVAL;
        if spec.key.len() > 1 {
            flags |= set::FLAG_CONCAT;
        }
    }
    if spec.dynamic.is_some() {
        flags |= set::FLAG_DYNAMIC | set::FLAG_TIMEOUT;
    }
    flags
}

/// User data that tells `nft list` how to read keys and data; the kernel does not look at it.
fn byte_orders(spec: &SetSpec) -> Vec<u8> {
    const KEY: u8 = 0;
    const DATA: u8 = 1;
    let mut userdata = byte_order(KEY, &spec.key);
    if let Some(DataType::Fields(fields)) = &spec.data {
        userdata.extend(byte_order(DATA, fields));
    }
    userdata
}

/// nft's user data: kind, length, and whether a single field is in the machine's byte order.
fn byte_order(kind: u8, fields: &[FieldType]) -> Vec<u8> {
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    let order = if matches!(fields, [FieldType::Mark | FieldType::Interface]) { HOST } else { NETWORK };
    [&[kind, 4], &order.to_ne_bytes()[..]].concat()
}

fn put_description(attributes: &mut Attributes, spec: &SetSpec) {
    // The kernel wants the fields' lengths where it must split keys itself: for ranges in several fields.
    let is_split = spec.interval && spec.key.len() > 1;
    if spec.dynamic.is_none() && !is_split {
        return;
    }
    attributes.nest(set::DESCRIPTION, |description| {
        if let Some(dynamic) = spec.dynamic {
            description.u32_be(set::DESCRIPTION_SIZE, dynamic.size);
        }
        if is_split {
            description.nest(set::DESCRIPTION_CONCAT, |fields| {
                for field in &spec.key {
                    fields.nest(LIST_ELEMENT, |entry| {
                        entry.u32_be(set::FIELD_LENGTH, field_length(*field) as u32);
                    });
                }
            });
        }
    });
}

/// An element as the kernel takes it, without content when it is to go; a range of a single field is two of its elements,
/// of which the first has the content.
pub(super) fn put_element(list: &mut Attributes, key: &ElementKey, content: Option<&Content>) {
    let (first, last) = bounds(key);
    let is_concatenated_range = matches!(key, ElementKey::Range(range) if range.0.iter().nth(1).is_some());
    list.nest(LIST_ELEMENT, |entry| {
        put_key(entry, element::KEY, &first);
        if is_concatenated_range {
            put_key(entry, element::KEY_END, &last);
        }
        if let Some(value) = content.and_then(|content| content.data.as_ref()) {
            entry.nest(element::DATA, |data| put_data(data, value));
        }
        if let Some(note) = content.and_then(|content| content.note.as_ref()) {
            entry.put(element::USERDATA, &comment(note));
        }
    });
    // A range of a single field is two elements: where it begins, and the first key behind it unless it goes to the end.
    if let (ElementKey::Range(_), false) = (key, is_concatenated_range)
        && let Some(behind) = successor(&last)
    {
        list.nest(LIST_ELEMENT, |entry| {
            entry.u32_be(element::FLAGS, element::FLAG_INTERVAL_END);
            put_key(entry, element::KEY, &behind);
        });
    }
}

fn put_key(entry: &mut Attributes, kind: u16, key: &[u8]) {
    entry.nest(kind, |value| {
        value.put(data::VALUE, key);
    });
}

/// `NF_INET_*`.
pub(super) const fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

/// `NF_DROP` and `NF_ACCEPT`.
pub(super) const fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

pub(super) const fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Message, parse_messages};
    use compile::ruleset::{Data, Element, Statement, Value};

    fn elements(count: u32) -> Operation {
        let element = |number: u32| Element {
            key: ElementKey::Exact([Value::Mark(number)].into()),
            content: Data::Values([Value::Port(80)].into()).into(),
        };
        Operation::AddElements("ports".into(), (0..count).map(element).collect())
    }

    fn sequences(transaction: &[u8]) -> Vec<(u16, u32, bool)> {
        parse_messages(transaction)
            .map(|Message { kind, sequence, flags, .. }| (kind, sequence, flags & flag::ACK != 0))
            .collect()
    }

    #[test]
    fn a_small_change_is_one_transaction_whose_last_message_is_answered() {
        let encoded = Encoded::new(&[Operation::AddTable, Operation::FlushChain("services".into())], 7).unwrap();
        let length = encoded.len();
        let transactions = encoded.transactions(usize::MAX);
        assert_eq!(transactions.len(), 1);
        assert_eq!(transactions[0].len(), length);
        assert_eq!(
            sequences(&transactions[0]),
            [
                (message::BATCH_BEGIN, 0, false),
                (message::NEW_TABLE, 7, false),
                (message::DEL_RULE, 8, true),
                (message::BATCH_END, 0, false),
            ]
        );
    }

    #[test]
    fn many_elements_are_several_messages_of_one_operation() {
        let encoded = Encoded::new(&[elements(5_000)], 1).unwrap();
        let transactions = encoded.transactions(usize::MAX);
        let messages = sequences(&transactions[0]);
        assert!(messages.len() > 4, "{} messages", messages.len());
        assert!(messages[1..messages.len() - 1].iter().all(|(_, sequence, _)| *sequence == 1));
    }

    #[test]
    fn what_does_not_fit_the_send_buffer_is_cut_between_messages() {
        let operations = [Operation::AddTable, elements(5_000), Operation::FlushChain("services".into())];
        let encoded = Encoded::new(&operations, 0).unwrap();
        let transactions = encoded.transactions(100_000);
        assert!(transactions.len() > 1);
        let mut seen = Vec::new();
        for transaction in &transactions {
            assert!(transaction.len() <= 100_000);
            let messages = sequences(transaction);
            let inner = &messages[1..messages.len() - 1];
            assert_eq!(inner.iter().filter(|(.., is_answered)| *is_answered).count(), 1);
            assert!(inner.last().unwrap().2);
            seen.extend(inner.iter().map(|(_, sequence, _)| *sequence));
        }
        assert!(seen.is_sorted());
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&2)));
    }

    #[test]
    fn nothing_to_do_is_no_transaction() {
        assert!(Encoded::new(&[], 0).unwrap().transactions(1000).is_empty());
    }

    #[test]
    fn a_fingerprint_survives_the_kernel() {
        let rule = Rule::new([Statement::Counter]);
        assert_eq!(parse_userdata(&userdata(&rule)), Some(rule.fingerprint()));
        assert_eq!(parse_userdata(b"\x00\x06hello\0"), None);
    }

    #[test]
    fn a_range_that_ends_with_the_highest_key_has_no_end() {
        let spec_of = |first: u32, last: u32| {
            let mut list = Attributes::new();
            let key = ElementKey::range([Value::Mark(first)], [Value::Mark(last)]);
            put_element(&mut list, &key, Some(&Content::default()));
            crate::netlink::parse_attributes(list.as_bytes()).count()
        };
        assert_eq!(spec_of(1, 7), 2);
        assert_eq!(spec_of(1, u32::MAX), 1);
        assert_eq!(field_length(FieldType::Mark), 4);
    }
}
