//! A namespace kept at a wanted state.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::process::Command;

use compile::plan::{self, Hop};
use compile::ruleset::{Operation, Ruleset};
use compile::sample::{NODES, add_plain};
use compile::{NodeView, Plan};
use datapath::nft::Table;
use datapath::route::{Route, RouteAction, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use datapath::{Datapath, Drift, Outcome, Wanted};

#[expect(clippy::expect_used, reason = "a panic is how a test fails")]
mod support;

fn wanted(ruleset: &Ruleset) -> Wanted<'_> {
    Wanted { ruleset, routes: &[], tunnel: None, affine: None }
}

/// Whether the kernel holds `ruleset`, by listing it.
fn holds(ruleset: &Ruleset) -> bool {
    let listing = Table::open().unwrap().read().unwrap().unwrap();
    listing.foreign.is_empty() && listing.observed.recognise(ruleset) == *ruleset
}

#[test]
fn a_restart_with_the_right_state_present_writes_nothing() {
    isolated(|| {
        let ruleset = support::everything();
        let first = Datapath::open().unwrap().apply(&wanted(&ruleset)).unwrap();
        assert_eq!((first.transactions, first.listed), (1, true));
        let generation = Table::open().unwrap().generation().unwrap();
        let again = Datapath::open().unwrap().apply(&wanted(&ruleset)).unwrap();
        assert!(again.wrote_nothing(), "{again:?}");
        assert_eq!(Table::open().unwrap().generation().unwrap(), generation);
    });
}

#[test]
fn an_unchanged_state_is_neither_listed_nor_written() {
    isolated(|| {
        let ruleset = support::everything();
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(&ruleset)).unwrap();
        assert_eq!(datapath.apply(&wanted(&ruleset)).unwrap(), Outcome::default());
    });
}

#[test]
fn a_step_writes_the_difference_in_one_transaction() {
    isolated(|| {
        let full = support::everything();
        let mut less = full.clone();
        let endpoint = full.sets["endpoints"].elements.keys().next().unwrap().clone();
        less.sets.get_mut("endpoints").unwrap().elements.remove(&endpoint);
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(&full)).unwrap();
        for step in [&less, &full] {
            let outcome = datapath.apply(&wanted(step)).unwrap();
            assert_eq!((outcome.operations, outcome.transactions, outcome.listed), (1, 1, false));
            assert!(holds(step));
        }
    });
}

#[test]
fn what_others_removed_is_mended_when_it_matters() {
    isolated(|| {
        let full = support::everything();
        let mut less = full.clone();
        less.sets.get_mut("endpoints").unwrap().elements = model::SharedMap::new();
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(&full)).unwrap();
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        let outcome = datapath.apply(&wanted(&less)).unwrap();
        assert!(outcome.listed);
        assert!(holds(&less));
    });
}

#[test]
fn an_audit_sees_what_others_did_and_not_what_we_did() {
    isolated(|| {
        let full = support::everything();
        let mut less = full.clone();
        less.sets.get_mut("endpoints").unwrap().elements = model::SharedMap::new();
        let mut datapath = Datapath::open().unwrap();
        assert_eq!(datapath.audit().unwrap(), [], "nothing was put there yet");
        for state in [&full, &less, &full] {
            datapath.apply(&wanted(state)).unwrap();
            assert_eq!(datapath.audit().unwrap(), []);
        }
        Datapath::open().unwrap().apply(&wanted(&less)).unwrap();
        assert_eq!(datapath.audit().unwrap(), [Drift::TableChanged]);
        assert!(datapath.apply(&wanted(&full)).unwrap().listed);
        assert!(holds(&full));
        Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
        assert_eq!(datapath.audit().unwrap(), [Drift::TableGone]);
        datapath.apply(&wanted(&full)).unwrap();
        assert!(holds(&full));
    });
}

