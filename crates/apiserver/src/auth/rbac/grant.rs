//! Nobody grants more than he has: what writes of roles and bindings must not do.

use std::sync::Arc;

use serde_json::Value;

use super::{Access, Action, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ResourceAction, Rule, text};
use crate::auth::Identity;
use crate::error::GroupResource;
use crate::store::Store;

/// A caller who writes a role or a binding, and what the caller may do where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Grantor {
    store: Arc<Store>,
    user: String,
    held: Vec<Rule>,
    /// May put rules into roles that the caller does not hold.
    may_escalate: bool,
    kind: Granting,
}

#[derive(Debug, Clone)]
enum Granting {
    Role,
    /// The namespace of the binding; empty for one of the whole cluster.
    Binding(String),
}

impl Grantor {
    /// The grantor of a write; `None` if what is written grants nothing.
    pub fn of(store: &Arc<Store>, identity: &Identity, resource: &GroupResource, namespace: &str) -> Option<Self> {
        if resource.group != GROUP || identity.is_master() {
            return None;
        }
        let is_binding = *resource == ROLE_BINDINGS || *resource == CLUSTER_ROLE_BINDINGS;
        let access = Access::of(store);
        let escalate = ResourceAction {
            verb: "escalate",
            group: GROUP,
            resource: &resource.resource,
            subresource: "",
            namespace,
            name: "",
        };
        Some(Self {
            store: store.clone(),
            user: identity.user.clone(),
            held: access.rules_of(identity, namespace),
            may_escalate: access.allows(identity, Action::Resource(escalate)).is_some(),
            kind: if is_binding { Granting::Binding(namespace.to_owned()) } else { Granting::Role },
        })
    }

    /// Why an object may not be written by this caller; `None` if it may.
    pub fn objection(&self, object: &Value) -> Option<String> {
        let granted = match &self.kind {
            Granting::Role if self.may_escalate => return None,
            // What it gathers is not known yet: any role may be labelled so later.
            Granting::Role if !object["aggregationRule"].is_null() => Rule::everything().into(),
            Granting::Role => Rule::read_all(&object["rules"]),
            Granting::Binding(namespace) => {
                let role = &object["roleRef"];
                let (kind, name) = (text(&role["kind"]), text(&role["name"]));
                if self.may_bind(kind, name, namespace) {
                    return None;
                }
                match Access::of(&self.store).rules_of_role(kind, name, namespace) {
                    Some(rules) => rules,
                    None => return Some(format!("{kind} {name:?} not found")),
                }
            }
        };
        let held = |part: &Rule| self.held.iter().any(|rule| rule.covers(part));
        let missing: Vec<Rule> = granted.iter().flat_map(Rule::parts).filter(|part| !held(part)).collect();
        (!missing.is_empty()).then(|| {
            let list: Vec<String> = missing.iter().map(described).collect();
            format!(
                "user {:?} is attempting to grant RBAC permissions not currently held:\n{}",
                self.user,
                list.join("\n")
            )
        })
    }

    fn may_bind(&self, kind: &str, name: &str, namespace: &str) -> bool {
        let resource = if kind == "Role" { "roles" } else { &CLUSTER_ROLES.resource };
        let action = ResourceAction { verb: "bind", group: GROUP, resource, subresource: "", namespace, name };
        self.held.iter().any(|rule| rule.allows(Action::Resource(action)))
    }
}

/// A rule as the refusal lists it.
fn described(rule: &Rule) -> String {
    let lists = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ];
    let lists: Vec<String> =
        lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{list:?}")).collect();
    format!("{{{}}}", lists.join(", "))
}
