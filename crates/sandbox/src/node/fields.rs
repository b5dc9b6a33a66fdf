//! What a pod may ask about itself: the fields and resources of the downward API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::amount::Amount;
use super::facts::Capacity;

/// What the node adds to what the object says.
#[derive(Debug, Clone, Copy)]
pub struct NodeSide<'a> {
    /// The node's addresses.
    pub host_addresses: &'a [IpAddr],
    /// The pod's addresses, once it has some.
    pub pod_addresses: &'a [IpAddr],
}

/// The value of the field at `path`. The error is a sentence for the user.
pub fn field_value(pod: &Pod, path: &str, node: NodeSide<'_>) -> Result<String, String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    let first = |addresses: &[IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
    let all = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => Ok(lines_of(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines_of(metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => Ok(first(node.host_addresses)),
        "status.hostIPs" => Ok(all(node.host_addresses)),
        "status.podIP" => Ok(first(node.pod_addresses)),
        "status.podIPs" => Ok(all(node.pod_addresses)),
        _ => {
            let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
            if let Some(key) = subscript("metadata.labels['") {
                return text(metadata.labels.as_ref().and_then(|labels| labels.get(key)));
            }
            if let Some(key) = subscript("metadata.annotations['") {
                return text(metadata.annotations.as_ref().and_then(|annotations| annotations.get(key)));
            }
            Err(format!("unsupported fieldPath: {path}"))
        }
    }
}

/// Labels or annotations as files show them: one `key="value"` a line.
fn lines_of(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The amount of a resource a container asked for or is limited to, in units of the divisor, rounded up.
///
/// Without a limit it is what the node has. The error is a sentence for the user.
pub fn resource_value(
    container: &Container,
    selector: &ResourceFieldSelector,
    capacity: Capacity,
) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (side, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let limit = resources.and_then(|resources| resources.limits.as_ref()?.get(name));
    let request = resources.and_then(|resources| resources.requests.as_ref()?.get(name));
    let whole = match name {
        "cpu" => Amount::of_units(u64::from(capacity.cpus)),
        "memory" => Amount::of_units(capacity.memory_bytes),
        "ephemeral-storage" => Amount::of_units(capacity.storage_bytes),
        _ => return Err(unsupported()),
    };
    let parse =
        |quantity: &Quantity| Amount::parse(&quantity.0).ok_or_else(|| format!("bad quantity {:?}", quantity.0));
    let amount = match side {
        "limits" => limit.map_or(Ok(whole), parse)?,
        "requests" => request.or(limit).map_or(Ok(Amount::of_units(0)), parse)?,
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().filter(|divisor| divisor.0 != "0");
    let divisor = divisor.map_or(Ok(Amount::of_units(1)), parse)?;
    Ok(amount.divided_rounding_up(divisor).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CAPACITY: Capacity = Capacity { cpus: 2, memory_bytes: 4 << 30, storage_bytes: 8 << 30 };

    fn value(path: &str) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "a\"b"}},
            "spec": {"containers": [], "nodeName": "node1"},
        }))
        .unwrap();
        let addresses = ["10.244.1.5".parse().unwrap()];
        let host_addresses = ["10.89.0.1".parse().unwrap()];
        field_value(&pod, path, NodeSide { host_addresses: &host_addresses, pod_addresses: &addresses })
    }

    #[test]
    fn fields_come_from_the_object_and_from_the_node() {
        assert_eq!(value("metadata.name").unwrap(), "web");
        assert_eq!(value("metadata.labels['app']").unwrap(), "web");
        assert_eq!(value("metadata.labels['none']").unwrap(), "");
        assert_eq!(value("metadata.labels").unwrap(), "app=\"web\"\ntier=\"a\\\"b\"");
        assert_eq!(value("spec.nodeName").unwrap(), "node1");
        assert_eq!(value("status.podIP").unwrap(), "10.244.1.5");
        assert_eq!(value("status.hostIP").unwrap(), "10.89.0.1");
        assert_eq!(value("spec.volumes").unwrap_err(), "unsupported fieldPath: spec.volumes");
    }

    #[test]
    fn resources_are_counted_in_units_of_the_divisor() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}},
        }))
        .unwrap();
        let ask = |resource: &str, divisor: &str| {
            let selector = json!({"resource": resource, "divisor": divisor});
            resource_value(&container, &serde_json::from_value(selector).unwrap(), CAPACITY)
        };
        assert_eq!(ask("limits.cpu", "0").unwrap(), "1");
        assert_eq!(ask("limits.cpu", "1m").unwrap(), "500");
        assert_eq!(ask("requests.cpu", "1m").unwrap(), "250");
        assert_eq!(ask("limits.memory", "1Mi").unwrap(), "64");
        assert_eq!(ask("requests.memory", "1Mi").unwrap(), "64");
        assert_eq!(ask("limits.ephemeral-storage", "1Gi").unwrap(), "8");
        assert_eq!(ask("limits.gpu", "1").unwrap_err(), "unsupported container resource : limits.gpu");
    }
}
