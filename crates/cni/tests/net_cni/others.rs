//! Among other plugins: after one that made the interface, with one that gives addresses, in the place of another.

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use datapath::Netns;
use datapath::route::{Route, Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use serde_json::{Value, json};

use crate::runtime::{Node, seen_by, uplink};

/// Writes a plugin that notes its calls and answers `ADD` with `answer`, or everything with an error.
fn stub(directory: &Path, name: &str, answer: &Value, exit_code: u8) {
    let path = directory.join(name);
    let script = format!(
        "#!/bin/sh\ncat > {0}/{name}.stdin\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME\" >> {0}/{name}.calls\n\
         if [ $CNI_COMMAND = ADD ] || [ {exit_code} != 0 ]; then echo '{answer}'; fi\nexit {exit_code}\n",
        directory.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn calls(directory: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join(format!("{name}.calls"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn another_plugin_may_give_the_addresses() {
    isolated(|| {
        uplink("10.89.0.1/24", 1500);
        let node = Node::new().with("ipam", json!({ "type": "giver", "anything": { "of": "its own" } }));
        let given = json!({
            "cniVersion": "1.1.0",
            "ips": [{ "address": "10.77.0.5/24", "gateway": "10.77.0.1" }],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.0.0.0/8", "gw": "10.77.0.1" }],
            "dns": { "nameservers": ["10.77.0.1"] },
        });
        stub(node.directory.path(), "giver", &given, 0);
        let (netns, result) = node.add("pod");
        assert_eq!(result["ips"], json!([{ "address": "10.77.0.5/32", "gateway": "169.254.1.1", "interface": 1 }]));
        assert_eq!(result["routes"][1], json!({ "dst": "10.0.0.0/8", "gw": "169.254.1.1" }));
        assert_eq!(result["dns"], json!({ "nameservers": ["10.77.0.1"] }));
        let own: IpAddr = "10.77.0.5".parse().unwrap();
        assert_eq!(seen_by(&netns, &Netns::current().unwrap(), own), "10.89.0.1".parse::<IpAddr>().unwrap());
        let mut config = node.config.clone();
        config["prevResult"] = result;
        let checked = node.call_with("CHECK", "pod", &config);
        assert!(checked.is_success, "{checked:?}");
        config["cni.dev/valid-attachments"] = json!([]);
        assert!(node.call_with("GC", "pod", &config).is_success);
        assert!(node.call_with("STATUS", "pod", &config).is_success);
        let expected = ["ADD pod eth0", "CHECK pod eth0", "DEL pod eth0", "GC pod eth0", "STATUS pod eth0"];
        assert_eq!(calls(node.directory.path(), "giver"), expected);
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn addresses_another_plugin_gave_go_back_to_it_though_the_container_died_without_a_word() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "type": "giver" }));
        let given = json!({ "cniVersion": "1.1.0", "ips": [{ "address": "10.77.0.5/24" }] });
        stub(node.directory.path(), "giver", &given, 0);
        let mut config = node.config.clone();
        config["runtimeConfig"] = json!({ "portMappings": [{ "hostPort": 80, "containerPort": 8080 }] });
        let netns = node.container("pod");
        assert!(node.call_with("ADD", "pod", &config).is_success);
        let mut inside = Rtnetlink::open_in(&netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        inside.delete_link(eth0.index).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let record = File::options().write(true).open(node.state().join("attachments/pod:eth0")).unwrap();
        record.set_modified(long_ago).unwrap();
        cni::release_dead(&node.state()).unwrap();
        assert_eq!(cni::recorded_host_ports(&node.state()).unwrap(), []);
        config["cni.dev/valid-attachments"] = json!([]);
        assert!(node.call_with("GC", "", &config).is_success);
        assert_eq!(calls(node.directory.path(), "giver"), ["ADD pod eth0", "DEL pod eth0", "GC  eth0"]);
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn what_a_giver_of_addresses_says_is_passed_on() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "type": "giver" }));
        let refusal = json!({ "cniVersion": "1.1.0", "code": 11, "msg": "pool is empty", "details": "all of it" });
        stub(node.directory.path(), "giver", &refusal, 1);
        node.container("pod");
        let said = node.call("ADD", "pod");
        assert_eq!(
            (said.is_success, &said.output["code"], said.output["msg"].as_str(), said.output["details"].as_str()),
            (false, &json!(11), Some("plugin giver refused ADD: pool is empty"), Some("all of it"))
        );
        assert_eq!(calls(node.directory.path(), "giver"), ["ADD pod eth0", "DEL pod eth0"]);
        let missing = Node::new().with("ipam", json!({ "type": "nobody" }));
        missing.container("pod");
        let said = missing.call("ADD", "pod");
        assert_eq!(said.output["code"], 4, "{said:?}");
    });
}

#[test]
fn a_giver_of_addresses_that_gives_none_is_told_with_its_words() {
    isolated(|| {
        let node = Node::new().with("ipam", json!({ "type": "giver" }));
        stub(node.directory.path(), "giver", &json!({ "cniVersion": "1.1.0", "ips": [] }), 0);
        node.container("pod");
        let said = node.call("ADD", "pod");
        assert_eq!(said.output["code"], 105, "{said:?}");
        let message = said.output["msg"].as_str().unwrap();
        assert!(
            message.starts_with("plugin giver gave no address; it said ") && message.contains("1.1.0"),
            "{message}"
        );
        assert_eq!(calls(node.directory.path(), "giver"), ["ADD pod eth0", "DEL pod eth0"]);
    });
}

/// An interface as another plugin would make it, with its result.
fn made_by_another(node: &Node, name: &str) -> (Netns, Value) {
    let netns = node.container(name);
    let mut host = Rtnetlink::open().unwrap();
    let end = VethEnd { name: "other0", mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&netns) };
    let link = host.create_veth(&Veth { end, peer, mtu: 1500 }).unwrap();
    let mut inside = Rtnetlink::open_in(&netns).unwrap();
    let eth0 = inside.require_link("eth0").unwrap();
    inside.set_up(eth0.index).unwrap();
    host.add_address(link.index, "10.66.0.1/24".parse().unwrap()).unwrap();
    inside.add_address(eth0.index, "10.66.0.5/24".parse().unwrap()).unwrap();
    let default = Route::via("0.0.0.0/0".parse().unwrap(), "10.66.0.1".parse().unwrap(), eth0.index);
    inside.replace_route(&default).unwrap();
    let lo = host.require_link("lo").unwrap();
    host.set_up(lo.index).unwrap();
    host.wait_until_running("other0", crate::runtime::SECONDS).unwrap();
    let result = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "other0", "mac": "" }, { "name": "eth0", "mac": "", "sandbox": node.netns(name) }],
        "ips": [{ "address": "10.66.0.5/24", "gateway": "10.66.0.1", "interface": 1 }],
        "dns": { "nameservers": ["192.0.2.1"] },
    });
    (netns, result)
}

