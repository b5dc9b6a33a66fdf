//! Logs and exec, passed on to a node.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{Ask, Cluster, DEADLINE, PODS, pod};

/// A node that answers one request with these bytes and then echoes, and returns what it was asked.
async fn node(cluster: &Cluster, answer: &'static str) -> tokio::task::JoinHandle<String> {
    let directory = cluster.directory.path().join("nodes/node1");
    std::fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("kubelet.sock")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        request
    })
}

/// Everything up to the empty line.
async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn running_pod(cluster: &Cluster) {
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("node1");
    cluster.create(PODS, &object).await;
}

#[tokio::test]
async fn logs_come_from_the_node_of_the_pod() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let node = node(&cluster, answer).await;
    let log = cluster.get(&format!("{PODS}/p/log?tailLines=1")).await;
    assert_eq!((log.code, log.text.as_str()), (200, "hello"));
    let asked = node.await.unwrap();
    assert!(asked.starts_with("GET /containerLogs/default/p/c?tailLines=1 HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn a_nodes_refusal_is_a_status() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\nconnection: close\r\n\r\nwaiting";
    let _node = node(&cluster, answer).await;
    assert_eq!(cluster.get(&format!("{PODS}/p/log")).await.refusal(), (400, "waiting"));
}

#[tokio::test]
async fn exec_joins_client_and_node() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
    let node = node(&cluster, answer).await;
    let mut client = UnixStream::connect(cluster.socket()).await.unwrap();
    let request = format!(
        "GET {PODS}/p/exec?command=ls&stdout=true HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-protocol: v5.channel.k8s.io\r\n"), "{head}");
    client.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    tokio::time::timeout(DEADLINE, client.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(&echo, b"ping");
    drop(client);
    let asked = tokio::time::timeout(DEADLINE, node).await.unwrap().unwrap();
    assert!(asked.starts_with("GET /exec/default/p/c?command=ls&stdout=true HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn who_asks_over_spdy_is_told_what_is_wrong_with_the_pod_first() {
    let cluster = Cluster::start().await;
    let over_spdy = || {
        let ask = Ask::new("POST", &format!("{PODS}/p/exec?command=ls")).header("upgrade", "SPDY/3.1");
        cluster.ask(ask.header("connection", "Upgrade"))
    };
    cluster.create(PODS, &pod("p")).await;
    assert_eq!(over_spdy().await.refusal(), (400, "pod p does not have a host assigned"));
    cluster.delete(&format!("{PODS}/p")).await;
    running_pod(&cluster).await;
    let waiting = "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nconnection: close\r\n\r\nwaiting";
    let _node = node(&cluster, waiting).await;
    assert_eq!(over_spdy().await.refusal(), (400, "waiting"));
}

#[tokio::test]
async fn who_asks_a_running_container_over_spdy_is_told_what_would_do() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    let not_upgraded = "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\nconnection: close\r\n\r\nupgrade";
    let _node = node(&cluster, not_upgraded).await;
    let ask = Ask::new("POST", &format!("{PODS}/p/exec?command=ls")).header("upgrade", "SPDY/3.1");
    let refused = cluster.ask(ask.header("connection", "Upgrade")).await;
    assert_eq!(refused.code, 400);
    assert!(refused.body["message"].as_str().unwrap().contains("WebSocket"), "{:?}", refused.body);
}

#[tokio::test]
async fn what_cannot_be_streamed_is_said_in_a_status() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, &pod("p")).await;
    let unscheduled = cluster.get(&format!("{PODS}/p/log")).await;
    assert_eq!(unscheduled.refusal(), (400, "pod p does not have a host assigned"));
    let missing = cluster.get(&format!("{PODS}/nope/log")).await;
    assert_eq!(missing.refusal(), (404, "pods \"nope\" not found"));
    let mut lost = pod("q");
    lost["spec"]["nodeName"] = json!("away");
    cluster.create(PODS, &lost).await;
    assert_eq!(cluster.get(&format!("{PODS}/q/log")).await.code, 500);
}
