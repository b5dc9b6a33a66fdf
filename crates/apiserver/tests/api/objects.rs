//! Objects made, read and replaced.

use serde_json::{Value, json};

use crate::support::{Ask, CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment, pod};

#[tokio::test]
async fn a_new_object_gets_an_identity_a_time_and_a_revision() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, &config_map("a", json!({ "k": "v" }))).await;
    let metadata = &created["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.body, created);
}

#[tokio::test]
async fn refusals_are_in_the_words_of_kubernetes() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    let again = cluster.post(CONFIG_MAPS, &config_map("a", json!({}))).await;
    assert_eq!(again.refusal(), (409, "configmaps \"a\" already exists"));
    assert_eq!(again.body["reason"], "AlreadyExists");
    let missing = cluster.get(&format!("{DEPLOYMENTS}/nope")).await;
    assert_eq!(missing.refusal(), (404, "deployments.apps \"nope\" not found"));
    let nowhere = cluster.get("/apis/example.com/v1/things").await;
    assert_eq!(nowhere.refusal(), (404, "the server could not find the requested resource"));
    let elsewhere = cluster.post("/api/v1/namespaces/nope/configmaps", &config_map("a", json!({}))).await;
    assert_eq!(elsewhere.refusal(), (404, "namespaces \"nope\" not found"));
    let method = cluster.ask(Ask::new("PUT", CONFIG_MAPS).json(&json!({}))).await;
    assert_eq!(method.refusal(), (405, "the server does not allow this method on the requested resource"));
}

#[tokio::test]
async fn a_generated_name_is_new_every_time() {
    let cluster = Cluster::start().await;
    let mut object = config_map("", json!({}));
    object["metadata"] = json!({ "generateName": "job-" });
    let (one, other) = (cluster.create(CONFIG_MAPS, &object).await, cluster.create(CONFIG_MAPS, &object).await);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert_ne!(name(&one), name(&other));
    assert!(name(&one).starts_with("job-") && name(&one).len() == 9, "{}", name(&one));
}

#[tokio::test]
async fn an_object_must_be_what_and_where_its_path_says() {
    let cluster = Cluster::start().await;
    let mut elsewhere = config_map("a", json!({}));
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    assert_eq!(
        cluster.post(CONFIG_MAPS, &elsewhere).await.refusal(),
        (400, "the namespace of the provided object does not match the namespace sent on the request")
    );
    let kind = cluster.post(CONFIG_MAPS, &pod("a")).await;
    assert_eq!(kind.refusal(), (400, "Pod in version \"v1\" cannot be handled as a ConfigMap"));
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    let renamed = cluster.put(&format!("{CONFIG_MAPS}/a"), &config_map("b", json!({}))).await;
    assert_eq!(renamed.refusal(), (400, "the name of the object (b) does not match the name on the URL (a)"));
}

