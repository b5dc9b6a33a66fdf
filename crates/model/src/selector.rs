//! Choosing objects by their labels.

use std::collections::BTreeMap;

use crate::Name;

/// What an object's labels must be; everything is chosen when nothing is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// All of them must hold.
    pub requirements: Vec<Requirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: Name,
    /// What is asked of it.
    pub operator: SelectorOperator,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorOperator {
    /// It has one of these values.
    In(Vec<Name>),
    /// It is not there or has none of these values.
    NotIn(Vec<Name>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is chosen.
    pub fn matches(&self, labels: &BTreeMap<Name, Name>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<Name, Name>) -> bool {
        match (&self.operator, labels.get(&self.key)) {
            (SelectorOperator::In(values), value) => value.is_some_and(|value| values.contains(value)),
            (SelectorOperator::NotIn(values), value) => value.is_none_or(|value| !values.contains(value)),
            (SelectorOperator::Exists, value) => value.is_some(),
            (SelectorOperator::DoesNotExist, value) => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_asks_what_it_says() {
        let labels = BTreeMap::from([(Name::from("app"), Name::from("web"))]);
        let holds = |key: &str, operator| Requirement { key: key.into(), operator }.holds(&labels);
        assert!(holds("app", SelectorOperator::In(vec!["web".into()])));
        assert!(!holds("tier", SelectorOperator::In(vec!["web".into()])));
        assert!(!holds("app", SelectorOperator::NotIn(vec!["web".into()])));
        assert!(holds("tier", SelectorOperator::NotIn(vec!["web".into()])));
        assert!(holds("app", SelectorOperator::Exists) && !holds("tier", SelectorOperator::Exists));
        assert!(holds("tier", SelectorOperator::DoesNotExist) && !holds("app", SelectorOperator::DoesNotExist));
    }

    #[test]
    fn a_selector_that_asks_nothing_chooses_everything() {
        assert!(Selector::default().matches(&BTreeMap::new()));
    }
}
