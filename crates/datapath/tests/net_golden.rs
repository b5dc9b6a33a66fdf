//! What we write, in the words of the reference implementation: needs the program `nft`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use compile::host_ports::{HostPort, PublishedPort};
use compile::ruleset::{Content, Element, ElementKey, Operation, Ruleset, TABLE};
use compile::sample::{
    self, Choices, ENDPOINTS, FAMILIES, NODES, add_plain, address_of, plain_address, plain_cluster, plain_service,
    plain_slice,
};
use compile::{NodeView, Plan, diff};
use datapath::nft::{Table, chains_of_others};
use datapath::testing::isolated;
use datapath::{Datapath, Drift, Wanted};
use model::{Affinity, Clients, Cluster, Protocol, Service, ServiceKind, TrafficPolicy};

#[expect(clippy::expect_used, reason = "a panic is how a test fails")]
mod support;

/// Runs `nft` in our namespace and returns what it prints.
fn nft(arguments: &[&str], input: &str) -> String {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let mut command = Command::new("nft");
    command.args(arguments).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("cannot run nft: {error}; this tier needs the Debian package nftables"),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The ruleset as a script for `nft -f`.
fn script(ruleset: &Ruleset) -> String {
    let mut script = format!("table inet {TABLE} {{\n");
    for (name, set) in &ruleset.sets {
        let keyword = if set.spec.data.is_some() { "map" } else { "set" };
        let element = |(key, content): (&ElementKey, &Content)| Element { key: key.clone(), content: content.clone() };
        let entries: Vec<String> = set.elements.iter().map(|entry| element(entry).to_string()).collect();
        let elements =
            if entries.is_empty() { String::new() } else { format!("elements = {{ {} }};", entries.join(", ")) };
        script += &format!("{keyword} {name} {{ {}; {elements} }}\n", set.spec);
    }
    for (name, chain) in &ruleset.chains {
        let hook = chain.hook.map(|hook| hook.to_string()).unwrap_or_default();
        let rules: Vec<String> = chain.rules.iter().map(ToString::to_string).collect();
        script += &format!("chain {name} {{ {hook}\n{}\n}}\n", rules.join("\n"));
    }
    script + "}\n"
}

/// A listing without what may differ: user data, the order of hashed elements, and the element that nft puts before
/// the first range of a set, which matches nothing.
fn normalised(listing: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut elements: Vec<String> = Vec::new();
    for line in listing.lines() {
        let line = line.split("  userdata = {").next().unwrap_or_default().trim_end();
        match line.trim_start() {
            "" | "element 00000000  : 1 [end]" => {}
            element if element.starts_with("element ") => elements.push(element.to_owned()),
            _ => {
                elements.sort();
                lines.append(&mut elements);
                lines.push(line.to_owned());
            }
        }
    }
    lines.join("\n")
}

#[test]
fn nft_lists_what_it_would_have_made_of_the_same_text() {
    isolated(|| {
        let wanted = support::everything();
        let mut table = Table::open().unwrap();
        table.apply(&diff(&Ruleset::default(), &wanted)).unwrap();
        let list = ["--debug=netlink", "list", "table", "inet", TABLE];
        let ours = nft(&list, "");
        let read = nft(&["list", "table", "inet", TABLE], "");
        assert!(read.contains("comment \"shop/dns:udp\" : drop"), "{read}");
        table.apply(&[Operation::DeleteTable]).unwrap();
        nft(&["-f", "-"], &script(&wanted));
        let theirs = nft(&list, "");
        assert!(ours.contains("[ dynset update reg_key") && ours.contains("elements = { \"eth0\" }"), "{ours}");
        let (ours, theirs) = (normalised(&ours), normalised(&theirs));
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours, theirs);
    });
}

#[test]
fn nft_lists_the_table_of_a_plan_with_whose_element_each_is() {
    isolated(|| {
        let mut cluster = plain_cluster(2, 5);
        add_plain(&mut cluster, 2, 40);
        let plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
        Table::open().unwrap().apply(&diff(&Ruleset::default(), plan.ruleset())).unwrap();
        let listing = nft(&["list", "table", "inet", TABLE], "");
        let expected = "10.96.1.0 . tcp . 80 comment \"shop/plain000000:http\" : goto lb_5";
        assert!(listing.contains(expected), "{listing}");
    });
}

