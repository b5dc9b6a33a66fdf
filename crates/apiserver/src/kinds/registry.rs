//! The table of all kinds, in the order discovery lists them.

use super::{
    Resource, Rules, Subresource, access, config, definition, endpoint_slice, endpoints, event, ingress, namespace,
    network_policy, node, pod, policy, service, storage, workload,
};

pub(super) const STORED: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STORED_ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];
const GET: &[&str] = &["get"];
const UPDATE: &[&str] = &["update"];
pub(super) const EDIT: &[&str] = &["get", "patch", "update"];
const ALL: &[&str] = &["all"];

/// Rules of a kind that is stored as it comes.
static PLAIN: Rules = Rules::PLAIN;

const fn group(group: &'static str) -> Resource {
    Resource {
        group,
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        namespaced: true,
        categories: &[],
        verbs: STORED,
        subresources: &[],
        rules: &PLAIN,
        custom: None,
    }
}

const fn part(
    name: &'static str,
    group: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, group, version: "v1", kind, verbs }
}

const fn status(group: &'static str, kind: &'static str) -> Subresource {
    part("status", group, kind, EDIT)
}

pub(super) const SCALE: Subresource = part("scale", "autoscaling", "Scale", EDIT);

const CORE: Resource = group("");
const APPS: Resource = group("apps");
const EVENTS: Resource = group("events.k8s.io");
const NETWORKING: Resource = group("networking.k8s.io");
const POLICY: Resource = group("policy");
const RBAC: Resource = group("rbac.authorization.k8s.io");
const SCHEDULING: Resource = group("scheduling.k8s.io");
const COORDINATION: Resource = group("coordination.k8s.io");
const DISCOVERY: Resource = group("discovery.k8s.io");
/// A question that is answered and not stored.
const AUTHENTICATION: Resource = Resource { namespaced: false, verbs: CREATE, ..group("authentication.k8s.io") };
/// A question that is answered and not stored.
const AUTHORIZATION: Resource = Resource { namespaced: false, verbs: CREATE, ..group("authorization.k8s.io") };