#[test]
fn a_chain_and_a_set_that_nobody_wants_any_more_go() {
    isolated(|| {
        let full = support::everything();
        let mut less = full.clone();
        for name in ["nat_prerouting", "nat_output", "lb_2", "nat_postrouting"] {
            less.chains.remove(name);
        }
        for name in ["services", "endpoints"] {
            less.sets.remove(name);
        }
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(&full)).unwrap();
        assert_eq!(datapath.apply(&wanted(&less)).unwrap().transactions, 1);
        assert!(holds(&less));
    });
}

#[test]
fn a_set_of_another_shape_replaces_the_table_in_one_transaction() {
    isolated(|| {
        let old = support::everything();
        let mut new = old.clone();
        new.sets.get_mut("clients").unwrap().spec.dynamic = Some(compile::ruleset::Dynamic { size: 7 });
        Datapath::open().unwrap().apply(&wanted(&old)).unwrap();
        let outcome = Datapath::open().unwrap().apply(&wanted(&new)).unwrap();
        assert_eq!((outcome.transactions, outcome.listed), (1, true));
        assert!(holds(&new));
    });
}

/// Runs `nft` in our namespace.
fn nft(arguments: &[&str]) {
    let mut command = Command::new("nft");
    command.args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = command.output().expect("the program nft, of the Debian package nftables");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_element_for_every_other_key_is_noticed_and_replaced() {
    isolated(|| {
        let full = support::everything();
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(&full)).unwrap();
        assert!(holds(&full));
        nft(&["add element inet fairway services { * : drop }"]);
        assert!(!holds(&full));
        assert_eq!(datapath.audit().unwrap(), [Drift::TableChanged]);
        datapath.apply(&wanted(&full)).unwrap();
        assert!(holds(&full));
    });
}

fn route(destination: &str, via: &str) -> plan::Route {
    plan::Route { destination: destination.parse().unwrap(), hop: Hop::Via(via.parse().unwrap()) }
}

fn links_with_underlay() -> (Rtnetlink, Route) {
    let end = |name| VethEnd { name, mac: None, netns: None };
    let mut links = Rtnetlink::open().unwrap();
    let link = links.create_veth(&Veth { end: end("eth0"), peer: end("far"), mtu: 1500 }).unwrap();
    links.add_address(link.index, "10.89.0.1/24".parse().unwrap()).unwrap();
    let pod = Route::on_link("10.244.0.5/32".parse().unwrap(), link.index).ours();
    links.replace_route(&pod).unwrap();
    let default = Route::via("0.0.0.0/0".parse().unwrap(), "10.89.0.254".parse().unwrap(), link.index);
    links.replace_route(&default).unwrap();
    (links, pod)
}

#[test]
fn routes_to_other_nodes_follow_and_those_of_pods_and_machine_stay() {
    isolated(|| {
        let (mut links, pod) = links_with_underlay();
        let held = |links: &mut Rtnetlink| {
            let routes = links.routes(RouteFilter::Ours).unwrap();
            let mut lines: Vec<String> = routes
                .iter()
                .map(|route| match route.action {
                    RouteAction::Via { gateway, .. } => format!("{} via {gateway}", route.destination),
                    _ => route.destination.to_string(),
                })
                .collect();
            lines.sort();
            lines
        };
        let ruleset = Ruleset::default();
        let mut datapath = Datapath::open().unwrap();
        let first = [route("10.244.1.0/24", "10.89.0.2"), route("10.244.2.0/24", "10.89.0.3")];
        let outcome =
            datapath.apply(&Wanted { ruleset: &ruleset, routes: &first, tunnel: None, affine: None }).unwrap();
        assert_eq!((outcome.routes_set, outcome.routes_deleted), (2, 0));
        let mut restarted = Datapath::open().unwrap();
        assert!(
            restarted
                .apply(&Wanted { ruleset: &ruleset, routes: &first, tunnel: None, affine: None })
                .unwrap()
                .wrote_nothing()
        );
        let second = [route("10.244.1.0/24", "10.89.0.9")];
        let outcome =
            restarted.apply(&Wanted { ruleset: &ruleset, routes: &second, tunnel: None, affine: None }).unwrap();
        assert_eq!((outcome.routes_set, outcome.routes_deleted), (1, 1));
        assert_eq!(held(&mut links), [pod.destination.to_string(), "10.244.1.0/24 via 10.89.0.9".to_owned()]);
        let all = links.routes(RouteFilter::Main).unwrap();
        assert!(all.iter().any(|route| route.destination.prefix_len() == 0), "the default route is gone: {all:?}");
    });
}

