//! What turns one ruleset into another, in an order the kernel accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Change, Name, SharedMap};

use crate::ruleset::{BaseHook, Chain, Content, Element, ElementKey, Keeper, Operation, Rule, Ruleset, Set};

/// The operations that turn `old`, which the kernel holds, into `new`, as one transaction; none when they are equal.
///
/// What others refer to is made first and removed last. The cost is that of the differences when the rulesets share
/// structure, as those of successive [plans](crate::Plan) do. A set whose shape or a chain whose hook changed cannot be
/// changed in place: the whole table is then replaced, in the same transaction.
pub fn diff(old: &Ruleset, new: &Ruleset) -> Vec<Operation> {
    if needs_new_table(old, new) {
        let mut operations = vec![Operation::DeleteTable];
        operations.extend(diff(&Ruleset::default(), new));
        return operations;
    }
    let mut operations = Vec::new();
    if old.is_empty() && !new.is_empty() {
        operations.push(Operation::AddTable);
    }
    add_containers(old, new, &mut operations);
    replace_rules(old, new, &mut operations);
    replace_elements(old, new, &mut operations);
    remove_containers(old, new, &mut operations);
    operations
}

fn needs_new_table(old: &Ruleset, new: &Ruleset) -> bool {
    let reshaped = both(&old.sets, &new.sets).any(|(_, old, new)| old.spec != new.spec);
    reshaped || both(&old.chains, &new.chains).any(|(_, old, new)| old.hook != new.hook)
}

fn add_containers(old: &Ruleset, new: &Ruleset, operations: &mut Vec<Operation>) {
    for (name, set) in missing(&old.sets, &new.sets) {
        operations.push(Operation::AddSet(name.clone(), set.spec.clone()));
    }
    for (name, chain) in missing(&old.chains, &new.chains) {
        operations.push(Operation::AddChain(name.clone(), chain.hook));
    }
}

fn replace_rules(old: &Ruleset, new: &Ruleset, operations: &mut Vec<Operation>) {
    let add = |name: &Name, chain: &Chain| {
        let rules = chain.rules.iter().cloned();
        rules.map(|rule| Operation::AddRule(name.clone(), rule)).collect::<Vec<_>>()
    };
    for (name, chain) in missing(&old.chains, &new.chains) {
        operations.extend(add(name, chain));
    }
    for (name, _, chain) in both(&old.chains, &new.chains).filter(|(_, old, new)| old.rules != new.rules) {
        operations.push(Operation::FlushChain(name.clone()));
        operations.extend(add(name, chain));
    }
}

/// A set cannot change an element it holds: what differs goes and comes, in one transaction, so that no packet finds neither.
///
/// A note is compared like the rest. One that names a pod that is gone would be worse than none, and to correct it costs
/// what any change of one element does: connections do not notice, as those that are established are not looked up, and
/// others find the same data before and after. Notes say only what outlives what happens around them, so that none changes
/// because of another element: no count, no slot, no condition of the pod.
fn replace_elements(old: &Ruleset, new: &Ruleset, operations: &mut Vec<Operation>) {
    let nothing = SharedMap::new();
    let is_kept_here = |name: &Name, set: &Set| set.keeper == Keeper::Ruleset || !old.sets.contains_key(name);
    let sets = new.sets.iter().filter(|(_, set)| set.spec.dynamic.is_none());
    for (name, set) in sets.filter(|(name, set)| is_kept_here(name, set)) {
        let old = old.sets.get(name).map_or(&nothing, |set| &set.elements);
        if old.is_empty() && !set.elements.is_empty() {
            operations.push(Operation::FillSet(name.clone(), set.elements.clone()));
            continue;
        }
        let changes = SharedMap::changes_between(old, &set.elements);
        let count =
            |of: fn(&Change<'_, ElementKey, Content>) -> bool| changes.iter().filter(|change| of(change)).count();
        let mut gone = Vec::with_capacity(count(|change| change.old.is_some()));
        let mut come = Vec::with_capacity(count(|change| change.new.is_some()));
        for change in &changes {
            gone.extend(change.old.map(|content| element(change.key, content)));
            come.extend(change.new.map(|content| element(change.key, content)));
        }
        if !gone.is_empty() {
            operations.push(Operation::DeleteElements(name.clone(), gone));
        }
        if !come.is_empty() {
            operations.push(Operation::AddElements(name.clone(), come));
        }
    }
}

/// Chains are emptied before anything is deleted, since they refer to each other and to sets; sets go before chains,
/// since their elements refer to chains.
fn remove_containers(old: &Ruleset, new: &Ruleset, operations: &mut Vec<Operation>) {
    let chains: Vec<&Name> = missing(&new.chains, &old.chains).map(|(name, _)| name).collect();
    operations.extend(chains.iter().map(|name| Operation::FlushChain((*name).clone())));
    operations.extend(missing(&new.sets, &old.sets).map(|(name, _)| Operation::DeleteSet(name.clone())));
    operations.extend(chains.into_iter().map(|name| Operation::DeleteChain(name.clone())));
}

fn element(key: &ElementKey, content: &Content) -> Element {
    Element { key: key.clone(), content: content.clone() }
}

/// The entries of `there` whose names are not in `here`.
fn missing<'a, T>(
    here: &'a BTreeMap<Name, T>,
    there: &'a BTreeMap<Name, T>,
) -> impl Iterator<Item = (&'a Name, &'a T)> {
    there.iter().filter(|(name, _)| !here.contains_key(*name))
}

/// The names both have, with both values.
fn both<'a, T>(
    old: &'a BTreeMap<Name, T>,
    new: &'a BTreeMap<Name, T>,
) -> impl Iterator<Item = (&'a Name, &'a T, &'a T)> {
    new.iter().filter_map(|(name, new)| Some((name, old.get(name)?, new)))
}

/// What the kernel was found to hold. Rules are known by their fingerprints only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Sets and maps with their elements.
    pub sets: BTreeMap<Name, Set>,
    /// Chains by name.
    pub chains: BTreeMap<Name, ObservedChain>,
}

/// A chain as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedChain {
    /// Where it is hooked.
    pub hook: Option<BaseHook>,
    /// The [fingerprint](Rule::fingerprint) of each rule; none for a rule that carries none and so is not ours.
    pub rules: Vec<Option<u64>>,
}

impl Observed {
    /// What was found as a ruleset that [`diff`] can compare with `wanted`: a chain whose rules are recognised has
    /// `wanted`'s rules, any other one has a rule that nothing equals.
    pub fn recognise(&self, wanted: &Ruleset) -> Ruleset {
        let chains = self.chains.iter().map(|(name, found)| {
            let wanted = wanted.chains.get(name).map_or_else(Arc::default, |chain| Arc::clone(&chain.rules));
            let is_known = found.rules.iter().copied().eq(wanted.iter().map(|rule| Some(rule.fingerprint())));
            let rules = if is_known { wanted } else { [Rule::new([])].into() };
            (name.clone(), Chain { hook: found.hook, rules })
        });
        let sets = self.sets.iter().map(|(name, found)| {
            let keeper = wanted.sets.get(name).map_or(found.keeper, |set| set.keeper);
            (name.clone(), Set { keeper, ..found.clone() })
        });
        Ruleset { sets: sets.collect(), chains: chains.collect() }
    }
}