/// Every kind the server stores or answers.
///
/// Groups stand in the order in which clients should look for a name that several groups have.
pub static RESOURCES: &[Resource] = &[
    Resource {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        verbs: STORED_ONE_BY_ONE,
        subresources: &[part("finalize", "", "Namespace", UPDATE), status("", "Namespace")],
        rules: &namespace::RULES,
        ..CORE
    },
    Resource {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        subresources: &[status("", "Node")],
        rules: &node::RULES,
        ..CORE
    },
    Resource {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: ALL,
        subresources: &[
            part("attach", "", "PodAttachOptions", STREAM),
            part("binding", "", "Binding", CREATE),
            part("ephemeralcontainers", "", "Pod", EDIT),
            part("eviction", "policy", "Eviction", CREATE),
            part("exec", "", "PodExecOptions", STREAM),
            part("log", "", "Pod", GET),
            status("", "Pod"),
        ],
        rules: &pod::RULES,
        ..CORE
    },
    Resource {
        kind: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: ALL,
        subresources: &[status("", "Service")],
        rules: &service::RULES,
        ..CORE
    },
    Resource {
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        rules: &endpoints::RULES,
        ..CORE
    },
    Resource {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        rules: &config::CONFIG_MAP,
        ..CORE
    },
    Resource { kind: "Secret", plural: "secrets", singular: "secret", rules: &config::SECRET, ..CORE },
    Resource {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        subresources: &[part("token", "authentication.k8s.io", "TokenRequest", CREATE)],
        ..CORE
    },
    Resource { kind: "Event", plural: "events", singular: "event", short_names: &["ev"], rules: &event::CORE, ..CORE },
    Resource {
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short_names: &["rc"],
        categories: ALL,
        subresources: &[SCALE, status("", "ReplicationController")],
        rules: &workload::REPLICATION_CONTROLLER,
        ..CORE
    },
    Resource {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short_names: &["pvc"],
        subresources: &[status("", "PersistentVolumeClaim")],
        rules: &storage::CLAIM,
        ..CORE
    },
    Resource {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short_names: &["pv"],
        namespaced: false,
        subresources: &[status("", "PersistentVolume")],
        rules: &storage::VOLUME,
        ..CORE
    },
    Resource {
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        rules: &policy::LIMIT_RANGE,
        ..CORE
    },
    Resource {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short_names: &["quota"],
        subresources: &[status("", "ResourceQuota")],
        rules: &policy::RESOURCE_QUOTA,
        ..CORE
    },
    Resource {
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: ALL,
        subresources: &[SCALE, status("apps", "Deployment")],
        rules: &workload::DEPLOYMENT,
        ..APPS
    },
    Resource {
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: ALL,
        subresources: &[SCALE, status("apps", "ReplicaSet")],
        rules: &workload::REPLICA_SET,
        ..APPS
    },
    Resource {
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        categories: ALL,
        subresources: &[status("apps", "DaemonSet")],
        rules: &workload::DAEMON_SET,
        ..APPS
    },
    Resource {
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short_names: &["sts"],
        categories: ALL,
        subresources: &[SCALE, status("apps", "StatefulSet")],
        rules: &workload::STATEFUL_SET,
        ..APPS
    },
    Resource {
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        rules: &workload::CONTROLLER_REVISION,
        ..APPS
    },
    Resource {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        rules: &event::EVENTS,
        ..EVENTS
    },
    Resource {
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        ..AUTHENTICATION
    },
    Resource { kind: "TokenReview", plural: "tokenreviews", singular: "tokenreview", ..AUTHENTICATION },
    Resource {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        ..AUTHORIZATION
    },
    Resource {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        ..AUTHORIZATION
    },
    Resource {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        ..AUTHORIZATION
    },
    Resource {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        ..AUTHORIZATION
    },
    Resource {
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        subresources: &[status("networking.k8s.io", "Ingress")],
        rules: &ingress::INGRESS,
        ..NETWORKING
    },
    Resource {
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        namespaced: false,
        rules: &ingress::INGRESS_CLASS,
        ..NETWORKING
    },
    Resource {
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        rules: &network_policy::RULES,
        ..NETWORKING
    },
    Resource {
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        subresources: &[status("policy", "PodDisruptionBudget")],
        rules: &policy::DISRUPTION_BUDGET,
        ..POLICY
    },
    Resource { kind: "Role", plural: "roles", singular: "role", rules: &access::ROLE, ..RBAC },
    Resource {
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        rules: &access::ROLE_BINDING,
        ..RBAC
    },
    Resource {
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        rules: &access::CLUSTER_ROLE,
        ..RBAC
    },
    Resource {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        rules: &access::CLUSTER_ROLE_BINDING,
        ..RBAC
    },
    Resource {
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short_names: &["pc"],
        namespaced: false,
        rules: &policy::PRIORITY_CLASS,
        ..SCHEDULING
    },
    Resource { kind: "Lease", plural: "leases", singular: "lease", rules: &policy::LEASE, ..COORDINATION },
    Resource {
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        rules: &endpoint_slice::RULES,
        ..DISCOVERY
    },
    Resource {
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short_names: &["crd", "crds"],
        namespaced: false,
        categories: &["api-extensions"],
        subresources: &[status("apiextensions.k8s.io", "CustomResourceDefinition")],
        rules: &definition::RULES,
        ..group("apiextensions.k8s.io")
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_path_and_no_two_subresources_a_name() {
        let mut paths = HashSet::new();
        for resource in RESOURCES {
            assert!(paths.insert((resource.group, resource.version, resource.plural)), "{}", resource.plural);
            let mut parts = HashSet::new();
            assert!(resource.subresources.iter().all(|sub| parts.insert(sub.name)), "{}", resource.plural);
        }
    }

    #[test]
    fn short_names_are_ambiguous_only_between_the_two_shapes_of_events() {
        let mut seen = HashSet::new();
        let twice: Vec<&str> =
            RESOURCES.iter().flat_map(|r| r.short_names).filter(|name| !seen.insert(**name)).copied().collect();
        assert_eq!(twice, ["ev"]);
    }
}
