//! `fairway peers`, and what `fairway check` makes of it.

use std::process::Command;

use apiserver::client::DAEMON_SETS;
use datapath::route::{Route, Rtnetlink};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::world::{DEADLINE, World};

/// What `fairway peers` prints, and its exit code.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fairway")).arg("peers").args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The exit code, and of every other node its name, its way and why that is taken.
fn peers() -> Option<(i32, Vec<[String; 3]>)> {
    let (code, text) = run(&["-o", "json"]);
    let list: Value = serde_json::from_str(&text).ok()?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let peer = |peer: &Value| [&peer["node"], &peer["way"], &peer["reason"]].map(text);
    Some((code, list["items"].as_array().unwrap().iter().map(peer).collect()))
}

/// Waits until the agent tells these nodes and ways; the reasons for them.
fn wait_for_ways(code: i32, wanted: &[(&str, &str)]) -> Vec<String> {
    wait_for("the ways to be told", DEADLINE, || {
        let (said, found) = peers()?;
        let ways: Vec<(&str, &str)> = found.iter().map(|[node, way, _]| (&**node, &**way)).collect();
        (said == code && ways == wanted).then(|| found.into_iter().map(|[.., reason]| reason).collect())
    })
}

#[test]
fn pods_that_are_not_reached_are_told_with_the_reason_until_a_route_of_somebody_else_leads_there() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("node2", "10.89.1.1", "10.244.2.0/24");
        world.create_node_at("rival", "10.89.0.3", "10.244.1.128/25");
        assert_eq!(run(&[]).0, 3, "nobody can tell before there is an agent");
        let _agent = world.spawn_agent_with(&["--routing=native"]);
        let why = wait_for_ways(1, &[("node2", "none"), ("rival", "none")]);
        assert!(why[0].contains("no link leads to 10.89.1.1"), "{why:?}");
        assert!(why[1].contains("overlaps 10.244.1.0/24 of Node node1"), "{why:?}");

        let labels = json!({ "app.kubernetes.io/part-of": "fairway" });
        let container = json!({ "name": "agent", "image": "fairway", "args": ["agent"] });
        let pods = json!({ "app": "fairway-agent" });
        let template = json!({ "metadata": { "labels": pods }, "spec": { "containers": [container] } });
        let spec = json!({ "selector": { "matchLabels": pods }, "template": template });
        let set = json!({ "metadata": { "name": "fairway-agent", "labels": labels }, "spec": spec });
        world.create(&DAEMON_SETS, "kube-system", &set);
        let (_, text) = world.run(&["check", "--pre", "-o", "json"]);
        let found: Value = serde_json::from_str(&text).unwrap();
        let found = found["findings"].as_array().unwrap().iter().filter(|each| each["code"] == "FW0137");
        let details: Vec<&str> = found.map(|each| each["detail"].as_str().unwrap()).collect();
        assert_eq!(details.len(), 2, "{text}");
        assert!(
            details[0].starts_with("from node1 to 10.244.2.0/24 of node2: routing is set to native"),
            "{details:?}"
        );

        let mut links = Rtnetlink::open().unwrap();
        let loopback = links.require_link("lo").unwrap().index;
        links.add_route(&Route::on_link("10.244.2.0/23".parse().unwrap(), loopback)).unwrap();
        wait_for_ways(1, &[("node2", "other"), ("rival", "none")]);
    });
}

#[test]
fn a_node_behind_the_tunnel_is_told_as_such() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("node2", "10.89.1.1", "10.244.2.0/24");
        let _agent = world.spawn_agent_with(&["--routing=auto"]);
        assert_eq!(wait_for_ways(0, &[("node2", "VXLAN")]), ["no network has both nodes"]);
        let (_, table) = run(&[]);
        let row: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row[..5], ["node2", "10.244.2.0/24", "VXLAN", "10.89.1.1", "1450"]);
    });
}
