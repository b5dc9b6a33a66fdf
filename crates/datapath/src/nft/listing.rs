//! What the kernel lists of our table, and that as a ruleset to compare with the wanted one.

use std::collections::HashSet;

use compile::ruleset::{
    BaseHook, ChainKind, Content, DataType, Dynamic, ElementKey, Hook, Note, Policy, SetSpec, Values,
};
use compile::{Observed, ObservedChain};
use model::Name;

use super::Elements;
use super::batch::{hook_number, kind_name, parse_comment, parse_userdata, policy_number};
use super::constant::{LIST_ELEMENT, chain, data, element, rule, set};
use super::expected::Expected;
use super::value::{parse_data, parse_fields_number, parse_values, predecessor};
use crate::netlink::{parse_attributes, parse_text, parse_u32_be};

/// The content of our table as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// What is of our making; dynamic sets without their elements, which belong to the packets that made them.
    pub observed: Observed,
    /// Parts that are not, e.g. `the type of set ports`. Only deleting the whole table is safe then.
    pub foreign: Vec<String>,
}

/// The name of a chain of `table` and what it is; `None` in the place of a chain we would not make.
pub(super) fn parse_chain(attributes: &[u8], table: &str) -> Option<(Name, Option<ObservedChain>)> {
    let (mut name, mut hook, mut policy, mut kind) = (None, None, None, None);
    for (attribute, value) in parse_attributes(attributes) {
        match attribute {
            chain::TABLE if parse_text(value) != table => return None,
            chain::NAME => name = Some(Name::from(parse_text(value))),
            chain::HOOK => hook = Some(value),
            chain::POLICY => policy = parse_u32_be(value),
            chain::TYPE => kind = Some(parse_text(value)),
            _ => {}
        }
    }
    let listed = match hook {
        None => Some(ObservedChain::default()),
        Some(hook) => {
            parse_hook(hook, policy, kind.as_deref()).map(|base| ObservedChain { hook: Some(base), rules: Vec::new() })
        }
    };
    Some((name?, listed))
}

fn parse_hook(attributes: &[u8], policy: Option<u32>, kind: Option<&str>) -> Option<BaseHook> {
    const HOOKS: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    const KINDS: [ChainKind; 3] = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route];
    const POLICIES: [Policy; 2] = [Policy::Accept, Policy::Drop];
    let (mut number, mut priority) = (None, None);
    for (attribute, value) in parse_attributes(attributes) {
        match attribute {
            chain::HOOK_NUMBER => number = parse_u32_be(value),
            chain::HOOK_PRIORITY => priority = parse_u32_be(value),
            _ => {}
        }
    }
    Some(BaseHook {
        kind: KINDS.into_iter().find(|known| Some(kind_name(*known)) == kind)?,
        hook: HOOKS.into_iter().find(|known| Some(hook_number(*known)) == number)?,
        priority: priority?.cast_signed(),
        policy: POLICIES.into_iter().find(|known| Some(policy_number(*known)) == policy)?,
    })
}

/// The chain a rule belongs to and its fingerprint.
pub(super) fn parse_rule(attributes: &[u8], table: &str) -> Option<(Name, Option<u64>)> {
    let (mut chain, mut fingerprint) = (None, None);
    for (attribute, value) in parse_attributes(attributes) {
        match attribute {
            rule::TABLE if parse_text(value) != table => return None,
            rule::CHAIN => chain = Some(Name::from(parse_text(value))),
            rule::USERDATA => fingerprint = parse_userdata(value),
            _ => {}
        }
    }
    Some((chain?, fingerprint))
}

