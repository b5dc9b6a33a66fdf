//! Rulesets written to and read from a real nf_tables.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use compile::ruleset::{
    Data, Element, ElementKey, FieldType, Note, Operation, Ruleset, Set, SetSpec, Statement, Value,
};
use datapath::nft::{NftError, Table};
use datapath::testing::{isolated, wait_for};
use model::SharedMap;
use nix::errno::Errno;

#[expect(clippy::expect_used, reason = "a panic is how a test fails")]
mod support;

/// The operations that make `ruleset` out of nothing.
fn creation_of(ruleset: &Ruleset) -> Vec<Operation> {
    compile::diff(&Ruleset::default(), ruleset)
}

/// The elements of a set as operations carry them.
fn elements_of(set: &Set) -> Vec<Element> {
    set.elements.iter().map(|(key, content)| Element { key: key.clone(), content: content.clone() }).collect()
}

fn committed(table: &mut Table, wanted: &Ruleset) -> Ruleset {
    let listing = table.read().unwrap().unwrap();
    assert_eq!(listing.foreign, Vec::<String>::new());
    listing.observed.recognise(wanted)
}

#[test]
fn every_statement_is_taken_by_the_kernel_and_read_back() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        assert_eq!(table.read().unwrap(), None);
        let wanted = support::everything();
        let applied = table.apply(&creation_of(&wanted)).unwrap();
        assert_eq!(applied.transactions, 1);
        assert_eq!(committed(&mut table, &wanted), wanted);
    });
}

#[test]
fn elements_come_and_go_by_their_keys() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let mut wanted = support::everything();
        table.apply(&creation_of(&wanted)).unwrap();
        for name in ["services", "endpoints", "ranges", "wide_ranges", "six", "links", "node_ports"] {
            let set = wanted.sets.get_mut(name).unwrap();
            let elements = elements_of(set);
            table.apply(&[Operation::DeleteElements(name.into(), elements.clone())]).unwrap();
            set.elements = SharedMap::new();
            assert_eq!(committed(&mut table, &wanted), wanted, "without the elements of {name}");
            table.apply(&[Operation::AddElements(name.into(), elements.clone())]).unwrap();
            wanted.sets.get_mut(name).unwrap().elements =
                elements.into_iter().map(|Element { key, content }| (key, content)).collect();
            assert_eq!(committed(&mut table, &wanted), wanted, "with the elements of {name}");
        }
    });
}

#[test]
fn a_note_alone_is_changed_in_one_transaction_in_sets_of_every_kind() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let mut wanted = support::everything();
        table.apply(&creation_of(&wanted)).unwrap();
        for name in ["services", "endpoints", "ranges", "wide_ranges", "six"] {
            let before = wanted.clone();
            let set = wanted.sets.get_mut(name).unwrap();
            let renamed = elements_of(set).into_iter().map(|Element { key, content }| {
                let long = format!("another/{}", "x".repeat(200));
                (key, content.noted(Note::new(long.into())))
            });
            set.elements = renamed.collect();
            let changes = compile::diff(&before, &wanted);
            assert!(matches!(&changes[..], [Operation::DeleteElements(..), Operation::AddElements(..)]), "{changes:?}");
            assert_eq!(table.apply(&changes).unwrap().transactions, 1);
            assert_eq!(committed(&mut table, &wanted), wanted, "the notes of {name}");
            assert_eq!(compile::diff(&committed(&mut table, &wanted), &wanted), [], "a start finds nothing to do");
        }
    });
}

#[test]
fn a_refused_operation_is_named_and_nothing_of_the_transaction_is_in_force() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let rule = compile::ruleset::Rule::new([Statement::Verdict(compile::ruleset::Verdict::Jump("nowhere".into()))]);
        let operations =
            [Operation::AddTable, Operation::AddChain("start".into(), None), Operation::AddRule("start".into(), rule)];
        let error = table.apply(&operations).unwrap_err();
        assert_eq!(error.to_string(), "cannot add to chain start the rule \"jump nowhere\"");
        assert_eq!(error.errno(), Some(Errno::ENOENT));
        assert_eq!(table.read().unwrap(), None);
        table.apply(&operations[..2]).unwrap();
    });
}

#[test]
fn an_element_that_is_there_already_is_refused() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let wanted = support::everything();
        table.apply(&creation_of(&wanted)).unwrap();
        let again = Operation::AddElements("services".into(), elements_of(&wanted.sets["services"]));
        let error = table.apply(&[again]).unwrap_err();
        assert!(matches!(&error, NftError::Refused { .. }), "{error:?}");
        assert_eq!(error.to_string(), "cannot add 2 elements to services");
        assert_eq!(committed(&mut table, &wanted), wanted);
    });
}

