//! Deployments, DaemonSets and StatefulSets from the wish to the pods.

use std::collections::{BTreeMap, BTreeSet};

use apiserver::client::{
    DAEMON_SETS, DEPLOYMENTS, DeleteOptions, EVENTS, Event, ListOptions, NODES, PODS, Propagation, REPLICA_SETS,
    STATEFUL_SETS,
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, count, names, workload};

fn is_rolled_out(deployment: &Value, replicas: u64) -> bool {
    let status = &deployment["status"];
    ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| count(&status[*field]) == replicas)
        && status["observedGeneration"] == deployment["metadata"]["generation"]
}

fn has_condition(object: &Value, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|known| known["type"] == kind && known["status"] == status && known["reason"] == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_replicas_are_spread_evenly_over_three_nodes() {
    let cluster = Cluster::with_nodes(3).await;
    cluster.create(&DEPLOYMENTS, "default", "web", &workload("web", &json!({"replicas": 50}))).await;
    cluster.until(&DEPLOYMENTS, "default", "web", |found| is_rolled_out(found, 50)).await;
    let pods = cluster.pods("app=web").await;
    let mut per_node = BTreeMap::<&str, usize>::new();
    for pod in &pods {
        *per_node.entry(pod["spec"]["nodeName"].as_str().unwrap()).or_default() += 1;
    }
    let mut shares: Vec<_> = per_node.into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [16, 17, 17]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_replaces_every_pod_and_never_falls_below_its_minimum() {
    let cluster = Cluster::with_nodes(2).await;
    let strategy = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    let web = workload("web", &json!({"replicas": 4, "strategy": strategy}));
    cluster.create(&DEPLOYMENTS, "default", "web", &web).await;
    cluster.until(&DEPLOYMENTS, "default", "web", |found| is_rolled_out(found, 4)).await;
    let before: BTreeSet<String> = names(&cluster.pods("app=web").await).into_iter().map(str::to_owned).collect();

    let mut watch = cluster.client.watch(&DEPLOYMENTS, "default", ListOptions::default());
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    cluster.merge(&DEPLOYMENTS, "default", "web", image).await;
    let mut lowest = u64::MAX;
    loop {
        if let Event::Applied(found) = watch.next().await {
            lowest = lowest.min(count(&found["status"]["availableReplicas"]));
            if is_rolled_out(&found, 4) && has_condition(&found, "Progressing", "True", "NewReplicaSetAvailable") {
                assert_eq!(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
                break;
            }
        }
    }
    assert!(lowest >= 3, "only {lowest} of 4 pods were available at some time");
    let after = cluster.until_all(&PODS, "default", ListOptions::labels("app=web"), |pods| pods.len() == 4).await;
    assert!(names(&after).iter().all(|name| !before.contains(*name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_down_and_back_to_nothing_leaves_no_pod() {
    let cluster = Cluster::with_nodes(1).await;
    cluster.create(&DEPLOYMENTS, "default", "web", &workload("web", &json!({"replicas": 5}))).await;
    cluster.until(&DEPLOYMENTS, "default", "web", |found| is_rolled_out(found, 5)).await;
    for replicas in [2, 0] {
        cluster.client.scale(&DEPLOYMENTS, "default", "web", replicas).await.unwrap();
        let wanted = usize::try_from(replicas).unwrap();
        cluster.until_all(&PODS, "default", ListOptions::labels("app=web"), |pods| pods.len() == wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_adopts_the_replica_set_its_predecessor_left_behind() {
    let cluster = Cluster::with_nodes(1).await;
    let web = workload("web", &json!({"replicas": 2}));
    cluster.create(&DEPLOYMENTS, "default", "web", &web).await;
    cluster.until(&DEPLOYMENTS, "default", "web", |found| is_rolled_out(found, 2)).await;
    let orphan = DeleteOptions::propagation(Propagation::Orphan);
    cluster.client.delete(&DEPLOYMENTS, "default", "web", &orphan).await.unwrap();
    cluster.until_all(&DEPLOYMENTS, "default", ListOptions::default(), <[Value]>::is_empty).await;
    let sets = cluster.list(&REPLICA_SETS, "default").await;
    assert_eq!(sets[0]["metadata"]["ownerReferences"], Value::Null);
    let pods = names(&cluster.pods("app=web").await).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((sets.len(), pods.len()), (1, 2));

    cluster.create(&DEPLOYMENTS, "default", "web", &web).await;
    cluster.until(&DEPLOYMENTS, "default", "web", |found| is_rolled_out(found, 2)).await;
    assert_eq!(names(&cluster.list(&REPLICA_SETS, "default").await), names(&sets));
    assert_eq!(names(&cluster.pods("app=web").await), pods);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_runs_on_every_node_and_on_those_that_come_later() {
    let cluster = Cluster::with_nodes(2).await;
    cluster.create(&DAEMON_SETS, "default", "agent", &workload("agent", &json!({}))).await;
    cluster.until(&DAEMON_SETS, "default", "agent", |found| found["status"]["numberAvailable"] == 2).await;
    cluster.add_node("node3").await;
    let found = cluster.until(&DAEMON_SETS, "default", "agent", |found| found["status"]["numberAvailable"] == 3).await;
    assert_eq!(found["status"]["desiredNumberScheduled"], 3);
    let pods = cluster.pods("app=agent").await;
    let nodes: BTreeSet<_> = pods.iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["node1", "node2", "node3"].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updated_daemon_replaces_its_pods_on_every_node() {
    let cluster = Cluster::with_nodes(3).await;
    cluster.create(&DAEMON_SETS, "default", "agent", &workload("agent", &json!({}))).await;
    cluster.until(&DAEMON_SETS, "default", "agent", |found| found["status"]["numberAvailable"] == 3).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    cluster.merge(&DAEMON_SETS, "default", "agent", image).await;
    cluster
        .until(&DAEMON_SETS, "default", "agent", |found| {
            let status = &found["status"];
            status["observedGeneration"] == 2 && status["updatedNumberScheduled"] == 3 && status["numberAvailable"] == 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_makes_its_pods_in_order_and_updates_them_backwards() {
    let cluster = Cluster::with_nodes(2).await;
    let mut watch = cluster.client.watch(&PODS, "default", ListOptions::labels("app=db"));
    assert_eq!(watch.next().await, Event::Restarted(vec![]));
    let mut seen = Vec::new();
    let spec = json!({"replicas": 3, "serviceName": "db"});
    cluster.create(&STATEFUL_SETS, "default", "db", &workload("db", &spec)).await;
    cluster.until(&STATEFUL_SETS, "default", "db", |found| found["status"]["availableReplicas"] == 3).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    cluster.merge(&STATEFUL_SETS, "default", "db", image).await;
    while seen.len() < 6 {
        if let Event::Applied(pod) = watch.next().await {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            if !seen.contains(&(name.clone(), image.clone())) {
                seen.push((name, image));
            }
        }
    }
    let order = ["db-0 nginx", "db-1 nginx", "db-2 nginx", "db-2 nginx:2", "db-1 nginx:2", "db-0 nginx:2"];
    assert_eq!(seen.iter().map(|(name, image)| format!("{name} {image}")).collect::<Vec<_>>(), order);
    cluster
        .until(&STATEFUL_SETS, "default", "db", |found| {
            let status = &found["status"];
            status["currentRevision"] == status["updateRevision"] && status["updatedReplicas"] == 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_no_node_takes_says_why_and_is_placed_once_one_does() {
    let cluster = Cluster::with_nodes(1).await;
    cluster.merge(&NODES, "", "node1", json!({"spec": {"unschedulable": true}})).await;
    cluster
        .until(&NODES, "", "node1", |node| node["spec"]["taints"][0]["key"] == "node.kubernetes.io/unschedulable")
        .await;
    let spec = json!({"spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    cluster.create(&PODS, "default", "lonely", &spec).await;
    let events = cluster
        .until_all(&EVENTS, "default", ListOptions::fields("reason=FailedScheduling"), |events| !events.is_empty())
        .await;
    let message = events[0]["message"].as_str().unwrap();
    assert!(message.starts_with("0/1 nodes are available: 1 node(s) were unschedulable. "), "{message}");
    let waiting = cluster.until(&PODS, "default", "lonely", |pod| pod["status"]["conditions"].is_array()).await;
    assert!(has_condition(&waiting, "PodScheduled", "False", "Unschedulable"));

    cluster.merge(&NODES, "", "node1", json!({"spec": {"unschedulable": false}})).await;
    cluster.until(&PODS, "default", "lonely", |pod| pod["spec"]["nodeName"] == "node1").await;
}
