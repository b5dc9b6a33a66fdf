//! The DNS server.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use apiserver::client::{DeleteOptions, SERVICES};
use datapath::testing::{isolated, wait_for};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

use crate::world::{DEADLINE, World, page};

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

#[test]
fn names_follow_the_services_of_the_cluster() {
    isolated(|| {
        let world = World::start();
        let _dns = world.spawn("dns", &["--listen", "127.0.0.1:53", "--lameduck", "0"]);
        wait_for("the server to be ready", DEADLINE, || {
            page("127.0.0.1:8181", "/ready").filter(|(code, _)| *code == 200)
        });
        // Every cluster has this Service.
        assert_eq!(look_up("kubernetes.default.svc.cluster.local.").unwrap(), ["10.96.0.1"]);
        assert!(look_up("shop.default.svc.cluster.local.").unwrap().is_empty());
        world.create_service("shop", "10.96.0.50", "TCP");
        wait_for("the new name", DEADLINE, || {
            look_up("shop.default.svc.cluster.local.").filter(|addresses| *addresses == ["10.96.0.50"])
        });
        let now = DeleteOptions::now();
        world.runtime.block_on(world.client.delete(&SERVICES, "default", "shop", &now)).unwrap();
        wait_for("the name to go", DEADLINE, || look_up("shop.default.svc.cluster.local.").filter(Vec::is_empty));
        let (code, metrics) = page("127.0.0.1:9153", "/metrics").unwrap();
        assert_eq!(code, 200);
        assert!(metrics.contains("coredns_dns_requests_total{server=\"dns://:53\""), "{metrics}");
        assert_eq!(page("127.0.0.1:8080", "/health"), Some((200, "OK".into())));
    });
}
