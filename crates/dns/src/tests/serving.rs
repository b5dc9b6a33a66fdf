//! The server over real sockets of the loopback interface, with other servers played by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::support::{lines, query, shop, with_edns};
use crate::config::Policy;
use crate::io::Server;
use crate::tests::corefiles::read;
use crate::{Config, Zones};

/// Far longer than anything here takes, far shorter than a person's patience.
const DEADLINE: Duration = Duration::from_secs(10);

/// Another DNS server, in which every name has one address.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Upstream {
    /// A server that makes its replies with `reply`, given the query and whether it came over TCP.
    async fn start(reply: impl Fn(&Message, bool) -> Option<Vec<u8>> + Clone + Send + Sync + 'static) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let (cancel, asked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (reply_udp, count) = (reply.clone(), Arc::clone(&asked));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(async move {
            let mut packet = [0; 4096];
            loop {
                let (len, client) = udp.recv_from(&mut packet).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = reply_udp(&Message::from_vec(&packet[..len]).unwrap(), false) {
                    udp.send_to(&reply, client).await.unwrap();
                }
            }
        }));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut packet = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut packet).await.unwrap();
                if let Some(reply) = reply(&Message::from_vec(&packet).unwrap(), true) {
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        }));
        Self { address, asked, _end: cancel.drop_guard() }
    }

    async fn answering() -> Self {
        Self::start(|query, _| Some(answer(query, &["192.0.2.1"]).to_vec().unwrap())).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.response_code = code;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries.clone());
    reply
}

fn answer(query: &Message, addresses: &[&str]) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    let name = &query.queries[0].name;
    for address in addresses {
        reply.add_answer(Record::from_rdata(name.clone(), 300, RData::A(A(address.parse().unwrap()))));
    }
    reply
}

struct Served {
    address: SocketAddr,
    server: Server,
    _end: DropGuard,
}

/// The Corefile of a block for everything, with the cluster's names and `more`.
fn corefile(more: &str) -> String {
    format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n  pods insecure\n  \
         fallthrough in-addr.arpa ip6.arpa\n }}\n loadbalance\n {more}\n}}"
    )
}

impl Served {
    fn start(config: &Config) -> Self {
        let zones = Zones::default();
        zones.update(&shop(), 1234);
        let server = Server::new(zones);
        server.apply(config).unwrap();
        let cancel = CancellationToken::new();
        tokio::spawn(server.clone().run(cancel.clone()));
        Self { address: server.addresses()[0], server, _end: cancel.drop_guard() }
    }

    fn of(more: &str) -> Self {
        Self::start(&read(&corefile(more)).unwrap())
    }

    /// Forwards to these servers in order, and keeps what they answer.
    fn with_upstreams(upstreams: &[&Upstream]) -> Self {
        Self::start(&forwarding(upstreams, Duration::from_millis(1500)))
    }

    async fn ask(&self, query: &Message) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query.to_vec().unwrap(), self.address).await.unwrap();
        let mut packet = [0; 65535];
        let len = timeout(DEADLINE, socket.recv(&mut packet)).await.expect("an answer").unwrap();
        Message::from_vec(&packet[..len]).unwrap()
    }

    async fn ask_by_tcp(&self, queries: &[Message]) -> Vec<Message> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for query in queries {
            let packet = query.to_vec().unwrap();
            stream.write_u16(packet.len() as u16).await.unwrap();
            stream.write_all(&packet).await.unwrap();
        }
        let mut answers = Vec::new();
        for _ in queries {
            let len = timeout(DEADLINE, stream.read_u16()).await.expect("an answer").unwrap();
            let mut packet = vec![0; usize::from(len)];
            stream.read_exact(&mut packet).await.unwrap();
            answers.push(Message::from_vec(&packet).unwrap());
        }
        answers
    }
}

fn forwarding(upstreams: &[&Upstream], attempt_timeout: Duration) -> Config {
    let mut config = read(&corefile("cache 30\n forward . 127.0.0.1")).unwrap();
    let forward = &mut config.blocks[0].forward[0];
    forward.upstreams = upstreams.iter().map(|upstream| upstream.address).collect();
    forward.policy = Policy::Sequential;
    forward.attempt_timeout = attempt_timeout;
    config
}

const CART: &str = "cart.shop.svc.cluster.local.";

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
async fn a_server_that_fails_is_followed_by_the_next() {
    let failing = Upstream::start(|query, _| Some(reply_to(query, ResponseCode::ServFail).to_vec().unwrap())).await;
    let working = Upstream::answering().await;
    let served = Served::with_upstreams(&[&failing, &working]);
    assert_eq!(served.ask(&query("a.example.com.", RecordType::A)).await.answers.len(), 1);
    assert_eq!(served.ask(&query("b.example.com.", RecordType::A)).await.answers.len(), 1);
    assert_eq!(failing.asked(), 2, "a server that answers at all stays in its place");
}

#[tokio::test]
async fn a_silent_server_is_followed_by_the_next() {
    let silent = Upstream::start(|_, _| None).await;
    let working = Upstream::answering().await;
    let served = Served::start(&forwarding(&[&silent, &working], Duration::from_millis(50)));
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
            served.server.apply(&forwarding(&[upstream], Duration::from_millis(1500))).unwrap();
            tokio::task::yield_now().await;
        }
        served.server.apply(&forwarding(&[&new], Duration::from_millis(1500))).unwrap();
    };
    tokio::join!(asking, changing);
    let before = (old.asked(), new.asked());
    served.ask(&query("last.example.com.", RecordType::A)).await;
    assert_eq!((old.asked(), new.asked()), (before.0, before.1 + 1));
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

#[tokio::test]
async fn a_configuration_that_cannot_be_served_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::of("");
    let mut config = read(&corefile("")).unwrap();
    config.blocks[0].kubernetes.clear();
    let zone = config.blocks[0].served[0].1.clone();
    config.blocks[0].served.push((taken.local_addr().unwrap(), zone));
    served.server.apply(&config).unwrap_err();
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
async fn a_query_that_comes_back_ends_forwarding_and_not_the_clusters_names() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
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
