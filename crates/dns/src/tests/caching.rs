//! Keeping what other servers answered.

use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::served::{Served, Upstream, forwarding};
use super::support::query;
use crate::tests::corefiles::read;

#[tokio::test]
async fn an_answer_is_remembered() {
    let upstream = Upstream::answering().await;
    let served = Served::with_upstreams(&[&upstream]);
    served.ask(&query("example.com.", RecordType::A)).await;
    let again = query("EXAMPLE.com.", RecordType::A);
    let answer = served.ask(&again).await;
    assert_eq!((answer.metadata.id, answer.queries[0].name.to_ascii()), (again.metadata.id, "EXAMPLE.com.".into()));
    assert_eq!(upstream.asked(), 1);
    served.ask(&query("example.com.", RecordType::AAAA)).await;
    assert_eq!(upstream.asked(), 2, "another type is another question");
}

#[tokio::test]
async fn what_a_configuration_leaves_as_it_was_keeps_its_cache() {
    let upstream = Upstream::answering().await;
    let mut config = forwarding(&[&upstream], Duration::from_millis(1500));
    let served = Served::start(&config);
    served.ask(&query("example.com.", RecordType::A)).await;
    let other = read("other.org:0 {\n bind 127.0.0.1\n errors\n}").unwrap();
    config.blocks.extend(other.blocks);
    served.server.apply(&config).unwrap();
    served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(upstream.asked(), 1);
}
