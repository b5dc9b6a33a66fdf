use std::collections::BTreeSet;
use std::sync::Arc;

use model::{NodeNetworks, from_kube};
use serde_json::{Value, json};

use super::*;

/// A cluster of one namespace, `shop`, with pools and Services.
#[derive(Default)]
struct World(Cluster);

impl World {
    fn pool(mut self, name: &str, spec: &Value) -> Self {
        let created = format!("2026-01-01T00:00:{:02}Z", self.0.pools.len());
        let object =
            json!({ "metadata": { "name": name, "generation": 1, "creationTimestamp": created }, "spec": spec });
        let pool = from_kube::address_pool(&serde_json::from_value(object).unwrap()).fact.unwrap();
        self.0.pools.insert(pool.name.clone(), Arc::new(pool));
        self
    }

    fn namespace(mut self, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| (Name::from(*key), Name::from(*value))).collect();
        self.0.namespaces.insert("shop".into(), Arc::new(labels));
        self
    }

    /// A Service as old as the number says, with what `change` sets of its spec, annotations, labels and addresses.
    fn service(mut self, name: &str, age: u32, change: &Value) -> Self {
        let ingress: Vec<Value> =
            change["has"].as_array().into_iter().flatten().map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
        let mut object = json!({
            "metadata": {
                "namespace": "shop", "name": name, "creationTimestamp": format!("2026-01-01T00:{:02}:00Z", 59 - age),
                "annotations": change["annotations"], "labels": change["labels"],
            },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"],
                "ports": [{ "port": change["port"].as_i64().unwrap_or(80) }],
            },
            "status": {
                "loadBalancer": { "ingress": ingress },
                "conditions": [{ "type": from_kube::ALLOCATED_CONDITION, "reason": "Allocated", "message": "",
                    "status": if change["others"] == true { "False" } else { "True" },
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            },
        });
        for (field, value) in change["spec"].as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        let service = from_kube::service(&serde_json::from_value(object).unwrap()).fact.unwrap();
        self.0.services.insert(service.name.clone(), Arc::new(service));
        self
    }

    fn node(mut self, name: &str, address: &str, change: &Value) -> Self {
        let mut object = json!({ "metadata": { "name": name },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] } });
        for (field, value) in change["metadata"].as_object().into_iter().flatten() {
            object["metadata"][field] = value.clone();
        }
        object["spec"] = json!({ "podCIDRs": change["spec"]["podCIDRs"] });
        let node = from_kube::node(&serde_json::from_value(object).unwrap()).fact.unwrap();
        self.0.nodes.insert(node.name.clone(), Arc::new(node));
        self
    }

    fn endpoints(self, service: &str, nodes: &[&str]) -> Self {
        let endpoint =
            |(index, node): (usize, &&str)| json!({ "addresses": [format!("10.244.0.{index}")], "nodeName": node });
        let endpoints: Vec<Value> = nodes.iter().enumerate().map(endpoint).collect();
        self.slice(service, "", &endpoints)
    }

    /// Endpoints with one port of this name.
    fn slice(mut self, service: &str, port: &str, endpoints: &[Value]) -> Self {
        let object = json!({
            "metadata": { "namespace": "shop", "name": service, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4", "ports": [{ "name": port, "port": 80 }], "endpoints": endpoints,
        });
        self.0.insert_slice(from_kube::endpoint_slice(&serde_json::from_value(object).unwrap()).fact.unwrap());
        self
    }

    /// The addresses each Service has, as `name address,address`.
    fn given(&self) -> Vec<String> {
        let given = assign(&self.0, true).addresses;
        let line = |(name, addresses): (NamespacedName, Vec<IpAddr>)| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{} {}", name.name, addresses.join(","))
        };
        given.into_iter().map(line).collect()
    }

    fn told(&self) -> Vec<String> {
        assign(&self.0, true).rejected.iter().map(|rejected| format!("{} {rejected}", rejected.reason)).collect()
    }
}

fn world() -> World {
    World::default().pool("default", &json!({ "addresses": ["10.0.0.1-10.0.0.2", "fd00::1-fd00::2"] }))
}

