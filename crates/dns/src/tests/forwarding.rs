//! Asking other servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use super::served::{CART, DEADLINE, Served, Upstream, answer, corefile, forwarding, own_address, reply_to};
use super::support::{lines, query, with_edns};
use crate::config::Policy;
use crate::tests::corefiles::read;

#[tokio::test]
async fn other_names_are_forwarded_and_answered_in_the_clients_spelling() {
    let upstream = Upstream::answering().await;
    let served = Served::with_upstreams(&[&upstream]);
    let question = query("eXample.COM.", RecordType::A);
    let answer = served.ask(&question).await;
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert_eq!(answer.queries[0].name.to_ascii(), "eXample.COM.");
    assert_eq!(answer.answers[0].data.to_string(), "192.0.2.1");
    assert!(answer.metadata.recursion_available);
}

#[tokio::test]
async fn a_server_that_fails_is_followed_by_the_next() {
    let failing = Upstream::start(|query, _| Some(reply_to(query, ResponseCode::ServFail).to_vec().unwrap())).await;
    let working = Upstream::answering().await;
    let served = Served::with_upstreams(&[&failing, &working]);
    assert_eq!(served.ask(&query("a.example.com.", RecordType::A)).await.answers.len(), 1);
    assert_eq!(served.ask(&query("b.example.com.", RecordType::A)).await.answers.len(), 1);
    assert_eq!(failing.asked(), 2, "a server that answers at all stays in its place");
}

#[tokio::test]
async fn each_server_is_first_in_turn_if_so_configured() {
    let (one, other) = (Upstream::answering().await, Upstream::answering().await);
    let mut config = forwarding(&[&one, &other], Duration::from_millis(1500));
    config.blocks[0].forward[0].policy = Policy::RoundRobin;
    let served = Served::start(&config);
    for number in 0..4 {
        served.ask(&query(&format!("n{number}.example.com."), RecordType::A)).await;
    }
    assert_eq!((one.asked(), other.asked()), (2, 2));
}

#[tokio::test]
async fn a_silent_server_is_followed_by_the_next() {
    let silent = Upstream::start(|_, _| None).await;
    let working = Upstream::answering().await;
    let served = Served::start(&forwarding(&[&silent, &working], Duration::from_secs(1)));
    assert_eq!(served.ask(&query("example.com.", RecordType::A)).await.answers.len(), 1);
}

#[tokio::test]
async fn without_a_server_that_answers_the_query_fails() {
    let served = Served::with_upstreams(&[]);
    let answer = served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let failing = Upstream::start(|query, _| Some(reply_to(query, ResponseCode::Refused).to_vec().unwrap())).await;
    let answer = Served::with_upstreams(&[&failing]).ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "the last word of those that spoke");
}

#[tokio::test]
async fn replies_to_other_queries_are_not_believed() {
    let forging = Upstream::start(|query, by_tcp| {
        let mut forged = answer(query, &["203.0.113.66"]);
        forged.metadata.id = query.metadata.id.wrapping_add(1);
        (!by_tcp).then(|| forged.to_vec().unwrap())
    })
    .await;
    let served = Served::start(&forwarding(&[&forging], Duration::from_millis(50)));
    let answer = served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::ServFail, 0));
}

