//! Fields that no kind declares.

use serde_json::Value;

use super::Kind;
use super::table::Type;

/// The fields of `object` that its kind does not have, worded as Kubernetes words them:
/// `unknown field "spec.containers[0].imagee"`. Kinds that are not known have no unknown fields.
pub fn unknown_fields<'a>(kind: impl Into<Kind<'a>>, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(kind.into().root, object, "", &mut found);
    found.into_iter().map(|path| format!("unknown field {path:?}")).collect()
}

/// The error that strict field validation answers with: all of `problems` in one sentence.
pub fn strict_decoding_error(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

fn collect(at: Type, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match at.member(key) {
                    Some(inner) => collect(inner, member, &path, found),
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(at.item(), item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Gvk;

    const DEPLOYMENT: Gvk<'static> = Gvk::new("apps", "v1", "Deployment");

    #[test]
    fn a_misspelt_field_is_named_with_its_path() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a", "labels": { "any": "key" } },
            "spec": { "foo": 1, "template": { "spec": { "containers": [{ "name": "c", "imagee": "x" }] } } },
        });
        assert_eq!(
            unknown_fields(DEPLOYMENT, &object),
            [r#"unknown field "spec.foo""#, r#"unknown field "spec.template.spec.containers[0].imagee""#]
        );
    }

    #[test]
    fn inlined_fields_and_free_maps_are_known() {
        let pod = json!({
            "spec": { "volumes": [{ "name": "v", "configMap": { "name": "c" } }], "nodeSelector": { "a": "b" } },
        });
        assert!(unknown_fields(Gvk::new("", "v1", "Pod"), &pod).is_empty());
    }

    #[test]
    fn a_kind_nobody_knows_has_no_unknown_fields() {
        assert!(unknown_fields(Gvk::new("example.com", "v1", "Thing"), &json!({ "spec": { "any": 1 } })).is_empty());
    }

    #[test]
    fn problems_are_joined_in_one_sentence() {
        let problems = ["unknown field \"a\"".to_owned(), "duplicate field \"b\"".to_owned()];
        assert_eq!(
            strict_decoding_error(&problems),
            r#"strict decoding error: unknown field "a", duplicate field "b""#
        );
    }
}
