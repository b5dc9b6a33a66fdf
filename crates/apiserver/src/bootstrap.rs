//! What every cluster has from the start: its first namespaces and roles, and the Service through which pods reach the
//! API.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Call};
use crate::auth::{Identity, rbac};
use crate::error::{ApiError, GroupResource};
use crate::http::negotiate::Form;
use crate::http::query::Query;
use crate::http::route::{Target, Verb};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const NAMESPACE_RESOURCE: GroupResource = GroupResource::of("", "namespaces");
/// The name of the API inside the cluster.
const SERVICE: &str = "kubernetes";
const PORT_NAME: &str = "https";
/// How often that Service is looked after.
const INTERVAL: Duration = Duration::from_secs(5);

/// Where the API of a cluster is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cluster {
    /// The address of the Service.
    pub api_address: IpAddr,
    /// Where the server behind the Service listens.
    pub advertise: SocketAddr,
}

impl Cluster {
    /// Makes what is missing and corrects what has changed since the last start.
    pub async fn create(&self, api: &Api) -> Result<(), ApiError> {
        for name in NAMESPACES {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            ensure(api, "", "namespaces", &namespace).await?;
        }
        for (resource, object) in rbac::default_objects() {
            create_missing(api, "rbac.authorization.k8s.io", resource, &object).await?;
        }
        // Namespaces of an earlier start may know an authority that is no more.
        for namespace in api.store.list(&NAMESPACE_RESOURCE, None).objects {
            let mut config_map = api.admission.authority_config_map();
            config_map["metadata"]["namespace"] = namespace.value["metadata"]["name"].clone();
            if namespace.value["metadata"]["deletionTimestamp"].is_null() {
                ensure(api, "", "configmaps", &config_map).await?;
            }
        }
        ensure(api, "", "services", &self.service()).await?;
        self.create_endpoints(api).await
    }

    /// Makes the Service and its endpoints again whenever somebody deleted them, until the server stops.
    pub async fn keep(&self, api: &Api, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let restored = match create_missing(api, "", "services", &self.service()).await {
                Ok(()) => self.create_endpoints(api).await,
                Err(error) => Err(error),
            };
            if let Err(error) = restored {
                tracing::warn!(%error, "cannot restore Service {SERVICE}");
            }
        }
    }

    async fn create_endpoints(&self, api: &Api) -> Result<(), ApiError> {
        if self.advertise.ip().is_loopback() {
            // Nobody but this machine can reach it; the API refuses such endpoints.
            return Ok(());
        }
        ensure(api, "", "endpoints", &self.endpoints()).await?;
        ensure(api, "discovery.k8s.io", "endpointslices", &self.endpoint_slice()).await
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                "labels": { "component": "apiserver", "provider": "kubernetes" },
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": self.api_address, "clusterIPs": [self.api_address],
                "ipFamilyPolicy": "SingleStack", "ipFamilies": [family(self.api_address)],
                "sessionAffinity": "None",
                "ports": [{ "name": PORT_NAME, "port": 443, "protocol": "TCP", "targetPort": self.advertise.port() }],
            },
        })
    }

    fn endpoints(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                // The slice is made here as well and not mirrored from this.
                "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
            },
            "subsets": [{
                "addresses": [{ "ip": self.advertise.ip() }],
                "ports": [{ "name": PORT_NAME, "port": self.advertise.port(), "protocol": "TCP" }],
            }],
        })
    }

    fn endpoint_slice(&self) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": SERVICE, "namespace": "default", "labels": { "kubernetes.io/service-name": SERVICE },
            },
            "addressType": family(self.advertise.ip()),
            "endpoints": [{ "addresses": [self.advertise.ip()], "conditions": { "ready": true } }],
            "ports": [{ "name": PORT_NAME, "port": self.advertise.port(), "protocol": "TCP" }],
        })
    }
}

/// Creates an object, unless there is one of its name: what an administrator made of it stays.
async fn create_missing(api: &Api, group: &str, resource: &str, object: &Value) -> Result<(), ApiError> {
    match api.answer(&call(api, group, resource, object)?).await {
        Err(ApiError::AlreadyExists { .. }) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Changes an object where it differs, so that what others added to it stays, or creates it.
async fn ensure(api: &Api, group: &str, resource: &str, object: &Value) -> Result<(), ApiError> {
    let create = call(api, group, resource, object)?;
    let name = object["metadata"]["name"].as_str().map(str::to_owned);
    let content_type = Some("application/merge-patch+json".into());
    let change = Call { verb: Verb::Patch, name, content_type, ..call(api, group, resource, object)? };
    match api.answer(&change).await {
        Err(ApiError::NotFound { .. }) => api.answer(&create).await.map(drop),
        outcome => outcome.map(drop),
    }
}

/// A request of the server's own.
fn call(api: &Api, group: &str, resource: &str, object: &Value) -> Result<Call, ApiError> {
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let target = Target {
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        namespace: namespace.clone(),
        ..Target::default()
    };
    let (resource, subresource) = Call::resolve(api, &target, Verb::Create)?;
    Ok(Call {
        verb: Verb::Create,
        resource,
        namespace,
        name: None,
        subresource,
        query: Query::default(),
        form: Form::Object,
        identity: Identity::trusted(),
        agent: "apiserver".into(),
        content_type: None,
        body: Bytes::from(object.to_string()),
    })
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
