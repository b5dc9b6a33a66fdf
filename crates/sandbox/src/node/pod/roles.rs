//! The containers of a pod and the parts they play.

use k8s_openapi::api::core::v1::{Container, Pod};

/// The part a container plays in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts in its turn among the init containers and runs as long as the pod.
    Sidecar,
    /// What the pod is for.
    Main,
}

impl Role {
    /// The field of a pod's specification in which such containers stand, as events name it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "spec.initContainers",
            Self::Main => "spec.containers",
        }
    }
}

/// The containers of `pod` in the order in which they start.
pub fn containers_of(pod: &Pod) -> Vec<(Role, Container)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let role = if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
        (role, container.clone())
    });
    init.chain(spec.containers.iter().map(|container| (Role::Main, container.clone()))).collect()
}
