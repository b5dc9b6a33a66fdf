//! Applying objects to a sandbox, without kubectl.

use anyhow::{Context, Result};
use apiserver::{
    client::{Client, Gvr, Patch},
    kinds::RESOURCES,
};
use ipnet::IpNet;
use manifests::Settings;
use sandbox::machine::Spec;
use serde_json::{Value, json};

/// The port the API server has for the nodes.
pub const API_PORT_FOR_NODES: u16 = 6443;
/// Name of the Deployment of DNS servers in a sandbox, as people know it from other clusters.
pub const DNS_DEPLOYMENT: &str = "coredns";
/// Who applies, in `managedFields`.
const MANAGER: &str = "fairway";

/// Applies Fairway itself, set up for this sandbox.
pub async fn apply_system(client: &Client, spec: &Spec, routing: &str) -> Result<()> {
    for object in manifests::objects(&settings(spec, routing)?) {
        apply_object(client, object).await?;
    }
    apply_object(client, default_pool(spec)).await
}

/// Addresses for Services of type LoadBalancer, from the network the nodes are on.
fn default_pool(spec: &Spec) -> Value {
    let ranges = spec.load_balancer_ranges();
    let addresses: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    json!({
        "apiVersion": "fairway.network/v1alpha1", "kind": "LoadBalancerPool",
        "metadata": { "name": "default" },
        "spec": { "addresses": addresses },
    })
}

fn settings(spec: &Spec, routing: &str) -> Result<Settings> {
    let values = json!({
        "apiHost": spec.gateways()[0].to_string(),
        "apiPort": API_PORT_FOR_NODES.to_string(),
        "clusterCIDR": comma_separated(spec.pod_cidrs()),
        "serviceCIDR": comma_separated(spec.service_cidrs()),
        "routing": routing,
        // One is enough where all nodes are one machine.
        "controller": { "replicas": 1 },
        "dns": { "name": DNS_DEPLOYMENT, "serviceIP": spec.dns_service().to_string() },
    });
    let mut settings = Settings::default();
    settings.set_values(values.as_object().context("the settings are no object")?)?;
    Ok(settings)
}

/// Ranges as manifests carry them.
pub fn comma_separated(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Applies every object of a YAML text with several documents, in order.
pub async fn apply(client: &Client, text: &str) -> Result<()> {
    for object in parse(text)? {
        apply_object(client, object).await?;
    }
    Ok(())
}

async fn apply_object(client: &Client, object: Value) -> Result<()> {
    let gvr = kind_of(client, &object).await?;
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
    Ok(())
}

/// The objects of a YAML text.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("a manifest is not YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

async fn kind_of(client: &Client, object: &Value) -> Result<Gvr> {
    if let Some(gvr) = find_kind(RESOURCES.iter().map(Gvr::from), object) {
        return Ok(gvr);
    }
    let custom = client.custom_kinds().await.context("cannot list the custom kinds")?;
    let text = |field: &str| object[field].as_str().unwrap_or("none").to_owned();
    find_kind(custom, object).with_context(|| format!("unknown kind {} of {}", text("kind"), text("apiVersion")))
}

fn find_kind(known: impl IntoIterator<Item = Gvr>, object: &Value) -> Option<Gvr> {
    let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    known.into_iter().find(|gvr| Some(gvr.api_version().as_str()) == version && Some(gvr.kind) == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_of_fairway_is_of_a_kind_the_client_knows() {
        let known = |object: &Value| find_kind(RESOURCES.iter().map(Gvr::from), object);
        let unknown = manifests::objects(&Settings::default()).into_iter().find(|object| known(object).is_none());
        assert_eq!(unknown, None);
    }
}