#[test]
fn what_is_not_ours_goes_with_the_transaction_that_brings_what_is_wanted() {
    isolated(|| {
        let wanted = support::everything();
        let state = Wanted { ruleset: &wanted, routes: &[], tunnel: None, affine: None };
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&state).unwrap();
        let table = format!("inet {TABLE}");
        let foreign_set = format!("add set {table} theirs {{ type ether_addr; flags timeout; }}");
        let dormant = format!("add table {table} {{ flags dormant; }}");
        for change in [foreign_set, dormant] {
            nft(&["-f", "-"], &change);
            assert_eq!(datapath.audit().unwrap(), [Drift::TableChanged], "{change}");
            let mut kernel = Table::open().unwrap();
            let before = kernel.generation().unwrap();
            assert_eq!(datapath.apply(&state).unwrap().transactions, 1, "{change}");
            assert_eq!(kernel.generation().unwrap(), before + 1, "{change}");
            let listing = kernel.read().unwrap().unwrap();
            assert_eq!((listing.foreign, listing.observed.recognise(&wanted)), (vec![], wanted.clone()), "{change}");
            // The listings of the audits would take more than their share of the time.
            datapath = Datapath::open().unwrap();
            datapath.apply(&state).unwrap();
        }
    });
}

/// What nft prints of the table that has just been filled with `plan`.
fn listed(plan: &Plan) -> String {
    let mut table = Table::open().unwrap();
    table.apply(&diff(&Ruleset::default(), plan.ruleset())).unwrap();
    let listing = nft(&["list", "table", "inet", TABLE], "");
    table.apply(&[Operation::DeleteTable]).unwrap();
    listing
}

/// A Service in both families at cluster addresses, an external address and a node port, with endpoints on both nodes.
fn add_dual_stack(cluster: &mut Cluster, index: u32, change: impl FnOnce(&mut Service)) {
    let mut service = plain_service(index);
    service.ports[0].node_port = NonZeroU16::new(30_000 + index as u16);
    let addresses = FAMILIES.map(|family| address_of(family, plain_address(index)));
    let external_ips = FAMILIES.map(|family| address_of(family, plain_address(1_000 + index))).to_vec();
    let cluster_ips = addresses.to_vec();
    service.kind = ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips: Vec::new() };
    change(&mut service);
    let slice = plain_slice(&service, ENDPOINTS);
    let mut other = slice.clone();
    other.name.name = format!("{}-v6", slice.name.name).into();
    other.family = FAMILIES[1];
    for (endpoint, place) in other.endpoints.iter_mut().zip(ENDPOINTS) {
        endpoint.address = address_of(other.family, place);
    }
    cluster.insert_slice(slice);
    cluster.insert_slice(other);
    cluster.services.insert(service.name.clone(), Arc::new(service));
}

