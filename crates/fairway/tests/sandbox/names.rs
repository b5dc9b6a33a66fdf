//! The host's names inside a sandbox, in a network and with a DNS server of the test's own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::{fs, thread};

use apiserver::client::{Client, ExecRequest, PODS};
use datapath::route::Rtnetlink;
use datapath::testing::isolated;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use nix::mount::{MsFlags, mount};
use sandbox::machine::StateDir;
use serde_json::json;

use crate::harness::{Place, until};

/// Servers of no other machine: those of the loopback network are this one's.
const SERVER: &str = "127.0.0.77:53";

/// Answers one query: over UDP only that there is more than fits, over TCP the address.
fn answer(query: &[u8], is_tcp: bool) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let mut message = query.clone();
    message.metadata.message_type = hickory_proto::op::MessageType::Response;
    message.metadata.truncation = !is_tcp;
    let name = query.queries[0].name().clone();
    if name.to_ascii() != "host.example." {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.metadata.truncation = false;
    } else if is_tcp {
        message.answers.push(Record::from_rdata(name, 60, RData::A(std::net::Ipv4Addr::new(192, 0, 2, 77).into())));
    }
    message.to_vec().unwrap()
}

fn serve_names() {
    let (udp, tcp) = (UdpSocket::bind(SERVER).unwrap(), TcpListener::bind(SERVER).unwrap());
    thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut query) {
            udp.send_to(&answer(&query[..length], false), client).unwrap();
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let reply = answer(&query, true);
                stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
}

#[test]
fn pods_resolve_the_names_that_the_host_resolves() {
    isolated(|| {
        let mut host = Rtnetlink::open().unwrap();
        let loopback = host.require_link("lo").unwrap().index;
        host.set_up(loopback).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("resolv.conf");
        fs::write(&configuration, "nameserver 127.0.0.77\n").unwrap();
        let place_of_it = fs::canonicalize("/etc/resolv.conf").unwrap();
        mount(Some(&configuration), &place_of_it, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        serve_names();

        let place = Place::joined();
        let name = place.up(&["--nodes", "1"]);
        let api = Client::unix(StateDir::new(&place.state(), &name).unwrap().api_socket());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pod = json!({
            "metadata": { "name": "client" },
            "spec": { "containers": [{ "name": "client", "image": "busybox", "args": ["sleep", "3600"] }] },
        });
        runtime.block_on(api.create(&PODS, "default", &pod)).unwrap();
        let asked = |name: &str| {
            let request = ExecRequest {
                namespace: "default".to_owned(),
                pod: "client".to_owned(),
                command: ["nslookup", name].map(str::to_owned).to_vec(),
                ..ExecRequest::default()
            };
            runtime.block_on(api.exec(&request)).map(|output| {
                (
                    output.exit_code,
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
                )
            })
        };
        until("the cluster's own names are known", || asked("kubernetes").is_ok_and(|(code, _)| code == 0));
        let (_, found) = asked("host.example.").unwrap();
        assert!(found.contains("192.0.2.77"), "{found}");
        let (code, missing) = asked("missing.example.").unwrap();
        assert!(code != 0 && missing.contains("NXDOMAIN"), "{missing}");
    });
}
