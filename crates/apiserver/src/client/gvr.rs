//! The kinds a client can address.

use crate::kinds::Resource;

/// Where a kind of object lives in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gvr {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version, as in `v1`.
    pub version: &'static str,
    /// Plural name, as in the path.
    pub plural: &'static str,
    /// Kind, as in the object.
    pub kind: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Gvr {
    /// `v1` or `apps/v1`, as objects carry it.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path below which the group's version is served, as in `/apis/apps/v1`.
    pub(super) fn root(&self) -> String {
        match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

impl From<&Resource> for Gvr {
    fn from(resource: &Resource) -> Self {
        let Resource { group, version, plural, kind, namespaced, .. } = *resource;
        Self { group, version, plural, kind, namespaced }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $scope:ident $group:literal $version:literal $plural:literal $kind:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Gvr = Gvr {
                group: $group,
                version: $version,
                plural: $plural,
                kind: $kind,
                namespaced: kinds!(@$scope),
            };
        )*
    };
    (@namespaced) => { true };
    (@cluster) => { false };
}

kinds! {
    /// `apps/v1` Deployments.
    DEPLOYMENTS = namespaced "apps" "v1" "deployments" "Deployment";
    /// `apps/v1` StatefulSets.
    STATEFUL_SETS = namespaced "apps" "v1" "statefulsets" "StatefulSet";
    /// `apps/v1` DaemonSets.
    DAEMON_SETS = namespaced "apps" "v1" "daemonsets" "DaemonSet";
    /// `apps/v1` ReplicaSets.
    REPLICA_SETS = namespaced "apps" "v1" "replicasets" "ReplicaSet";
    /// `apps/v1` ControllerRevisions.
    CONTROLLER_REVISIONS = namespaced "apps" "v1" "controllerrevisions" "ControllerRevision";
    /// `networking.k8s.io/v1` Ingresses.
    INGRESSES = namespaced "networking.k8s.io" "v1" "ingresses" "Ingress";
    /// `networking.k8s.io/v1` NetworkPolicies.
    NETWORK_POLICIES = namespaced "networking.k8s.io" "v1" "networkpolicies" "NetworkPolicy";
    /// `v1` Services.
    SERVICES = namespaced "" "v1" "services" "Service";
    /// `discovery.k8s.io/v1` EndpointSlices.
    ENDPOINT_SLICES = namespaced "discovery.k8s.io" "v1" "endpointslices" "EndpointSlice";
    /// `v1` Endpoints.
    ENDPOINTS = namespaced "" "v1" "endpoints" "Endpoints";
    /// `v1` Pods.
    PODS = namespaced "" "v1" "pods" "Pod";
    /// `v1` ConfigMaps.
    CONFIG_MAPS = namespaced "" "v1" "configmaps" "ConfigMap";
    /// `v1` Secrets.
    SECRETS = namespaced "" "v1" "secrets" "Secret";
    /// `v1` ServiceAccounts.
    SERVICE_ACCOUNTS = namespaced "" "v1" "serviceaccounts" "ServiceAccount";
    /// `coordination.k8s.io/v1` Leases.
    LEASES = namespaced "coordination.k8s.io" "v1" "leases" "Lease";
    /// `rbac.authorization.k8s.io/v1` RoleBindings.
    ROLE_BINDINGS = namespaced "rbac.authorization.k8s.io" "v1" "rolebindings" "RoleBinding";
    /// `rbac.authorization.k8s.io/v1` Roles.
    ROLES = namespaced "rbac.authorization.k8s.io" "v1" "roles" "Role";
    /// `v1` Events.
    EVENTS = namespaced "" "v1" "events" "Event";
    /// `v1` Namespaces.
    NAMESPACES = cluster "" "v1" "namespaces" "Namespace";
    /// `v1` Nodes.
    NODES = cluster "" "v1" "nodes" "Node";
    /// `networking.k8s.io/v1` IngressClasses.
    INGRESS_CLASSES = cluster "networking.k8s.io" "v1" "ingressclasses" "IngressClass";
    /// `rbac.authorization.k8s.io/v1` ClusterRoles.
    CLUSTER_ROLES = cluster "rbac.authorization.k8s.io" "v1" "clusterroles" "ClusterRole";
    /// `apiextensions.k8s.io/v1` CustomResourceDefinitions.
    CUSTOM_RESOURCE_DEFINITIONS = cluster "apiextensions.k8s.io" "v1" "customresourcedefinitions" "CustomResourceDefinition";
    /// `rbac.authorization.k8s.io/v1` ClusterRoleBindings.
    CLUSTER_ROLE_BINDINGS = cluster "rbac.authorization.k8s.io" "v1" "clusterrolebindings" "ClusterRoleBinding";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_kinds_live_under_api_and_others_under_apis() {
        assert_eq!(PODS.root(), "/api/v1");
        assert_eq!(ENDPOINT_SLICES.root(), "/apis/discovery.k8s.io/v1");
    }

    #[test]
    fn api_version_names_the_group_only_when_there_is_one() {
        assert_eq!(PODS.api_version(), "v1");
        assert_eq!(DEPLOYMENTS.api_version(), "apps/v1");
    }
}