/// The name of a set of `table` and its shape; `None` in the place of a shape we would not make.
pub(super) fn parse_set(attributes: &[u8], table: &str) -> Option<(Name, Option<SetSpec>)> {
    let mut name = None;
    let mut parts = SetParts::default();
    for (attribute, value) in parse_attributes(attributes) {
        match attribute {
            set::TABLE if parse_text(value) != table => return None,
            set::NAME => name = Some(Name::from(parse_text(value))),
            set::FLAGS => parts.flags = parse_u32_be(value).unwrap_or_default(),
            set::KEY_TYPE => parts.key = parse_u32_be(value),
            set::DATA_TYPE => parts.data = parse_u32_be(value),
            set::DESCRIPTION => {
                let size = parse_attributes(value).find(|(kind, _)| *kind == set::DESCRIPTION_SIZE);
                parts.size = size.and_then(|(_, value)| parse_u32_be(value));
            }
            _ => {}
        }
    }
    Some((name?, parts.into_spec()))
}

#[derive(Default)]
struct SetParts {
    flags: u32,
    key: Option<u32>,
    data: Option<u32>,
    size: Option<u32>,
}

impl SetParts {
    fn into_spec(self) -> Option<SetSpec> {
        let has = |flag| self.flags & flag != 0;
        let data = match self.data.filter(|_| has(set::FLAG_MAP)) {
            None => None,
            Some(set::DATA_VERDICT) => Some(DataType::Verdict),
            Some(number) => Some(DataType::Fields(parse_fields_number(number)?)),
        };
        let dynamic = if has(set::FLAG_DYNAMIC) { Some(Dynamic { size: self.size? }) } else { None };
        let spec = SetSpec { key: parse_fields_number(self.key?)?, data, interval: has(set::FLAG_INTERVAL), dynamic };
        (super::batch::set_flags(&spec) == self.flags).then_some(spec)
    }
}

/// One element as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedElement {
    key: Vec<u8>,
    key_end: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    note: Option<Note>,
    is_end: bool,
}

/// The attributes of each element in one message of a listing.
fn entries(attributes: &[u8]) -> impl Iterator<Item = &[u8]> {
    parse_attributes(attributes)
        .filter(|(kind, _)| *kind == element::LIST_ELEMENTS)
        .flat_map(|(_, list)| parse_attributes(list))
        .filter(|(kind, _)| *kind == LIST_ELEMENT)
        .map(|(_, entry)| entry)
}

/// None when it is no element of ours, such as one for all keys that have none of their own, which has no key.
fn parse_element(attributes: &[u8]) -> Option<ListedElement> {
    let (mut key, mut key_end, mut data, mut note, mut flags) = (None, None, None, None, 0);
    for (attribute, value) in parse_attributes(attributes) {
        match attribute {
            element::KEY => key = parse_constant(value),
            element::KEY_END => key_end = parse_constant(value),
            element::DATA => data = Some(value.to_vec()),
            element::USERDATA => note = parse_comment(value),
            element::FLAGS => flags = parse_u32_be(value)?,
            _ => {}
        }
    }
    Some(ListedElement { key: key?, key_end, data, note, is_end: flags & element::FLAG_INTERVAL_END != 0 })
}

fn parse_constant(attributes: &[u8]) -> Option<Vec<u8>> {
    parse_attributes(attributes).find(|(kind, _)| *kind == data::VALUE).map(|(_, value)| value.to_vec())
}

/// A piece of a listing: what one message brought.
pub(super) enum Piece {
    /// Whole elements; `None` in the place of one that does not fit the set's shape.
    Elements(Vec<Option<(ElementKey, Content)>>),
    /// Beginnings and ends of ranges, which belong together over all pieces.
    Ends(Vec<ListedElement>),
}

impl Piece {
    /// Those of its elements that are whole and fit the set's shape.
    pub(super) fn into_elements(self) -> impl Iterator<Item = (ElementKey, Content)> {
        let elements = match self {
            Self::Elements(elements) => elements,
            Self::Ends(_) => Vec::new(),
        };
        elements.into_iter().flatten()
    }
}

/// What a listing of a set came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// All of its elements.
    Whole(Elements),
    /// One of them does not fit the set's shape.
    Foreign,
    /// One comes twice. As every element is passed at least once by the counting that finds a piece's place, none can
    /// be missing from a listing in which none comes twice.
    Overlapping,
}

