//! What every new pod gets: a service account and its token, tolerations, a priority.

use serde_json::{Map, Value, json};

use super::AUTHORITY_CONFIG_MAP;
use crate::error::{ApiError, GroupResource};
use crate::ids;
use crate::store::{Key, Transaction};

const PODS: GroupResource = GroupResource::of("", "pods");
const SERVICE_ACCOUNTS: GroupResource = GroupResource::of("", "serviceaccounts");
const PRIORITY_CLASSES: GroupResource = GroupResource::of("scheduling.k8s.io", "priorityclasses");

const DEFAULT_ACCOUNT: &str = "default";
/// Where containers look for their service account.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_VOLUME: &str = "kube-api-access-";
/// An hour, and the time a node may be late in asking for the next.
const TOKEN_SECONDS: u32 = 3607;
/// How long a pod stays on a node that is not well.
const TOLERATED_SECONDS: u32 = 300;
/// Marks a pod that mirrors a file of its node; it gets no token.
const MIRROR: &str = "kubernetes.io/config.mirror";
const BUILT_IN_PRIORITIES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Completes a new pod.
pub(super) fn admit(pod: &mut Value, tx: &Transaction<'_>) -> Result<(), ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["namespace"]));
    let is_mirror = !pod["metadata"]["annotations"][MIRROR].is_null();
    let Some(spec) = pod["spec"].as_object_mut() else { return Ok(()) };
    let refuse = |why| ApiError::Forbidden { resource: PODS, name: name.clone(), why };
    if !is_mirror {
        let account = name_account(spec);
        let key = Key { resource: SERVICE_ACCOUNTS, namespace: namespace.clone(), name: account.clone() };
        let found = tx.get(&key);
        // The default account may be a moment younger than its namespace.
        if found.is_none() && account != DEFAULT_ACCOUNT {
            return Err(refuse(format!(
                "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
            )));
        }
        let account_mounts = found.and_then(|found| found.value["automountServiceAccountToken"].as_bool());
        if spec.get("automountServiceAccountToken").and_then(Value::as_bool).or(account_mounts).unwrap_or(true) {
            mount_token(spec);
        }
    }
    resolve_priority(spec, |class| tx.get(&priority_class(class)).map(|found| found.value.clone())).map_err(refuse)?;
    tolerate_briefly(spec, "node.kubernetes.io/not-ready");
    tolerate_briefly(spec, "node.kubernetes.io/unreachable");
    Ok(())
}

fn priority_class(name: &str) -> Key {
    Key { resource: PRIORITY_CLASSES, namespace: String::new(), name: name.into() }
}

/// Fills in the service account, under both of its names.
fn name_account(spec: &mut Map<String, Value>) -> String {
    let given = |name: &str| spec.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let account = given("serviceAccountName").or(given("serviceAccount")).unwrap_or(DEFAULT_ACCOUNT).to_owned();
    spec.insert("serviceAccountName".into(), json!(account));
    spec.insert("serviceAccount".into(), json!(account));
    account
}

/// Mounts the account's token, the authority's certificate and the namespace into every container that has nothing
/// of its own there.
fn mount_token(spec: &mut Map<String, Value>) {
    let existing = items(spec, "volumes")
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with(TOKEN_VOLUME))
        .map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(|| format!("{TOKEN_VOLUME}{}", ids::name_suffix()));
    let mount = json!({ "name": volume, "readOnly": true, "mountPath": TOKEN_PATH });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            if !items(container, "volumeMounts").any(|mount| mount["mountPath"] == TOKEN_PATH) {
                push(container, "volumeMounts", mount.clone());
                mounted = true;
            }
        }
    }
    if mounted && existing.is_none() {
        push(spec, "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
                { "configMap": { "name": AUTHORITY_CONFIG_MAP, "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{
                    "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                }] } },
            ],
        },
    })
}