#[test]
fn a_range_that_nobody_routes_is_told_and_one_that_somebody_else_routes_is_left_to_them() {
    isolated(|| {
        let (mut links, _) = links_with_underlay();
        let uplink = links.require_link("eth0").unwrap().index;
        let far = route("10.244.1.0/24", "192.0.2.1");
        let routes = [far];
        let ruleset = support::everything();
        let wanted = Wanted { ruleset: &ruleset, routes: &routes, tunnel: None, affine: None };
        let mut datapath = Datapath::open().unwrap();
        assert_eq!(datapath.apply(&wanted).unwrap().routes_failed, 1, "the default route leads there, as everywhere");
        let told = [(far.destination, "192.0.2.1".parse().unwrap())].into();
        assert_eq!(datapath.unreachable(), &told);
        let router = "10.89.0.7".parse().unwrap();
        links.add_route(&Route::via("10.244.0.0/16".parse().unwrap(), router, uplink)).unwrap();
        assert_eq!(datapath.apply(&wanted).unwrap().routes_failed, 0);
        assert_eq!(datapath.unreachable(), &[].into());
        links.add_address(uplink, "192.0.2.9/24".parse().unwrap()).unwrap();
        assert_eq!(datapath.apply(&wanted).unwrap().routes_set, 1, "it is a neighbour after all");
    });
}

#[test]
fn a_next_hop_that_is_no_neighbour_stops_nothing_else_and_is_tried_again() {
    isolated(|| {
        let (mut links, _) = links_with_underlay();
        let routes = [route("10.244.1.0/24", "192.0.2.1"), route("10.244.2.0/24", "10.89.0.3")];
        let ruleset = support::everything();
        let wanted = Wanted { ruleset: &ruleset, routes: &routes, tunnel: None, affine: None };
        let mut datapath = Datapath::open().unwrap();
        let outcome = datapath.apply(&wanted).unwrap();
        assert_eq!((outcome.routes_set, outcome.routes_failed), (1, 1));
        assert!(holds(&ruleset));
        let uplink = links.require_link("eth0").unwrap();
        links.add_address(uplink.index, "192.0.2.9/24".parse().unwrap()).unwrap();
        let outcome = datapath.apply(&wanted).unwrap();
        assert_eq!((outcome.routes_set, outcome.routes_failed, outcome.transactions), (1, 0, 0));
    });
}

#[test]
fn addresses_of_pods_that_are_gone_end_here_unless_somebody_else_has_a_way() {
    isolated(|| {
        let (mut links, _) = links_with_underlay();
        let refused = ["10.244.0.0/24", "fd00:1::/64"]
            .map(|range| plan::Route { destination: range.parse().unwrap(), hop: Hop::Refused });
        let loopback = links.require_link("lo").unwrap().index;
        links.set_up(loopback).unwrap();
        let uplink = links.require_link("eth0").unwrap().index;
        let of_another = Route::on_link("10.244.0.0/24".parse().unwrap(), uplink);
        links.replace_route(&of_another).unwrap();
        let ruleset = Ruleset::default();
        let wanted = Wanted { ruleset: &ruleset, routes: &refused, tunnel: None, affine: None };
        assert_eq!(Datapath::open().unwrap().apply(&wanted).unwrap().routes_set, 2);
        assert!(Datapath::open().unwrap().apply(&wanted).unwrap().wrote_nothing());
        let gone = "10.244.0.77".parse().unwrap();
        assert_eq!(links.link_towards(gone).unwrap(), Some(uplink), "the other route is in force");
        assert!(links.delete_route(&of_another).unwrap());
        assert_eq!(links.link_towards(gone).unwrap(), None, "it is the host's own");
        let nothing = Wanted { ruleset: &ruleset, routes: &[], tunnel: None, affine: None };
        assert_eq!(Datapath::open().unwrap().apply(&nothing).unwrap().routes_deleted, 2);
    });
}