#[tokio::test]
async fn a_stale_replacement_conflicts_and_one_without_revision_does_not() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let first = cluster.create(CONFIG_MAPS, &config_map("a", json!({ "k": "1" }))).await;
    let mut second = first.clone();
    second["data"]["k"] = json!("2");
    assert_eq!(cluster.put(&path, &second).await.code, 200);
    second["data"]["k"] = json!("3");
    let stale = cluster.put(&path, &second).await;
    assert_eq!(stale.code, 409);
    assert!(
        stale.body["message"]
            .as_str()
            .unwrap()
            .ends_with("please apply your changes to the latest version and try again")
    );
    let blind = cluster.put(&path, &config_map("a", json!({ "k": "4" }))).await;
    assert_eq!((blind.code, &blind.body["data"]["k"]), (200, &json!("4")));
    assert_eq!(blind.body["metadata"]["uid"], first["metadata"]["uid"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_revision() {
    let cluster = Cluster::start().await;
    let created = cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let again = cluster.put(&format!("{DEPLOYMENTS}/a"), &created).await;
    assert_eq!(again.body["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn unknown_fields_are_an_error_a_warning_or_dropped_as_asked_for() {
    let cluster = Cluster::start().await;
    let mut object = deployment("a", 1);
    object["spec"]["foo"] = json!(1);
    let strict = cluster.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &object).await;
    let expected = "Deployment in version \"v1\" cannot be handled as a Deployment: \
                    strict decoding error: unknown field \"spec.foo\"";
    assert_eq!(strict.refusal(), (400, expected));
    let warned = cluster.post(DEPLOYMENTS, &object).await;
    assert_eq!(warned.warnings(), [r#"299 - "unknown field \"spec.foo\"""#]);
    assert_eq!(warned.body["spec"]["foo"], Value::Null);
    let ignored = cluster.put(&format!("{DEPLOYMENTS}/a?fieldValidation=Ignore"), &object).await;
    assert_eq!((ignored.code, ignored.warnings().len()), (200, 0));
}

#[tokio::test]
async fn a_dry_run_goes_all_the_way_and_stores_nothing() {
    let cluster = Cluster::start().await;
    let revision = cluster.get("/api/v1/configmaps?limit=1").await.body["metadata"]["resourceVersion"].clone();
    let created = cluster.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("a", 1)).await;
    assert_eq!((created.code, &created.body["spec"]["strategy"]["type"]), (201, &json!("RollingUpdate")));
    assert_eq!(created.body["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(cluster.get(&format!("{DEPLOYMENTS}/a")).await.code, 404);
    let list = cluster.get("/api/v1/configmaps?limit=1").await;
    assert_eq!(list.body["metadata"]["resourceVersion"], revision);
    cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let deleted = cluster.delete(&format!("{DEPLOYMENTS}/a?dryRun=All")).await;
    assert_eq!(deleted.code, 200);
    assert_eq!(cluster.get(&format!("{DEPLOYMENTS}/a")).await.code, 200);
}

#[tokio::test]
async fn a_status_write_touches_the_status_and_an_ordinary_one_does_not() {
    let cluster = Cluster::start().await;
    let mut object = cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    object["spec"]["replicas"] = json!(7);
    object["status"] = json!({ "replicas": 7 });
    let written = cluster.put(&format!("{DEPLOYMENTS}/a/status"), &object).await.body;
    assert_eq!((&written["spec"]["replicas"], &written["status"]["replicas"]), (&json!(1), &json!(7)));
    assert_eq!(written["metadata"]["generation"], 1);
    object["metadata"]["resourceVersion"] = json!("");
    object["status"] = json!({ "replicas": 9 });
    let written = cluster.put(&format!("{DEPLOYMENTS}/a"), &object).await.body;
    assert_eq!((&written["spec"]["replicas"], &written["status"]["replicas"]), (&json!(7), &json!(7)));
    assert_eq!(written["metadata"]["generation"], 2);
}

#[tokio::test]
async fn the_scale_of_a_deployment_is_read_and_written_by_itself() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let path = format!("{DEPLOYMENTS}/a/scale");
    let scale = cluster.get(&path).await.body;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"], &scale["status"]["selector"]), (&json!({ "replicas": 1 }), &json!("app=a")));
    let patched = cluster.patch("merge-patch", &path, &json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!((patched.code, &patched.body["spec"]["replicas"]), (200, &json!(3)));
    let written = cluster.get(&format!("{DEPLOYMENTS}/a")).await.body;
    assert_eq!((&written["spec"]["replicas"], &written["metadata"]["generation"]), (&json!(3), &json!(2)));
    let stale = cluster.put(&path, &scale).await;
    assert_eq!(stale.code, 409);
    let negative = cluster.patch("merge-patch", &path, &json!({ "spec": { "replicas": -1 } })).await;
    assert_eq!(negative.code, 422);
}

#[tokio::test]
async fn a_broken_rule_names_its_field() {
    let cluster = Cluster::start().await;
    let mut object = pod("a");
    object["spec"]["containers"] = json!([]);
    let refused = cluster.post(PODS, &object).await;
    assert_eq!(refused.refusal(), (422, "Pod \"a\" is invalid: spec.containers: Required value"));
    assert_eq!(refused.body["details"]["causes"][0]["field"], "spec.containers");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let cluster = Cluster::start().await;
    let large = config_map("a", json!({ "k": "x".repeat(4 << 20) }));
    let refused = cluster.post(CONFIG_MAPS, &large).await;
    assert_eq!(refused.refusal(), (413, "Request entity too large: limit is 3145728"));
}

#[tokio::test]
async fn rubbish_is_a_bad_request() {
    let cluster = Cluster::start().await;
    for body in ["", "{", "[]", "null", "\"a\""] {
        let ask = Ask { body: body.into(), ..Ask::new("POST", CONFIG_MAPS) };
        assert_eq!(cluster.ask(ask).await.code, 400, "{body}");
    }
    let ask = Ask::new("POST", CONFIG_MAPS).header("content-type", "text/csv");
    assert_eq!(cluster.ask(ask).await.code, 415);
    assert_eq!(cluster.ask(Ask::new("GET", CONFIG_MAPS).header("accept", "text/csv")).await.code, 406);
}
