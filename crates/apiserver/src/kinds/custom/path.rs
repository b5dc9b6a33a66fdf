//! The part of JSONPath that definitions use: members, indices, `[*]` and `[?(@.a=="b")]`.

use serde_json::{Map, Value};

/// A path into an object, as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    Every,
    Where { path: JsonPath, equals: Value },
}

impl JsonPath {
    /// Reads a path; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        if !rest.starts_with(['.', '[']) {
            return Err("a JSON path starts with a dot".into());
        }
        while !rest.is_empty() {
            let (step, tail) = if let Some(inner) = rest.strip_prefix('[') {
                let (inside, tail) = bracket(inner).ok_or("a bracket is not closed")?;
                (Step::in_brackets(inside)?, tail)
            } else if let Some(inner) = rest.strip_prefix('.') {
                let (name, tail) = member(inner);
                if name.is_empty() && !tail.starts_with('[') {
                    return Err("a member has no name".into());
                }
                (Step::named(name), tail)
            } else {
                return Err(format!("cannot read {rest:?}"));
            };
            steps.push(step);
            rest = tail;
        }
        steps.retain(|step| *step != Step::Member(String::new()));
        Ok(Self { steps })
    }

    /// Everything the path leads to, in the order of the object.
    pub fn all<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        self.steps.iter().fold(vec![object], |places, step| places.into_iter().flat_map(|at| step.from(at)).collect())
    }

    /// The first value the path leads to.
    pub fn first<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.all(object).into_iter().next()
    }

    /// The place a path of members leads to, made if it is not there.
    pub fn make<'a>(&self, object: &'a mut Value) -> Option<&'a mut Value> {
        self.steps.iter().try_fold(object, |at, step| {
            let Step::Member(name) = step else { return None };
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at.as_object_mut().map(|members| members.entry(name).or_insert(Value::Null))
        })
    }

    /// Whether the path names members only.
    pub fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Member(_)))
    }
}

impl Step {
    fn named(name: String) -> Self {
        if name == "*" { Self::Every } else { Self::Member(name) }
    }

    fn in_brackets(inside: &str) -> Result<Self, String> {
        let unquoted = |quote: char| inside.strip_prefix(quote)?.strip_suffix(quote);
        if let Some(name) = unquoted('\'').or_else(|| unquoted('"')) {
            return Ok(Self::Member(name.to_owned()));
        }
        if inside == "*" {
            return Ok(Self::Every);
        }
        if let Some(condition) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
            let (path, equals) = condition.split_once("==").ok_or("only == is known in a condition")?;
            let path = path.trim().strip_prefix('@').ok_or("a condition starts with @")?;
            return Ok(Self::Where { path: JsonPath::parse(path)?, equals: literal(equals.trim())? });
        }
        inside.parse().map(Self::Index).map_err(|_| format!("cannot read [{inside}]"))
    }

    fn from<'a>(&self, at: &'a Value) -> Vec<&'a Value> {
        match (self, at) {
            (Self::Member(name), _) => at.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = if *index < 0 { index + length } else { *index };
                usize::try_from(place).ok().and_then(|place| items.get(place)).into_iter().collect()
            }
            (Self::Every, Value::Array(items)) => items.iter().collect(),
            (Self::Every, Value::Object(members)) => members.values().collect(),
            (Self::Where { path, equals }, Value::Array(items)) => {
                items.iter().filter(|item| path.first(item) == Some(equals)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn literal(text: &str) -> Result<Value, String> {
    let single = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match single {
        Some(text) => Ok(text.into()),
        None => serde_json::from_str(text).map_err(|_| format!("cannot read the value {text}")),
    }
}

/// The name up to the next dot or bracket; a backslash takes the next character as it is.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            other => name.push(other),
        }
    }
    (name, "")
}

/// What stands up to the bracket that closes, and the rest.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (0, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_kubectl_says_they_do() {
        let object = json!({
            "metadata": { "labels": { "a.b/c": "label" } },
            "spec": { "list": [{ "n": 1 }, { "n": 2 }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "Other", "status": "False" }] },
        });
        let cases = [
            (".spec.list[0].n", json!([1])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[*].n", json!([1, 2])),
            (r".metadata.labels.a\.b/c", json!(["label"])),
            (".metadata.labels['a.b/c']", json!(["label"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!(["False"])),
            (".spec.nothing.at.all", json!([])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(JsonPath::parse(path).unwrap().all(&object)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["spec", ".spec[", ".spec[x]", ".a..b", ".a[?(@.b>1)]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
