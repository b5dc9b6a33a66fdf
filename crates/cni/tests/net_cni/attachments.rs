//! Attachments: made, checked, undone.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use crate::runtime::{Node, SECONDS, Said, address, finish, seen_by, time_of_an_addition, uplink};
use compile::ruleset::Operation;
use datapath::nft::Table;
use datapath::route::{RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use datapath::{Netns, netns, sysctl};
use model::IpFamily;
use serde_json::json;

#[test]
fn pods_and_their_node_reach_each_other_without_translation() {
    isolated(|| {
        uplink("10.89.0.1/24", 1500);
        let node = Node::new();
        let (first, first_result) = node.add("first");
        let (second, second_result) = node.add("second");
        let host = Netns::current().unwrap();
        let (one, two) = (address(&first_result), address(&second_result));
        assert_eq!(seen_by(&second, &first, two), one);
        assert_eq!(seen_by(&first, &second, one), two);
        assert_eq!(seen_by(&first, &host, one), "10.89.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(seen_by(&host, &second, "10.89.0.1".parse().unwrap()), two);
        assert_eq!(seen_by(&first, &first, one), one);
        assert_eq!(seen_by(&first, &first, "127.0.0.1".parse().unwrap()), "127.0.0.1".parse::<IpAddr>().unwrap());
    });
}

#[test]
fn the_guard_alone_keeps_a_pod_from_sending_under_the_nodes_address() {
    isolated(|| {
        uplink("10.89.0.1/24", 1500);
        let node = Node::new();
        let (client, client_result) = node.add("client");
        let (server, server_result) = node.add("server");
        let mut inside = Rtnetlink::open_in(&client).unwrap();
        let loopback = inside.require_link("lo").unwrap().index;
        inside.add_address(loopback, "10.89.0.1/32".parse().unwrap()).unwrap();
        let server = server.run(|| UdpSocket::bind((address(&server_result), 0)).unwrap()).unwrap();
        server.set_read_timeout(Some(SECONDS)).unwrap();
        let (own, forged) = (address(&client_result), "10.89.0.1".parse().unwrap());
        let send = |source: IpAddr| {
            let socket = client.run(|| UdpSocket::bind((source, 0)).unwrap()).unwrap();
            socket.send_to(&[0], server.local_addr().unwrap()).unwrap();
        };
        let heard = || server.recv_from(&mut [0]).unwrap().1.ip();
        send(forged);
        send(own);
        assert_eq!(heard(), own, "what was sent first is not heard first");
        // The kernel does not look for the node's addresses a second time, which every packet would pay for.
        Table::open().unwrap().apply(&[Operation::FlushChain("spoofing_guard".into())]).unwrap();
        send(forged);
        assert_eq!(heard(), forged);
    });
}

#[test]
fn a_result_says_what_was_made() {
    isolated(|| {
        uplink("10.89.0.1/24", 1450);
        let node = Node::new();
        let (netns, result) = node.add("pod");
        let mut inside = Rtnetlink::open_in(&netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        let name = result["interfaces"][0]["name"].as_str().unwrap();
        let outside = Rtnetlink::open().unwrap().require_link(name).unwrap();
        assert_eq!(
            result,
            json!({
                "cniVersion": "1.1.0",
                "interfaces": [
                    { "name": outside.name, "mac": outside.mac.unwrap().to_string(), "mtu": 1450 },
                    { "name": "eth0", "mac": eth0.mac.unwrap().to_string(), "mtu": 1450, "sandbox": node.netns("pod") },
                ],
                "ips": [{ "address": "10.244.1.1/32", "gateway": "169.254.1.1", "interface": 1 }],
                "routes": [{ "dst": "0.0.0.0/0", "gw": "169.254.1.1" }],
                "dns": {},
            })
        );
        assert_eq!(outside.alias.as_deref(), Some("fairway:shop/cart-0"));
        assert!(inside.require_link("lo").unwrap().is_up);
    });
}

#[test]
fn large_packets_pass_as_far_as_the_mtu_allows() {
    isolated(|| {
        let node = Node::new().with("mtu", 9000.into());
        let (first, _) = node.add("first");
        let (second, result) = node.add("second");
        let server = second.run(|| UdpSocket::bind((address(&result), 0)).unwrap()).unwrap();
        server.set_read_timeout(Some(SECONDS)).unwrap();
        let client = first.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        let datagram = vec![7; 9000 - 28];
        client.send_to(&datagram, server.local_addr().unwrap()).unwrap();
        let mut buffer = vec![0; 10_000];
        assert_eq!(server.recv(&mut buffer).unwrap(), datagram.len());
    });
}

#[test]
fn a_deletion_leaves_nothing_and_works_again() {
    isolated(|| {
        let node = Node::new();
        let (netns, _) = node.add("pod");
        assert_eq!(node.leftovers().len(), 4, "link, route, address and record");
        for _ in 0..2 {
            let said = node.call("DEL", "pod");
            assert!(said.is_success && said.output.is_null(), "{said:?}");
            assert_eq!(node.leftovers(), Vec::<String>::new());
        }
        assert_eq!(Rtnetlink::open_in(&netns).unwrap().link("eth0").unwrap(), None);
    });
}

#[test]
fn a_deletion_works_with_the_namespace_gone_or_never_there() {
    isolated(|| {
        let node = Node::new();
        let (netns, _) = node.add("pod");
        drop(netns);
        netns::remove(&node.netns("pod")).unwrap();
        assert!(node.call("DEL", "pod").is_success);
        assert_eq!(node.leftovers(), Vec::<String>::new());
        assert!(node.call("DEL", "never").is_success);
    });
}

#[test]
fn a_failed_addition_leaves_nothing() {
    isolated(|| {
        let node = Node::new();
        let said = node.call("ADD", "no-namespace");
        assert!(!said.is_success);
        assert_eq!(said.output["code"], 4);
        assert!(said.output["msg"].as_str().unwrap().contains("does not exist"), "{said:?}");
        let pod = node.container("taken");
        let mut inside = Rtnetlink::open_in(&pod).unwrap();
        let end = |name| VethEnd { name, mac: None, netns: None };
        inside.create_veth(&Veth { end: end("eth0"), peer: end("other"), mtu: 1500 }).unwrap();
        let said = node.call("ADD", "taken");
        assert_eq!((said.is_success, said.output["code"].as_u64()), (false, Some(101)));
        assert!(said.output["details"].as_str().unwrap().contains("File exists"), "{said:?}");
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn failed_additions_use_up_no_addresses() {
    isolated(|| {
        let ipam = json!({ "ranges": ["10.244.1.0/29", "fd00::/125"], "reuseDelaySeconds": 600 });
        let node = Node::new().with("ipam", ipam);
        let mut serving = node.config.clone();
        serving["runtimeConfig"] = json!({ "portMappings": [{ "hostPort": 80, "containerPort": 80 }] });
        let _first = node.container("first");
        let first = node.call_with("ADD", "first", &serving);
        assert!(first.is_success, "{first:?}");
        let busy = node.container("busy");
        let mut inside = Rtnetlink::open_in(&busy).unwrap();
        let end = |name| VethEnd { name, mac: None, netns: None };
        inside.create_veth(&Veth { end: end("eth0"), peer: end("other"), mtu: 1500 }).unwrap();
        let _second = node.container("second");
        for _ in 0..8 {
            assert_eq!(node.call_with("ADD", "second", &serving).output["code"], 103);
            assert_eq!(node.call("ADD", "busy").output["code"], 101);
            assert!(node.call("DEL", "busy").is_success);
        }
        assert_eq!(node.released(), Vec::<String>::new());
        // What was attached and fails now may have been met.
        let mut wrong = serving.clone();
        wrong["sysctl"] = json!({ "net.ipv4.there_is_none": "1" });
        assert!(!node.call_with("ADD", "first", &wrong).is_success);
        assert_eq!(node.released(), ["10.244.1.1", "fd00::1"]);
    });
}

#[test]
fn a_full_range_asks_to_try_again_later() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/30"] }));
        let _pods = [node.add("a"), node.add("b")];
        let _third = node.container("c");
        let said = node.call("ADD", "c");
        assert_eq!(said.output["code"], 11);
        assert_eq!(node.call("STATUS", "c").output["code"], 50);
        assert!(node.call("DEL", "a").is_success);
        assert!(node.call("STATUS", "c").is_success);
        assert!(node.call("ADD", "c").is_success);
    });
}

#[test]
fn a_status_tells_what_only_new_containers_miss_from_what_all_do() {
    isolated(|| {
        uplink("10.244.1.1/24", 1500);
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/30"], "reuseDelaySeconds": 3600 }));
        let code = |said: Said| said.output["code"].as_u64();
        // The other address is the node's own.
        node.add("only");
        assert_eq!(code(node.call("STATUS", "")), Some(50));
        sysctl::write("ipv4/ip_forward", "0").unwrap();
        assert_eq!(code(node.call("STATUS", "")), Some(51));
        sysctl::write("ipv4/ip_forward", "1").unwrap();
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        assert_eq!(code(node.call("STATUS", "")), Some(51));
        assert!(node.call("DEL", "only").is_success);
        let said = node.call("STATUS", "");
        assert!(said.is_success, "its address only rests, and the next ADD makes the table: {said:?}");
    });
}

#[test]
fn containers_of_an_earlier_boot_miss_nothing_and_have_nothing() {
    isolated(|| {
        let node = Node::new();
        let mut config = node.config.clone();
        config["runtimeConfig"] = json!({ "portMappings": [{ "hostPort": 80, "containerPort": 8080 }] });
        let _netns = node.container("pod");
        assert!(node.call_with("ADD", "pod", &config).is_success);
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        assert_eq!(node.call("STATUS", "").output["code"], 51);
        assert_eq!(cni::recorded_host_ports(&node.state()).unwrap().len(), 1);
        std::fs::write(node.state().join("boot"), "an earlier one").unwrap();
        assert_eq!(cni::recorded_host_ports(&node.state()).unwrap(), []);
        assert_eq!(cni::allocations(&node.state()).unwrap(), []);
        let said = node.call("STATUS", "");
        assert!(said.is_success, "{said:?}");
    });
}

#[test]
fn a_check_finds_what_is_damaged() {
    isolated(|| {
        let node = Node::new();
        let (netns, result) = node.add("pod");
        let mut config = node.config.clone();
        config["prevResult"] = result.clone();
        let said = node.call_with("CHECK", "pod", &config);
        assert!(said.is_success, "{said:?}");
        let mut host = Rtnetlink::open().unwrap();
        let route = host.routes(RouteFilter::Ours).unwrap().remove(0);
        host.delete_route(&route).unwrap();
        let mut inside = Rtnetlink::open_in(&netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        inside.set_down(eth0.index).unwrap();
        let said = node.call_with("CHECK", "pod", &config);
        assert_eq!(
            (said.output["code"].as_u64(), said.output["msg"].as_str()),
            (
                Some(100),
                Some(
                    "the container's network is not as it should be: the host has no route to 10.244.1.1; \
                     the container's interface eth0 is down"
                )
            )
        );
        let _other = node.container("stranger");
        assert_eq!(node.call_with("CHECK", "stranger", &config).output["code"], 3);
    });
}

#[test]
fn what_only_an_addition_needs_keeps_no_container_from_going() {
    isolated(|| {
        let node = Node::new();
        let (_deleted, _) = node.add("deleted");
        let (_collected, _) = node.add("collected");
        let mut config = node.config.clone();
        config["mut"] = 1400.into();
        config["ipam"] = json!({ "ranges": "of another time" });
        config["runtimeConfig"] = json!({ "portMappings": [{ "hostPort": 70_000 }], "mac": "none" });
        assert_eq!(node.call_with("ADD", "deleted", &config).output["code"], 7);
        let said = node.call_with("DEL", "deleted", &config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(node.reserved(), ["10.244.1.2"]);
        config["cni.dev/valid-attachments"] = json!(null);
        let said = node.call_with("GC", "", &config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn collection_takes_down_what_the_runtime_forgot() {
    isolated(|| {
        let node = Node::new();
        let (_kept, _) = node.add("kept");
        let (_forgotten, _) = node.add("forgotten");
        let mut config = node.config.clone();
        config["cni.dev/valid-attachments"] = json!([{ "containerID": "kept", "ifname": "eth0" }]);
        let said = node.call_with("GC", "kept", &config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(node.reserved(), ["10.244.1.1"]);
        assert_eq!(node.leftovers().len(), 4, "link, route, address and record");
    });
}

#[test]
fn what_dead_containers_had_is_taken_back_and_what_is_being_made_is_not() {
    isolated(|| {
        let node = Node::new();
        let (alive, _) = node.add("alive");
        let (dead, _) = node.add("dead");
        let (new, _) = node.add("new");
        for netns in [&dead, &new] {
            let mut inside = Rtnetlink::open_in(netns).unwrap();
            let eth0 = inside.require_link("eth0").unwrap();
            inside.delete_link(eth0.index).unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for name in ["alive", "dead"] {
            let file = node.state().join(format!("attachments/{name}:eth0"));
            File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
        }
        let released = cni::release_dead(&node.state()).unwrap();
        assert_eq!(released.addresses, ["10.244.1.2".parse::<IpAddr>().unwrap()]);
        assert!(released.failures.is_empty(), "{released:?}");
        let left = cni::allocations(&node.state()).unwrap();
        let left: Vec<_> = left.iter().map(|each| (each.container.as_deref().unwrap(), each.is_alive)).collect();
        assert_eq!(left, [("alive", true), ("new", false)]);
        drop(alive);
    });
}

#[test]
fn a_dead_container_whose_remains_stay_keeps_no_other_from_being_released() {
    isolated(|| {
        // Which one is looked at first nobody knows.
        for stuck in ["10.244.1.1", "10.244.1.2"] {
            let node = Node::new();
            for name in ["one", "other"] {
                let (netns, _) = node.add(name);
                let mut inside = Rtnetlink::open_in(&netns).unwrap();
                let eth0 = inside.require_link("eth0").unwrap();
                inside.delete_link(eth0.index).unwrap();
                let file = node.state().join(format!("attachments/{name}:eth0"));
                let long_ago = SystemTime::now() - Duration::from_secs(3600);
                File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
            }
            // Where a released address is to go.
            std::fs::create_dir(node.state().join("released").join(stuck)).unwrap();
            let released = cni::release_dead(&node.state()).unwrap();
            assert_eq!((released.addresses.len(), released.failures.len()), (1, 1), "{released:?}");
            assert_eq!(node.reserved(), [stuck]);
            assert_eq!(node.leftovers().len(), 2, "the address and its record: {:?}", node.leftovers());
        }
    });
}

#[test]
fn both_families_at_once() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] }));
        let (first, _) = node.add("first");
        let (second, result) = node.add("second");
        let v6: IpAddr = "fd00:10:244:1::2".parse().unwrap();
        assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::2/128");
        assert_eq!(seen_by(&second, &first, address(&result)), "10.244.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(seen_by(&second, &first, v6), "fd00:10:244:1::1".parse::<IpAddr>().unwrap());
    });
}

#[test]
fn every_version_is_answered_in_the_version_asked() {
    isolated(|| {
        let node = Node::new();
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let _pod = node.container(version);
            let mut config = node.config.clone();
            config["cniVersion"] = version.into();
            let said = node.call_with("ADD", version, &config);
            assert_eq!((said.is_success, said.output["cniVersion"].as_str()), (true, Some(version)), "{said:?}");
            let said = node.call_with("VERSION", version, &json!({ "cniVersion": version }));
            assert_eq!(said.output["cniVersion"], version);
            assert_eq!(said.output["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
            assert!(node.call_with("DEL", version, &config).is_success);
        }
        let mut config = node.config.clone();
        config["cniVersion"] = "0.4.0".into();
        let said = node.call_with("STATUS", "x", &config);
        assert_eq!((said.output["code"].as_u64(), said.output["cniVersion"].as_str()), (Some(1), Some("0.4.0")));
    });
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    isolated(|| {
        let node = Node::new();
        for (config, code) in [
            (json!([]), 6),
            (json!({ "cniVersion": "9.9.9", "name": "x" }), 1),
            (json!({ "cniVersion": "1.0.0", "name": "x" }), 7),
        ] {
            let said = node.call_with("ADD", "pod", &config);
            assert_eq!((said.is_success, said.output["code"].as_u64()), (false, Some(code)), "{said:?}");
        }
    });
}

#[test]
fn fifty_calls_at_once_get_fifty_addresses() {
    isolated(|| {
        let node = Node::new();
        let names: Vec<String> = (0..50).map(|number| format!("pod-{number}")).collect();
        let pods: Vec<Netns> = names.iter().map(|name| node.container(name)).collect();
        let started = Instant::now();
        let children: Vec<Child> = names.iter().map(|name| node.start("ADD", name, &node.config)).collect();
        let results: Vec<Said> = children.into_iter().map(finish).collect();
        println!("50 additions at once took {:?}", started.elapsed());
        assert!(results.iter().all(|said| said.is_success), "{results:?}");
        let addresses: BTreeSet<IpAddr> = results.iter().map(|said| address(&said.output)).collect();
        assert_eq!(addresses.len(), 50);
        let last = *addresses.last().unwrap();
        let index = results.iter().position(|said| address(&said.output) == last).unwrap();
        assert_eq!(seen_by(&pods[index], &pods[(index + 1) % 50], last), address(&results[(index + 1) % 50].output));
        let children: Vec<Child> = names.iter().map(|name| node.start("DEL", name, &node.config)).collect();
        assert!(children.into_iter().map(finish).all(|said| said.is_success));
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn links_pass_packets_on_however_many_calls_allow_it_at_once() {
    isolated(|| {
        let state = tempfile::tempdir().unwrap();
        let mut links = Rtnetlink::open().unwrap();
        for round in 0..50 {
            sysctl::write("ipv4/ip_forward", "0").unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| cni::allow_forwarding(state.path(), IpFamily::V4).unwrap());
                }
                // What holds the kernel's lock meanwhile, as the links of other pods do.
                for name in ["one", "two"] {
                    let end = |name| VethEnd { name, mac: None, netns: None };
                    let peer = format!("{name}-peer");
                    let link = links.create_veth(&Veth { end: end(name), peer: end(&peer), mtu: 1500 }).unwrap();
                    links.delete_link(link.index).unwrap();
                }
            });
            assert_eq!(sysctl::read("ipv4/conf/lo/forwarding").unwrap(), "1", "in round {round}");
        }
    });
}

#[test]
fn a_node_that_begins_to_pass_ipv6_on_goes_on_listening_to_its_routers_and_to_no_pod() {
    isolated(|| {
        let state = tempfile::tempdir().unwrap();
        let end = |name| VethEnd { name, mac: None, netns: None };
        let mut links = Rtnetlink::open().unwrap();
        for (node, peer) in [("eth0", "router"), ("quiet", "none"), ("fwp0", "pod")] {
            links.create_veth(&Veth { end: end(node), peer: end(peer), mtu: 1500 }).unwrap();
        }
        let accepts = |link: &str| format!("ipv6/conf/{link}/accept_ra");
        sysctl::write(&accepts("quiet"), "0").unwrap();
        let seen = || ["eth0", "quiet", "fwp0", "default"].map(|link| sysctl::read(&accepts(link)).unwrap());
        assert_eq!(seen(), ["1", "0", "1", "1"]);
        cni::allow_forwarding(state.path(), IpFamily::V4).unwrap();
        assert_eq!(seen(), ["1", "0", "1", "1"], "IPv4 has no such routers");
        cni::allow_forwarding(state.path(), IpFamily::V6).unwrap();
        assert_eq!(seen(), ["2", "0", "1", "1"]);
        sysctl::write(&accepts("eth0"), "1").unwrap();
        cni::allow_forwarding(state.path(), IpFamily::V6).unwrap();
        assert_eq!(seen(), ["1", "0", "1", "1"], "what is set later is the administrator's");
    });
}

#[test]
fn a_call_killed_at_any_point_is_cleaned_by_deletion() {
    isolated(|| {
        let node = Node::new();
        let _pod = node.container("pod");
        let whole = time_of_an_addition(&node, "pod", &node.config);
        let mut interrupted = 0;
        for step in 0..40 {
            let mut child = node.start("ADD", "pod", &node.config);
            let until = Instant::now() + whole * step / 40;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            interrupted += usize::from(!finish(child).is_success);
            let said = node.call("DEL", "pod");
            assert!(said.is_success, "{said:?}");
            assert_eq!(node.leftovers(), Vec::<String>::new(), "killed at step {step}");
        }
        assert!(interrupted > 5, "only {interrupted} of 40 calls were killed in the middle");
        let said = node.call("ADD", "pod");
        assert!(said.is_success, "{said:?}");
        assert!(Path::new(&node.netns("pod")).exists());
    });
}
