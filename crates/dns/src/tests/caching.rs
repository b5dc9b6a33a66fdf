//! Keeping what other servers answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::time::timeout;

use super::served::{DEADLINE, Served, Upstream, answer, forwarding, reply_to};
use super::support::query;
use crate::Config;
use crate::config::{ServeStale, StaleMode};
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
    served.apply(&config).unwrap();
    served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(upstream.asked(), 1);
}

/// A server in which every name has the address 192.0.2.N, N being what stands in the number; nothing works at zero.
async fn changing() -> (Upstream, Arc<AtomicU8>) {
    let number = Arc::new(AtomicU8::new(1));
    let last = Arc::clone(&number);
    let reply = move |query: &Message, _| {
        let reply = match last.load(Ordering::SeqCst) {
            0 => reply_to(query, ResponseCode::ServFail),
            last => answer(query, &[&format!("192.0.2.{last}")]),
        };
        Some(reply.to_vec().unwrap())
    };
    (Upstream::start(reply).await, number)
}

/// Answers are too old as soon as they are there, and given nonetheless.
fn serving_stale(upstream: &Upstream, mode: StaleMode) -> Config {
    let mut config = forwarding(&[upstream], Duration::from_millis(1500));
    let cache = config.blocks[0].cache.as_mut().unwrap();
    cache.success.most = Duration::from_nanos(1);
    cache.serve_stale = Some(ServeStale { longest: Duration::from_secs(3600), mode });
    config
}

fn address_in(answer: &Message) -> String {
    answer.answers.first().map(|record| record.data.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn an_answer_that_is_too_old_is_given_at_once_and_replaced() {
    let (upstream, number) = changing().await;
    let served = Served::start(&serving_stale(&upstream, StaleMode::Immediate));
    let question = query("example.com.", RecordType::A);
    assert_eq!(address_in(&served.ask(&question).await), "192.0.2.1");
    number.store(2, Ordering::SeqCst);
    assert_eq!(address_in(&served.ask(&question).await), "192.0.2.1");
    let replaced = async { while address_in(&served.ask(&question).await) != "192.0.2.2" {} };
    timeout(DEADLINE, replaced).await.expect("the new address");
}

#[tokio::test]
async fn an_answer_that_was_given_too_old_over_tcp_is_replaced() {
    let (upstream, number) = changing().await;
    let served = Served::start(&serving_stale(&upstream, StaleMode::Immediate));
    let question = [query("example.com.", RecordType::A)];
    assert_eq!(address_in(&served.ask_by_tcp(&question).await[0]), "192.0.2.1");
    number.store(2, Ordering::SeqCst);
    let replaced = async { while address_in(&served.ask_by_tcp(&question).await[0]) != "192.0.2.2" {} };
    timeout(DEADLINE, replaced).await.expect("the new address");
}

#[tokio::test]
async fn a_query_is_looked_up_and_counted_once() {
    let (upstream, _) = changing().await;
    let served = Served::start(&serving_stale(&upstream, StaleMode::Immediate));
    let question = query("example.com.", RecordType::A);
    served.ask(&question).await;
    assert_eq!((served.count("coredns_cache_misses_total"), served.count("coredns_cache_hits_total")), (1.0, 0.0));
    served.ask(&question).await;
    let renewed = async {
        while upstream.asked() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, renewed).await.expect("the server is asked again");
    assert_eq!((served.count("coredns_cache_misses_total"), served.count("coredns_cache_hits_total")), (1.0, 1.0));
    assert_eq!(served.count("coredns_dns_responses_total"), 2.0);
}

#[tokio::test]
async fn a_failure_does_not_take_the_answer_that_came_before() {
    let (upstream, number) = changing().await;
    let served = Served::start(&serving_stale(&upstream, StaleMode::Verify));
    let question = query("example.com.", RecordType::A);
    assert_eq!(address_in(&served.ask(&question).await), "192.0.2.1");
    number.store(0, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(address_in(&served.ask(&question).await), "192.0.2.1");
    }
    assert_eq!(served.count("coredns_cache_served_stale_total"), 2.0);
    number.store(3, Ordering::SeqCst);
    assert_eq!(address_in(&served.ask(&question).await), "192.0.2.3");
}