#[test]
fn what_others_put_into_the_table_is_noticed() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let mut wanted = support::everything();
        table.apply(&creation_of(&wanted)).unwrap();
        let rules = &mut wanted.chains.get_mut("filter_forward").unwrap().rules;
        *rules = [1, 0].into_iter().chain(2..rules.len()).map(|index| rules[index].clone()).collect();
        assert_ne!(committed(&mut table, &wanted), wanted);
        assert_eq!(table.read().unwrap().unwrap().observed.chains["filter_forward"].rules.len(), 4);
    });
}

fn many_elements(count: u32) -> (Set, Operation) {
    let spec = SetSpec {
        key: vec![FieldType::Ipv4Address, FieldType::Mark],
        data: Some(compile::ruleset::DataType::Fields(vec![FieldType::Ipv4Address, FieldType::Port])),
        interval: false,
        dynamic: None,
    };
    let element = |number: u32| Element {
        key: ElementKey::Exact([Value::Ipv4Address(number.into()), Value::Mark(number)].into()),
        content: Data::Values([Value::Ipv4Address((!number).into()), Value::Port(number as u16)].into()).into(),
    };
    let elements: Vec<Element> = (0..count).map(element).collect();
    let held = elements.iter().map(|element| (element.key.clone(), element.content.clone())).collect();
    (Set { elements: held, ..Set::new(spec) }, Operation::AddElements("endpoints".into(), elements))
}

fn any_data() -> Data {
    Data::Values([Value::Ipv4Address([10, 0, 0, 1].into()), Value::Port(1)].into())
}

#[test]
fn twenty_thousand_elements_arrive_and_are_listed_while_the_kernel_rebuilds_its_hash_table() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        for _ in 0..20 {
            let (set, add) = many_elements(20_000);
            let create = [Operation::AddTable, Operation::AddSet("endpoints".into(), set.spec.clone()), add];
            let applied = table.apply(&create).unwrap();
            assert!(applied.bytes > 700_000);
            let listing = table.read().unwrap().unwrap();
            assert!(listing.observed.sets["endpoints"] == set);
            table.apply(&[Operation::DeleteTable]).unwrap();
        }
    });
}

#[test]
fn the_table_is_listed_while_others_change_nf_tables_all_the_time() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let (set, add) = many_elements(20_000);
        table.apply(&[Operation::AddTable, Operation::AddSet("endpoints".into(), set.spec.clone()), add]).unwrap();
        table.apply(&[Operation::AddSet("busy".into(), set.spec.clone())]).unwrap();
        let element = vec![Element { key: set.elements.keys().next().unwrap().clone(), content: any_data().into() }];
        // Counts as a change, and nobody sees the element.
        let busy = "busy".into();
        let change = [Operation::AddElements(busy, element.clone()), Operation::DeleteElements("busy".into(), element)];
        let mut other = Table::open().unwrap();
        let is_over = AtomicBool::new(false);
        let found = std::thread::scope(|threads| {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    other.apply(&change).unwrap();
                }
            });
            let begun = table.generation().unwrap();
            wait_for("changes", Duration::from_secs(10), || (table.generation().unwrap() != begun).then_some(()));
            let found: Vec<_> = (0..5).map(|_| table.read()).collect();
            is_over.store(true, Ordering::Relaxed);
            found
        });
        for found in found {
            assert!(found.unwrap().unwrap().observed.sets["endpoints"] == set);
        }
    });
}

#[test]
fn deleting_the_table_leaves_nothing() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        table.apply(&creation_of(&support::everything())).unwrap();
        table.apply(&[Operation::DeleteTable]).unwrap();
        assert_eq!(table.read().unwrap(), None);
        assert_eq!(table.apply(&[Operation::DeleteTable]).unwrap_err().errno(), Some(Errno::ENOENT));
    });
}

#[test]
fn the_generation_counts_transactions() {
    isolated(|| {
        let mut table = Table::open().unwrap();
        let before = table.generation().unwrap();
        assert_eq!(table.apply(&[]).unwrap().transactions, 0);
        assert_eq!(table.generation().unwrap(), before);
        table.apply(&[Operation::AddTable]).unwrap();
        assert_ne!(table.generation().unwrap(), before);
    });
}
