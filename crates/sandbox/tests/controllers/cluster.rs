//! A cluster in this process: the real API server and the real controllers, and nodes that only say that pods run.

use std::{net::SocketAddr, os::unix::net::UnixListener, path::PathBuf, sync::Arc, time::Duration};

use apiserver::{
    Config, Durability, Limits, NoNodes, Running, Server, TokenKey, Version,
    client::{Client, Event, Gvr, LEASES, ListOptions, NODES, PODS, Patch, object},
};
use apiserver::{Listener, client::DeleteOptions};
use jiff::Timestamp;
use sandbox::controllers::{self, Pool};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Far longer than anything here takes on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(300);

pub struct Cluster {
    pub client: Client,
    directory: TempDir,
    token_key: String,
    server: Option<Running>,
    controllers: Option<(CancellationToken, JoinHandle<()>)>,
    nodes: Option<AbortOnDropHandle<()>>,
}

impl Cluster {
    /// An API server without anything else.
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let client = Client::unix(directory.path().join("api.sock"));
        let token_key = TokenKey::generate().unwrap().to_pem();
        let mut cluster = Self { client, directory, token_key, server: None, controllers: None, nodes: None };
        cluster.start_server().await;
        cluster
    }

    /// A cluster with controllers and so many nodes.
    pub async fn with_nodes(count: usize) -> Self {
        let mut cluster = Self::start().await;
        cluster.start_controllers();
        for number in 1..=count {
            cluster.add_node(&format!("node{number}")).await;
        }
        cluster.run_pods();
        cluster
    }

    pub async fn start_server(&mut self) {
        let socket = self.socket();
        let _ = std::fs::remove_file(&socket);
        let config = Config {
            database: self.directory.path().join("objects.redb"),
            durability: Durability::Process,
            listeners: vec![Listener::Unix(UnixListener::bind(&socket).unwrap())],
            token_key: TokenKey::from_pem(&self.token_key).unwrap(),
            authority_pem: "certificate".to_owned(),
            advertise: SocketAddr::from(([10, 89, 0, 254], 6443)),
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            nodes: Arc::new(NoNodes),
            version: Version { git_version: "v1.36.0+test".to_owned() },
            clock: Arc::new(Timestamp::now),
            limits: Limits::default(),
        };
        self.server = Some(Server::start(config).await.unwrap());
    }

    pub async fn stop_server(&mut self) {
        self.server.take().unwrap().stop().await;
    }

    pub fn start_controllers(&mut self) {
        let cancel = CancellationToken::new();
        let config = controllers::Config {
            socket: self.socket(),
            pod_networks: vec![Pool { network: "10.244.0.0/16".parse().unwrap(), node_prefix: 24 }],
            ca_certificate: "certificate".to_owned(),
        };
        let task = tokio::spawn(controllers::run(config, cancel.clone()));
        self.controllers = Some((cancel, task));
    }

    pub async fn stop_controllers(&mut self) {
        let (cancel, task) = self.controllers.take().unwrap();
        cancel.cancel();
        task.await.unwrap();
    }

    pub fn revision(&self) -> u64 {
        self.server.as_ref().unwrap().revision()
    }

    pub async fn add_node(&self, name: &str) {
        let labels = json!({"kubernetes.io/hostname": name});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
        self.client.create(&NODES, "", &node).await.unwrap();
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": "110"},
        }});
        self.client.patch_status(&NODES, "", name, &Patch::Merge(status)).await.unwrap();
        let lease =
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}});
        self.client.create(&LEASES, "kube-node-lease", &lease).await.unwrap();
    }

    /// Does the kubelets' job in a word: bound pods run, ending pods end, unless they are held by a finalizer.
    pub fn run_pods(&mut self) {
        let client = self.client.clone();
        let work = async move {
            let mut watch = client.watch(&PODS, "", ListOptions::default());
            let mut number = 0_u32;
            loop {
                let pods = match watch.next().await {
                    Event::Restarted(pods) => pods,
                    Event::Applied(pod) => vec![pod],
                    Event::Deleted(_) => continue,
                };
                for pod in pods {
                    number += 1;
                    look_after(&client, &pod, number).await;
                }
            }
        };
        self.nodes = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// Creates an object from what matters about it.
    pub async fn create(&self, gvr: &Gvr, namespace: &str, name: &str, content: &Value) -> Value {
        let mut object = json!({
            "apiVersion": gvr.api_version(), "kind": gvr.kind, "metadata": {"name": name},
        });
        for (key, value) in content.as_object().unwrap() {
            match key.as_str() {
                "metadata" => object["metadata"].as_object_mut().unwrap().extend(value.as_object().unwrap().clone()),
                _ => object[key] = value.clone(),
            }
        }
        self.client.create(gvr, namespace, &object).await.unwrap()
    }

    pub async fn merge(&self, gvr: &Gvr, namespace: &str, name: &str, patch: Value) {
        self.client.patch(gvr, namespace, name, &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn list(&self, gvr: &Gvr, namespace: &str) -> Vec<Value> {
        self.client.list(gvr, namespace, &ListOptions::default()).await.unwrap().items
    }

    pub async fn pods(&self, labels: &str) -> Vec<Value> {
        self.client.list(&PODS, "default", &ListOptions::labels(labels)).await.unwrap().items
    }

    /// Waits until the object of that name is as wanted.
    pub async fn until(&self, gvr: &Gvr, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let select = ListOptions::fields(&format!("metadata.name={name}"));
        let found = self.until_all(gvr, namespace, select, |found| found.first().is_some_and(&wanted)).await;
        found[0].clone()
    }

    /// Waits until the objects of a kind are as wanted.
    pub async fn until_all(
        &self,
        gvr: &Gvr,
        namespace: &str,
        select: ListOptions,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut watch = self.client.watch(gvr, namespace, select.clone());
        let waiting = async {
            loop {
                watch.next().await;
                // The list is simpler than keeping count, and these lists are short.
                if let Ok(list) = self.client.list(gvr, namespace, &select).await
                    && wanted(&list.items)
                {
                    return list.items;
                }
            }
        };
        if let Ok(found) = tokio::time::timeout(DEADLINE, waiting).await {
            return found;
        }
        let last = self.client.list(gvr, namespace, &select).await;
        panic!("{} in {namespace:?} are not as wanted: {last:#?}", gvr.plural)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }
}

async fn look_after(client: &Client, pod: &Value, number: u32) {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let is_held = pod["metadata"]["finalizers"].is_array() && pod["metadata"]["deletionGracePeriodSeconds"] == 0;
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if !is_held {
            let options = DeleteOptions::now().with_uid(object::uid(pod));
            let _ = client.delete(&PODS, namespace, name, &options).await;
        }
    } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == "Pending" {
        let ready = pod["metadata"]["labels"]["ready"] != "no";
        let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"status": {
            "phase": "Running", "podIP": format!("10.244.{}.{}", number / 250, number % 250 + 1), "conditions": [condition],
        }});
        let _ = client.patch_status(&PODS, namespace, name, &Patch::Merge(status)).await;
    }
}

/// A Deployment, ReplicaSet, DaemonSet or StatefulSet of one container.
pub fn workload(app: &str, spec: &Value) -> Value {
    let mut content = json!({"spec": {
        "selector": {"matchLabels": {"app": app}},
        "template": {
            "metadata": {"labels": {"app": app}},
            "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"name": "http", "containerPort": 80}]}]},
        },
    }});
    content["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    content
}

pub fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(object::name).collect()
}

pub fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
