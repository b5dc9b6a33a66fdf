//! What the server adds to objects on their way in, and what it sets aside for them.

mod pod;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::api::{group_kind, group_resource};
use crate::error::{ApiError, GroupResource};
use crate::ids;
use crate::kinds::Resource;
use crate::kinds::alloc::{Allocation, AllocationError, ServiceAllocator};
use crate::store::{Store, Transaction, WriteMode};

const PODS: GroupResource = GroupResource::of("", "pods");
/// The ConfigMap that every pod's token volume refers to.
pub(crate) const AUTHORITY_CONFIG_MAP: &str = "kube-root-ca.crt";
const SERVICES: GroupResource = GroupResource::of("", "services");

/// The rules for objects that are written, and the addresses and ports that are left.
///
/// Used by writes only, which run one after another: what a write plans is still true when it is kept.
#[derive(Debug)]
pub(crate) struct Admission {
    services: Arc<Mutex<ServiceAllocator>>,
    authority_pem: String,
}

/// What admission depends on.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub service_cidrs: Vec<IpNet>,
    pub node_ports: RangeInclusive<u16>,
    /// The certificate of the cluster's authority, PEM.
    pub authority_pem: String,
}

/// What a write has been promised; it counts once the write is kept.
#[derive(Debug, Default)]
#[must_use = "a promise that is not kept is void"]
pub(crate) struct Admitted {
    services: Option<Allocation>,
}

impl Admission {
    /// Rules for a cluster whose stored Services have their part of the ranges.
    pub fn new(store: &Store, rules: Rules) -> Self {
        let mut services = ServiceAllocator::new(&rules.service_cidrs, rules.node_ports);
        for service in store.list(&SERVICES, None).objects {
            services.restore(&service.value);
        }
        Self { services: Arc::new(Mutex::new(services)), authority_pem: rules.authority_pem }
    }

    /// What pods verify the server with; every namespace has one.
    pub fn authority_config_map(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": AUTHORITY_CONFIG_MAP,
                "annotations": { "kubernetes.io/description": "The certificate with which to verify the API server." },
            },
            "data": { "ca.crt": self.authority_pem },
        })
    }

    /// Completes a new object.
    pub fn admit_create(
        &self,
        resource: &'static Resource,
        object: &mut Value,
        tx: &Transaction<'_>,
    ) -> Result<Admitted, ApiError> {
        if group_resource(resource) == PODS {
            pod::admit(object, tx)?;
        }
        self.plan(resource, object, None)
    }

    /// Completes a changed object.
    pub fn admit_update(
        &self,
        resource: &'static Resource,
        new: &mut Value,
        old: &Value,
    ) -> Result<Admitted, ApiError> {
        self.plan(resource, new, Some(old))
    }

    /// The write will be stored, unless it is a dry run.
    pub fn keep(&self, tx: &mut Transaction<'_>, admitted: Admitted, mode: WriteMode) {
        if let (Some(allocation), WriteMode::Persist) = (admitted.services, mode) {
            lock(&self.services).apply(&allocation);
            let services = self.services.clone();
            tx.on_lost(move || lock(&services).undo(&allocation));
        }
    }

    /// An object is removed, unless it is a dry run.
    pub fn release(&self, tx: &mut Transaction<'_>, resource: &'static Resource, object: &Value, mode: WriteMode) {
        if group_resource(resource) == SERVICES && mode == WriteMode::Persist {
            lock(&self.services).release(object);
            let (services, object) = (self.services.clone(), object.clone());
            tx.on_lost(move || lock(&services).restore(&object));
        }
    }

    fn plan(&self, resource: &'static Resource, object: &mut Value, old: Option<&Value>) -> Result<Admitted, ApiError> {
        if group_resource(resource) != SERVICES {
            return Ok(Admitted::default());
        }
        match lock(&self.services).plan(object, old, ids::random_seed()) {
            Ok(allocation) => Ok(Admitted { services: Some(allocation) }),
            Err(AllocationError::Invalid(errors)) => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                Err(ApiError::Invalid { kind: group_kind(resource), name, errors })
            }
            Err(full) => Err(ApiError::internal(full)),
        }
    }
}

fn lock(services: &Mutex<ServiceAllocator>) -> MutexGuard<'_, ServiceAllocator> {
    services.lock().unwrap_or_else(PoisonError::into_inner)
}