#[test]
fn the_last_address_goes_to_the_oldest_service() {
    let pool = World::default().pool("default", &json!({ "addresses": ["10.0.0.1"] }));
    let world = pool.service("new", 1, &json!({})).service("old", 2, &json!({}));
    assert_eq!(world.given(), ["new ", "old 10.0.0.1"]);
}

#[test]
fn a_service_that_asks_for_no_address_any_more_or_asks_another_is_released() {
    let with = |spec: Value| json!({ "spec": spec, "has": ["10.0.0.1"] });
    let world = world()
        .service("inside", 1, &with(json!({ "type": "ClusterIP" })))
        .service("node-port", 1, &with(json!({ "type": "NodePort" })))
        .service("elsewhere", 1, &with(json!({ "loadBalancerClass": "example.com/other" })))
        .service("ours", 1, &with(json!({ "loadBalancerClass": "fairway.network/lb" })))
        .service("never-given", 1, &json!({ "spec": { "type": "ClusterIP" }, "others": true }))
        .service("any", 1, &json!({ "has": ["10.0.0.2"] }));
    let released = |is_default| -> Vec<String> {
        assign(&world.0, is_default).released.iter().map(|name| name.name.to_string()).collect()
    };
    assert_eq!(released(true), ["elsewhere", "inside", "node-port"]);
    assert_eq!(released(false), ["any", "elsewhere", "inside", "node-port"], "those of no class are left to others");
    assert_eq!(world.given(), ["any 10.0.0.2", "ours 10.0.0.1"]);
}

#[test]
fn a_service_that_is_made_again_gets_the_address_it_had_whoever_came_or_went() {
    let pool = json!({ "addresses": ["10.0.0.0/26", "10.0.1.0-10.0.1.40"] });
    let of = |present: &[u32]| -> BTreeMap<String, String> {
        let world = World::default().pool("default", &pool);
        let world = present
            .iter()
            .fold(world, |world, index| world.service(&format!("service{index}"), index % 59, &json!({})));
        world.given().iter().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.into(), b.into())).collect()
    };
    let all: Vec<u32> = (0..12).collect();
    let before = of(&all);
    let distinct: BTreeSet<&String> = before.values().collect();
    assert_eq!(distinct.len(), 12, "{before:?}");
    // Status lost with every other Service gone: whoever is left is where it was, unless somebody was in its place.
    let after = of(&all.iter().copied().filter(|index| index % 2 == 0).collect::<Vec<_>>());
    let moved = after.iter().filter(|(service, address)| before[*service] != **address).count();
    assert!(moved <= 1, "{before:?} {after:?}");
}

#[test]
fn a_pool_is_given_away_to_its_last_address() {
    let pool = json!({ "addresses": ["10.0.0.250-10.0.1.4", "10.0.9.1"] });
    let world = World::default().pool("default", &pool);
    let world = (0..13).fold(world, |world, index| world.service(&format!("service{index:02}"), index, &json!({})));
    let given: BTreeSet<String> =
        world.given().iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
    assert_eq!(given.len(), 13, "twelve addresses and one Service without: {given:?}");
    assert!(given.contains("") && given.contains("10.0.9.1") && given.contains("10.0.1.4"), "{given:?}");
}

