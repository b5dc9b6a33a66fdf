//! The manifests this binary carries, and how objects are applied without kubectl.

use anyhow::{Context, Result};
use apiserver::{
    client::{Client, Gvr, Patch},
    kinds::RESOURCES,
};
use sandbox::machine::{self, Spec};
use serde_json::Value;

/// Fairway in a cluster; `${...}` is filled in by [`apply_system`].
const SYSTEM: &str = include_str!("../../../deploy/fairway.yaml");
/// The port the API server has for the nodes.
pub const API_PORT_FOR_NODES: u16 = 6443;
/// Who applies them, in `managedFields`.
const MANAGER: &str = "fairway";

/// Applies Fairway's own manifests, filled in for this sandbox.
pub async fn apply_system(client: &Client, spec: &Spec) -> Result<()> {
    let values = [
        ("${IMAGE}", format!("fairway:{}", env!("CARGO_PKG_VERSION"))),
        ("${API_HOST}", machine::GATEWAY.to_string()),
        ("${API_PORT}", API_PORT_FOR_NODES.to_string()),
        ("${CLUSTER_CIDR}", spec.pod_cidr().to_string()),
        ("${SERVICE_CIDR}", spec.service_cidr().to_string()),
        ("${DNS_SERVICE_IP}", spec.dns_service().to_string()),
        ("${CLUSTER_DOMAIN}", "cluster.local".to_owned()),
    ];
    let text = values.iter().fold(SYSTEM.to_owned(), |text, (name, value)| text.replace(name, value));
    apply(client, &text).await
}

/// Applies every object of a YAML text with several documents, in order.
pub async fn apply(client: &Client, text: &str) -> Result<()> {
    for object in parse(text)? {
        let gvr = kind_of(&object)?;
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().context("an object has no metadata.name")?.to_owned();
        let namespace = match metadata["namespace"].as_str() {
            Some(namespace) => namespace.to_owned(),
            None if gvr.namespaced => "default".to_owned(),
            None => String::new(),
        };
        let patch = Patch::Apply { object, manager: MANAGER.to_owned(), force: true };
        let applied = client.patch(&gvr, &namespace, &name, &patch).await;
        applied.with_context(|| format!("cannot apply {} {namespace}/{name}", gvr.kind))?;
    }
    Ok(())
}

/// The objects of a YAML text.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("a manifest is not YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn kind_of(object: &Value) -> Result<Gvr> {
    let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let mut known = RESOURCES.iter().map(Gvr::from);
    let found = known.find(|gvr| Some(gvr.api_version().as_str()) == version && Some(gvr.kind) == kind);
    let version = version.unwrap_or("none");
    found.with_context(|| format!("unknown kind {} of {version}", kind.unwrap_or("none")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_object_is_of_a_kind_the_client_knows() {
        let objects = parse(SYSTEM).unwrap();
        assert_eq!(objects.len(), 9);
        for object in &objects {
            kind_of(object).unwrap();
        }
    }
}
