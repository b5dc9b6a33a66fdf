//! The only door to an API server for Fairway's roles: watches, status writes, leases, events.
//!
//! [`ClusterWatch`] turns the API's objects into [`model::Cluster`] snapshots; [`report_refusals`] tells users, as
//! Events on their objects, what could not be admitted and why. Nothing here knows which API server is behind the
//! address: a real cluster's or the sandbox's.

mod access;
mod assembly;
mod decoded;
mod events;
mod kinds;
mod lease;
mod load_balancer;
mod node;
mod objects;
mod observe;
mod pace;
mod presence;
mod service_record;
mod watch;
mod write;

pub use access::{ApiAccess, ConnectError, Session};
pub use events::{
    RejectionSender, Rejections, rejections, report_on_service, report_refusals, report_refused_config,
    report_rejections,
};
pub use kinds::{ObjectReference, Refusal};
pub use kube::Client;
pub use lease::{Candidate, Timing};
pub use load_balancer::{publish_addresses, publish_pool_status, publish_release};
pub use model::ObjectKind;
pub use node::{give_pod_ranges, report_network_available};
pub use objects::{Applied, ObjectError, ObjectName, Objects};
pub use observe::{Answered, RequestObserver};
pub use presence::Presence;
pub use service_record::{ServiceRecordError, Told, read_events, read_pools, read_service_record};
pub use watch::ClusterWatch;
pub use write::WriteError;

/// The name under which the controller writes: it is noted beside each field, and in Events.
pub const CONTROLLER: &str = "fairway-controller";
