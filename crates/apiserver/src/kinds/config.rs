//! ConfigMaps and Secrets: data that pods are given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::field::Field;
use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Rules, metadata, names};
use crate::error::FieldError;
use crate::table;

pub(super) static CONFIG_MAP: Rules =
    Rules { validate: validate_config_map, printer: table::cluster::CONFIG_MAP, ..Rules::PLAIN };

pub(super) static SECRET: Rules = Rules {
    default: default_secret,
    validate: validate_secret,
    selectable: &[Selectable::Plain("type")],
    printer: table::cluster::SECRET,
    ..Rules::PLAIN
};

const LIMIT_BYTES: usize = 1 << 20;
const FROZEN: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// `stringData` is how people write what is stored, encoded, as `data`.
fn default_secret(secret: &mut Object) {
    if let Some(Value::Object(plain)) = secret.remove("stringData") {
        let data = secret.object("data");
        for (key, text) in plain {
            data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or_default())));
        }
    }
    secret.fill_text("type", "Opaque");
}

fn validate_config_map(map: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (data, binary) = (map.get("data"), map.get("binaryData"));
    let mut errors = frozen(map, old, &["data", "binaryData"]);
    for (key, value) in data.entries() {
        errors.extend(validate_key(key, &value));
        if binary.key(key).is_set() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(value.path(), key, detail));
        }
    }
    errors.extend(binary.entries().flat_map(|(key, value)| validate_key(key, &value)));
    let text_bytes: usize = data.entries().map(|(_, value)| value.text().len()).sum();
    if text_bytes + decoded_bytes(&binary) > LIMIT_BYTES {
        errors.push(FieldError::too_long("[]", LIMIT_BYTES));
    }
    errors
}

fn validate_secret(secret: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (kind, data) = (secret.get("type"), secret.get("data"));
    let mut errors = Vec::new();
    if old.is_set() {
        errors.extend(metadata::immutable(&kind, &old.get("type")));
    }
    errors.extend(frozen(secret, old, &["data"]));
    errors.extend(data.entries().flat_map(|(key, value)| validate_key(key, &value)));
    if decoded_bytes(&data) > LIMIT_BYTES {
        errors.push(FieldError::too_long(data.path(), LIMIT_BYTES));
    }
    errors.extend(validate_by_type(secret, kind.text(), &data));
    errors
}

fn validate_by_type(secret: &Field<'_>, kind: &str, data: &Field<'_>) -> Vec<FieldError> {
    let missing = |keys: &[&str]| -> Vec<FieldError> {
        keys.iter().map(|key| data.key(key)).filter(|value| !value.is_set()).map(|value| value.required("")).collect()
    };
    match kind {
        "kubernetes.io/service-account-token" => {
            let account = secret.get("metadata").get("annotations").key(ACCOUNT_ANNOTATION);
            account.is_empty().then(|| account.required("")).into_iter().collect()
        }
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        "kubernetes.io/basic-auth" => {
            let parts = missing(&["username", "password"]);
            if parts.len() == 2 { parts } else { Vec::new() }
        }
        "kubernetes.io/ssh-auth" => {
            let key = data.key("ssh-privatekey");
            key.is_empty().then(|| key.required("")).into_iter().collect()
        }
        "kubernetes.io/dockercfg" => validate_json(&data.key(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => validate_json(&data.key(".dockerconfigjson")),
        _ => Vec::new(),
    }
}

fn validate_json(value: &Field<'_>) -> Vec<FieldError> {
    if !value.is_set() {
        return vec![value.required("")];
    }
    let bytes = STANDARD.decode(value.text()).unwrap_or_default();
    match serde_json::from_slice::<Object>(&bytes) {
        Ok(_) => Vec::new(),
        Err(error) => vec![FieldError::invalid(value.path(), REDACTED, error.to_string())],
    }
}

fn validate_key(key: &str, value: &Field<'_>) -> Vec<FieldError> {
    names::config_key(key).into_iter().map(|wrong| FieldError::invalid(value.path(), key, wrong)).collect()
}

/// What an object that was declared immutable may not change any more.
fn frozen(new: &Field<'_>, old: &Field<'_>, lists: &[&str]) -> Vec<FieldError> {
    if !old.get("immutable").truth() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    errors.extend((!new.get("immutable").truth()).then(|| new.get("immutable").forbidden(FROZEN)));
    let changed = lists.iter().map(|list| (new.get(list), old.get(list)));
    let changed = changed.filter(|(new, old)| new.value() != old.value() && !(new.is_empty() && old.is_empty()));
    errors.extend(changed.map(|(list, _)| list.forbidden(FROZEN)));
    errors
}

/// How many bytes the base64 texts of a map stand for.
fn decoded_bytes(data: &Field<'_>) -> usize {
    let decoded = |text: &str| text.trim_end_matches('=').len() * 3 / 4;
    data.entries().map(|(_, value)| decoded(value.text())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(rules: &Rules, new: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map_or_else(Field::nothing, Field::root);
        (rules.validate)(&Field::root(new), &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn plain_text_is_stored_encoded_and_wins() {
        let mut secret = json!({"data": {"a": "AA==", "b": "Yg=="}, "stringData": {"a": "x"}});
        default_secret(secret.as_object_mut().expect("an object"));
        assert_eq!(secret, json!({"data": {"a": "eA==", "b": "Yg=="}, "type": "Opaque"}));
    }

    #[test]
    fn an_immutable_map_stays_as_it_is() {
        let old = json!({"data": {"a": "1"}, "immutable": true});
        assert_eq!(
            errors(&CONFIG_MAP, &json!({"data": {"a": "2"}}), Some(&old)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(errors(&CONFIG_MAP, &old, Some(&old)).is_empty());
    }

    #[test]
    fn a_key_stands_in_one_of_the_two_bags() {
        assert_eq!(
            errors(&CONFIG_MAP, &json!({"data": {"a": ""}, "binaryData": {"a": ""}}), None),
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
        );
    }

    #[test]
    fn a_megabyte_is_the_limit() {
        let text = "x".repeat(LIMIT_BYTES);
        assert!(errors(&CONFIG_MAP, &json!({"data": {"a": text}}), None).is_empty());
        assert_eq!(
            errors(&CONFIG_MAP, &json!({"data": {"a": text, "b": "x"}}), None),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn typed_secrets_have_their_keys() {
        assert_eq!(
            errors(&SECRET, &json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), None),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            errors(&SECRET, &json!({"type": "kubernetes.io/basic-auth"}), None),
            ["data[username]: Required value", "data[password]: Required value"]
        );
        assert!(
            errors(&SECRET, &json!({"type": "kubernetes.io/basic-auth", "data": {"username": ""}}), None).is_empty()
        );
    }

    #[test]
    fn a_secrets_type_never_changes() {
        assert_eq!(
            errors(&SECRET, &json!({"type": "b"}), Some(&json!({"type": "a"}))),
            ["type: Invalid value: \"b\": field is immutable"]
        );
    }
}
