//! The context of a sandbox in a user's kubeconfig: merged in, selected, and taken out again without touching the rest.

use serde_json::{Map, Value, json};

/// A cluster, its user and the context that joins them, all of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeContext {
    /// The name of all three.
    pub name: String,
    /// The API server's URL.
    pub server: String,
    /// The authority that signed its certificate, PEM in base64.
    pub authority: String,
    /// The user's certificate, PEM in base64.
    pub certificate: String,
    /// The user's key, PEM in base64.
    pub key: String,
}

impl KubeContext {
    /// The context `name` of a kubeconfig; `None` when it is not there or not of our making.
    pub fn find(config: &Value, name: &str) -> Option<Self> {
        let entry = |section: &str| config[section].as_array()?.iter().find(|entry| entry["name"] == name);
        let (cluster, user) = (&entry("clusters")?["cluster"], &entry("users")?["user"]);
        let text = |value: &Value| Some(value.as_str()?.to_owned());
        Some(Self {
            name: name.to_owned(),
            server: text(&cluster["server"])?,
            authority: text(&cluster["certificate-authority-data"])?,
            certificate: text(&user["client-certificate-data"])?,
            key: text(&user["client-key-data"])?,
        })
    }
}

/// The sections of a kubeconfig and the field that holds what they name.
const SECTIONS: [&str; 3] = ["clusters", "users", "contexts"];

/// The kubeconfig with `context` in it and selected; entries of the same name are replaced.
///
/// `config` is null for a file that does not exist.
pub fn merged(config: Value, context: &KubeContext) -> Value {
    let mut config = without_entries(config, &context.name);
    let name = &context.name;
    let entries = [
        json!({"name": name, "cluster": {
            "certificate-authority-data": context.authority,
            "server": context.server,
        }}),
        json!({"name": name, "user": {
            "client-certificate-data": context.certificate,
            "client-key-data": context.key,
        }}),
        json!({"name": name, "context": {"cluster": name, "user": name}}),
    ];
    for (section, entry) in SECTIONS.into_iter().zip(entries) {
        list_of(&mut config, section).push(entry);
    }
    config.insert("current-context".to_owned(), json!(name));
    Value::Object(config)
}

/// The kubeconfig without the context `name`; if it was the selected one, none is.
pub fn without(config: Value, name: &str) -> Value {
    let mut config = without_entries(config, name);
    if config.get("current-context").and_then(Value::as_str) == Some(name) {
        config.insert("current-context".to_owned(), json!(""));
    }
    Value::Object(config)
}

/// Whether nothing of value is left in a kubeconfig.
pub fn is_empty(config: &Value) -> bool {
    SECTIONS.iter().all(|section| config[section].as_array().is_none_or(Vec::is_empty))
}

fn without_entries(config: Value, name: &str) -> Map<String, Value> {
    let mut config = match config {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    config.entry("apiVersion").or_insert(json!("v1"));
    config.entry("kind").or_insert(json!("Config"));
    for section in SECTIONS {
        list_of(&mut config, section).retain(|entry| entry["name"] != name);
    }
    config
}

fn list_of<'a>(config: &'a mut Map<String, Value>, section: &str) -> &'a mut Vec<Value> {
    let list = config.entry(section).or_insert(Value::Null);
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(entries) => entries,
        _ => unreachable!("it was just made a list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str) -> KubeContext {
        KubeContext {
            name: name.into(),
            server: "https://127.0.0.1:6443".into(),
            authority: "Y2E=".into(),
            certificate: "Y2VydA==".into(),
            key: "a2V5".into(),
        }
    }

    #[test]
    fn a_context_is_added_and_selected_beside_the_others() {
        let config = merged(merged(Value::Null, &context("a")), &context("b"));
        assert_eq!(config["current-context"], "b");
        assert_eq!(config["contexts"][0]["name"], "a");
        assert_eq!(config["clusters"][1]["cluster"]["server"], "https://127.0.0.1:6443");
    }

    #[test]
    fn a_context_is_found_as_it_was_merged() {
        let config = merged(merged(Value::Null, &context("a")), &context("b"));
        assert_eq!(KubeContext::find(&config, "a"), Some(context("a")));
        assert_eq!(KubeContext::find(&config, "c"), None);
        assert_eq!(KubeContext::find(&Value::Null, "a"), None);
    }

    #[test]
    fn merging_twice_changes_nothing() {
        let once = merged(Value::Null, &context("a"));
        assert_eq!(merged(once.clone(), &context("a")), once);
    }

    #[test]
    fn taking_a_context_out_leaves_what_was_there_before() {
        let other = merged(Value::Null, &context("mine"));
        let both = merged(other.clone(), &context("fairway"));
        let mut expected = other;
        expected["current-context"] = json!("");
        assert_eq!(without(both, "fairway"), expected);
    }

    #[test]
    fn unknown_fields_of_a_kubeconfig_are_kept() {
        let config = json!({"preferences": {"colors": true}, "clusters": null});
        assert_eq!(merged(config, &context("a"))["preferences"]["colors"], true);
    }

    #[test]
    fn a_kubeconfig_without_contexts_is_empty() {
        assert!(is_empty(&without(merged(Value::Null, &context("a")), "a")));
    }
}
