//! The schemas of a document: types and descriptions of `k8s-openapi`, merge rules of our own table.

use k8s_openapi::api as k8s;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::kinds::RESOURCES;
use crate::schema::Gvk;
use crate::schema::table::{Field, ListType, Message, Shape};

/// The schemas of a group version's kinds, of the lists of them, and of all they refer to.
pub(super) fn of_group_version(group: &str, version: &str) -> Map<String, Value> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.transforms.clear());
    let mut generator = settings.into_generator();
    add_kinds(group, version, &mut generator);
    let mut definitions = generator.take_definitions(true);
    for (name, schema) in &mut definitions {
        complete(name, schema, group, version);
    }
    for resource in RESOURCES.iter().filter(|stored| stored.group == group && stored.version == version) {
        if let Some(message) = Message::of_kind(Gvk::new(group, version, resource.kind)) {
            let list = list_of((&message.name, message.short_name()), group, version);
            definitions.insert(format!("{}List", message.name), list);
        }
    }
    definitions
}

/// The schemas of what all kinds share: metadata, options, outcomes.
pub(super) fn of_every_kind() -> Map<String, Value> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.transforms.clear());
    let mut generator = settings.into_generator();
    generator.subschema_for::<meta::ObjectMeta>();
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::ListMeta>();
    generator.subschema_for::<meta::Status>();
    generator.subschema_for::<k8s::autoscaling::v1::Scale>();
    let mut definitions = generator.take_definitions(true);
    definitions.iter_mut().for_each(|(name, schema)| complete(name, schema, "", "v1"));
    definitions
}

macro_rules! add {
    ($generator:ident: $($module:ident)::* { $($kind:ident),* $(,)? }) => {{
        use $($module)::* as module;
        $( $generator.subschema_for::<module::$kind>(); )*
    }};
}

/// Adds the kinds of a group version: the stored ones and those exchanged at their subresources.
fn add_kinds(group: &str, version: &str, generator: &mut SchemaGenerator) {
    add!(generator: meta { DeleteOptions, ListMeta, Status });
    match (group, version) {
        ("", _) => add_core(generator),
        ("apiextensions.k8s.io", _) => add!(generator: extensions { CustomResourceDefinition }),
        ("apps", _) => {
            add!(generator: k8s::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet });
            add!(generator: k8s::autoscaling::v1 { Scale });
        }
        ("authentication.k8s.io", _) => {
            add!(generator: k8s::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview });
        }
        ("authorization.k8s.io", _) => add!(generator: k8s::authorization::v1 {
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        }),
        ("autoscaling", "v1") => add!(generator: k8s::autoscaling::v1 { HorizontalPodAutoscaler, Scale }),
        ("autoscaling", _) => add!(generator: k8s::autoscaling::v2 { HorizontalPodAutoscaler }),
        ("batch", _) => add!(generator: k8s::batch::v1 { CronJob, Job }),
        ("certificates.k8s.io", _) => add!(generator: k8s::certificates::v1 { CertificateSigningRequest }),
        ("coordination.k8s.io", _) => add!(generator: k8s::coordination::v1 { Lease }),
        ("discovery.k8s.io", _) => add!(generator: k8s::discovery::v1 { EndpointSlice }),
        ("events.k8s.io", _) => add!(generator: k8s::events::v1 { Event }),
        ("networking.k8s.io", _) => {
            add!(generator: k8s::networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR });
        }
        ("node.k8s.io", _) => add!(generator: k8s::node::v1 { RuntimeClass }),
        ("policy", _) => add!(generator: k8s::policy::v1 { Eviction, PodDisruptionBudget }),
        ("rbac.authorization.k8s.io", _) => {
            add!(generator: k8s::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding });
        }
        ("scheduling.k8s.io", _) => add!(generator: k8s::scheduling::v1 { PriorityClass }),
        ("storage.k8s.io", _) => {
            add!(generator: k8s::storage::v1 { CSIDriver, CSINode, StorageClass, VolumeAttachment });
        }
        _ => {}
    }
}

