//! Label selectors, from text or from objects.

use std::fmt;

use serde_json::{Map, Value};

use super::parser::{self, LabelSelectorError};

/// A condition on labels: every [`Requirement`] must hold; without any, everything matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// What it is compared with: sorted, without repetition, as many as the operator takes.
    pub values: Vec<String>,
}

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `key=value`: the label has this value.
    Equals,
    /// `key!=value`: the label is absent or has another value.
    NotEquals,
    /// `key in (values)`: the label has one of the values.
    In,
    /// `key notin (values)`: the label is absent or has none of the values.
    NotIn,
    /// `key`: the label is there.
    Exists,
    /// `!key`: the label is absent.
    DoesNotExist,
    /// `key>value`: the label is a whole number above the value.
    GreaterThan,
    /// `key<value`: the label is a whole number below the value.
    LessThan,
}

impl LabelSelector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The selector that matches nothing.
    pub fn nothing() -> Self {
        // No label is one of no values.
        let never = Requirement { key: String::new(), operator: Operator::In, values: Vec::new() };
        Self { requirements: vec![never] }
    }

    /// The selector written as in `kubectl get -l`: `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// With Kubernetes' text, when the text is not of that form or a key or value is malformed.
    pub fn parse(text: &str) -> Result<Self, LabelSelectorError> {
        let mut requirements = parser::parse(text)?;
        requirements.sort();
        Ok(Self { requirements })
    }

    /// The selector of a map of labels, as Services have it: every label must have that value.
    ///
    /// A missing or empty map matches everything; for Services that means "no selector" and is the caller's to ask.
    pub fn from_map(labels: &Value) -> Self {
        let mut requirements: Vec<Requirement> = labels.as_object().into_iter().flatten().filter_map(equals).collect();
        requirements.sort();
        Self { requirements }
    }

    /// The selector of a `LabelSelector` object (`matchLabels`, `matchExpressions`), as workloads and policies have it.
    ///
    /// A missing object matches nothing, an empty one everything. An unknown operator matches nothing.
    pub fn from_object(selector: &Value) -> Self {
        let Some(selector) = selector.as_object() else { return Self::nothing() };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels") {
            requirements.extend(Self::from_map(labels).requirements);
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).map(Vec::as_slice);
        for expression in expressions.unwrap_or_default() {
            match requirement_of(expression) {
                Some(requirement) => requirements.push(requirement),
                None => return Self::nothing(),
            }
        }
        requirements.sort();
        Self { requirements }
    }

    /// Whether an object's labels satisfy the selector.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }

    /// Whether a map of labels satisfies the selector; a missing map is an empty one.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        let labels = labels.as_object();
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether there is no condition, so that everything matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn holds(&self, labels: Option<&Map<String, Value>>) -> bool {
        let value = labels.and_then(|labels| labels.get(&self.key)).and_then(Value::as_str);
        let listed = || value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value));
        match self.operator {
            Operator::Equals | Operator::In => listed(),
            Operator::NotEquals | Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(actual, limit)| actual > limit),
            Operator::LessThan => self.compare(value).is_some_and(|(actual, limit)| actual < limit),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn equals((key, value): (&String, &Value)) -> Option<Requirement> {
    let values = vec![value.as_str()?.to_owned()];
    Some(Requirement { key: key.clone(), operator: Operator::Equals, values })
}

fn requirement_of(expression: &Value) -> Option<Requirement> {
    let operator = match expression["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    let listed = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut values: Vec<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    values.sort();
    values.dedup();
    Some(Requirement { key: expression["key"].as_str()?.to_owned(), operator, values })
}

/// The text [`LabelSelector::parse`] reads.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::{prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_selects_what_it_says() {
        let labels = json!({"app": "web", "tier": "front", "size": "3"});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("none!=x", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("none notin (a)", true),
            ("none in (a)", false),
            ("app", true),
            ("none", false),
            ("!none", true),
            ("!app", false),
            ("size>2,size<4", true),
            ("app>2", false),
        ];
        for (text, matches) in cases {
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches_labels(&labels), matches, "{text}");
        }
    }

    #[test]
    fn the_text_of_a_selector_is_normal() {
        let cases = [
            ("b=1,a==2", "a=2,b=1"),
            ("x in (b,a,b)", "x in (a,b)"),
            ("!z,y,x notin (a)", "x notin (a),y,!z"),
            ("a=", "a="),
            ("a in (,)", "a in ()"),
        ];
        for (text, normal) in cases {
            assert_eq!(LabelSelector::parse(text).expect(text).to_string(), normal);
        }
    }

    proptest! {
        #[test]
        fn a_selector_survives_being_written_down(
            written in collection::vec((0..8_usize, "[a-z]{1,3}", collection::vec("[A-Za-z0-9]{0,3}", 1..4)), 0..5),
            labels in collection::hash_map("[a-z]", "[A-Za-z0-9]{0,2}", 0..4),
        ) {
            let form = |(form, key, values): &(usize, String, Vec<String>)| match form {
                0 => key.clone(),
                1 => format!("!{key}"),
                2 => format!("{key}={}", values[0]),
                3 => format!("{key}!={}", values[0]),
                4 => format!("{key} in ({})", values.join(",")),
                5 => format!("{key} notin ({})", values.join(",")),
                6 => format!("{key}>{}", values.len()),
                _ => format!("{key}<{}", values.len()),
            };
            let text = written.iter().map(form).collect::<Vec<_>>().join(",");
            let selector = LabelSelector::parse(&text).expect("well formed");
            let again = LabelSelector::parse(&selector.to_string()).expect("well formed");
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.matches_labels(&json!(labels)), selector.matches_labels(&json!(labels)));
        }

        #[test]
        fn no_text_upsets_the_parser(text in ".{0,40}") {
            let _ = LabelSelector::parse(&text);
        }
    }

    #[test]
    fn a_missing_selector_object_matches_nothing_and_an_empty_one_everything() {
        let pod = json!({"metadata": {"labels": {"a": "b"}}});
        assert!(!LabelSelector::from_object(&json!(null)).matches(&pod));
        assert!(LabelSelector::from_object(&json!({})).matches(&pod));
        assert!(LabelSelector::from_object(&json!({})).matches(&json!({})));
    }

    #[test]
    fn selector_objects_join_labels_and_expressions() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "edge"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(selector.to_string(), "app=web,!old,tier in (edge,front)");
        assert!(selector.matches_labels(&json!({"app": "web", "tier": "edge"})));
        assert!(!selector.matches_labels(&json!({"app": "web", "tier": "edge", "old": ""})));
        assert!(!selector.matches_labels(&json!({"app": "web"})));
    }

    #[test]
    fn an_unknown_operator_selects_nothing() {
        let selector = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}));
        assert!(!selector.matches_labels(&json!({"a": "b"})));
    }
}
