//! What the roles are permitted: the accounts, roles and bindings of `deploy/`, and who a role is by them.

use apiserver::client::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, Client, Gvr, NAMESPACES, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS,
};
use datapath::testing::isolated;
use manifests::Settings;
use serde_json::{Value, json};

use crate::world::World;

/// The service account of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

impl Account {
    /// The account under which the manifests run a role.
    pub fn of_role(role: &str) -> Self {
        let documents = documents();
        let pods = documents.iter().map(|object| (object, &object["spec"]["template"]["spec"]));
        let mut pods = pods.filter(|(_, pod)| pod["containers"][0]["args"][0] == role);
        let (object, pod) = pods.next().expect("a manifest runs the role");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { namespace: text(&object["metadata"]["namespace"]), name: text(&pod["serviceAccountName"]) }
    }

    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    pub fn groups(&self) -> [String; 2] {
        ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{}", self.namespace)]
    }
}

/// Creates the accounts, roles and bindings of the manifests with their namespaces, and nothing that would allow more.
pub async fn apply(client: &Client) {
    for object in documents() {
        let Some(gvr) = resource_of(&object) else { continue };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        client.create(&gvr, namespace, &object).await.unwrap();
    }
}

fn resource_of(object: &Value) -> Option<Gvr> {
    const PERMITTING: [Gvr; 6] =
        [NAMESPACES, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS];
    PERMITTING.into_iter().find(|gvr| object["kind"] == gvr.kind)
}

/// What `fairway install` gives a cluster, the controller included.
fn documents() -> Vec<Value> {
    let mut settings = Settings::default();
    settings.set("controller.enabled", true).unwrap();
    manifests::objects(&settings)
}

const ACCESS_REVIEWS: Gvr = Gvr {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "subjectaccessreviews",
    kind: "SubjectAccessReview",
    namespaced: false,
};

fn may(world: &World, account: &Account, verb: &str, resource: &str) -> bool {
    is_allowed(world, account, &json!({ "verb": verb, "resource": resource }))
}

fn is_allowed(world: &World, account: &Account, attributes: &Value) -> bool {
    let spec = json!({ "user": account.user(), "groups": account.groups(), "resourceAttributes": attributes });
    let review = json!({ "spec": spec });
    let answer = world.client.create(&ACCESS_REVIEWS, "", &review);
    world.runtime.block_on(answer).unwrap()["status"]["allowed"].as_bool().unwrap()
}

#[test]
fn no_role_may_read_secrets_or_change_what_is_not_its_own() {
    isolated(|| {
        let world = World::start();
        for role in ["agent", "dns"] {
            let account = Account::of_role(role);
            assert!(may(&world, &account, "watch", "services"), "{role} works from the Services");
            for (verb, resource) in
                [("get", "secrets"), ("list", "configmaps"), ("update", "services"), ("delete", "pods")]
            {
                assert!(!may(&world, &account, verb, resource), "{role} may {verb} {resource}");
            }
        }
    });
}

#[test]
fn agents_may_write_their_own_leases_and_none_by_which_the_clusters_controllers_lead() {
    isolated(|| {
        let (world, agent) = (World::start(), Account::of_role("agent"));
        let may_on_leases = |namespace: &str, verb: &str| {
            let attributes =
                json!({ "group": "coordination.k8s.io", "resource": "leases", "namespace": namespace, "verb": verb });
            is_allowed(&world, &agent, &attributes)
        };
        for verb in ["create", "list", "watch", "patch", "delete"] {
            assert!(may_on_leases(manifests::PRESENCE_NAMESPACE, verb), "the control: {verb}");
            for namespace in ["kube-system", "kube-node-lease", "default"] {
                assert!(!may_on_leases(namespace, verb), "{verb} in {namespace}");
            }
        }
    });
}
