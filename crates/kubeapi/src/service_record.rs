//! One Service as the API has it, with what never becomes a fact.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use model::NamespacedName;
use model::from_kube::ServiceRecord;

/// A Service or its slices could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read Service {service} and its EndpointSlices")]
pub struct ServiceRecordError {
    /// The Service.
    pub service: NamespacedName,
    /// Why not.
    pub source: Box<kube::Error>,
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
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let slices = slices.list(&of_service).await.map_err(failed)?;
    Ok(Some(ServiceRecord::of(&object, &slices.items)))
}