fn add_core(generator: &mut SchemaGenerator) {
    add!(generator: k8s::core::v1 {
        Binding, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
        PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
    });
    add!(generator: k8s::autoscaling::v1 { Scale });
    add!(generator: k8s::authentication::v1 { TokenRequest });
    add!(generator: k8s::policy::v1 { Eviction });
}

/// Adds what the table knows to a schema, and writes references as OpenAPI wants them.
fn complete(name: &str, schema: &mut Value, group: &str, version: &str) {
    if let Some(message) = Message::named(name) {
        for (property, schema) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            if let (Some(field), Some(schema)) = (message.field(property), schema.as_object_mut()) {
                add_merge_rules(field, schema);
            }
        }
        let kinds = kinds_of(message, group, version);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
        }
        if message.atomic {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
    }
    if let Some(form) = special_form(name) {
        schema.as_object_mut().into_iter().for_each(|schema| schema.extend(form.clone()));
    }
    wrap_references(schema);
}

fn add_merge_rules(field: &Field, schema: &mut Map<String, Value>) {
    let mut add = |name: &str, value: Value| schema.insert(format!("x-kubernetes-{name}"), value);
    let strategies = [
        (field.strategy.merge, "merge"),
        (field.strategy.replace, "replace"),
        (field.strategy.retain_keys, "retainKeys"),
    ];
    let strategies: Vec<&str> = strategies.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    if !strategies.is_empty() {
        add("patch-strategy", strategies.join(",").into());
    }
    if let Some(key) = &field.merge_key {
        add("patch-merge-key", json!(key));
    }
    match (field.shape, field.list) {
        (Shape::List, ListType::Map) => {
            add("list-type", json!("map"));
            add("list-map-keys", json!(field.keys));
        }
        (Shape::List, ListType::Set) => {
            add("list-type", json!("set"));
        }
        (Shape::List, ListType::Atomic) => {
            add("list-type", json!("atomic"));
        }
        (Shape::Map | Shape::Single, _) if field.atomic => {
            add("map-type", json!("atomic"));
        }
        _ => {}
    }
}

/// Which kinds of this group version have the message.
fn kinds_of(message: &Message, group: &str, version: &str) -> Vec<Value> {
    let api_version = Gvk::new(group, version, "").api_version();
    let own = message.kinds.iter().filter_map(|kind| kind.strip_prefix(&api_version)?.strip_prefix('/'));
    let mut kinds: Vec<Value> = own.map(|kind| json!({ "group": group, "version": version, "kind": kind })).collect();
    let is_elsewhere = kinds.is_empty() && !message.kinds.is_empty();
    if is_elsewhere && let Some((api_version, kind)) = message.kinds.first().and_then(|kind| kind.rsplit_once('/')) {
        let other = Gvk::parse(api_version, kind);
        kinds.push(json!({ "group": other.group, "version": other.version, "kind": other.kind }));
    }
    kinds
}

/// The types with a JSON form that no single type word tells.
fn special_form(name: &str) -> Option<Map<String, Value>> {
    let form = match name.rsplit('.').next()? {
        "Quantity" => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        "IntOrString" => json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
        _ => return None,
    };
    form.as_object().cloned()
}

/// In OpenAPI 3.0 nothing may stand beside a `$ref`; what does goes around it.
fn wrap_references(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.len() > 1
                && let Some(target) = members.shift_remove("$ref")
            {
                members.insert("allOf".into(), json!([{ "$ref": target }]));
            }
            members.values_mut().for_each(wrap_references);
        }
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        _ => {}
    }
}

/// The list of a kind, given the name of its schema and its own.
pub(super) fn list_of((schema, kind): (&str, &str), group: &str, version: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string", "description": "The version of the list's schema." },
            "kind": { "type": "string", "description": "The kind of the list." },
            "metadata": reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
            "items": { "type": "array", "items": reference(schema), "description": "The objects." },
        },
        "x-kubernetes-group-version-kind": [{ "group": group, "version": version, "kind": format!("{kind}List") }],
    })
}