#[test]
fn nft_lists_a_table_that_holds_every_feature() {
    let mut cluster = plain_cluster(2, 5);
    let sticky = Affinity::ClientIp { timeout: Duration::from_secs(10_800) };
    add_plain(&mut cluster, 2, 0);
    add_dual_stack(&mut cluster, 10, |service| service.affinity = sticky);
    add_dual_stack(&mut cluster, 11, |service| {
        service.affinity = sticky;
        service.external_policy = TrafficPolicy::Local;
    });
    add_dual_stack(&mut cluster, 12, |service| service.internal_policy = TrafficPolicy::Local);
    add_dual_stack(&mut cluster, 13, |service| {
        service.affinity = sticky;
        if let ServiceKind::Virtual { load_balancer_ips, .. } = &mut service.kind {
            *load_balancer_ips = FAMILIES.map(|family| address_of(family, Ipv4Addr::new(10, 96, 8, 13))).to_vec();
        }
        service.clients = Clients::Within(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    });
    let mut plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
    let host_port = |family| HostPort {
        address: None,
        protocol: Protocol::Udp,
        port: NonZeroU16::new(5_353).unwrap(),
        endpoint: (address_of(family, ENDPOINTS[0]), 53).into(),
    };
    plan.set_host_ports(
        &FAMILIES.map(|family| PublishedPort { port: host_port(family), owner: "shop/names-0".into() }),
    );
    isolated(|| {
        let listing = listed(&plan);
        let expected = [
            "10.96.1.0 . tcp . 80 comment \"shop/plain000000:http\" : goto lb_5",
            "10.96.1.2 . tcp . 80 comment \"shop/plain000002:http\" : goto refuse",
            "10.96.1.10 . tcp . 80 comment \"shop/plain000010:http\" : goto lb_9_10800s",
            "fd00::a60:10a . tcp . 80 comment \"shop/plain000010:http\" : goto lb6_9_10800s",
            "10.89.0.1 . tcp . 30011 comment \"shop/plain000011:http\" : goto lb_split_9_4_10800s",
            "10.96.8.13 . tcp . 80 comment \"shop/plain000013:http\" : goto guard_lb_9_10800s",
            "10.96.8.13 . tcp . 80 . 192.0.2.0/24 comment \"shop/plain000013:http\"",
            "fd00::a60:80d . tcp . 80 . 2001:db8::/32 comment \"shop/plain000013:http\"",
            "10.96.1.0 . tcp . 80 . 0x00000000 comment \"shop/plain000000:http plain000000-0a800000\" : 10.128.0.0 . 8080",
            "10.96.1.10 comment \"shop/plain000010\"",
            "10.96.1.0 . tcp . 80 comment \"shop/plain000000:http\",",
            "10.96.1.10 . tcp . 80 comment \"shop/plain000010:http\" : jump remember_10800s",
            "10.244.1.2 . 10.244.1.2 comment \"shop/plain000010-0af40102 and 3 more\"",
            "10.89.0.1 comment \"node node1\"",
            "10.244.1.0/24 comment \"pods of node node1\"",
            "udp . 5353 comment \"shop/names-0\" : 10.244.1.2 . 53",
            "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 5 map @endpoints\n",
            "dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @affinity\n",
            "dnat ip6 to ip6 saddr . ip6 daddr . meta l4proto . th dport map @affinity6\n",
            "update @affinity { ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 3h : ip daddr . th dport }",
            "update @affinity6 { ip6 saddr . ct original ip6 daddr . meta l4proto . ct original proto-dst timeout 3h : ip6 daddr . th dport }",
            "ip saddr . ip daddr @hairpins masquerade fully-random",
            "@masquerade_all masquerade fully-random",
            "@masquerade_outsiders jump outsiders",
        ];
        for expected in expected {
            assert!(listing.contains(expected), "{expected} is not in\n{listing}");
        }
        assert!(!listing.contains("@nh"), "addresses by name and not by place:\n{listing}");
    });
}

#[test]
fn nft_lists_the_table_of_any_cluster() {
    isolated(|| {
        for seed in 0..40_u32 {
            let step = |state: &mut u32| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some((*state >> 24) as u8)
            };
            let bytes: Vec<u8> = (0..400).scan(seed, |state, _| step(state)).collect();
            let cluster = sample::cluster(&mut Choices::new(&bytes));
            let plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
            assert!(listed(&plan).contains("chain prerouting"));
        }
    });
}

#[test]
fn the_chains_of_others_are_known_by_name() {
    isolated(|| {
        nft(
            &["-f", "-"],
            "add table ip kube-proxy\nadd chain ip kube-proxy services\nadd table inet fairway\nadd chain inet fairway mine\n",
        );
        let found: Vec<_> = chains_of_others().unwrap().into_iter().collect();
        let told = found.iter().map(|chain| (chain.qualified_table(), chain.name.clone()));
        assert_eq!(told.collect::<Vec<_>>(), [("ip kube-proxy".to_owned(), "services".to_owned())]);
    });
}