/// A server whose datagrams are always cut; the whole answer has 60 addresses.
async fn cutting() -> Upstream {
    Upstream::start(|query, by_tcp| {
        let addresses: Vec<_> = (0..60).map(|i| format!("192.0.2.{i}")).collect();
        let mut reply = answer(query, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
        if !by_tcp {
            reply.answers.truncate(1);
            reply.metadata.truncation = true;
        }
        Some(reply.to_vec().unwrap())
    })
    .await
}

#[tokio::test]
async fn a_cut_reply_is_asked_for_again_over_tcp() {
    let upstream = cutting().await;
    let served = Served::with_upstreams(&[&upstream]);
    let large = with_edns(query("example.com.", RecordType::A), 4096);
    assert_eq!(served.ask(&large).await.answers.len(), 60);
}

#[tokio::test]
async fn a_reply_too_large_for_the_client_is_cut_for_it_alone() {
    let upstream = cutting().await;
    let served = Served::with_upstreams(&[&upstream]);
    let plain = query("example.com.", RecordType::A);
    let cut = served.ask(&plain).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(served.ask_by_tcp(&[plain]).await[0].answers.len(), 60);
}

#[tokio::test]
async fn an_alias_out_of_the_zone_comes_with_its_addresses() {
    let upstream = Upstream::start(|query, _| {
        let mut reply = reply_to(query, ResponseCode::NoError);
        let asked = query.queries[0].name.clone();
        let real = Name::from_ascii("mx7.example.net.").unwrap();
        reply.add_answer(Record::from_rdata(asked, 60, RData::CNAME(CNAME(real.clone()))));
        reply.add_answer(Record::from_rdata(real, 30, RData::A(A("192.0.2.7".parse().unwrap()))));
        Some(reply.to_vec().unwrap())
    })
    .await;
    let answer = Served::with_upstreams(&[&upstream]).ask(&query("mail.shop.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(
        lines(&answer.answers),
        [
            "mail.shop.svc.cluster.local. 5 CNAME smtp.example.com.",
            "mx7.example.net. 30 A 192.0.2.7",
            "smtp.example.com. 60 CNAME mx7.example.net.",
        ]
    );
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
}

#[tokio::test]
async fn an_alias_for_a_missing_name_is_missing() {
    let upstream = Upstream::start(|query, _| Some(reply_to(query, ResponseCode::NXDomain).to_vec().unwrap())).await;
    let answer = Served::with_upstreams(&[&upstream]).ask(&query("mail.shop.svc.cluster.local.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 1));
}

#[tokio::test]
async fn the_target_of_an_alias_is_asked_for_the_way_the_client_came() {
    let by_tcp = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&by_tcp);
    let upstream = Upstream::start(move |query, by_tcp| {
        count.fetch_add(usize::from(by_tcp), Ordering::SeqCst);
        Some(answer(query, &["192.0.2.1"]).to_vec().unwrap())
    })
    .await;
    let served = Served::with_upstreams(&[&upstream]);
    assert_eq!(served.ask(&query("mail.shop.svc.cluster.local.", RecordType::A)).await.answers.len(), 2);
    assert_eq!((upstream.asked(), by_tcp.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn the_target_of_an_alias_is_read_in_full_even_if_the_client_can_take_little() {
    let upstream = cutting().await;
    let served = Served::with_upstreams(&[&upstream]);
    let cut = served.ask(&query("mail.shop.svc.cluster.local.", RecordType::A)).await;
    assert!(cut.metadata.truncation && cut.answers.len() > 1, "{} answers", cut.answers.len());
}

#[tokio::test]
async fn more_waiting_queries_than_allowed_are_refused() {
    let silent = Upstream::start(|_, _| None).await;
    let mut config = forwarding(&[&silent], Duration::from_millis(1500));
    config.blocks[0].forward[0].max_in_flight = 0;
    let served = Served::start(&config);
    let answer = served.ask(&query("example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(served.ask(&query(CART, RecordType::A)).await.answers.len(), 1, "the zone is not affected");
}

#[tokio::test]
async fn a_query_that_comes_back_ends_forwarding_and_not_the_clusters_names() {
    let address = own_address();
    let mut config = read(&corefile(&format!("loop\n forward . {address}"))).unwrap();
    config.blocks[0].served[0].0 = address;
    let served = Served::start(&config);
    let found = async {
        loop {
            let answer = served.ask(&query("example.com.", RecordType::A)).await;
            if answer.metadata.response_code == ResponseCode::ServFail {
                return;
            }
        }
    };
    timeout(DEADLINE, found).await.expect("the circle is noticed");
    assert_eq!(served.ask(&query(CART, RecordType::A)).await.answers.len(), 1);
}

#[tokio::test]
async fn a_server_that_may_only_be_asked_over_tcp_is_probed_so() {
    let probed_by_tcp = Arc::new(OnceLock::new());
    let probed = Arc::clone(&probed_by_tcp);
    let upstream = Upstream::start(move |query, by_tcp| {
        if query.queries[0].query_type == RecordType::NS {
            let _ = probed.set(by_tcp);
        }
        None
    })
    .await;
    let mut config = forwarding(&[&upstream], Duration::from_millis(1500));
    config.blocks[0].forward[0].force_tcp = true;
    let served = Served::start(&config);
    served.ask(&query("example.com.", RecordType::A)).await;
    assert!(wait_for(&probed_by_tcp).await, "probed over UDP");
}

async fn wait_for<T: Copy>(value: &OnceLock<T>) -> T {
    let set = async {
        loop {
            match value.get() {
                Some(value) => return *value,
                None => tokio::task::yield_now().await,
            }
        }
    };
    timeout(DEADLINE, set).await.expect("what is waited for")
}

/// Sets the cell when the question that looks for loops comes.
fn noticing(seen: &Arc<OnceLock<()>>) -> impl Fn(&Message, bool) -> Option<Vec<u8>> + Clone + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |query, _| {
        if query.queries[0].query_type == RecordType::HINFO {
            let _ = seen.set(());
        }
        Some(reply_to(query, ResponseCode::NXDomain).to_vec().unwrap())
    }
}

#[tokio::test]
async fn loops_are_looked_for_where_names_of_the_block_are_asked() {
    let (seen_by_stub, seen) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let (stub, all) = (Upstream::start(noticing(&seen_by_stub)).await, Upstream::start(noticing(&seen)).await);
    let more = format!("loop\n forward corp.local {}\n forward . {}", stub.address, all.address);
    let _served = Served::of(&more);
    wait_for(&seen).await;
    assert_eq!(seen_by_stub.get(), None);
}

#[tokio::test]
async fn loops_are_looked_for_until_a_server_answers() {
    let address = Upstream::answering().await.address;
    let served = Served::of(&format!("loop\n forward . {address}"));
    let failed = async {
        while served.ask(&query("example.com.", RecordType::A)).await.metadata.response_code != ResponseCode::ServFail {
        }
    };
    timeout(DEADLINE, failed).await.expect("nobody is there");
    let seen = Arc::new(OnceLock::new());
    let _upstream = Upstream::start_at(address, noticing(&seen)).await;
    wait_for(&seen).await;
}