#[test]
fn what_a_service_has_it_keeps_whoever_comes() {
    let world = world().service("new", 1, &json!({ "has": ["10.0.0.1"] })).service("old", 2, &json!({}));
    assert_eq!(world.given(), ["new 10.0.0.1", "old 10.0.0.2"]);
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn of_two_that_have_the_same_the_older_keeps_it_and_the_other_is_told() {
    let both = json!({ "has": ["10.0.0.1"] });
    let world = world().service("new", 1, &both).service("old", 2, &both);
    assert_eq!(world.given(), ["new 10.0.0.2", "old 10.0.0.1"]);
    assert_eq!(
        world.told(),
        ["IPConflict Service shop/new: spec.type: 10.0.0.1 cannot be kept: Service shop/old has it and they have no \
          fairway.network/sharing-key in common; ask for another"]
    );
}

#[test]
fn a_full_pool_is_told_with_its_numbers() {
    let world = world().service("a", 3, &json!({})).service("b", 2, &json!({})).service("c", 1, &json!({}));
    assert_eq!(world.given(), ["a 10.0.0.2", "b 10.0.0.1", "c "]);
    assert_eq!(
        world.told(),
        [
            "IPPoolExhausted Service shop/c: spec.type: no free IPv4 address in LoadBalancerPool default (2 of 4 used); add \
          addresses, or delete a Service that has one"
        ]
    );
    let status = &assign(&world.0, true).pools[&Name::from("default")];
    assert_eq!((status.total, status.used, status.fault.clone()), (4, 2, None));
}

#[test]
fn a_requested_address_is_given_or_refused_with_what_is_in_the_way() {
    let asks = |address: &str| json!({ "annotations": { from_kube::ADDRESSES_ANNOTATION: address } });
    let fine = world().service("a", 1, &asks("10.0.0.2"));
    assert_eq!(fine.given(), ["a 10.0.0.2"]);
    let field = "metadata.annotations[fairway.network/load-balancer-ips]";
    let strange = world().service("a", 1, &asks("10.9.9.9"));
    assert_eq!(strange.given(), ["a "]);
    assert_eq!(
        strange.told(),
        [format!(
            "IPConflict Service shop/a: {field}: 10.9.9.9 cannot be had: no LoadBalancerPool has it; add it to one, or \
             ask for another"
        )]
    );
    let taken = world().service("b", 2, &json!({ "has": ["10.0.0.2"] })).service("a", 3, &asks("10.0.0.2"));
    assert_eq!(taken.given(), ["a ", "b 10.0.0.2"], "nobody loses what it has to somebody who asks for it");
    let changed = world().service(
        "a",
        1,
        &json!({ "has": ["10.0.0.1"],
        "annotations": { from_kube::ADDRESSES_ANNOTATION: "10.0.0.2" } }),
    );
    assert_eq!(changed.given(), ["a 10.0.0.2"]);
}

#[test]
fn a_service_serves_on_while_it_cannot_have_what_it_asks_for() {
    let asks = |key: &str, value: &str| json!({ "has": ["10.0.0.1"], "annotations": { key: value } });
    let (by_address, by_pool) = (from_kube::ADDRESSES_ANNOTATION, from_kube::POOL_ANNOTATION);
    for (key, value) in [(by_address, "10.9.9.9"), (by_address, "10.0.0.2"), (by_pool, "lost")] {
        let world = world()
            .service("a", 1, &asks(key, value))
            .service("b", 3, &json!({ "has": ["10.0.0.2"] }))
            .service("new", 2, &json!({}));
        assert_eq!(world.given(), ["a 10.0.0.1", "b 10.0.0.2", "new "], "{value}");
        assert!(world.told().iter().any(|told| told.contains("Service shop/a")), "{:?}", world.told());
    }
}

#[test]
fn requested_addresses_stand_in_the_order_of_the_families() {
    let both = json!({ "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack" });
    let asks = json!({ "annotations": { from_kube::ADDRESSES_ANNOTATION: "10.0.0.2,fd00::2" }, "spec": both });
    assert_eq!(world().service("a", 1, &asks).given(), ["a fd00::2,10.0.0.2"]);
}

#[test]
fn a_pool_may_be_asked_for_and_only_then_used() {
    let asks = json!({ "annotations": { from_kube::POOL_ANNOTATION: "reserved" } });
    let world = world()
        .pool("reserved", &json!({ "addresses": ["10.0.9.1/32"], "autoAssign": false }))
        .service("a", 3, &json!({}))
        .service("b", 2, &json!({}))
        .service("c", 1, &asks);
    assert_eq!(world.given(), ["a 10.0.0.2", "b 10.0.0.1", "c 10.0.9.1"]);
    let lost = World::default().service("c", 1, &asks);
    let expected = "there is no LoadBalancerPool reserved; make it, or ask for one there is";
    assert!(lost.told()[0].ends_with(expected), "{:?}", lost.told());
}

#[test]
fn selectors_say_whom_a_pool_is_for() {
    let pool = json!({
        "addresses": ["10.0.0.1/32"], "serviceSelector": { "matchLabels": { "app": "web" } },
        "namespaceSelector": { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["shop"] }] },
    });
    let world = |team: &str, app: &str| {
        let world = World::default().pool("p", &pool).namespace(&[("team", team)]);
        world.service("a", 1, &json!({ "labels": { "app": app } })).given()
    };
    assert_eq!(world("shop", "web"), ["a 10.0.0.1"]);
    assert_eq!(world("shop", "db"), ["a "]);
    assert_eq!(world("other", "web"), ["a "]);
}

