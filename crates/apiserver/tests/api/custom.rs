//! CustomResourceDefinitions and the objects of their kinds.

use serde_json::{Value, json};

use crate::support::{Answer, Ask, Cluster, names};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn definition() -> Value {
    let schema = json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["size"],
                "properties": {
                    "size": { "type": "integer", "minimum": 0, "description": "How many parts there are." },
                    "mode": { "type": "string", "enum": ["fast", "safe"], "default": "safe" },
                    "parts": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": { "type": "object", "required": ["name"], "properties": {
                            "name": { "type": "string" }, "weight": { "type": "integer" } } } },
                    "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                },
            },
            "status": { "type": "object", "properties": {
                "size": { "type": "integer" }, "phase": { "type": "string" } } },
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"] },
            "versions": [
                { "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
                  "subresources": { "status": {}, "scale": {
                      "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size" } },
                  "additionalPrinterColumns": [
                      { "name": "Size", "type": "integer", "jsonPath": ".spec.size" },
                      { "name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1 } ] },
                { "name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                  "schema": { "openAPIV3Schema": schema }, "subresources": { "status": {} } },
            ],
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": name }, "spec": spec })
}

async fn with_widgets() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.create(DEFINITIONS, &definition()).await;
    cluster
}

fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let conditions = definition["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_definition_is_established_at_once_and_its_kind_discovered() {
    let cluster = Cluster::start().await;
    let before = cluster.get("/apis/example.com/v1").await;
    let created = cluster.create(DEFINITIONS, &definition()).await;
    assert_eq!((before.code, &condition(&created, "Established")["status"]), (404, &json!("True")));
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    let group = cluster.get("/apis/example.com").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"].as_array().unwrap().len(), 2);
    let resources = cluster.get("/apis/example.com/v1").await.body;
    let found: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));
}

#[tokio::test]
async fn a_wrong_definition_is_refused_with_the_field() {
    let cluster = Cluster::start().await;
    let mut wrong = definition();
    wrong["spec"]["versions"][0]["schema"] = json!({ "openAPIV3Schema": { "type": "array" } });
    let refused = cluster.post(DEFINITIONS, &wrong).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let causes: Vec<&str> = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    let schema = "spec.versions[0].schema.openAPIV3Schema";
    assert_eq!(causes, [format!("{schema}.items"), format!("{schema}.type")]);
}

#[tokio::test]
async fn objects_are_completed_pruned_and_checked_by_the_schema() {
    let cluster = with_widgets().await;
    let sent = widget("a", json!({ "size": 1, "unknown": true, "free": { "any": { "thing": 1 } } }));
    let created = cluster.create(WIDGETS, &sent).await;
    assert_eq!(created["spec"], json!({ "size": 1, "mode": "safe", "free": { "any": { "thing": 1 } } }));
    assert_eq!(created["metadata"]["generation"], 1);
    let refused = cluster.post(WIDGETS, &widget("b", json!({ "size": "big", "mode": "odd" }))).await;
    assert_eq!(
        refused.refusal(),
        (
            422,
            "Widget.example.com \"b\" is invalid: [spec.size: Invalid value: \"string\": spec.size in body must be of \
             type integer: \"string\", spec.mode: Unsupported value: \"odd\": supported values: \"fast\", \"safe\"]"
        )
    );
    let strict = cluster.post(&format!("{WIDGETS}?fieldValidation=Strict"), &sent).await;
    assert_eq!(strict.code, 400);
    assert!(strict.text.contains("unknown field \\\"spec.unknown\\\""), "{}", strict.text);
    assert_eq!(cluster.post(WIDGETS, &json!({ "metadata": { "name": "c" } })).await.code, 422);
}

#[tokio::test]
async fn objects_are_written_read_watched_and_deleted_like_any_others() {
    let cluster = with_widgets().await;
    let mut events = cluster.watch(&format!("{WIDGETS}?watch=true")).await;
    cluster.create(WIDGETS, &widget("a", json!({ "size": 1 }))).await;
    let path = format!("{WIDGETS}/a");
    let replaced = cluster.put(&path, &widget("a", json!({ "size": 2 }))).await;
    assert_eq!((replaced.code, &replaced.body["metadata"]["generation"]), (200, &json!(2)));
    let merged = cluster.patch("merge-patch", &path, &json!({ "spec": { "mode": "fast" } })).await.body;
    assert_eq!(merged["spec"], json!({ "size": 2, "mode": "fast" }));
    assert_eq!(cluster.patch("strategic-merge-patch", &path, &json!({})).await.code, 415);
    assert_eq!(names(&cluster.get("/apis/example.com/v1/widgets").await.body), ["a"]);
    assert_eq!(cluster.delete(&path).await.code, 200);
    let seen = [events.next_name().await.0, events.next_name().await.0, events.next_name().await.0];
    assert_eq!(seen, ["ADDED", "MODIFIED", "MODIFIED"]);
    assert_eq!(events.next_name().await, ("DELETED".into(), "a".into()));
}

#[tokio::test]
async fn server_side_apply_merges_lists_by_the_keys_of_the_schema() {
    let cluster = with_widgets().await;
    let path = |manager: &str| format!("{WIDGETS}/a?fieldManager={manager}");
    let with = |part: Value| widget("a", json!({ "size": 1, "parts": [part] }));
    let first = cluster.patch("apply-patch", &path("one"), &with(json!({ "name": "x", "weight": 1 }))).await;
    assert_eq!(first.code, 201, "{}", first.text);
    let second = cluster.patch("apply-patch", &path("two"), &with(json!({ "name": "y" }))).await;
    assert_eq!(second.code, 200, "{}", second.text);
    assert_eq!(second.body["spec"]["parts"], json!([{ "name": "x", "weight": 1 }, { "name": "y" }]));
    let taken = cluster.patch("apply-patch", &path("two"), &with(json!({ "name": "x", "weight": 2 }))).await;
    assert_eq!((taken.code, &taken.body["details"]["causes"][0]["reason"]), (409, &json!("FieldManagerConflict")));
}

