//! `fairway check`, about objects that the API server lets through.

use std::path::Path;

use apiserver::client::{ENDPOINT_SLICES, SERVICES};
use datapath::route::{Bridge, Route, RouteAction, RouteFilter, Rtnetlink};
use datapath::testing::isolated;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::world::{NODE, NODE_ADDRESS, World};

/// Where network plugins have their configurations.
const PLUGINS: &str = "/etc/cni/net.d";

/// Hides from this test which network plugins the machine it runs on happens to have.
fn hide_plugins_of_this_machine() {
    if Path::new(PLUGINS).exists() {
        mount(Some("tmpfs"), PLUGINS, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    }
}

/// Codes and details of what is found.
fn findings(world: &World) -> Vec<(String, String)> {
    let (_, text) = world.run(&["check", "--pre", "-o", "json"]);
    let result: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    result["findings"].as_array().unwrap().iter().map(|each| (text(&each["code"]), text(&each["detail"]))).collect()
}

#[test]
fn what_is_not_in_force_of_an_object_is_a_finding_and_so_is_a_broken_corefile() {
    isolated(|| {
        hide_plugins_of_this_machine();
        let world = World::start();
        world.create_node();
        for (name, address) in [("cart", "10.96.0.50"), ("till", "10.96.0.51")] {
            world.create_service(name, address, "TCP");
        }
        assert_eq!(findings(&world), []);
        for name in ["cart", "till"] {
            world.merge(&SERVICES, "default", name, json!({ "spec": { "externalIPs": ["203.0.113.1"] } }));
        }
        let slice = json!({
            "metadata": { "name": "till-1", "labels": { "kubernetes.io/service-name": "till" } },
            "addressType": "FQDN",
            "ports": [{ "name": "main", "port": 80 }],
            "endpoints": [{ "addresses": ["till.example.org"] }],
        });
        world.create(&ENDPOINT_SLICES, "default", &slice);
        let corefile =
            json!({ "metadata": { "name": "coredns" }, "data": { "Corefile": ".:53 {\n  forwards . 192.0.2.1\n}\n" } });
        world.create(&apiserver::client::CONFIG_MAPS, "kube-system", &corefile);
        let found = findings(&world);
        let has = |code: &str, part: &str| found.iter().any(|(each, detail)| each == code && detail.contains(part));
        assert!(
            has("FW0141", "Service default/till: spec.ports[name=main]: TCP 203.0.113.1:80 belongs to"),
            "{found:?}"
        );
        assert!(has("FW0141", "EndpointSlice default/till-1: addressType"), "{found:?}");
        assert!(has("FW0142", "Corefile:2: forwards: no such directive; did you mean forward?"), "{found:?}");
        assert_eq!(found.len(), 3, "{found:?}");
    });
}

#[test]
fn the_tunnels_own_address_is_no_route_of_another_and_a_bridge_into_the_pods_range_is_one() {
    isolated(|| {
        hide_plugins_of_this_machine();
        let world = World::start();
        world.create_node_with(NODE, &[NODE_ADDRESS, "fd00:89::1"], &["10.244.1.0/24", "fd00:10:244:1::/64"]);
        world.create_node_with("far", &["192.0.2.7", "2001:db8::7"], &["10.244.2.0/24", "fd00:10:244:2::/64"]);
        let _agent = world.spawn_agent_with(&["--routing", "vxlan"]);
        let mut links = Rtnetlink::open().unwrap();
        let tunnel = links.require_link("fw-vxlan").unwrap().index;
        let held = links.routes(RouteFilter::Main).unwrap();
        assert!(held.iter().any(|route| route.action == RouteAction::Link(tunnel)), "{held:?}");
        let overlaps = |found: Vec<(String, String)>| -> Vec<String> {
            found.into_iter().filter(|(code, _)| code == "FW0106").map(|(_, detail)| detail).collect()
        };
        assert_eq!(overlaps(findings(&world)), Vec::<String>::new());
        let bridge = links.create_bridge(&Bridge { name: "other0", mtu: 1500 }).unwrap();
        links.add_route(&Route::on_link("10.244.1.0/25".parse().unwrap(), bridge.index)).unwrap();
        assert_eq!(overlaps(findings(&world)), ["10.244.1.0/25 on node1 overlaps 10.244.1.0/24 of node1"]);
    });
}
