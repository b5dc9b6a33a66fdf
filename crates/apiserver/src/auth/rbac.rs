//! Who may do what: role-based access control over the roles and bindings in the store.

mod defaults;
mod grant;
mod rule;

use std::sync::Arc;

use serde_json::Value;

use super::Identity;
use crate::error::{ApiError, GroupResource};
use crate::select::LabelSelector;
use crate::store::{Key, Object, Store};

pub(crate) use defaults::default_objects;
pub(crate) use grant::Grantor;
pub(crate) use rule::Rule;

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLES: GroupResource = GroupResource::of(GROUP, "roles");
const CLUSTER_ROLES: GroupResource = GroupResource::of(GROUP, "clusterroles");
const ROLE_BINDINGS: GroupResource = GroupResource::of(GROUP, "rolebindings");
const CLUSTER_ROLE_BINDINGS: GroupResource = GroupResource::of(GROUP, "clusterrolebindings");
/// The group that may do everything, whatever the roles say: how a cluster is saved from its own roles.
const MASTERS: &str = "system:masters";

/// Something that somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Resource(ResourceAction<'a>),
    Path { verb: &'a str, path: &'a str },
}

/// Something to be done with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResourceAction<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    /// Empty for the objects themselves.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects and for those of all namespaces.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
}

/// A set of rules and where it comes from.
struct Granted {
    rules: Vec<Rule>,
    /// For people, as Kubernetes words it.
    reason: String,
}

/// The roles and bindings of a store, as they are when asked.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    store: &'a Store,
}

impl<'a> Access<'a> {
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// Refuses what no role allows.
    pub fn check(self, identity: &Identity, action: Action<'_>) -> Result<(), ApiError> {
        match self.allows(identity, action) {
            Some(_) => Ok(()),
            None => Err(refusal(identity, action)),
        }
    }

    /// Why an action is allowed; `None` if it is not.
    pub fn allows(self, identity: &Identity, action: Action<'_>) -> Option<String> {
        if identity.is_master() {
            return Some(format!("member of {MASTERS}"));
        }
        let namespace = match action {
            Action::Resource(action) => action.namespace,
            Action::Path { .. } => "",
        };
        let mut granted = self.granted(identity, namespace);
        granted.find(|granted| granted.rules.iter().any(|rule| rule.allows(action))).map(|granted| granted.reason)
    }

    /// Everything an identity may do in a namespace, or (if that is empty) everywhere.
    pub fn rules_of(self, identity: &Identity, namespace: &str) -> Vec<Rule> {
        let everything = identity.is_master().then(Rule::everything).into_iter().flatten();
        everything.chain(self.granted(identity, namespace).flat_map(|granted| granted.rules)).collect()
    }

    fn granted(self, identity: &Identity, namespace: &str) -> impl Iterator<Item = Granted> {
        let everywhere = self.store.list(&CLUSTER_ROLE_BINDINGS, None).objects;
        let here = match namespace {
            "" => Vec::new(),
            namespace => self.store.list(&ROLE_BINDINGS, Some(namespace)).objects,
        };
        everywhere.into_iter().chain(here).filter_map(move |binding| self.granted_by(&binding.value, identity))
    }

    fn granted_by(self, binding: &Value, identity: &Identity) -> Option<Granted> {
        let namespace = text(&binding["metadata"]["namespace"]);
        let mut subjects = binding["subjects"].as_array().into_iter().flatten();
        let subject = subjects.find(|subject| identity.is_subject(subject, namespace))?;
        let (kind, role) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
        let binding_name = match namespace {
            "" => format!("ClusterRoleBinding {:?}", text(&binding["metadata"]["name"])),
            _ => format!("RoleBinding {:?}", format!("{}/{namespace}", text(&binding["metadata"]["name"]))),
        };
        let subject = format!("{} {:?}", text(&subject["kind"]), text(&subject["name"]));
        Some(Granted {
            rules: self.rules_of_role(kind, role, namespace).unwrap_or_default(),
            reason: format!("RBAC: allowed by {binding_name} of {kind} {role:?} to {subject}"),
        })
    }

    /// The rules of a role, if it exists.
    pub fn rules_of_role(self, kind: &str, name: &str, namespace: &str) -> Option<Vec<Rule>> {
        let (resource, namespace) = match kind {
            "Role" => (ROLES, namespace.to_owned()),
            _ => (CLUSTER_ROLES, String::new()),
        };
        let role = self.store.get(&Key { resource, namespace, name: name.to_owned() });
        role.map(|role| self.with_aggregated(&role))
    }

