//! What the server answers by itself, and what it does about its configuration.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::net::TcpListener;

use super::served::{CART, Served, Upstream, corefile, forwarding};
use super::support::{lines, query};
use crate::Zones;
use crate::io::Server;
use crate::tests::corefiles::read;

#[tokio::test]
async fn names_of_the_zone_are_answered_without_other_servers() {
    let served = Served::with_upstreams(&[]);
    let answer = served.ask(&query(CART, RecordType::A)).await;
    assert_eq!(lines(&answer.answers), ["cart.shop.svc.cluster.local. 5 A 10.96.7.7"]);
}

#[tokio::test]
async fn a_connection_carries_many_queries() {
    let upstream = Upstream::answering().await;
    let queries = [query(CART, RecordType::A), query("example.com.", RecordType::A), query(CART, RecordType::SRV)];
    let answers = Served::with_upstreams(&[&upstream]).ask_by_tcp(&queries).await;
    let ids = |messages: &[Message]| messages.iter().map(|message| message.metadata.id).collect::<Vec<_>>();
    assert_eq!(ids(&answers), ids(&queries));
    assert_eq!(lines(&answers[1].answers), ["example.com. 300 A 192.0.2.1"]);
}

#[tokio::test]
async fn a_packet_that_is_no_query_is_named_so() {
    let served = Served::with_upstreams(&[]);
    let mut broken = query(CART, RecordType::A);
    broken.queries.clear();
    assert_eq!(served.ask(&broken).await.metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn a_taken_address_is_refused_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = read(&corefile("")).unwrap();
    config.blocks[0].served[0].0 = taken.local_addr().unwrap();
    let error = Server::new(Zones::default()).apply(&config).unwrap_err();
    assert!(error.to_string().ends_with("over TCP; another server has it, stop that one or choose another port"));
}

#[tokio::test]
async fn a_new_configuration_takes_effect_and_loses_no_query() {
    let (old, new) = (Upstream::answering().await, Upstream::answering().await);
    let served = Served::start(&forwarding(&[&old], Duration::from_millis(1500)));
    let asking = async {
        for round in 0..200 {
            let name = format!("n{round}.example.com.");
            assert_eq!(served.ask(&query(&name, RecordType::A)).await.answers.len(), 1, "{name}");
            assert_eq!(served.ask(&query(CART, RecordType::A)).await.answers.len(), 1);
        }
    };
    let changing = async {
        for round in 0..20 {
            let upstream = if round % 2 == 0 { &new } else { &old };
            served.apply(&forwarding(&[upstream], Duration::from_millis(1500))).unwrap();
            tokio::task::yield_now().await;
        }
        served.apply(&forwarding(&[&new], Duration::from_millis(1500))).unwrap();
    };
    tokio::join!(asking, changing);
    let before = (old.asked(), new.asked());
    served.ask(&query("last.example.com.", RecordType::A)).await;
    assert_eq!((old.asked(), new.asked()), (before.0, before.1 + 1));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_served_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::of("");
    let mut config = read(&corefile("")).unwrap();
    config.blocks[0].kubernetes.clear();
    let zone = config.blocks[0].served[0].1.clone();
    config.blocks[0].served.push((taken.local_addr().unwrap(), zone));
    served.apply(&config).unwrap_err();
    assert_eq!(served.ask(&query(CART, RecordType::A)).await.answers.len(), 1);
}

#[tokio::test]
async fn the_longest_zone_answers_and_what_is_in_none_is_refused() {
    let (stub, all) = (Upstream::answering().await, Upstream::answering().await);
    let text = format!(
        "example.org:0 {{\n bind 127.0.0.1\n forward . {}\n}}\ncorp:0 {{\n bind 127.0.0.1\n forward . {}\n}}",
        stub.address, all.address
    );
    let served = Served::start(&read(&text).unwrap());
    served.ask(&query("a.example.org.", RecordType::A)).await;
    assert_eq!((stub.asked(), all.asked()), (1, 0));
    served.ask(&query("a.corp.", RecordType::A)).await;
    assert_eq!((stub.asked(), all.asked()), (1, 1));
    let refused = served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn names_in_the_corefile_are_answered_and_others_fall_through() {
    let upstream = Upstream::answering().await;
    let more = format!("hosts {{\n 192.0.2.77 gate.example.com\n fallthrough\n }}\n forward . {}", upstream.address);
    let served = Served::of(&more);
    let gate = served.ask(&query("Gate.example.com.", RecordType::A)).await;
    assert_eq!(lines(&gate.answers), ["Gate.example.com. 3600 A 192.0.2.77"]);
    assert!(served.ask(&query("gate.example.com.", RecordType::AAAA)).await.answers.is_empty());
    let back = served.ask(&query("77.2.0.192.in-addr.arpa.", RecordType::PTR)).await;
    assert_eq!(lines(&back.answers), ["77.2.0.192.in-addr.arpa. 3600 PTR gate.example.com."]);
    assert_eq!(upstream.asked(), 0);
    served.ask(&query("other.example.com.", RecordType::A)).await;
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn counters_go_on_when_the_configuration_changes() {
    let served = Served::of("");
    served.ask(&query(CART, RecordType::A)).await;
    served.apply(&read(&corefile("errors")).unwrap()).unwrap();
    served.ask(&query(CART, RecordType::A)).await;
    assert_eq!(served.count("coredns_dns_responses_total"), 2.0);
}
