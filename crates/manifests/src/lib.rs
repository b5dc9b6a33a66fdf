//! Fairway's own objects in a cluster: one source for the sandbox, `install.yaml` and the Helm chart.
//!
//! The source is `deploy/manifests/`, objects with `${SETTING}` in them, and the table of settings in [`SETTINGS`].
//! [`objects`] fills them in, for `fairway install` and for the sandbox; [`generated`] is what is committed for those
//! who install in another way. Everything here computes; nothing reads a file or asks a cluster.

mod chart;
mod kind;
mod placeholder;
mod render;
mod settings;
mod source;
mod table;

pub use chart::{GeneratedFile, generated};
pub use kind::Kind;
pub use render::{cleanup_pod, objects};
pub use settings::{SettingError, Settings};
pub use table::{SETTINGS, Setting};

/// The label that all objects of an installation carry, but for the Service `kube-dns`, which may be older than it.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "fairway");
/// The agent's DaemonSet.
pub const AGENT: &str = "fairway-agent";
/// The namespace of the Leases by which agents know of each other, and of nothing else.
pub const PRESENCE_NAMESPACE: &str = "fairway-presence";
/// The ConfigMap with the DNS servers' Corefile. One that is there already is not to be changed.
pub const DNS_CONFIG: &str = "coredns";
/// The Service in front of the DNS servers.
pub const DNS_SERVICE: &str = "kube-dns";
/// The controller's Deployment.
pub const CONTROLLER: &str = "fairway-controller";
