//! A server over real sockets of the loopback interface, with other servers played by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::support::shop;
use crate::config::Policy;
use crate::io::{BindError, Server};
use crate::tests::corefiles::read;
use crate::{Config, Zones};

/// Far longer than anything here takes, far shorter than a person's patience.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An address that is free over UDP and over TCP, now and whenever it is listened on again: no other process has its
/// host, no other test its port, and the kernel gives no port as low to a client.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    // A process number has 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 0x40 | high, middle, low], NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Another DNS server, in which every name has one address.
pub struct Upstream {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Upstream {
    /// A server that makes its replies with `reply`, given the query and whether it came over TCP.
    pub async fn start(reply: impl Fn(&Message, bool) -> Option<Vec<u8>> + Clone + Send + Sync + 'static) -> Self {
        Self::start_at(own_address(), reply).await
    }

    /// As [`Self::start`], at this address.
    pub async fn start_at(
        address: SocketAddr,
        reply: impl Fn(&Message, bool) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
    ) -> Self {
        let tcp = TcpListener::bind(address).await.unwrap();
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

    pub async fn answering() -> Self {
        Self::start(|query, _| Some(answer(query, &["192.0.2.1"]).to_vec().unwrap())).await
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.response_code = code;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries.clone());
    reply
}

pub fn answer(query: &Message, addresses: &[&str]) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    let name = &query.queries[0].name;
    for address in addresses {
        reply.add_answer(Record::from_rdata(name.clone(), 300, RData::A(A(address.parse().unwrap()))));
    }
    reply
}

/// The configuration with `address` where it names no port.
fn at(address: SocketAddr, config: &Config) -> Config {
    let mut config = config.clone();
    let served = config.blocks.iter_mut().flat_map(|block| &mut block.served);
    served.filter(|(place, _)| place.port() == 0).for_each(|(place, _)| *place = address);
    config
}

pub struct Served {
    pub address: SocketAddr,
    pub server: Server,
    _end: DropGuard,
}

/// The Corefile of a block for everything, with the cluster's names and `more`, at an address of the server's own.
pub fn corefile(more: &str) -> String {
    format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n  pods insecure\n  \
         fallthrough in-addr.arpa ip6.arpa\n }}\n loadbalance\n {more}\n}}"
    )
}

impl Served {
    pub fn start(config: &Config) -> Self {
        let zones = Zones::default();
        zones.update(&shop(), 1234);
        let server = Server::new(zones);
        server.apply(&at(own_address(), config)).unwrap();
        let cancel = CancellationToken::new();
        tokio::spawn(server.clone().run(cancel.clone()));
        Self { address: server.addresses()[0], server, _end: cancel.drop_guard() }
    }

    /// Serves what `config` says at the address it has served at.
    pub fn apply(&self, config: &Config) -> Result<(), BindError> {
        self.server.apply(&at(self.address, config))
    }

    pub fn of(more: &str) -> Self {
        Self::start(&read(&corefile(more)).unwrap())
    }

    /// Forwards to these servers in order, and keeps what they answer.
    pub fn with_upstreams(upstreams: &[&Upstream]) -> Self {
        Self::start(&forwarding(upstreams, Duration::from_millis(1500)))
    }

    /// The sum of all series of this name.
    pub fn count(&self, series: &str) -> f64 {
        let mut registry = Registry::default();
        self.server.metrics().register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let is_of_series = |line: &&str| line.split(['{', ' ']).next() == Some(series);
        let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(is_of_series).map(number).sum()
    }

    pub async fn ask(&self, query: &Message) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query.to_vec().unwrap(), self.address).await.unwrap();
        let mut packet = [0; 65535];
        let len = timeout(DEADLINE, socket.recv(&mut packet)).await.expect("an answer").unwrap();
        Message::from_vec(&packet[..len]).unwrap()
    }

    pub async fn ask_by_tcp(&self, queries: &[Message]) -> Vec<Message> {
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

pub fn forwarding(upstreams: &[&Upstream], attempt_timeout: Duration) -> Config {
    let mut config = read(&corefile("cache 30\n forward . 127.0.0.1")).unwrap();
    let forward = &mut config.blocks[0].forward[0];
    forward.upstreams = upstreams.iter().map(|upstream| upstream.address).collect();
    forward.policy = Policy::Sequential;
    forward.attempt_timeout = attempt_timeout;
    config
}

/// A name of the cluster.
pub const CART: &str = "cart.shop.svc.cluster.local.";