/// The piece in one message of a listing of a set of this shape, but for what is expected, which is crossed off.
pub(super) fn parse_piece(spec: &SetSpec, attributes: &[u8], expected: &mut Expected) -> Piece {
    if spec.interval && spec.key.len() == 1 {
        let ends: Option<Vec<ListedElement>> = entries(attributes).map(parse_element).collect();
        return ends.map_or_else(|| Piece::Elements(vec![None]), Piece::Ends);
    }
    let others = entries(attributes).filter(|entry| !expected.cross_off(entry));
    Piece::Elements(others.map(|entry| assemble_element(spec, &parse_element(entry)?)).collect())
}

/// Puts the pieces of a listing together with the elements that were found as expected.
pub(super) fn assemble(spec: &SetSpec, pieces: Vec<Piece>, found: Elements) -> Assembled {
    let (mut elements, mut ends) = (found, Vec::new());
    for piece in pieces {
        match piece {
            Piece::Ends(more) => ends.extend(more),
            Piece::Elements(more) => {
                if let Err(fault) = add_all(&mut elements, more) {
                    return fault;
                }
            }
        }
    }
    if has_overlap(&ends) {
        return Assembled::Overlapping;
    }
    let ranges = pair_ranges(ends).into_iter().map(|range| assemble_element(spec, &range)).collect();
    add_all(&mut elements, ranges).map_or_else(|fault| fault, |()| Assembled::Whole(elements))
}

fn add_all(elements: &mut Elements, more: Vec<Option<(ElementKey, Content)>>) -> Result<(), Assembled> {
    for element in more {
        let (key, content) = element.ok_or(Assembled::Foreign)?;
        if elements.insert(key, content).is_some() {
            return Err(Assembled::Overlapping);
        }
    }
    Ok(())
}

fn has_overlap(listed: &[ListedElement]) -> bool {
    let mut seen = HashSet::with_capacity(listed.len());
    listed.iter().any(|element| !seen.insert((&element.key, &element.key_end, element.is_end)))
}

fn assemble_element(spec: &SetSpec, element: &ListedElement) -> Option<(ElementKey, Content)> {
    let first = Values::from(parse_values(&spec.key, &element.key)?);
    let key = match &element.key_end {
        Some(end) if spec.interval => ElementKey::range(first, parse_values(&spec.key, end)?),
        None if spec.interval => ElementKey::range(first.clone(), first),
        _ => ElementKey::Exact(first),
    };
    let data = match (&spec.data, &element.data) {
        (Some(data_type), Some(data)) => Some(parse_data(data_type, data)?),
        (None, None) => None,
        _ => return None,
    };
    Some((key, Content { data, note: element.note.clone() }))
}

