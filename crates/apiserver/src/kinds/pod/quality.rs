//! The quality of service a pod gets, which follows from its requests and limits.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::fill::Object;
use crate::kinds::quantity;

/// The resources that count.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class_of(pod: &Object) -> &'static str {
    let Some(spec) = pod.get("spec") else { return "BestEffort" };
    let parts: Vec<&Value> = if spec["resources"].is_object() { vec![spec] } else { containers_of(spec) };
    let limited = parts.iter().all(|part| COMPUTE.iter().all(|name| amount(part, "limits", name) > 0));
    let requests = totals(&parts, "requests");
    let limits = totals(&parts, "limits");
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn containers_of(spec: &Value) -> Vec<&Value> {
    let lists = ["containers", "initContainers"].into_iter().filter_map(|name| spec[name].as_array());
    lists.flatten().collect()
}

fn amount(part: &Value, which: &str, resource: &str) -> i128 {
    quantity::billionths(&part["resources"][which][resource]).unwrap_or(0)
}

fn totals(parts: &[&Value], which: &str) -> BTreeMap<&'static str, i128> {
    let total = |name| parts.iter().map(|part| amount(part, which, name)).sum::<i128>();
    COMPUTE.into_iter().map(|name| (name, total(name))).filter(|(_, total)| *total > 0).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(containers: &Value) -> &'static str {
        let pod = json!({"spec": {"containers": containers}});
        class_of(pod.as_object().expect("an object"))
    }

    #[test]
    fn quality_follows_from_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let equal = json!({"resources": {"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": both}});
        assert_eq!(class(&json!([{}])), "BestEffort");
        assert_eq!(class(&json!([equal])), "Guaranteed");
        assert_eq!(class(&json!([equal, {}])), "Burstable");
        assert_eq!(class(&json!([{"resources": {"requests": {"cpu": "1"}}}])), "Burstable");
        assert_eq!(class(&json!([{"resources": {"requests": {"cpu": "1"}, "limits": both}}])), "Burstable");
    }
}
