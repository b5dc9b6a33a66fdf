//! What a node's runtime is told, and where it keeps things.

use std::net::IpAddr;
use std::path::PathBuf;

/// What a node's runtime is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub name: String,
    /// Its addresses, one for each family, the preferred first.
    pub addresses: Vec<IpAddr>,
    /// The API server's unix socket.
    pub api_socket: PathBuf,
    /// Where to serve logs, exec and attach.
    pub listen: PathBuf,
    /// The addresses pods ask for names.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: String,
    /// The version to report, as in `v1.36.0+fairway`.
    pub version: String,
    /// Where things are.
    pub paths: Paths,
}

/// Where a node's runtime keeps things. The defaults are those of a node's private root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What a restart of the runtime must find and a restart of the node must not.
    pub run: PathBuf,
    /// Volumes.
    pub lib: PathBuf,
    /// Container logs.
    pub logs: PathBuf,
    /// Network namespaces of pods.
    pub netns: PathBuf,
    /// CNI plugins.
    pub cni_plugins: PathBuf,
    /// CNI configuration.
    pub cni_config: PathBuf,
    /// What CNI plugins answered.
    pub cni_results: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            run: "/run/fairway".into(),
            lib: "/var/lib/fairway".into(),
            logs: "/var/log/pods".into(),
            netns: "/run/netns".into(),
            cni_plugins: "/opt/cni/bin".into(),
            cni_config: "/etc/cni/net.d".into(),
            cni_results: "/var/lib/cni/results".into(),
        }
    }
}

impl Paths {
    /// What is kept of the pod with this uid.
    pub(super) fn pod(&self, uid: &str) -> PathBuf {
        self.run.join("pods").join(uid)
    }

    /// The directories of all containers.
    pub(super) fn containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Volumes of the pod with this uid.
    pub(super) fn pod_volumes(&self, uid: &str) -> PathBuf {
        self.lib.join("pods").join(uid).join("volumes")
    }
}
