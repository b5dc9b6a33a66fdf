//! What clients of a pod meet when its address is gone.
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use compile::host_ports::{HostPort, PublishedPort};
use compile::sample::{
    CLIENTS, ENDPOINTS, NODES, PLAIN_PORT, plain_address, plain_cluster, plain_service, plain_slice,
};
use compile::{NodeView, Plan};
use datapath::route::Rtnetlink;
use datapath::testing::isolated;
use datapath::{Datapath, Wanted};
use model::Protocol;
use world::{World, host_link};

#[expect(dead_code, reason = "other tests use the rest")]
mod world;

/// Far longer than a refusal takes, far shorter than TCP goes on trying.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pod that goes, a pod of the same node and a machine outside the cluster.
const POD: Ipv4Addr = ENDPOINTS[0];
const NEIGHBOUR: Ipv4Addr = CLIENTS[0];
const OUTSIDER: Ipv4Addr = CLIENTS[1];
const ECHO_PORT: u16 = 7007;

/// A server of the pod that sends back what it gets.
fn serve_echo(world: &World) {
    let listener = world.run_at(POD, || TcpListener::bind((POD, ECHO_PORT)).expect("a free port"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// Puts the plan of a node with one Service, whose endpoint the pod is, into the kernel.
fn apply_plan(host_ports: &[PublishedPort]) {
    let mut cluster = plain_cluster(0, 0);
    let service = plain_service(0);
    let mut slice = plain_slice(&service, [POD]);
    slice.ports[0].port = NonZeroU16::new(ECHO_PORT).expect("not zero");
    cluster.insert_slice(slice);
    cluster.services.insert(service.name.clone(), Arc::new(service));
    let mut plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
    plan.set_host_ports(host_ports);
    let wanted = Wanted::from(&plan);
    Datapath::open().expect("a connection").apply(&wanted).expect("the kernel takes the plan");
}

/// Takes the pod away with its link, at once, as when it is killed.
fn remove_pod() {
    let mut links = Rtnetlink::open().expect("a connection");
    let link = links.require_link(&host_link(POD)).expect("the pod's link");
    assert!(links.delete_link(link.index).expect("deleted"), "there was a link");
}

fn connect(world: &World, client: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = world.run_at(client, || TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

#[test]
fn clients_of_a_pod_whose_address_is_gone_are_reset_and_not_left_waiting() {
    isolated(|| {
        let world = World::make();
        serve_echo(&world);
        apply_plan(&[]);
        let pod = SocketAddr::from((POD, ECHO_PORT));
        let service = SocketAddr::from((plain_address(0), PLAIN_PORT));
        let host = NODES[0].address;
        let ways = [(OUTSIDER, pod), (NEIGHBOUR, pod), (NEIGHBOUR, service), (host, pod), (host, service)];
        let mut streams = ways.map(|(client, to)| connect(&world, client, to).expect("the pod answers"));
        for stream in &mut streams {
            echo(stream).expect("the pod answers");
        }
        remove_pod();
        for (stream, way) in streams.iter_mut().zip(ways) {
            let error = echo(stream).expect_err("the pod is gone");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{way:?}");
        }
        for (client, to) in ways {
            let error = connect(&world, client, to).expect_err("the pod is gone");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{client} to {to}");
        }
    });
}

#[test]
fn no_process_of_the_node_answers_for_a_pod_that_is_gone() {
    isolated(|| {
        let world = World::make();
        apply_plan(&[]);
        let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO_PORT)).expect("a free port");
        let of_node = SocketAddr::from((NODES[0].address, ECHO_PORT));
        connect(&world, NEIGHBOUR, of_node).expect("the node's own address is served");
        remove_pod();
        let error = connect(&world, NEIGHBOUR, SocketAddr::from((POD, ECHO_PORT))).expect_err("the pod is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        drop(everywhere);
    });
}

#[test]
fn no_host_port_answers_for_a_pod_that_is_gone() {
    isolated(|| {
        let world = World::make();
        let port = NonZeroU16::new(ECHO_PORT).expect("not zero");
        let endpoint = SocketAddr::from((NEIGHBOUR, ECHO_PORT));
        let port = HostPort { address: None, protocol: Protocol::Tcp, port, endpoint };
        apply_plan(&[PublishedPort { port, owner: "shop/web-0".into() }]);
        let _ingress = world.run_at(NEIGHBOUR, || TcpListener::bind(endpoint).expect("a free port"));
        let host = NODES[0].address;
        remove_pod();
        for client in [OUTSIDER, NEIGHBOUR, host] {
            connect(&world, client, SocketAddr::from((host, ECHO_PORT))).expect("the port of the node is served");
            let error = connect(&world, client, SocketAddr::from((POD, ECHO_PORT))).expect_err("the pod is gone");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{client}");
        }
    });
}
