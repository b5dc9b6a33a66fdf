//! A kernel that holds a ruleset and refuses what nf_tables would refuse.

use std::collections::BTreeSet;

use compile::ruleset::{
    Chain, Content, Data, Element, ElementKey, Keeper, Load, Operation, Rule, Ruleset, Set, Statement, Verdict,
};
use model::Name;

#[derive(Default)]
pub struct Kernel {
    has_table: bool,
    ruleset: Ruleset,
}

/// A ruleset as a kernel holds it, which does not know who keeps which set.
pub fn as_held(ruleset: &Ruleset) -> Ruleset {
    let mut held = ruleset.clone();
    held.sets.values_mut().for_each(|set| set.keeper = Keeper::default());
    held
}

type Checked = Result<(), String>;

impl Kernel {
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    pub fn apply(&mut self, operations: &[Operation]) -> Checked {
        for operation in operations {
            self.apply_one(operation).map_err(|why| format!("{operation:?}: {why}"))?;
        }
        Ok(())
    }

    fn apply_one(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::AddTable => self.has_table = true,
            Operation::DeleteTable => {
                check(self.has_table, "no table")?;
                *self = Self::default();
            }
            _ => check(self.has_table, "no table")?,
        }
        match operation {
            Operation::AddTable | Operation::DeleteTable => Ok(()),
            Operation::AddSet(name, spec) => {
                let old = self.ruleset.sets.insert(name.clone(), Set::new(spec.clone()));
                check(old.is_none(), "the set exists")
            }
            Operation::DeleteSet(name) => {
                check(self.ruleset.sets.remove(name).is_some(), "no such set")?;
                check(!self.references().sets.contains(name), "the set is in use")
            }
            Operation::AddChain(name, hook) => {
                let old = self.ruleset.chains.insert(name.clone(), Chain { hook: *hook, rules: [].into() });
                check(old.is_none(), "the chain exists")
            }
            Operation::FlushChain(name) => self.chain(name).map(|chain| chain.rules = [].into()),
            Operation::DeleteChain(name) => {
                check(self.chain(name)?.rules.is_empty(), "the chain has rules")?;
                check(!self.references().chains.contains(name), "the chain is in use")?;
                self.ruleset.chains.remove(name);
                Ok(())
            }
            Operation::AddRule(name, rule) => {
                let chain = self.chain(name)?;
                chain.rules = chain.rules.iter().chain([rule]).cloned().collect();
                self.check_references(&references_of_rule(rule))
            }
            Operation::FillSet(name, elements) => {
                let held = self.ruleset.sets.get(name).is_some_and(|set| !set.elements.is_empty());
                check(!held, "the set is not empty")?;
                let element =
                    |(key, content): (&ElementKey, &Content)| Element { key: key.clone(), content: content.clone() };
                elements.iter().try_for_each(|each| self.add(name, &element(each)))
            }
            Operation::AddElements(name, elements) => elements.iter().try_for_each(|each| self.add(name, each)),
            Operation::DeleteElements(name, elements) => elements.iter().try_for_each(|each| self.delete(name, each)),
        }
    }

    fn chain(&mut self, name: &Name) -> Result<&mut Chain, String> {
        self.ruleset.chains.get_mut(name).ok_or_else(|| "no such chain".to_owned())
    }

    fn add(&mut self, name: &Name, element: &Element) -> Checked {
        let set = self.ruleset.sets.get_mut(name).ok_or("no such set")?;
        check(
            set.spec.data.is_some() == element.content.data.is_some(),
            "data where none belongs, or none where some does",
        )?;
        check(set.elements.insert(element.key.clone(), element.content.clone()).is_none(), "the element exists")?;
        let mut used = References::default();
        used.note_data(element.content.data.as_ref());
        self.check_references(&used)
    }

    fn delete(&mut self, name: &Name, element: &Element) -> Checked {
        let set = self.ruleset.sets.get_mut(name).ok_or("no such set")?;
        check(set.elements.remove(&element.key).as_ref() == Some(&element.content), "no such element")
    }

    fn check_references(&self, used: &References) -> Checked {
        check(used.chains.iter().all(|name| self.ruleset.chains.contains_key(name)), "no such chain to refer to")?;
        check(used.sets.iter().all(|name| self.ruleset.sets.contains_key(name)), "no such set to refer to")
    }

    fn references(&self) -> References {
        let mut used = References::default();
        for rule in self.ruleset.chains.values().flat_map(|chain| chain.rules.iter()) {
            let of_rule = references_of_rule(rule);
            used.chains.extend(of_rule.chains);
            used.sets.extend(of_rule.sets);
        }
        for content in self.ruleset.sets.values().flat_map(|set| set.elements.values()) {
            used.note_data(content.data.as_ref());
        }
        used
    }
}

fn check(condition: bool, why: &str) -> Checked {
    if condition { Ok(()) } else { Err(why.to_owned()) }
}

/// What something refers to.
#[derive(Default)]
struct References {
    chains: BTreeSet<Name>,
    sets: BTreeSet<Name>,
}

impl References {
    fn note_verdict(&mut self, verdict: &Verdict) {
        if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
            self.chains.insert(chain.clone());
        }
    }

    fn note_data(&mut self, data: Option<&Data>) {
        if let Some(verdict) = data.and_then(Data::verdict) {
            self.note_verdict(verdict);
        }
    }

    fn note_loads(&mut self, loads: &[Load]) {
        for load in loads {
            if let Load::Lookup { key, map, .. } = load {
                self.sets.insert(map.clone());
                self.note_loads(key);
            }
        }
    }
}

fn references_of_rule(rule: &Rule) -> References {
    let mut used = References::default();
    for statement in &rule.statements {
        match statement {
            Statement::Match(load, ..) | Statement::AnyBit(load, _) | Statement::SetMark(load) => {
                used.note_loads(std::slice::from_ref(load));
            }
            Statement::InSet { key, set, .. } | Statement::Branch { key, map: set } => {
                used.sets.insert(set.clone());
                used.note_loads(key);
            }
            Statement::Update { set, key, data, .. } => {
                used.sets.insert(set.clone());
                used.note_loads(key);
                used.note_loads(data);
            }
            Statement::Verdict(verdict) => used.note_verdict(verdict),
            Statement::Nat { to, .. } => used.note_loads(std::slice::from_ref(to)),
            Statement::DestinationIsLocal
            | Statement::SourceIsSpoofed
            | Statement::Masquerade { .. }
            | Statement::Reject(_)
            | Statement::Counter => {}
        }
    }
    used
}
