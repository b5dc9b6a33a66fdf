//! The DNS server.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use apiserver::client::{CONFIG_MAPS, EVENTS, ListOptions, SERVICES};
use datapath::testing::{isolated, wait_for};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

use crate::world::{DEADLINE, Process, Reach, World, page};

const SHOP: &str = "shop.default.svc.cluster.local.";

/// The addresses a name has.
fn look_up(name: &str) -> Option<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    socket.send_to(&query.to_vec().unwrap(), SocketAddr::from(([127, 0, 0, 1], 53))).ok()?;
    let mut packet = [0; 4096];
    let len = socket.recv(&mut packet).ok()?;
    let answer = Message::from_vec(&packet[..len]).unwrap();
    Some(answer.answers.iter().map(|record| record.data.to_string()).collect())
}

/// Writes a Corefile, as a new file in place of the old one; says where.
fn write_corefile(world: &World, more: &str) -> String {
    let path = world.directory.path().join("Corefile");
    let text = format!(
        ".:53 {{\n bind 127.0.0.1\n errors\n health\n ready\n prometheus :9153\n kubernetes cluster.local\n reload 2s\n \
         {more}\n}}\n"
    );
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, &path).unwrap();
    path.display().to_string()
}

/// The server, once it knows the cluster's names.
fn spawn_ready(world: &World) -> Process {
    let dns = world.spawn("dns", &["--conf", &write_corefile(world, "")]);
    wait_until_ready();
    dns
}

fn wait_until_ready() {
    wait_for("the server to be ready", DEADLINE, || page("127.0.0.1:8181", "/ready").filter(|(code, _)| *code == 200));
}

fn wait_for_addresses(name: &str, addresses: &[&str]) {
    wait_for(name, DEADLINE, || look_up(name).filter(|found| found == addresses));
}

#[test]
fn names_follow_the_services_of_the_cluster() {
    isolated(|| {
        let world = World::start();
        let _dns = spawn_ready(&world);
        // Every cluster has this Service.
        assert_eq!(look_up("kubernetes.default.svc.cluster.local.").unwrap(), ["10.96.0.1"]);
        assert!(look_up(SHOP).unwrap().is_empty());
        world.create_service("shop", "10.96.0.50", "TCP");
        wait_for_addresses(SHOP, &["10.96.0.50"]);
        world.delete(&SERVICES, "default", "shop");
        wait_for_addresses(SHOP, &[]);
        let (code, metrics) = page("127.0.0.1:9153", "/metrics").unwrap();
        assert_eq!(code, 200);
        assert!(metrics.contains("coredns_dns_requests_total{server=\"dns://127.0.0.1:53\""), "{metrics}");
        assert_eq!(page("127.0.0.1:8080", "/health"), Some((200, "OK".into())));
    });
}

#[test]
fn names_stay_while_the_api_server_is_away_and_what_was_deleted_meanwhile_goes() {
    isolated(|| {
        let mut world = World::start();
        world.create_service("shop", "10.96.0.50", "TCP");
        let _dns = spawn_ready(&world);
        wait_for_addresses(SHOP, &["10.96.0.50"]);
        world.stop_server();
        world.start_server(Reach::Test);
        world.delete(&SERVICES, "default", "shop");
        world.create_service("cart", "10.96.0.51", "TCP");
        assert_eq!(look_up(SHOP).unwrap(), ["10.96.0.50"], "as it was last seen");
        world.stop_server();
        world.start_server(Reach::Everybody);
        wait_for_addresses(SHOP, &[]);
        wait_for_addresses("cart.default.svc.cluster.local.", &["10.96.0.51"]);
    });
}

#[test]
fn a_pod_finds_the_api_server_by_its_environment_and_service_account() {
    isolated(|| {
        let world = World::start();
        let _dns = world.spawn_in_pod("dns", &["--conf", &write_corefile(&world, "")]);
        wait_until_ready();
        assert_eq!(look_up("kubernetes.default.svc.cluster.local.").unwrap(), ["10.96.0.1"]);
    });
}

#[test]
fn a_changed_corefile_takes_effect_and_a_broken_one_does_not() {
    isolated(|| {
        let world = World::start();
        world.create(&CONFIG_MAPS, "kube-system", &json!({ "metadata": { "name": "coredns" } }));
        let conf = write_corefile(&world, "");
        let _dns = world.spawn("dns", &["--conf", &conf, "--config-map", "kube-system/coredns"]);
        wait_until_ready();
        let names = |address: &str| format!("hosts /nowhere {{\n {address} gate.test\n }}");
        write_corefile(&world, &names("192.0.2.1"));
        wait_for_addresses("gate.test.", &["192.0.2.1"]);
        write_corefile(&world, "kubernets cluster.local");
        let refusal = || {
            let all = ListOptions::default();
            let events = world.runtime.block_on(world.client.list(&EVENTS, "kube-system", &all)).ok()?.items;
            events.into_iter().find(|event| event["involvedObject"]["name"] == "coredns")
        };
        let event = wait_for("the refusal to be told", DEADLINE, refusal);
        let message = event["message"].as_str().unwrap();
        assert!(message.ends_with("Corefile:9: kubernets: no such directive; did you mean kubernetes?"), "{message}");
        assert_eq!(look_up("gate.test.").unwrap(), ["192.0.2.1"], "as it was before");
        write_corefile(&world, &names("192.0.2.2"));
        wait_for_addresses("gate.test.", &["192.0.2.2"]);
    });
}

#[test]
fn a_server_that_begins_with_a_broken_corefile_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Corefile");
    std::fs::write(&path, ".:53 {\n frobnicate\n}\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fairway")).arg("dns").arg("--conf").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains(&format!("{}:2: frobnicate: no such directive", path.display())), "{said}");
}