#[test]
fn after_another_plugin_only_what_is_wished_for_is_added() {
    isolated(|| {
        let mut node = Node::new();
        node.config.as_object_mut().unwrap().remove("ipam");
        let (netns, previous) = made_by_another(&node, "pod");
        let mut config = node.config.clone();
        config["prevResult"] = previous.clone();
        config["runtimeConfig"] = json!({
            "portMappings": [{ "hostPort": 80, "containerPort": 8080, "protocol": "udp" }],
            "bandwidth": { "ingressRate": 8_000_000, "egressRate": 16_000_000 },
        });
        let said = node.call_with("ADD", "pod", &config);
        assert_eq!((said.is_success, &said.output), (true, &previous), "{said:?}");
        let host = Netns::current().unwrap();
        let server = netns.run(|| std::net::UdpSocket::bind("10.66.0.5:8080").unwrap()).unwrap();
        server.set_read_timeout(Some(crate::runtime::SECONDS)).unwrap();
        let client = host.run(|| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        client.send_to(b"x", "127.0.0.1:80").unwrap();
        assert_eq!(server.recv_from(&mut [0; 1]).unwrap().1.ip().to_string(), "10.66.0.1");
        let mut links = Rtnetlink::open().unwrap();
        let other0 = links.require_link("other0").unwrap();
        assert_eq!(links.rate_limit(other0.index).unwrap(), Some(1_000_000));
        assert!(links.redirection(other0.index).unwrap().is_some());
        config["prevResult"] = said.output;
        let checked = node.call_with("CHECK", "pod", &config);
        assert!(checked.is_success, "{checked:?}");
        for _ in 0..2 {
            assert!(node.call_with("DEL", "pod", &config).is_success);
        }
        assert_eq!(node.leftovers(), Vec::<String>::new());
        assert!(links.link("other0").unwrap().is_some(), "the other plugin's link is not ours to delete");
        assert_eq!((links.rate_limit(other0.index).unwrap(), links.redirection(other0.index).unwrap()), (None, None));
        let own: IpAddr = "10.66.0.1".parse().unwrap();
        assert_eq!(seen_by(&host, &netns, own).to_string(), "10.66.0.5", "what the container sends passes again");
    });
}

/// The configuration of this plugin behind another one that made the interface.
fn behind(node: &Node, previous: Value, wishes: Value) -> Value {
    let mut config = node.config.clone();
    config.as_object_mut().unwrap().remove("ipam");
    config["prevResult"] = previous;
    config["runtimeConfig"] = wishes;
    config
}

#[test]
fn a_check_behind_another_plugin_misses_an_interface_that_is_gone() {
    isolated(|| {
        let node = Node::new();
        let (netns, previous) = made_by_another(&node, "pod");
        let config = behind(&node, previous, json!({ "bandwidth": { "ingressRate": 8_000_000 } }));
        assert!(node.call_with("ADD", "pod", &config).is_success);
        assert!(node.call_with("CHECK", "pod", &config).is_success);
        let mut inside = Rtnetlink::open_in(&netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        inside.delete_link(eth0.index).unwrap();
        let said = node.call_with("CHECK", "pod", &config);
        assert!(said.output["msg"].as_str().unwrap().ends_with("the container has no interface eth0"), "{said:?}");
    });
}

#[test]
fn limits_that_cannot_be_lifted_are_not_forgotten() {
    isolated(|| {
        let node = Node::new();
        let (_netns, previous) = made_by_another(&node, "pod");
        let config = behind(&node, previous, json!({ "bandwidth": { "egressRate": 8_000_000 } }));
        assert!(node.call_with("ADD", "pod", &config).is_success);
        let file = node.state().join("attachments/pod:eth0");
        let recorded = std::fs::read_to_string(&file).unwrap();
        // A namespace, but none that has links.
        let netns = node.netns("pod").display().to_string();
        std::fs::write(&file, recorded.replace(&netns, "/proc/self/ns/uts")).unwrap();
        let said = node.call_with("DEL", "pod", &config);
        assert_eq!((said.is_success, &said.output["code"]), (false, &json!(101)), "{said:?}");
        let mut links = Rtnetlink::open().unwrap();
        let other0 = links.require_link("other0").unwrap();
        assert!(links.redirection(other0.index).unwrap().is_some(), "the detour went while the link sends by it");
        std::fs::write(&file, recorded).unwrap();
        assert!(node.call_with("DEL", "pod", &config).is_success);
        assert_eq!((node.leftovers().len(), links.redirection(other0.index).unwrap()), (0, None));
    });
}

/// A veth pair between two containers, of which the node has no end.
fn between_containers(node: &Node, name: &str) -> (Netns, Netns, Value) {
    let (netns, middle) = (node.container(name), Netns::create().unwrap());
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&netns) };
    let end = VethEnd { name: "far", mac: None, netns: None };
    Rtnetlink::open_in(&middle).unwrap().create_veth(&Veth { end, peer, mtu: 1500 }).unwrap();
    let result = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "eth0", "sandbox": node.netns(name) }],
        "ips": [{ "address": "10.66.0.6/24", "interface": 0 }],
    });
    (netns, middle, result)
}

