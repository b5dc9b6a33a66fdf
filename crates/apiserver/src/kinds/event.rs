//! Events, which are stored once and served in two shapes.

use super::field::Field;
use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Rules, names};
use crate::error::FieldError;
use crate::table;

pub(super) static CORE: Rules = Rules {
    default: default_core,
    validate: validate_core,
    selectable: &[
        Selectable::Plain("involvedObject.kind"),
        Selectable::Plain("involvedObject.namespace"),
        Selectable::Plain("involvedObject.name"),
        Selectable::Plain("involvedObject.uid"),
        Selectable::Plain("involvedObject.apiVersion"),
        Selectable::Plain("involvedObject.resourceVersion"),
        Selectable::Plain("involvedObject.fieldPath"),
        Selectable::Plain("reason"),
        Selectable::Plain("reportingComponent"),
        Selectable::Either("source", &["source.component", "reportingComponent"]),
        Selectable::Plain("type"),
    ],
    printer: table::cluster::EVENT,
    ..Rules::PLAIN
};

pub(super) static EVENTS: Rules = Rules {
    validate: validate_events,
    selectable: &[
        Selectable::Plain("regarding.kind"),
        Selectable::Plain("regarding.namespace"),
        Selectable::Plain("regarding.name"),
        Selectable::Plain("regarding.uid"),
        Selectable::Plain("regarding.apiVersion"),
        Selectable::Plain("regarding.resourceVersion"),
        Selectable::Plain("regarding.fieldPath"),
        Selectable::Plain("reason"),
        Selectable::Plain("reportingController"),
        Selectable::Plain("type"),
    ],
    printer: table::cluster::EVENT,
    ..Rules::PLAIN
};

/// What the same thing is called in the core shape and in that of `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];
/// The fields a newer event may not have, with what they are called in the core shape.
const DEPRECATED: [(&str, &str); 4] = [
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("deprecatedSource", "source"),
];
const TEXT_LIMIT_BYTES: usize = 128;
const NOTE_LIMIT_BYTES: usize = 1024;
const OTHER_NAMESPACE: &str = "does not match event.namespace";

/// The core shape of an `events.k8s.io` event.
pub(super) fn to_core(event: &mut Object) {
    rename(event, NAMES.into_iter().map(|(core, newer)| (newer, core)));
    event.insert("apiVersion".into(), "v1".into());
    default_core(event);
}

/// The `events.k8s.io` shape of a core event.
pub(super) fn from_core(event: &mut Object) {
    rename(event, NAMES.into_iter());
    event.insert("apiVersion".into(), "events.k8s.io/v1".into());
}

fn rename(event: &mut Object, names: impl Iterator<Item = (&'static str, &'static str)>) {
    for (from, to) in names {
        if let Some(value) = event.remove(from) {
            event.insert(to.to_owned(), value);
        }
    }
}

fn default_core(event: &mut Object) {
    event.object("involvedObject");
    event.object("source");
    event.fill("reportingComponent", "");
    event.fill("reportingInstance", "");
}

fn validate_core(event: &Field<'_>, _old: &Field<'_>) -> Vec<FieldError> {
    let about = event.get("involvedObject").get("namespace");
    let namespace = event.get("metadata").get("namespace").text();
    if event.get("eventTime").is_set() {
        let parts = [event.get("reportingComponent"), event.get("message")];
        return validate_newer(event, &about, namespace, parts);
    }
    let matches = match about.text() {
        "" => matches!(namespace, "" | "default"),
        about => about == namespace,
    };
    (!matches).then(|| FieldError::invalid(about.path(), about.text(), OTHER_NAMESPACE)).into_iter().collect()
}

fn validate_events(event: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let about = event.get("regarding").get("namespace").at("involvedObject.namespace");
    let namespace = event.get("metadata").get("namespace").text();
    let time = event.get("eventTime");
    let mut errors = Vec::new();
    if time.is_set() {
        let parts = [event.get("reportingController"), event.get("note").at("message")];
        errors.extend(validate_newer(event, &about, namespace, parts));
    }
    if !old.is_set() {
        errors.extend((!time.is_set()).then(|| time.required("")));
        let kind = event.get("type");
        let wrong = format!("has invalid value: {}", kind.text());
        let known = matches!(kind.text(), "Normal" | "Warning");
        errors.extend((!known).then(|| FieldError::invalid(kind.path(), "", wrong)));
        let set = DEPRECATED.into_iter().filter(|(newer, _)| !event.get(newer).is_empty());
        errors.extend(set.map(|(_, core)| FieldError::invalid(core, "", "needs to be unset")));
    }
    errors
}

fn validate_newer(event: &Field<'_>, about: &Field<'_>, namespace: &str, parts: [Field<'_>; 2]) -> Vec<FieldError> {
    let [reporter, note] = parts;
    let mut errors = Vec::new();
    if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
        errors.push(FieldError::invalid(about.path(), "", OTHER_NAMESPACE));
    }
    errors.extend(reporter.is_empty().then(|| reporter.required("")));
    errors.extend(reporter.malformed(names::label_key));
    for name in ["reportingInstance", "action", "reason"] {
        let field = event.get(name);
        errors.extend(field.is_empty().then(|| field.required("")));
        errors.extend(too_long(&field, TEXT_LIMIT_BYTES));
    }
    errors.extend(too_long(&note, NOTE_LIMIT_BYTES));
    errors
}

fn too_long(field: &Field<'_>, limit: usize) -> Option<FieldError> {
    let detail = format!("can have at most {limit} characters");
    (field.text().len() > limit).then(|| FieldError::invalid(field.path(), "", detail))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_is_the_same_in_both_shapes() {
        let newer = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
            "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reportingController": "x/y",
            "reportingInstance": "z", "eventTime": "2026-01-01T00:00:00.000000Z",
        });
        let mut event = newer.as_object().expect("an object").clone();
        to_core(&mut event);
        assert_eq!(event["apiVersion"], "v1");
        assert_eq!(event["involvedObject"], json!({"kind": "Pod", "name": "p"}));
        assert_eq!((&event["message"], &event["reportingComponent"]), (&json!("hello"), &json!("x/y")));
        from_core(&mut event);
        event.remove("deprecatedSource");
        assert_eq!(Value::Object(event), newer);
    }

    #[test]
    fn an_event_lives_where_its_object_lives() {
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        let errors = validate_core(&Field::root(&event), &Field::nothing());
        assert_eq!(
            errors[0].to_string(),
            "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"
        );
    }

    #[test]
    fn newer_events_say_who_did_what_and_when() {
        let event = json!({"metadata": {"namespace": "default"}, "type": "Odd", "deprecatedCount": 1});
        let errors: Vec<String> =
            validate_events(&Field::root(&event), &Field::nothing()).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset",
            ]
        );
    }
}