/// Joins beginnings and ends, which the kernel lists apart and in any order, to ranges.
fn pair_ranges(mut listed: Vec<ListedElement>) -> Vec<ListedElement> {
    listed.sort_by(|a, b| (&a.key, !a.is_end).cmp(&(&b.key, !b.is_end)));
    let mut ranges: Vec<ListedElement> = Vec::new();
    let mut is_open = false;
    for element in listed {
        if is_open && let Some(open) = ranges.last_mut() {
            open.key_end = predecessor(&element.key);
        }
        is_open = !element.is_end;
        if !element.is_end {
            ranges.push(element);
        }
    }
    if is_open && let Some(open) = ranges.last_mut() {
        open.key_end = Some(vec![u8::MAX; open.key.len()]);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use compile::ruleset::Value;

    use super::*;
    use crate::netlink::Attributes;
    use compile::ruleset::FieldType;
    use proptest::prelude::*;

    fn point(key: [u8; 4], is_end: bool) -> ListedElement {
        ListedElement { key: key.to_vec(), key_end: None, data: None, note: None, is_end }
    }

    fn ranges_of(listed: Vec<ListedElement>) -> Vec<String> {
        let spec = SetSpec { key: vec![FieldType::Ipv4Address], data: None, interval: true, dynamic: None };
        let Assembled::Whole(ranges) = assemble(&spec, vec![Piece::Ends(listed)], Elements::new()) else {
            panic!("not whole")
        };
        ranges.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_are_joined_from_beginnings_and_ends_in_any_order() {
        let listed = vec![
            point([10, 0, 2, 0], true),
            point([10, 0, 1, 0], false),
            point([10, 0, 1, 0], true),
            point([10, 0, 0, 0], false),
        ];
        assert_eq!(ranges_of(listed), ["10.0.0.0-10.0.0.255", "10.0.1.0-10.0.1.255"]);
    }

    #[test]
    fn an_element_that_comes_twice_is_noticed_and_two_ends_of_a_range_are_not() {
        let ends = vec![point([10, 0, 1, 0], false), point([10, 0, 1, 0], true)];
        let spec = SetSpec { key: vec![FieldType::Ipv4Address], data: None, interval: true, dynamic: None };
        assert!(matches!(assemble(&spec, vec![Piece::Ends(ends.clone())], Elements::new()), Assembled::Whole(_)));
        assert_eq!(
            assemble(&spec, vec![Piece::Ends(ends.clone()), Piece::Ends(ends)], Elements::new()),
            Assembled::Overlapping
        );
        let exact = SetSpec { interval: false, ..spec };
        let piece = || Piece::Elements(vec![assemble_element(&exact, &point([10, 0, 1, 0], false))]);
        assert_eq!(assemble(&exact, vec![piece(), piece()], Elements::new()), Assembled::Overlapping);
    }

    #[test]
    fn a_range_without_an_end_goes_to_the_highest_key() {
        assert_eq!(ranges_of(vec![point([224, 0, 0, 0], false)]), ["224.0.0.0-255.255.255.255"]);
    }

    #[test]
    fn an_element_of_another_shape_is_refused() {
        let spec = SetSpec { key: vec![FieldType::Port], data: None, interval: false, dynamic: None };
        let listed =
            |key: &[u8]| ListedElement { key: key.to_vec(), key_end: None, data: None, note: None, is_end: false };
        let assembled = |key: &[u8]| {
            assemble(&spec, vec![Piece::Elements(vec![assemble_element(&spec, &listed(key))])], Elements::new())
        };
        let port = (ElementKey::Exact([Value::Port(80)].into()), Content::default());
        assert_eq!(assembled(&[0, 80]), Assembled::Whole([port].into_iter().collect()));
        assert_eq!(assembled(&[80]), Assembled::Foreign);
    }

    #[test]
    fn an_element_without_a_key_is_foreign_in_a_set_of_any_shape() {
        let mut listed = Attributes::new();
        listed.nest(element::LIST_ELEMENTS, |list| {
            // As the kernel lists one for all other keys: NFT_SET_ELEM_CATCHALL.
            list.nest(LIST_ELEMENT, |entry| {
                entry.u32_be(element::FLAGS, 2);
            });
        });
        for interval in [false, true] {
            let spec = SetSpec { key: vec![FieldType::Ipv4Address], data: None, interval, dynamic: None };
            let piece = parse_piece(&spec, listed.as_bytes(), &mut Expected::of(&spec, None));
            assert_eq!(assemble(&spec, vec![piece], Elements::new()), Assembled::Foreign);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_chain(&bytes, "fairway");
            let _ = parse_rule(&bytes, "fairway");
            let spec = SetSpec { key: vec![FieldType::Port, FieldType::Interface], data: None, interval: true, dynamic: None };
            let _ = assemble(&spec, vec![parse_piece(&spec, &bytes, &mut Expected::of(&spec, None))], Elements::new());
            prop_assert!(parse_set(&bytes, "fairway").is_none_or(|(name, _)| name.as_str().len() <= bytes.len() * 3));
        }
    }
}