#[test]
fn services_of_one_key_share_an_address_unless_their_ports_clash() {
    let with = |port: u16| json!({ "annotations": { from_kube::SHARING_ANNOTATION: "k" }, "port": port });
    let world = world().service("a", 3, &with(80)).service("b", 2, &with(443)).service("c", 1, &with(80));
    assert_eq!(world.given(), ["a 10.0.0.2", "b 10.0.0.2", "c 10.0.0.1"]);
}

#[test]
fn two_families_come_from_one_pool_and_one_alone_is_enough_unless_both_are_required() {
    let dual = |policy: &str| json!({ "spec": { "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": policy } });
    assert_eq!(world().service("a", 1, &dual("PreferDualStack")).given(), ["a fd00::2,10.0.0.2"]);
    let grown = json!({ "has": ["10.0.0.2"], "spec": { "ipFamilies": ["IPv4", "IPv6"] } });
    assert_eq!(world().service("a", 1, &grown).given(), ["a 10.0.0.2,fd00::2"], "what it had stays");
    let v4_only = || World::default().pool("p", &json!({ "addresses": ["10.0.0.1/32"] }));
    assert_eq!(v4_only().service("a", 1, &dual("PreferDualStack")).given(), ["a 10.0.0.1"]);
    assert_eq!(v4_only().service("a", 1, &dual("RequireDualStack")).given(), ["a "]);
}

#[test]
fn an_address_that_left_its_pool_is_replaced_and_told() {
    let world = world().service("a", 1, &json!({ "has": ["10.7.7.7"] }));
    assert_eq!(world.given(), ["a 10.0.0.2"]);
    assert!(world.told()[0].contains("10.7.7.7 cannot be kept: no LoadBalancerPool has it"), "{:?}", world.told());
    let gone = World::default().service("a", 1, &json!({ "has": ["10.7.7.7"] }));
    assert_eq!(gone.given(), ["a "]);
}

#[test]
fn a_family_that_loses_its_address_leaves_the_other_ones_alone() {
    let dual = json!({ "has": ["10.0.0.2", "fd07::1"], "spec": { "ipFamilies": ["IPv4", "IPv6"] } });
    let world = world().service("a", 1, &dual);
    assert_eq!(world.given(), ["a 10.0.0.2,fd00::2"]);
    assert!(world.told()[0].contains("fd07::1 cannot be kept: no LoadBalancerPool has it"), "{:?}", world.told());
    let single = json!({ "has": ["10.0.0.2", "fd00::1"], "spec": { "ipFamilies": ["IPv4"] } });
    let world = self::world().service("a", 1, &single);
    assert_eq!(world.given(), ["a 10.0.0.2"], "it is of one family now");
    assert_eq!(world.told(), [""; 0], "which is what somebody asked for");
}

#[test]
fn addresses_that_the_cluster_uses_itself_are_not_given_and_told() {
    let pool = |ranges: &[&str]| World::default().pool("p", &json!({ "addresses": ranges }));
    let node = json!({ "spec": { "podCIDRs": ["10.1.0.0/24", "fd01::/80"] } });
    let world = pool(&["10.0.0.101-10.0.0.102"]).node("n1", "10.0.0.101", &node).service("a", 1, &json!({}));
    assert_eq!(world.given(), ["a 10.0.0.102"]);
    assert_eq!(
        world.told(),
        [
            "Refused LoadBalancerPool p: spec.addresses[0]: 10.0.0.101-10.0.0.102 has addresses that are not given, as the \
          cluster uses them; 10.0.0.101: it is an address of Node n1"
        ]
    );
    let of_pods = pool(&["10.1.0.9-10.1.1.9"]).node("n1", "10.0.0.101", &node).service("a", 1, &json!({}));
    assert_eq!(of_pods.given(), ["a 10.1.1.0"]);
    let six = json!({ "spec": { "ipFamilies": ["IPv6"] } });
    let many_pods = pool(&["fd01::/64"]).node("n1", "10.0.0.101", &node).service("a", 1, &six);
    assert_eq!(many_pods.given(), ["a fd01::1:0:0:0"], "without looking at each of them");
    let of_services = pool(&["10.96.0.1-10.96.0.2"]).service("a", 1, &json!({ "has": ["10.96.0.1"] }));
    assert_eq!(of_services.given(), ["a 10.96.0.2"]);
    assert!(of_services.told()[0].contains("it is the cluster IP of Service shop/a"), "{:?}", of_services.told());
}

