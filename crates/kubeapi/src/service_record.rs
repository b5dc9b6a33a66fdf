//! One Service as the API has it, with what never becomes a fact.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use model::from_kube::{LoadBalancerPool, SERVICE_LABEL, ServiceRecord};
use model::{Cluster, NamespacedName};
use serde::de::DeserializeOwned;

use crate::kinds::Kind;

/// A Service or its slices could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read Service {service} and its EndpointSlices")]
pub struct ServiceRecordError {
    /// The Service.
    pub service: NamespacedName,
    /// Why not.
    pub source: Box<kube::Error>,
}

/// What was told of an object in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When, the last time.
    pub at: Timestamp,
    /// In a word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// Reads what Events tell of a Service, the latest last; they are kept for an hour in most clusters.
pub async fn read_events(client: &Client, service: &NamespacedName) -> Result<Vec<Told>, ServiceRecordError> {
    let events: Api<Event> = Api::namespaced(client.clone(), service.namespace.as_str());
    let about = format!("involvedObject.kind=Service,involvedObject.name={}", service.name);
    let listed = events.list(&ListParams::default().fields(&about)).await;
    let listed = listed.map_err(|source| ServiceRecordError { service: service.clone(), source: Box::new(source) })?;
    let mut told: Vec<Told> = listed.items.into_iter().filter_map(told).collect();
    told.sort_by_key(|told| told.at);
    Ok(told)
}

fn told(event: Event) -> Option<Told> {
    let at = event.last_timestamp.map(|time| time.0).or(event.event_time.map(|time| time.0))?;
    Some(Told { at, reason: event.reason?, message: event.message? })
}

/// Adds to a snapshot what the addresses of load balancers are decided by beside Services and Nodes: pools, the labels of
/// namespaces, and ranges of cluster IPs. Of kinds that the API server does not have there are none.
pub async fn read_pools(client: &Client, cluster: &mut Cluster) -> Result<(), kube::Error> {
    read_all::<LoadBalancerPool>(client, cluster).await?;
    read_all::<Namespace>(client, cluster).await?;
    read_all::<ServiceCIDR>(client, cluster).await
}

async fn read_all<K>(client: &Client, cluster: &mut Cluster) -> Result<(), kube::Error>
where
    K: Kind + kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let listed = match Api::<K>::all(client.clone()).list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        listed => listed?,
    };
    for object in &listed.items {
        if let Some(fact) = object.admit().fact {
            K::place(cluster, &object.key(), None, Some(&Arc::new(fact)));
        }
    }
    Ok(())
}

/// Reads a Service and its EndpointSlices; none when there is no such Service.
pub async fn read_service_record(
    client: &Client,
    service: &NamespacedName,
) -> Result<Option<ServiceRecord>, ServiceRecordError> {
    let failed = |source| ServiceRecordError { service: service.clone(), source: Box::new(source) };
    let namespace = service.namespace.as_str();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(object) = services.get_opt(service.name.as_str()).await.map_err(failed)? else { return Ok(None) };
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("{SERVICE_LABEL}={}", service.name));
    let slices = slices.list(&of_service).await.map_err(failed)?;
    Ok(Some(ServiceRecord::of(&object, &slices.items)))
}
