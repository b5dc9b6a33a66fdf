//! Settings as somebody set them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::table::{SETTINGS, Setting};

/// A value for every setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("there is no setting {name:?}{}", suggestion.map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The setting whose name is nearest.
        suggestion: Option<&'static str>,
    },
    /// The value does not fit.
    #[error("{name} is {expected}, not {value}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// What was typed is not of the form `NAME=VALUE`.
    #[error("{text:?} is not of the form NAME=VALUE")]
    Form {
        /// What was typed.
        text: String,
    },
}

impl Default for Settings {
    /// What everything is when nobody sets anything.
    #[expect(clippy::expect_used, reason = "a test parses the default of every setting")]
    fn default() -> Self {
        let value = |setting: &Setting| serde_saphyr::from_str(setting.default).expect("defaults are YAML");
        Self { values: SETTINGS.iter().map(|setting| (setting.name, value(setting))).collect() }
    }
}

impl Settings {
    /// Takes a `NAME=VALUE` as typed; values that are not text are YAML.
    pub fn set_typed(&mut self, text: &str) -> Result<(), SettingError> {
        let (name, value) = text.split_once('=').ok_or_else(|| SettingError::Form { text: text.to_owned() })?;
        let setting = find(name)?;
        let parsed = setting.kind.parse(value);
        self.insert(setting, parsed, value)
    }

    /// Sets one setting.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<(), SettingError> {
        let (setting, value) = (find(name)?, value.into());
        let shown = value.to_string();
        let admitted = setting.kind.admit(value);
        self.insert(setting, admitted, &shown)
    }

    /// Takes values as a chart has them: groups are objects.
    pub fn set_values(&mut self, values: &Map<String, Value>) -> Result<(), SettingError> {
        for (name, value) in values {
            match value {
                Value::Object(group) if SETTINGS.iter().all(|setting| setting.name != name) => {
                    for (member, value) in group {
                        self.set(&format!("{name}.{member}"), value.clone())?;
                    }
                }
                value => self.set(name, value.clone())?,
            }
        }
        Ok(())
    }

    /// The value of a setting; null for one that does not exist.
    pub fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or(&Value::Null)
    }

    /// The text of a setting that is text; empty for others.
    pub fn text(&self, name: &str) -> &str {
        self.value(name).as_str().unwrap_or_default()
    }

    /// Whether a flag is set.
    pub fn flag(&self, name: &str) -> bool {
        self.value(name) == &Value::Bool(true)
    }

    fn insert(
        &mut self,
        setting: &'static Setting,
        value: Result<Value, String>,
        shown: &str,
    ) -> Result<(), SettingError> {
        let refused = |expected| SettingError::Value { name: setting.name, value: shown.to_owned(), expected };
        let value = value.map_err(refused)?;
        let kept = self.values.entry(setting.name).or_default();
        merge(kept, value);
        Ok(())
    }
}

/// Puts a value over another as Helm does: objects field by field, where null takes a field away.
fn merge(kept: &mut Value, value: Value) {
    match (kept, value) {
        (Value::Object(kept), Value::Object(fields)) => {
            for (name, field) in fields {
                if field.is_null() {
                    kept.remove(&name);
                } else {
                    merge(kept.entry(name).or_insert(Value::Null), field);
                }
            }
        }
        (kept, value) => *kept = value,
    }
}

pub(crate) fn find(name: &str) -> Result<&'static Setting, SettingError> {
    let unknown = || SettingError::Unknown { name: name.to_owned(), suggestion: nearest(name) };
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(unknown)
}

/// The setting that differs in the fewest letters, unless it differs in most of them.
fn nearest(name: &str) -> Option<&'static str> {
    let ranked = SETTINGS.iter().map(|setting| (distance(name, setting.name), setting.name));
    let (distance, nearest) = ranked.min()?;
    (distance * 2 <= name.len()).then_some(nearest)
}

/// How many letters must be put in, taken out or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_default_fits_its_own_setting() {
        let settings = Settings::default();
        for setting in SETTINGS {
            let default = settings.value(setting.name).clone();
            assert_eq!(setting.kind.admit(default.clone()), Ok(default), "{}", setting.name);
        }
    }

    #[test]
    fn names_and_groups_do_not_clash_and_groups_stand_together() {
        let group = |setting: &Setting| setting.name.split('.').next().unwrap().to_owned();
        let mut groups: Vec<String> = SETTINGS.iter().map(group).collect();
        groups.dedup();
        let mut unique = groups.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(groups.len(), unique.len());
    }

    #[test]
    fn a_typed_setting_and_a_value_of_a_chart_mean_the_same() {
        let (mut typed, mut chart) = (Settings::default(), Settings::default());
        typed.set_typed("dns.replicas=3").unwrap();
        typed.set_typed("apiPort=6443").unwrap();
        typed.set_typed("agent.resources={limits: {memory: 100Mi}}").unwrap();
        let resources = json!({ "limits": { "memory": "100Mi" } });
        let values = json!({ "dns": { "replicas": 3 }, "apiPort": 6443, "agent": { "resources": resources } });
        chart.set_values(values.as_object().unwrap()).unwrap();
        assert_eq!(typed, chart);
    }

    #[test]
    fn objects_are_merged_and_null_takes_a_field_away() {
        let mut settings = Settings::default();
        settings.set_typed("agent.resources={requests: {cpu: null, memory: 1Gi}, limits: {memory: 2Gi}}").unwrap();
        let expected = json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "2Gi" } });
        assert_eq!(settings.value("agent.resources"), &expected);
    }

    #[test]
    fn a_name_with_a_slip_is_refused_with_the_right_one() {
        let why = |text: &str| Settings::default().set_typed(text).unwrap_err().to_string();
        assert_eq!(why("dns.replica=3"), "there is no setting \"dns.replica\"; did you mean dns.replicas?");
        assert_eq!(why("turboMode=1"), "there is no setting \"turboMode\"");
        assert_eq!(why("dns.replicas=many"), "dns.replicas is a number, 0 or more, not many");
        assert_eq!(why("dns.replicas"), "\"dns.replicas\" is not of the form NAME=VALUE");
    }
}