    /// A role's own rules and those of the roles it aggregates.
    fn with_aggregated(self, role: &Object) -> Vec<Rule> {
        let mut rules = Rule::read_all(&role.value["rules"]);
        for selector in role.value["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
            let selector = LabelSelector::from_object(selector);
            let parts: Vec<Arc<Object>> = self.store.list(&CLUSTER_ROLES, None).objects;
            let parts = parts.iter().filter(|part| selector.matches(&part.value));
            rules.extend(parts.flat_map(|part| Rule::read_all(&part.value["rules"])));
        }
        rules
    }
}

impl Identity {
    fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// Whether a binding's subject means this caller; a service account without namespace is of the binding's.
    fn is_subject(&self, subject: &Value, namespace: &str) -> bool {
        let name = text(&subject["name"]);
        match text(&subject["kind"]) {
            "User" => self.user == name,
            "Group" => self.groups.iter().any(|group| group == name),
            "ServiceAccount" => {
                let namespace = subject["namespace"].as_str().filter(|given| !given.is_empty()).unwrap_or(namespace);
                let account = self.user.strip_prefix("system:serviceaccount:");
                account.and_then(|account| account.split_once(':')) == Some((namespace, name))
            }
            _ => false,
        }
    }
}

/// The refusal, in the words clients match on.
fn refusal(identity: &Identity, action: Action<'_>) -> ApiError {
    let user = &identity.user;
    match action {
        Action::Path { verb, path } => ApiError::Forbidden {
            resource: GroupResource::of("", ""),
            name: String::new(),
            why: format!("User {user:?} cannot {verb} path {path:?}"),
        },
        Action::Resource(action) => {
            let ResourceAction { verb, group, resource, namespace, name, .. } = action;
            let scope = match namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let what = action.resource_path();
            ApiError::Forbidden {
                resource: GroupResource { group: group.to_owned().into(), resource: resource.to_owned().into() },
                name: name.to_owned(),
                why: format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {scope}"),
            }
        }
    }
}

impl ResourceAction<'_> {
    /// The resource as rules name it: `pods`, `pods/log`.
    fn resource_path(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account() -> Identity {
        let name = "system:serviceaccount:shop:web";
        Identity::of_user(name, ["system:serviceaccounts", "system:serviceaccounts:shop"])
    }

    #[test]
    fn a_subject_is_a_user_a_group_or_a_service_account_of_the_bindings_namespace() {
        let account = account();
        let cases = [
            (json!({ "kind": "ServiceAccount", "name": "web" }), "shop", true),
            (json!({ "kind": "ServiceAccount", "name": "web" }), "other", false),
            (json!({ "kind": "ServiceAccount", "name": "web", "namespace": "shop" }), "other", true),
            (json!({ "kind": "Group", "name": "system:serviceaccounts:shop" }), "", true),
            (json!({ "kind": "Group", "name": "system:authenticated" }), "", true),
            (json!({ "kind": "User", "name": "system:serviceaccount:shop:web" }), "", true),
            (json!({ "kind": "User", "name": "web" }), "shop", false),
        ];
        for (subject, namespace, expected) in cases {
            assert_eq!(account.is_subject(&subject, namespace), expected, "{subject} in {namespace}");
        }
    }

    #[test]
    fn refusals_read_as_kubernetes_writes_them() {
        let action = ResourceAction {
            verb: "get",
            group: "",
            resource: "pods",
            subresource: "log",
            namespace: "shop",
            name: "web-1",
        };
        assert_eq!(
            refusal(&account(), Action::Resource(action)).to_string(),
            "pods \"web-1\" is forbidden: User \"system:serviceaccount:shop:web\" cannot get resource \"pods/log\" \
             in API group \"\" in the namespace \"shop\""
        );
        let list = ResourceAction { verb: "list", subresource: "", namespace: "", name: "", ..action };
        assert_eq!(
            refusal(&Identity::of_user("jane", [""; 0]), Action::Resource(list)).to_string(),
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
        );
        let path = Action::Path { verb: "get", path: "/metrics" };
        assert_eq!(
            refusal(&Identity::of_user("jane", [""; 0]), path).to_string(),
            "forbidden: User \"jane\" cannot get path \"/metrics\""
        );
    }
}