#[test]
fn a_range_that_changes_its_kind_of_route_leaves_none_of_the_other_kind() {
    isolated(|| {
        let (mut links, _) = links_with_underlay();
        let uplink = links.require_link("eth0").unwrap().index;
        let loopback = links.require_link("lo").unwrap().index;
        links.set_up(loopback).unwrap();
        let ruleset = Ruleset::default();
        let via = route("10.244.1.0/24", "10.89.0.2");
        let refused = plan::Route { hop: Hop::Refused, ..via };
        // As an earlier build made it.
        let gateway = "10.89.0.7".parse().unwrap();
        links.replace_route(&Route::via(via.destination, gateway, uplink).ours()).unwrap();
        let mut datapath = Datapath::open().unwrap();
        for wanted in [via, refused, via, refused] {
            datapath.apply(&Wanted { ruleset: &ruleset, routes: &[wanted], tunnel: None, affine: None }).unwrap();
            let held = links.routes(RouteFilter::Ours).unwrap();
            let to_range: Vec<RouteAction> =
                held.iter().filter(|route| route.destination == via.destination).map(|route| route.action).collect();
            let expected = match wanted.hop {
                Hop::Via(gateway) => RouteAction::Via { gateway, link: uplink, on_link: false },
                _ => RouteAction::Local,
            };
            assert_eq!(to_range, [expected]);
            assert_eq!(datapath.audit().unwrap(), []);
        }
    });
}

#[test]
fn a_service_of_two_thousand_endpoints_is_held_and_one_more_is_one_step() {
    isolated(|| {
        let plan_of = |endpoints| {
            let mut cluster = model::Cluster::default();
            add_plain(&mut cluster, 0, endpoints);
            Plan::of(NodeView::new(NODES[0].name), &cluster)
        };
        let (plan, next) = (plan_of(2_000), plan_of(2_001));
        let mut datapath = Datapath::open().unwrap();
        datapath.apply(&wanted(plan.ruleset())).unwrap();
        assert!(Datapath::open().unwrap().apply(&wanted(plan.ruleset())).unwrap().wrote_nothing());
        let outcome = datapath.apply(&wanted(next.ruleset())).unwrap();
        assert_eq!((outcome.transactions, outcome.listed), (1, false));
        // The map of so many, the chain that chooses in it, its rule, the frontend's verdict out and in again, the
        // endpoints; and the old chain goes with all that was its own.
        assert_eq!(outcome.operations, 9, "{outcome:?}");
        assert!(Datapath::open().unwrap().apply(&wanted(next.ruleset())).unwrap().wrote_nothing());
    });
}

#[test]
fn a_route_of_somebody_else_is_neither_replaced_nor_taken_away_with_ours() {
    isolated(|| {
        let (mut links, _) = links_with_underlay();
        let uplink = links.require_link("eth0").unwrap().index;
        let (destination, via) = ("10.244.1.0/24".parse().unwrap(), "10.89.0.2".parse().unwrap());
        let of_another = Route::via(destination, via, uplink);
        links.replace_route(&of_another).unwrap();
        let ruleset = Ruleset::default();
        let routes = [route("10.244.1.0/24", "10.89.0.2")];
        let mut datapath = Datapath::open().unwrap();
        assert_eq!(
            datapath
                .apply(&Wanted { ruleset: &ruleset, routes: &routes, tunnel: None, affine: None })
                .unwrap()
                .routes_set,
            1
        );
        let holds = |links: &mut Rtnetlink, wanted: &Route| links.routes(RouteFilter::Main).unwrap().contains(wanted);
        assert!(holds(&mut links, &of_another) && holds(&mut links, &of_another.clone().ours().behind_others()));
        assert_eq!(
            datapath
                .apply(&Wanted { ruleset: &ruleset, routes: &[], tunnel: None, affine: None })
                .unwrap()
                .routes_deleted,
            1
        );
        assert!(holds(&mut links, &of_another) && !holds(&mut links, &of_another.clone().ours().behind_others()));
    });
}