#[test]
fn what_of_a_pool_is_of_the_ranges_of_pods_and_cluster_ips_is_left_out_and_told() {
    let with_ranges = |pool: Value, ranges: &[&str]| {
        let pods = json!({ "spec": { "podCIDRs": ["10.1.0.0/24"] } });
        let mut world = World::default().pool("p", &json!({ "addresses": pool })).node("n1", "10.9.9.9", &pods);
        for (index, range) in ranges.iter().enumerate() {
            let name = Name::from(format!("range{index}"));
            world.0.service_ranges.insert(name, Arc::new(vec![range.parse().unwrap()]));
        }
        world.service("a", 1, &json!({}))
    };
    let world = with_ranges(json!(["10.0.255.0-10.1.0.255"]), &["10.0.255.0/28", "10.0.255.0/24", "fd00::/112"]);
    assert_eq!(world.given(), ["a "], "nothing is left");
    let overlaps = "Refused LoadBalancerPool p: spec.addresses[0]: 10.0.255.0-10.1.0.255 overlaps";
    assert_eq!(
        world.told()[1..],
        [
            format!(
                "{overlaps} 10.0.255.0/24, the range of cluster IPs (ServiceCIDR range1); 10.0.255.0-10.0.255.255 is not \
                 given, take it out of this pool"
            ),
            format!(
                "{overlaps} 10.1.0.0/24, the range of Node n1's pods; 10.1.0.0-10.1.0.255 is not given, take it out of this \
                 pool"
            ),
        ]
    );
    let in_part = with_ranges(json!(["10.0.255.250-10.0.255.255", "10.2.0.1"]), &["10.0.255.0/24"]);
    assert_eq!(in_part.given(), ["a 10.2.0.1"]);
    let has_one = json!({ "has": ["10.0.255.251"] });
    let taken_back = with_ranges(json!(["10.0.255.250-10.0.255.255"]), &["10.0.255.0/24"]).service("a", 1, &has_one);
    assert_eq!(taken_back.given(), ["a "]);
    let told = taken_back.told();
    let why =
        "10.0.255.251 cannot be kept: it is of 10.0.255.0/24, the range of cluster IPs (ServiceCIDR range0); ask for";
    assert!(told.iter().any(|told| told.contains(why)), "{told:?}");
}

#[test]
fn a_pool_that_overlaps_an_older_one_is_not_used() {
    let world = world().pool("second", &json!({ "addresses": ["10.0.0.2-10.0.0.9"] })).service("a", 1, &json!({}));
    assert_eq!(world.given(), ["a 10.0.0.2"]);
    assert_eq!(
        world.told(),
        ["Refused LoadBalancerPool second: spec.addresses[0]: 10.0.0.2-10.0.0.9 overlaps 10.0.0.1-10.0.0.2 of \
          LoadBalancerPool default; nothing is given from here"]
    );
}

#[test]
fn services_of_other_load_balancers_are_left_alone() {
    let theirs = json!({ "spec": { "loadBalancerClass": "example.com/lb" } });
    let ours = json!({ "spec": { "loadBalancerClass": "fairway.network/lb" } });
    let world = world().service("theirs", 1, &theirs).service("ours", 2, &ours).service("any", 3, &json!({}));
    assert_eq!(world.given(), ["any 10.0.0.2", "ours 10.0.0.1"]);
    let named_only = assign(&world.0, false).addresses;
    assert_eq!(named_only.keys().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["ours"]);
}