#[tokio::test]
async fn status_and_scale_are_subresources_if_the_definition_says_so() {
    let cluster = with_widgets().await;
    let mut sent = widget("a", json!({ "size": 1 }));
    sent["status"] = json!({ "phase": "Mine" });
    assert_eq!(cluster.create(WIDGETS, &sent).await["status"], Value::Null);
    let path = format!("{WIDGETS}/a");
    let status = json!({ "spec": { "size": 9 }, "status": { "phase": "Ready", "size": 1 } });
    let written = cluster.patch("merge-patch", &format!("{path}/status"), &status).await.body;
    assert_eq!((&written["spec"]["size"], &written["status"]["phase"]), (&json!(1), &json!("Ready")));
    let scaled = cluster.patch("merge-patch", &format!("{path}/scale"), &json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!((&scaled.body["spec"]["replicas"], &scaled.body["status"]["replicas"]), (&json!(3), &json!(1)));
    assert_eq!(cluster.get(&path).await.body["spec"]["size"], 3);
}

#[tokio::test]
async fn tables_have_the_columns_of_the_definition() {
    let cluster = with_widgets().await;
    cluster.create(WIDGETS, &widget("a", json!({ "size": 7 }))).await;
    let table = cluster.ask(Ask::new("GET", WIDGETS).header("accept", TABLE)).await.body;
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Size", "Mode"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 7, "safe"]));
    let definitions = cluster.ask(Ask::new("GET", DEFINITIONS).header("accept", TABLE)).await.body;
    assert_eq!(definitions["rows"][0]["cells"][0], "widgets.example.com");
}

#[tokio::test]
async fn every_version_shows_the_same_objects_and_deprecated_ones_warn() {
    let cluster = with_widgets().await;
    cluster.create(WIDGETS, &widget("a", json!({ "size": 1 }))).await;
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let seen = cluster.get(&format!("{beta}/a")).await.body;
    assert_eq!((&seen["apiVersion"], &seen["spec"]["size"]), (&json!("example.com/v1beta1"), &json!(1)));
    let changed = cluster.patch("merge-patch", &format!("{beta}/a"), &json!({ "spec": { "size": 2 } })).await;
    assert_eq!(changed.warnings(), ["299 - \"example.com/v1beta1 Widget is deprecated\""]);
    assert_eq!(cluster.get(&format!("{WIDGETS}/a")).await.body["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn openapi_describes_the_kind_with_its_merge_keys() {
    let cluster = with_widgets().await;
    let index = cluster.get("/openapi/v3").await.body;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = cluster.get(url).await.body;
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["description"], "How many parts there are.");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let references = document.to_string();
    for part in references.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(patch["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == "fieldValidation"));
}

#[tokio::test]
async fn the_objects_end_with_their_definition() {
    let cluster = with_widgets().await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut held = widget("held", json!({ "size": 1 }));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(WIDGETS, &widget("a", json!({ "size": 1 }))).await;
    cluster.create(WIDGETS, &held).await;
    let deleted = cluster.delete(&path).await;
    assert_eq!(condition(&deleted.body, "Terminating")["status"], "True", "{}", deleted.text);
    assert_eq!(names(&cluster.get(WIDGETS).await.body), ["held"]);
    assert_eq!(cluster.post(WIDGETS, &widget("late", json!({ "size": 1 }))).await.code, 405);
    let released: Answer =
        cluster.patch("merge-patch", &format!("{WIDGETS}/held"), &json!({ "metadata": { "finalizers": null } })).await;
    assert_eq!(released.code, 200, "{}", released.text);
    assert_eq!((cluster.get(&path).await.code, cluster.get(WIDGETS).await.code), (404, 404));
    cluster.create(DEFINITIONS, &definition()).await;
    assert_eq!(names(&cluster.get(WIDGETS).await.body), [""; 0]);
}

#[tokio::test]
async fn a_name_that_is_taken_is_had_when_it_is_free() {
    let cluster = with_widgets().await;
    let mut other = definition();
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"] = json!({ "plural": "gadgets", "kind": "Widget" });
    let waiting = cluster.create(DEFINITIONS, &other).await;
    assert_eq!(condition(&waiting, "Established")["status"], "False");
    let gadgets = "/apis/example.com/v1/gadgets";
    assert_eq!(cluster.get(gadgets).await.code, 404);
    cluster.delete(&format!("{DEFINITIONS}/widgets.example.com")).await;
    assert_eq!(cluster.get(gadgets).await.code, 200);
}

#[tokio::test]
async fn kinds_and_objects_outlive_the_process() {
    let cluster = with_widgets().await;
    let created = cluster.create(WIDGETS, &widget("a", json!({ "size": 1 }))).await;
    let cluster = cluster.restart().await;
    assert_eq!(cluster.get(&format!("{WIDGETS}/a")).await.body, created);
}

#[tokio::test]
async fn a_dry_run_makes_no_kind() {
    let cluster = Cluster::start().await;
    let answer = cluster.post(&format!("{DEFINITIONS}?dryRun=All"), &definition()).await;
    assert_eq!(answer.code, 201);
    assert_eq!(cluster.get(WIDGETS).await.code, 404);
}