/// Turns the name of a priority class into a number.
fn resolve_priority(spec: &mut Map<String, Value>, find: impl Fn(&str) -> Option<Value>) -> Result<(), String> {
    let class = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    let built_in = BUILT_IN_PRIORITIES.iter().find(|(name, _)| *name == class).map(|(_, priority)| *priority);
    let (priority, policy) = match (class, built_in) {
        ("", _) => (0, None),
        (_, Some(priority)) => (priority, None),
        (class, None) => {
            let found = find(class).ok_or_else(|| format!("no PriorityClass with name {class} was found"))?;
            (found["value"].as_i64().unwrap_or(0), found["preemptionPolicy"].as_str().map(str::to_owned))
        }
    };
    if spec.get("priority").and_then(Value::as_i64).is_some_and(|given| given != priority) {
        return Err(format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name",
            spec["priority"]
        ));
    }
    spec.insert("priority".into(), json!(priority));
    let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
    spec.entry("preemptionPolicy").or_insert(json!(policy));
    Ok(())
}

/// Lets the pod stay for a while on a node with this taint, unless it says something about the taint itself.
fn tolerate_briefly(spec: &mut Map<String, Value>, taint: &str) {
    let tolerated = items(spec, "tolerations").any(|toleration| {
        let matches =
            |field: &str, wanted: &str| toleration[field].as_str().is_none_or(|v| v.is_empty() || v == wanted);
        matches("key", taint) && matches("effect", "NoExecute")
    });
    if !tolerated {
        let toleration = json!({
            "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS,
        });
        push(spec, "tolerations", toleration);
    }
}

fn items<'a>(object: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    object.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn push(object: &mut Map<String, Value>, list: &str, item: Value) {
    match object.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => drop(object.insert(list.into(), json!([item]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(spec: &Value) -> Map<String, Value> {
        spec.as_object().unwrap().clone()
    }

    #[test]
    fn the_token_is_mounted_into_every_container_that_has_none() {
        let own = json!([{ "name": "mine", "mountPath": TOKEN_PATH }]);
        let mut pod = spec(&json!({
            "initContainers": [{ "name": "i" }],
            "containers": [{ "name": "a" }, { "name": "b", "volumeMounts": own }],
        }));
        mount_token(&mut pod);
        let volume = pod["volumes"][0]["name"].as_str().unwrap();
        assert!(volume.starts_with(TOKEN_VOLUME));
        let mount = json!([{ "name": volume, "readOnly": true, "mountPath": TOKEN_PATH }]);
        assert_eq!(pod["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(pod["containers"][0]["volumeMounts"], mount);
        assert_eq!(pod["containers"][1]["volumeMounts"], own);
    }

    #[test]
    fn no_volume_is_added_where_nothing_mounts_it() {
        let mut pod = spec(&json!({ "containers": [{ "volumeMounts": [{ "name": "m", "mountPath": TOKEN_PATH }] }] }));
        mount_token(&mut pod);
        assert!(!pod.contains_key("volumes"));
    }

    #[test]
    fn a_priority_class_becomes_a_number() {
        let resolve = |value: Value| {
            let mut spec = spec(&value);
            let class = |name: &str| (name == "high").then(|| json!({ "value": 7, "preemptionPolicy": "Never" }));
            resolve_priority(&mut spec, class).map(|()| (spec["priority"].clone(), spec["preemptionPolicy"].clone()))
        };
        let lower = json!("PreemptLowerPriority");
        assert_eq!(resolve(json!({})), Ok((json!(0), lower.clone())));
        let critical = json!({ "priorityClassName": "system-node-critical" });
        assert_eq!(resolve(critical), Ok((json!(2_000_001_000), lower)));
        assert_eq!(resolve(json!({ "priorityClassName": "high" })), Ok((json!(7), json!("Never"))));
        assert!(resolve(json!({ "priorityClassName": "none" })).is_err());
        assert!(resolve(json!({ "priority": 9 })).is_err());
    }

    #[test]
    fn a_toleration_of_everything_needs_no_other() {
        let mut pod = spec(&json!({ "tolerations": [{ "operator": "Exists" }] }));
        tolerate_briefly(&mut pod, "node.kubernetes.io/not-ready");
        assert_eq!(pod["tolerations"].as_array().unwrap().len(), 1);
        let mut plain = spec(&json!({}));
        tolerate_briefly(&mut plain, "node.kubernetes.io/not-ready");
        assert_eq!(
            plain["tolerations"],
            json!([{
                "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300,
            }])
        );
    }
}
