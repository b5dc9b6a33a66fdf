//! The objects with their settings filled in.

use serde_json::{Map, Value};

use crate::placeholder::{Piece, pieces};
use crate::settings::Settings;
use crate::source::{CLEANUP, SOURCES};

/// Every object of an installation, in the order in which they are to be applied.
pub fn objects(settings: &Settings) -> Vec<Value> {
    let wanted = SOURCES.iter().filter(|source| source.when.is_none_or(|flag| settings.flag(flag)));
    wanted.flat_map(|source| filled(source.text, settings)).collect()
}

/// The pod that runs `fairway cleanup` on `node`.
pub fn cleanup_pod(settings: &Settings, node: &str) -> Value {
    let mut pod: Value = filled(CLEANUP, settings).into_iter().collect();
    pod = pod[0].take();
    pod["spec"]["nodeName"] = Value::from(node);
    pod
}

/// The objects of one file. Settings are put into parsed values, never into text, so that none can break out of its
/// place.
#[expect(clippy::expect_used, reason = "a test parses every source")]
fn filled(text: &str, settings: &Settings) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("sources are YAML");
    documents.iter().map(|document| fill(document, settings)).collect()
}

fn fill(value: &Value, settings: &Settings) -> Value {
    match value {
        Value::String(text) => fill_text(text, settings),
        Value::Array(items) => items.iter().map(|item| fill(item, settings)).collect(),
        Value::Object(fields) => {
            let filled: Map<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), fill(value, settings))).collect();
            Value::Object(filled)
        }
        other => other.clone(),
    }
}

/// A setting alone keeps its kind; within other text it becomes text.
fn fill_text(text: &str, settings: &Settings) -> Value {
    match pieces(text)[..] {
        [Piece::Setting(name)] => settings.value(name).clone(),
        ref pieces => Value::from(pieces.iter().map(|piece| as_text(*piece, settings)).collect::<String>()),
    }
}

fn as_text(piece: Piece<'_>, settings: &Settings) -> String {
    match piece {
        Piece::Plain(text) => text.to_owned(),
        Piece::Setting(name) => match settings.value(name) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::find;

    #[test]
    fn the_sources_ask_only_for_settings_that_exist() {
        for text in SOURCES.iter().map(|source| source.text).chain([CLEANUP]) {
            for piece in pieces(text) {
                if let Piece::Setting(name) = piece {
                    find(name).unwrap();
                }
            }
        }
        SOURCES.iter().filter_map(|source| source.when).for_each(|flag| assert!(find(flag).is_ok()));
    }

    #[test]
    fn settings_keep_their_kind_where_they_stand_alone() {
        let objects = objects(&Settings::default());
        let dns = objects
            .iter()
            .find(|object| object["metadata"]["name"] == "fairway-dns" && object["kind"] == "Deployment")
            .unwrap();
        assert_eq!(dns["spec"]["replicas"], 2);
        assert_eq!(dns["spec"]["template"]["spec"]["imagePullSecrets"], Value::Array(Vec::new()));
        let container = &dns["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], concat!("fairway:", env!("CARGO_PKG_VERSION")));
        assert_eq!(container["env"][1]["value"], "$(KUBERNETES_SERVICE_PORT)");
    }

    #[test]
    fn a_part_that_is_off_is_left_out() {
        let mut settings = Settings::default();
        for flag in ["controller.enabled", "dns.enabled", "dns.service", "dns.corefile"] {
            settings.set(flag, false).unwrap();
        }
        let kinds: Vec<Value> = objects(&settings).iter().map(|object| object["kind"].clone()).collect();
        let agent =
            ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Namespace", "Role", "RoleBinding", "DaemonSet"];
        assert_eq!(kinds, agent);
    }

    #[test]
    fn agents_may_write_leases_in_a_namespace_of_their_own_alone() {
        let objects = objects(&Settings::default());
        let about_leases = |object: &&Value| {
            let rules = object["rules"].as_array().into_iter().flatten();
            rules.clone().any(|rule| rule["resources"].as_array().is_some_and(|all| all.contains(&"leases".into())))
        };
        let of_agent = objects.iter().filter(|object| object["metadata"]["name"] == crate::AGENT).filter(about_leases);
        let places: Vec<(&Value, &Value)> =
            of_agent.map(|object| (&object["kind"], &object["metadata"]["namespace"])).collect();
        assert_eq!(places, [(&Value::from("Role"), &Value::from(crate::PRESENCE_NAMESPACE))]);
        let namespace = |object: &&Value| object["kind"] == "Namespace";
        let made: Vec<&Value> = objects.iter().filter(namespace).map(|object| &object["metadata"]["name"]).collect();
        assert_eq!(made, [crate::PRESENCE_NAMESPACE]);
    }

    #[test]
    fn every_object_but_the_dns_service_is_marked_as_part_of_fairway() {
        let (label, part) = crate::PART_OF;
        for object in objects(&Settings::default()) {
            let marked = object["metadata"]["labels"][label] == part;
            assert_eq!(marked, object["metadata"]["name"] != crate::DNS_SERVICE, "{}", object["metadata"]["name"]);
        }
    }

    #[test]
    fn a_node_is_cleared_by_a_pod_on_it() {
        let pod = cleanup_pod(&Settings::default(), "node-a");
        assert_eq!((&pod["kind"], &pod["spec"]["nodeName"]), (&Value::from("Pod"), &Value::from("node-a")));
    }
}
