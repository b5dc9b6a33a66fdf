//! Host ports in the table: kept by one program while another applies whole rulesets.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use compile::host_ports::{self, HostPort, PublishedPort};
use compile::ruleset::{Content, ElementKey, Operation, Ruleset};
use datapath::conntrack::{Conntrack, Flow};
use datapath::nft::Table;
use datapath::route::{MacAddress, Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use datapath::{Datapath, HostPorts, Wanted};
use model::Protocol;

#[expect(clippy::expect_used, reason = "a panic is how a test fails")]
mod support;

fn port(number: u16, endpoint: &str) -> PublishedPort {
    let endpoint: SocketAddr = endpoint.parse().unwrap();
    let port = HostPort { address: None, protocol: Protocol::Tcp, port: number.try_into().unwrap(), endpoint };
    PublishedPort { port, owner: "shop/web-0".into() }
}

fn at(address: &str, number: u16, endpoint: &str) -> PublishedPort {
    let everywhere = port(number, endpoint);
    let address = Some(address.parse::<IpAddr>().unwrap());
    PublishedPort { port: HostPort { address, ..everywhere.port }, ..everywhere }
}

/// What an agent wants that knows of these ports, beside much else.
fn agent(ports: &[PublishedPort]) -> Ruleset {
    let mut ruleset = support::everything();
    ruleset.sets.extend(host_ports::ruleset(ports).sets);
    ruleset.chains.extend(host_ports::ruleset(ports).chains);
    ruleset
}

fn apply(datapath: &mut Datapath, ruleset: &Ruleset) -> usize {
    datapath.apply(&Wanted { ruleset, routes: &[], tunnel: None, affine: None }).unwrap().operations
}

#[test]
fn ports_work_where_no_agent_ever_ran_and_stay_when_one_comes() {
    isolated(|| {
        let ports = [port(80, "10.244.1.5:8080"), at("10.0.0.1", 80, "10.244.1.6:8080"), port(80, "[fd00::5]:8080")];
        let mut held = HostPorts::open().unwrap();
        held.add(&ports).unwrap();
        assert_eq!(held.missing(&ports).unwrap(), []);
        apply(&mut Datapath::open().unwrap(), &agent(&[]));
        assert_eq!(held.missing(&ports).unwrap(), []);
        assert_eq!(apply(&mut Datapath::open().unwrap(), &agent(&[])), 0);
    });
}

#[test]
fn ranges_an_agent_wrote_stay_when_the_plugin_adds_its_part() {
    isolated(|| {
        let mut planned = host_ports::ruleset(&[]);
        planned.chains.clear();
        planned.sets.retain(|name, _| matches!(name.as_str(), "pods" | "own"));
        let pods = planned.sets.get_mut("pods").unwrap();
        pods.elements.insert(ElementKey::of_net("10.244.0.0/16".parse().unwrap()), Content::default());
        apply(&mut Datapath::open().unwrap(), &planned);
        let ports = [port(80, "10.244.1.5:8080")];
        let mut held = HostPorts::open().unwrap();
        held.add(&ports).unwrap();
        assert_eq!(held.missing(&ports).unwrap(), []);
        let found = Table::open().unwrap().read().unwrap().unwrap().observed;
        assert_eq!(found.sets["pods"].elements, planned.sets["pods"].elements);
        assert!(found.chains.contains_key("host_ports_output"));
    });
}

#[test]
fn an_agent_that_makes_the_table_anew_puts_in_what_it_knows() {
    isolated(|| {
        let all = [port(80, "10.244.1.5:8080"), port(81, "10.244.1.5:8081")];
        let (known, news) = (&all[..1], &all[1..]);
        let mut datapath = Datapath::open().unwrap();
        apply(&mut datapath, &agent(&[]));
        let mut held = HostPorts::open().unwrap();
        held.add(&all).unwrap();
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        assert_eq!(held.missing(&all).unwrap(), [all[0].port, all[1].port]);
        apply(&mut Datapath::open().unwrap(), &agent(known));
        assert_eq!(held.missing(&all).unwrap(), [all[1].port]);
        assert_eq!(held.replace_all(&all).unwrap(), 1);
        assert_eq!(held.replace_all(&all).unwrap(), 0);
        assert_eq!(held.replace_all(news).unwrap(), 1);
        assert_eq!(held.missing(&all).unwrap(), [all[0].port]);
    });
}

#[test]
fn ports_of_a_version_that_named_no_owner_are_held_and_removed_and_get_it_when_all_are_compared() {
    isolated(|| {
        let ports = [port(80, "10.244.1.5:8080")];
        let mut held = HostPorts::open().unwrap();
        let write_as_before = || {
            let mut table = Table::open().unwrap();
            let mut before = host_ports::ruleset(&ports);
            for set in before.sets.values_mut() {
                let plain =
                    set.elements.iter().map(|(key, held)| (key.clone(), Content { note: None, ..held.clone() }));
                set.elements = plain.collect();
            }
            table.apply(&compile::diff(&Ruleset::default(), &before)).unwrap();
        };
        write_as_before();
        assert_eq!(held.missing(&ports).unwrap(), []);
        held.remove(&ports).unwrap();
        assert_eq!(held.missing(&ports).unwrap(), [ports[0].port]);
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        write_as_before();
        assert_eq!(held.replace_all(&ports).unwrap(), 4, "two elements go and come");
        assert_eq!(held.replace_all(&ports).unwrap(), 0);
    });
}

#[test]
fn adding_and_removing_work_twice_and_touch_nobody_else() {
    isolated(|| {
        let (first, second, moved) =
            (port(80, "10.244.1.5:8080"), port(81, "10.244.1.6:8080"), port(80, "10.244.1.7:8080"));
        let mut held = HostPorts::open().unwrap();
        let (first, second, moved) = ([first], [second], [moved]);
        held.remove(&first).unwrap();
        assert!(Table::open().unwrap().read().unwrap().is_none(), "removing made the table");
        for _ in 0..2 {
            held.add(&[&first[..], &second].concat()).unwrap();
        }
        held.add(&moved).unwrap();
        held.remove(&first).unwrap();
        assert_eq!(held.missing(&[&first[..], &second, &moved].concat()).unwrap(), [first[0].port]);
        for _ in 0..2 {
            held.remove(&moved).unwrap();
        }
        assert_eq!(held.missing(&[second, moved.clone()].concat()).unwrap(), [moved[0].port]);
    });
}

/// How many flows over UDP are tracked that were sent there.
fn flows_to(frontend: SocketAddr) -> usize {
    let count = Cell::new(0);
    let look = |flow: &Flow| {
        count.set(count.get() + usize::from(flow.frontend == frontend));
        false
    };
    assert_eq!(Conntrack::open().unwrap().forget_udp_flows(look).unwrap(), 0);
    count.get()
}

#[test]
fn flows_to_the_same_port_elsewhere_are_not_forgotten() {
    isolated(|| {
        let mut links = Rtnetlink::open().unwrap();
        let end = |name| VethEnd { name, mac: None, netns: None };
        let link = links.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap().index;
        for name in ["lo", "b"] {
            let index = links.require_link(name).unwrap().index;
            links.set_up(index).unwrap();
        }
        links.wait_until_running("a", Duration::from_secs(10)).unwrap();
        links.add_address(link, "192.0.2.1/24".parse().unwrap()).unwrap();
        links.set_neighbour(link, "192.0.2.5".parse().unwrap(), MacAddress([2, 0, 0, 0, 0, 5])).unwrap();
        let mut held = HostPorts::open().unwrap();
        held.add(&[port(80, "10.244.1.5:8080")]).unwrap();
        let _server = UdpSocket::bind("0.0.0.0:53").unwrap();
        let targets = ["192.0.2.1:53", "127.0.0.1:53", "192.0.2.5:53"].map(|text| text.parse::<SocketAddr>().unwrap());
        for target in targets {
            UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", target).unwrap();
        }
        assert_eq!(targets.map(flows_to), [1, 1, 1]);
        let names = port(53, "10.244.1.5:53");
        let port = HostPort { protocol: Protocol::Udp, ..names.port };
        held.add(&[PublishedPort { port, ..names }]).unwrap();
        assert_eq!(targets.map(flows_to), [0, 0, 1]);
    });
}