#[test]
fn what_was_decided_is_decided_again_once_it_is_written() {
    let fresh = world().service("a", 2, &json!({})).service("b", 1, &json!({})).service("c", 0, &json!({}));
    let written = world()
        .service("a", 2, &json!({ "has": ["10.0.0.2"] }))
        .service("b", 1, &json!({ "has": ["10.0.0.1"] }))
        .service("c", 0, &json!({}));
    assert_eq!(assign(&fresh.0, true).addresses, assign(&written.0, true).addresses);
}

/// Nodes that are there, as `name` or `name networks`.
fn there(nodes: &[&str]) -> BTreeMap<Name, NodeNetworks> {
    let node = |text: &&str| match text.split_once(' ') {
        Some((name, networks)) => (Name::from(name), NodeNetworks::parse(Some(networks))),
        None => (Name::from(*text), NodeNetworks::Untold),
    };
    nodes.iter().map(node).collect()
}

fn answerers(world: &World, nodes: &[&str]) -> Vec<Answerer> {
    announcements(&world.0, &there(nodes)).into_values().map(|announcement| announcement.answerer).collect()
}

fn answering(world: &World, nodes: &[&str]) -> Vec<Option<String>> {
    let node = |answerer| if let Answerer::Node(node) = answerer { Some(node.to_string()) } else { None };
    answerers(world, nodes).into_iter().map(node).collect()
}

#[test]
fn one_live_node_answers_for_an_address_and_another_when_it_is_gone() {
    let world = world().service("a", 1, &json!({ "has": ["10.0.0.1"] })).endpoints("a", &["n1"]);
    let chosen = answering(&world, &["n1", "n2", "n3"])[0].clone().unwrap();
    let rest: Vec<&str> = ["n1", "n2", "n3"].into_iter().filter(|node| *node != chosen).collect();
    let next = answering(&world, &rest)[0].clone().unwrap();
    assert_ne!(next, chosen);
    assert_eq!(answering(&world, &[]), [None]);
}

#[test]
fn addresses_are_spread_and_a_lost_node_moves_its_own_only() {
    let mut world = World::default().pool("p", &json!({ "addresses": ["10.0.0.0/24"] }));
    for index in 0..40 {
        let name = format!("s{index}");
        world = world.service(&name, 1, &json!({ "has": [format!("10.0.0.{index}")] })).endpoints(&name, &["n1"]);
    }
    let all = answering(&world, &["n1", "n2", "n3", "n4"]);
    for node in ["n1", "n2", "n3", "n4"] {
        let share = all.iter().flatten().filter(|chosen| *chosen == node).count();
        assert!((4..=18).contains(&share), "{node} has {share} of 40");
    }
    let fewer = answering(&world, &["n1", "n2", "n3"]);
    for (before, after) in all.iter().zip(&fewer) {
        assert!(before == after || before.as_deref() == Some("n4"));
    }
}

#[test]
fn with_local_policy_only_nodes_with_an_endpoint_answer() {
    let local = json!({ "has": ["10.0.0.1"], "spec": { "externalTrafficPolicy": "Local" } });
    let world = world().service("a", 1, &local).endpoints("a", &["n2"]);
    assert_eq!(answering(&world, &["n1", "n2", "n3"]), [Some("n2".into())]);
    assert_eq!(answering(&world, &["n1", "n3"]), [None]);
}

#[test]
fn with_local_policy_a_node_whose_endpoints_get_nothing_does_not_answer() {
    let local = json!({ "has": ["10.0.0.1"], "spec": { "externalTrafficPolicy": "Local" } });
    let at =
        |endpoint: &Value, port: &str| world().service("a", 1, &local).slice("a", port, std::slice::from_ref(endpoint));
    let on_n2 = |conditions: &Value| json!({ "addresses": ["10.244.0.1"], "nodeName": "n2", "conditions": conditions });
    let terminating = on_n2(&json!({ "ready": false, "serving": true, "terminating": true }));
    let unready = on_n2(&json!({ "ready": false, "serving": true, "terminating": false }));
    assert_eq!(answering(&at(&terminating, ""), &["n1", "n2"]), [Some("n2".into())], "none else is left");
    assert_eq!(answering(&at(&unready, ""), &["n1", "n2"]), [None], "it does not terminate and is not ready");
    assert_eq!(answering(&at(&on_n2(&json!({})), "other"), &["n1", "n2"]), [None], "the Service has no such port");
}