#[test]
fn an_interface_without_an_end_on_the_node_gets_all_but_limits() {
    isolated(|| {
        let node = Node::new();
        // Links of different namespaces have the same numbers.
        let (_other, _) = made_by_another(&node, "other");
        let (pod, middle, previous) = between_containers(&node, "pod");
        let mut links = Rtnetlink::open().unwrap();
        let other0 = links.require_link("other0").unwrap();
        let far = Rtnetlink::open_in(&middle).unwrap().require_link("far").unwrap();
        let eth0 = Rtnetlink::open_in(&pod).unwrap().require_link("eth0").unwrap();
        assert_eq!((far.index, Some(eth0.index)), (other0.index, other0.peer));
        let ports = json!({ "portMappings": [{ "hostPort": 80, "containerPort": 8080 }] });
        let said = node.call_with("ADD", "pod", &behind(&node, previous.clone(), ports));
        assert!(said.is_success, "{said:?}");
        let limits = json!({ "bandwidth": { "ingressRate": 8_000_000 } });
        let said = node.call_with("ADD", "pod", &behind(&node, previous, limits));
        assert_eq!(said.output["code"], 104, "{said:?}");
        assert_eq!(links.rate_limit(other0.index).unwrap(), None, "another container's link is limited");
    });
}

#[test]
fn without_addresses_and_without_another_plugin_there_is_nothing_to_do() {
    isolated(|| {
        let mut node = Node::new();
        node.config.as_object_mut().unwrap().remove("ipam");
        node.container("pod");
        let said = node.call("ADD", "pod");
        assert_eq!(said.output["code"], 7);
        assert!(said.output["msg"].as_str().unwrap().starts_with("configuration field ipam: must name ranges"));
        assert!(node.call("DEL", "pod").is_success);
    });
}

#[test]
fn a_configuration_written_for_flannel_works_under_its_name() {
    isolated(|| {
        let node = Node::new();
        let file = node.directory.path().join("subnet.env");
        std::fs::write(&file, "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1450\n")
            .unwrap();
        let config = json!({
            "cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
            "delegate": { "hairpinMode": true, "isDefaultGateway": true },
            "subnetFile": file, "stateDir": node.state(),
        });
        let netns = node.container("pod");
        let said = node.call_with("ADD", "pod", &config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(said.output["ips"][0]["address"], "10.244.7.1/32");
        assert_eq!(Rtnetlink::open_in(&netns).unwrap().require_link("eth0").unwrap().mtu, 1450);
        // Flannel's daemon takes its file along when it goes.
        std::fs::remove_file(&file).unwrap();
        assert!(node.call_with("DEL", "pod", &config).is_success);
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn collection_leaves_other_networks_alone() {
    isolated(|| {
        let node = Node::new();
        let _pod = node.add("pod");
        let mut other = node.config.clone();
        other["name"] = "others".into();
        other["cni.dev/valid-attachments"] = json!([]);
        assert!(node.call_with("GC", "x", &other).is_success);
        assert_eq!(node.reserved(), ["10.244.1.1"]);
        other["name"] = node.config["name"].clone();
        assert!(node.call_with("GC", "x", &other).is_success);
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}
