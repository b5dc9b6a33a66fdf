//! One form for every object, however a client wrote it.

use serde_json::{Map, Value};

use super::structure::Structure;
use super::table::{Field, Message, Scalar, Shape, Type};
use super::{Kind, Quantity};

/// Writes an object as Kubernetes would after reading it: members that are `null`, unknown or zero without meaning are
/// taken out, amounts and times get their canonical form.
///
/// Objects of kinds that are not known lose nothing but `null`s in their metadata.
pub fn normalize<'a>(kind: impl Into<Kind<'a>>, object: &mut Value) {
    normalize_value(kind.into().root, object);
}

fn normalize_value(at: Type, value: &mut Value) {
    match (at, value) {
        (Type::Message(message), Value::Object(members)) => normalize_members(message, members),
        (Type::List(field), Value::Array(items)) => {
            items.iter_mut().for_each(|item| normalize_value(field.element.holds(), item));
        }
        (Type::Map(field), Value::Object(members)) => {
            members.values_mut().for_each(|member| normalize_value(field.element.holds(), member));
        }
        (Type::Scalar(scalar), value) => normalize_scalar(scalar, value),
        (Type::Custom(structure), Value::Object(members)) => prune_members(structure, members),
        (Type::Custom(structure), Value::Array(items)) => {
            items.iter_mut().for_each(|item| normalize_value(structure.item(), item));
        }
        (Type::Resource, Value::Object(members)) => {
            if let (Some(metadata), Some(holds)) = (members.get_mut("metadata"), at.member("metadata")) {
                normalize_value(holds, metadata);
            }
        }
        _ => {}
    }
}

fn normalize_members(message: &'static Message, members: &mut Map<String, Value>) {
    members.retain(|name, value| {
        let Some(field) = message.field(name) else { return false };
        normalize_value(field.holds(), value);
        !value.is_null() && !is_dropped(field, value)
    });
}

/// Takes out what the structure does not declare, and `null` where it is no value.
fn prune_members(structure: &'static Structure, members: &mut Map<String, Value>) {
    members.retain(|name, value| {
        let Some(holds) = structure.member(name) else { return false };
        normalize_value(holds, value);
        !value.is_null() || matches!(holds, Type::Custom(Structure { nullable: true, .. }) | Type::Open)
    });
}

/// Whether Go would leave the field out when it prints the object.
fn is_dropped(field: &Field, value: &Value) -> bool {
    let is_zero = match value {
        Value::Null => true,
        Value::Bool(bit) => !bit,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => return items.is_empty() && !field.always,
        Value::Object(members) => members.is_empty(),
    };
    let keeps_zero = field.always || (field.pointer && field.shape == Shape::Single);
    is_zero && !keeps_zero
}

fn normalize_scalar(scalar: Scalar, value: &mut Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    match scalar {
        Scalar::Quantity => {
            let canonical = Quantity::parse(&text).map_or(text, |quantity| quantity.to_string());
            *value = canonical.into();
        }
        Scalar::Time => {
            if let Ok(time) = text.parse::<jiff::Timestamp>() {
                *value = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
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

    fn normal(api_version: &str, kind: &str, mut object: Value) -> Value {
        normalize(Gvk::parse(api_version, kind), &mut object);
        object
    }

    #[test]
    fn what_go_clients_send_without_meaning_goes() {
        let object = json!({
            "metadata": { "name": "web", "creationTimestamp": null },
            "spec": {
                "replicas": 0, "strategy": {}, "unknown": 1, "minReadySeconds": 0,
                "template": { "metadata": { "creationTimestamp": null }, "spec": { "containers": [
                    { "name": "c", "resources": {}, "env": null, "tty": false, "securityContext": {} }] } },
            },
            "status": {},
        });
        assert_eq!(
            normal("apps/v1", "Deployment", object),
            json!({
                "metadata": { "name": "web" },
                "spec": {
                    "replicas": 0,
                    "template": { "spec": { "containers": [{ "name": "c", "securityContext": {} }] } },
                },
            })
        );
    }

    #[test]
    fn meaningful_nothing_stays() {
        let pod =
            json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }], "automountServiceAccountToken": false } });
        assert_eq!(normal("v1", "Pod", pod.clone()), pod);
        let role = json!({ "rules": [{ "apiGroups": [""], "verbs": ["get"] }] });
        assert_eq!(normal("rbac.authorization.k8s.io/v1", "Role", role.clone()), role);
        let map = json!({ "data": { "empty": "" } });
        assert_eq!(normal("v1", "ConfigMap", map.clone()), map);
    }

    #[test]
    fn amounts_and_times_get_one_form() {
        let pod = json!({
            "metadata": { "deletionTimestamp": "2026-01-01T01:00:00.5+01:00" },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": 0.5, "memory": "1024Mi" } } }] },
        });
        assert_eq!(
            normal("v1", "Pod", pod),
            json!({
                "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "500m", "memory": "1Gi" } } }] },
            })
        );
    }

    #[test]
    fn custom_resources_keep_what_they_say() {
        let thing = json!({ "metadata": { "name": "a", "labels": null }, "spec": { "any": null, "n": 0 } });
        assert_eq!(
            normal("example.com/v1", "Thing", thing),
            json!({ "metadata": { "name": "a" }, "spec": { "any": null, "n": 0 } })
        );
    }

    #[test]
    fn the_normal_form_is_its_own() {
        let object =
            json!({ "spec": { "replicas": 0, "selector": {}, "template": { "spec": { "overhead": { "cpu": 1 } } } } });
        let once = normal("apps/v1", "Deployment", object);
        assert_eq!(normal("apps/v1", "Deployment", once.clone()), once);
    }
}