#[test]
fn only_nodes_on_a_network_of_an_address_answer_for_it() {
    let world = world().service("a", 1, &json!({ "has": ["10.0.0.1"] })).endpoints("a", &["far1"]);
    let far = ["far1 10.0.1.0/24", "far2 fd00::/64,10.0.1.0/24", "far3 "];
    for near in ["near1", "near2", "near3", "near4"] {
        let on_both = format!("{near} 10.0.1.0/24,10.0.0.0/24");
        let all = [&far[..], &[&on_both]].concat();
        assert_eq!(answerers(&world, &all), [Answerer::Node(near.into())]);
    }
    assert!(matches!(&*answerers(&world, &far), [Answerer::OffNetwork(node)] if node.as_str().starts_with("far")));
    assert_eq!(answerers(&world, &[]), [Answerer::Nobody]);
}

#[test]
fn with_local_policy_an_endpoint_off_the_network_is_of_no_use_and_told_by_its_node() {
    let local = json!({ "has": ["10.0.0.1"], "spec": { "externalTrafficPolicy": "Local" } });
    let world = world().service("a", 1, &local).endpoints("a", &["far"]);
    let nodes = ["far 10.0.1.0/24", "near 10.0.0.0/24"];
    assert_eq!(answerers(&world, &nodes), [Answerer::OffNetwork("far".into())]);
}

#[test]
fn a_node_that_is_leaving_or_left_out_answers_only_where_no_other_can() {
    for change in [
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
        json!({ "metadata": { "labels": { "node.kubernetes.io/exclude-from-external-load-balancers": "" } } }),
    ] {
        let world = || world().service("a", 1, &json!({ "has": ["10.0.0.1"] })).endpoints("a", &["n1"]);
        let fine = world().node("n1", "10.0.0.101", &json!({})).node("n2", "10.0.0.102", &json!({}));
        let chosen = answering(&fine, &["n1", "n2"])[0].clone().unwrap();
        let other = if chosen == "n1" { "n2" } else { "n1" };
        let changed = world().node(&chosen, "10.0.0.101", &change).node(other, "10.0.0.102", &json!({}));
        assert_eq!(answering(&changed, &["n1", "n2"]), [Some(other.to_owned())], "{change}");
        assert_eq!(answering(&changed, &[&chosen]), [Some(chosen.clone())], "{change}");
    }
}

/// A cluster of so many nodes on one network, and the names of those that take part.
fn taking_part(mut world: World, count: usize) -> Vec<String> {
    let name = |index: usize| format!("n{index}");
    for index in 0..count {
        world = world.node(&name(index), &format!("10.0.{}.{}", index / 200, index % 200 + 1), &json!({}));
    }
    let networks = NodeNetworks::parse(Some("10.0.0.0/16"));
    (0..count).map(name).filter(|node| takes_part(&world.0, &Name::from(node.as_str()), &networks)).collect()
}

#[test]
fn of_many_nodes_a_number_takes_part_that_does_not_grow_with_them() {
    let served = || world().service("a", 1, &json!({ "has": ["10.0.0.1"] })).endpoints("a", &["n1"]);
    assert_eq!(taking_part(served(), 20).len(), 20);
    let of_many = taking_part(served(), 500);
    assert_eq!(of_many.len(), 32);
    let mut more = served();
    for index in 0..20 {
        let name = format!("s{index}");
        more = more.service(&name, 1, &json!({ "has": [format!("10.0.1.{index}")] })).endpoints(&name, &["n1"]);
    }
    assert_eq!(taking_part(more, 500), of_many, "the same for all addresses of a network");
    assert_eq!(taking_part(world(), 500), [""; 0], "there is nothing to answer for");
}

#[test]
fn with_local_policy_some_of_the_nodes_with_an_endpoint_take_part() {
    let nodes: Vec<String> = (100..140).map(|index| format!("n{index}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let local = json!({ "has": ["10.0.0.1"], "spec": { "externalTrafficPolicy": "Local" } });
    let found = taking_part(world().service("a", 1, &local).endpoints("a", &nodes), 500);
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|node| nodes.contains(&node.as_str())), "{found:?}");
}

