//! Recognising the elements of a set as those it is expected to hold, without keeping what is listed.
//!
//! A start finds nearly always what it wants. Reading hundreds of thousands of elements only to compare them with others
//! would take the memory and most of the time of having them twice.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use compile::ruleset::{Content, ElementKey, SetSpec};

use super::Elements;
use super::batch::put_element;
use super::constant::{LIST_ELEMENT, data, element};
use crate::netlink::{Attributes, parse_attributes};

/// The elements a set is expected to hold, of which those that were listed are crossed off.
pub(super) struct Expected {
    elements: Elements,
    /// Numbers of those that were not listed yet.
    missing: HashSet<u64>,
    numbers: Numbers,
}

impl Expected {
    /// None are expected of a set of another shape, and of ranges the kernel lists the ends alone.
    pub(super) fn of(spec: &SetSpec, known: Option<(&SetSpec, &Elements)>) -> Self {
        let known = known.filter(|(shape, _)| *shape == spec && !spec.interval);
        let elements = known.map(|(_, elements)| elements.clone()).unwrap_or_default();
        let mut numbers = Numbers::default();
        let mut missing = HashSet::with_capacity(elements.len());
        missing.extend(elements.iter().filter_map(|(key, content)| numbers.of_known(key, content)));
        Self { elements, missing, numbers }
    }

    /// Crosses off a listed element, given by its attributes; whether it was expected and had not been listed before.
    pub(super) fn cross_off(&mut self, attributes: &[u8]) -> bool {
        !self.missing.is_empty() && self.numbers.of(attributes).is_some_and(|number| self.missing.remove(&number))
    }

    /// The elements that were crossed off.
    pub(super) fn found(mut self) -> Elements {
        if self.missing.is_empty() {
            return self.elements;
        }
        let mut found = self.elements.clone();
        for (key, content) in &self.elements {
            if self.numbers.of_known(key, content).is_none_or(|number| self.missing.contains(&number)) {
                found.remove(key);
            }
        }
        found
    }
}

/// Numbers elements by what they are: two get the same only by a chance of 1 in 2^64, another one each time.
#[derive(Default)]
struct Numbers {
    random: RandomState,
    buffer: Attributes,
}

impl Numbers {
    fn of_known(&mut self, key: &ElementKey, content: &Content) -> Option<u64> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        put_element(&mut buffer, key, Some(content));
        let number = parse_attributes(buffer.as_bytes()).find(|(kind, _)| *kind == LIST_ELEMENT);
        let number = number.and_then(|(_, attributes)| self.of(attributes));
        self.buffer = buffer;
        number
    }

    /// The number of the element these attributes describe; none when it has something we never give one.
    fn of(&self, attributes: &[u8]) -> Option<u64> {
        let mut hasher = self.random.build_hasher();
        for (kind, value) in parse_attributes(attributes) {
            match kind {
                element::KEY | element::DATA => add_constant(&mut hasher, kind, value),
                element::USERDATA => add(&mut hasher, kind, value),
                _ => return None,
            }
        }
        Some(hasher.finish())
    }
}

fn add_constant(hasher: &mut impl Hasher, kind: u16, attributes: &[u8]) {
    hasher.write_u16(kind);
    for (kind, value) in parse_attributes(attributes) {
        if kind == data::VERDICT {
            parse_attributes(value).for_each(|(kind, value)| add(hasher, kind, value));
        } else {
            add(hasher, kind, value);
        }
    }
}

fn add(hasher: &mut impl Hasher, kind: u16, value: &[u8]) {
    hasher.write_u16(kind);
    hasher.write_usize(value.len());
    hasher.write(value);
}

#[cfg(test)]
mod tests {
    use compile::ruleset::{Data, DataType, Element, FieldType, Note, Value, Verdict};

    use super::*;

    /// `NFTA_SET_ELEM_TIMEOUT`.
    const TIMEOUT: u16 = 4;

    fn spec() -> SetSpec {
        let key = vec![FieldType::Port, FieldType::Mark];
        SetSpec { key, data: Some(DataType::Verdict), interval: false, dynamic: None }
    }

    fn leading_to(port: u16, chain: &str, note: &str) -> Element {
        let key = ElementKey::Exact([Value::Port(port), Value::Mark(0)].into());
        let verdict = Data::Verdict(Verdict::Goto(chain.into()));
        Element { key, content: Content::from(verdict).noted(Note::new(note.into())) }
    }

    /// The element as a listing has it.
    fn listed(element: &Element) -> Vec<u8> {
        let mut list = Attributes::new();
        put_element(&mut list, &element.key, Some(&element.content));
        parse_attributes(list.as_bytes()).next().unwrap().1.to_vec()
    }

    fn elements(all: &[Element]) -> Elements {
        all.iter().map(|element| (element.key.clone(), element.content.clone())).collect()
    }

    #[test]
    fn what_is_expected_is_crossed_off_once_and_nothing_else_is() {
        let known = [leading_to(80, "lb_1", "web"), leading_to(443, "lb_1", "web")];
        let mut expected = Expected::of(&spec(), Some((&spec(), &elements(&known))));
        for other in [leading_to(81, "lb_1", "web"), leading_to(80, "lb_2", "web"), leading_to(80, "lb_1", "other")] {
            assert!(!expected.cross_off(&listed(&other)), "{other} was not expected");
        }
        let mut timed = Attributes::append_to(listed(&known[0]));
        timed.u64_be(TIMEOUT, 1_000);
        assert!(!expected.cross_off(timed.as_bytes()), "we give no element a time");
        assert!(expected.cross_off(&listed(&known[0])));
        assert!(!expected.cross_off(&listed(&known[0])), "it was listed before");
        assert_eq!(expected.found(), elements(&known[..1]));
    }

    #[test]
    fn nothing_is_expected_of_another_shape() {
        let known = [leading_to(80, "lb_1", "web")];
        let other = SetSpec { key: vec![FieldType::Port], ..spec() };
        let mut expected = Expected::of(&spec(), Some((&other, &elements(&known))));
        assert!(!expected.cross_off(&listed(&known[0])));
        assert_eq!(expected.found(), Elements::new());
    }
}