#[test]
fn of_nodes_off_the_network_of_an_address_few_take_part_to_tell_it() {
    let mut world = world().service("a", 1, &json!({ "has": ["10.9.0.1"] })).endpoints("a", &["n1"]);
    for index in 0..100 {
        world = world.node(&format!("n{index}"), &format!("10.0.0.{index}"), &json!({}));
    }
    let networks = NodeNetworks::parse(Some("10.0.0.0/16"));
    let found = (0..100).filter(|index| takes_part(&world.0, &format!("n{index}").into(), &networks)).count();
    assert_eq!(found, 2);
}

#[test]
fn a_service_without_endpoints_is_answered_for_so_that_it_can_refuse_unless_its_policy_is_local() {
    let cluster = world().service("a", 1, &json!({ "has": ["10.0.0.1"] }));
    assert_eq!(answering(&cluster, &["n1", "n2"]), [Some("n2".to_owned())]);
    assert_eq!(taking_part(cluster, 40).len(), 32);
    let local = json!({ "has": ["10.0.0.1"], "spec": { "externalTrafficPolicy": "Local" } });
    assert_eq!(answering(&world().service("a", 1, &local), &["n1", "n2"]), [None]);
}

#[test]
fn who_asks_for_what_cannot_be_used_gets_nothing_else() {
    for wish in ["10.0.0.1,ten", "10.0.0.1,10.0.0.2"] {
        let asks = json!({ "annotations": { "fairway.network/load-balancer-ips": wish } });
        let world = world().service("a", 1, &asks);
        assert_eq!(world.given(), ["a "], "{wish}");
        let why = "Refused Service shop/a: metadata.annotations[fairway.network/load-balancer-ips]: not all it asks for \
                   can be used, and nothing else is given instead; correct it";
        assert_eq!(world.told(), [why]);
    }
    let asks = json!({ "has": ["10.0.0.2"], "annotations": { "fairway.network/load-balancer-ips": "ten" } });
    assert_eq!(world().service("a", 1, &asks).given(), ["a 10.0.0.2"]);
}

#[test]
fn an_objection_names_the_field_that_asked() {
    let world = world().service("a", 1, &json!({ "spec": { "loadBalancerIP": "10.9.9.9" } }));
    assert!(world.told()[0].starts_with("IPConflict Service shop/a: spec.loadBalancerIP: "), "{:?}", world.told());
}

#[test]
fn a_pool_counts_each_address_once_and_none_that_cannot_be_given() {
    let count = |addresses: Value| {
        let pods = json!({ "spec": { "podCIDRs": ["10.0.2.0/24"] } });
        let world = World::default().pool("p", &json!({ "addresses": addresses })).node("n1", "10.0.0.1", &pods);
        let status = assign(&world.0, true).pools.remove(&Name::from("p")).unwrap();
        (status.total, status.fault.is_none())
    };
    for (addresses, expected) in [
        (json!(["10.0.0.1-10.0.0.3"]), (2, true)),
        (json!(["10.0.1.0/24", "10.0.1.0/25", "10.0.1.200"]), (256, true)),
        (json!(["10.0.1.255-10.0.3.0"]), (2, true)),
        (json!(["10.0.2.10-10.0.2.20"]), (0, true)),
        (json!(["10.0.0.9-10.0.0.2", "all"]), (0, false)),
    ] {
        assert_eq!(count(addresses.clone()), expected, "{addresses}");
    }
}

#[test]
fn what_the_load_balancer_of_a_cloud_serves_is_left_to_it() {
    let of_cloud = json!({ "has": ["203.0.113.7"], "others": true });
    assert_eq!(world().service("web", 1, &of_cloud).given(), [""; 0]);
    let ours = json!({ "has": ["203.0.113.7"], "others": true, "spec": { "loadBalancerClass": "fairway.network/lb" } });
    assert_eq!(world().service("web", 1, &ours).given(), ["web 10.0.0.2"]);
}

#[test]
fn without_pools_only_what_was_given_is_taken_back() {
    let given = World::default().service("old", 2, &json!({ "has": ["10.0.0.1"] }));
    assert_eq!(given.given(), ["old "]);
    let new = World::default().service("new", 1, &json!({ "others": true }));
    assert_eq!((new.given(), new.told()), (vec![], vec![]));
}
