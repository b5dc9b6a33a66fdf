//! Installing, checking and uninstalling, as on a real cluster: the sandbox's API server is one like any other.

use serde_json::Value;

use crate::harness::Place;

/// Where to find the objects of a dry run.
fn objects(text: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(text).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn codes(text: &str) -> Vec<String> {
    let result: Value = serde_json::from_str(text).unwrap();
    let findings = result["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_installation_is_checked_repeated_and_removed_from_every_node() {
    let place = Place::new();
    let name = place.up(&["--nodes", "2"]);
    // The sandbox gives the DNS servers another name than an installation does.
    let install = ["install", "--set", "dns.name=coredns", "--timeout", "60s"];
    place.succeed(&install);
    let again = place.succeed(&install);
    assert!(again.err.contains(" objects as they were"), "{}", again.err);
    assert!(!again.err.contains("created") && !again.err.contains("changed"), "{}", again.err);
    let fine = place.succeed(&["check", "-o", "json"]);
    assert_eq!(codes(&fine.out), [""; 0]);

    let without = place.succeed(&[&install[..], &["--set", "controller.enabled=false"]].concat());
    assert!(without.err.contains("Deployment kube-system/fairway-controller removed"), "{}", without.err);
    let left = place.succeed(&["uninstall", "--dry-run"]).out;
    assert!(!left.contains("Deployment kube-system/fairway-controller") && left.contains("fairway-agent"), "{left}");

    let removed = place.succeed(&["uninstall", "--timeout", "60s"]);
    for node in ["node1", "node2"] {
        let line = format!("{node}: removed /etc/cni/net.d/05-fairway.conflist, table inet fairway");
        assert!(removed.err.contains(&line), "{}", removed.err);
    }
    let left =
        place.succeed(&["enter", "--name", &name, "--node", "node1", "--", "ls", "/etc/cni/net.d", "/opt/cni/bin"]);
    assert!(!left.out.contains("fairway"), "{}", left.out);
    let check = place.run(&["check", "-o", "json"]);
    assert_eq!((check.code, codes(&check.out)), (1, vec!["FW0131".to_owned()]));

    let nothing = place.succeed(&["uninstall", "--timeout", "60s"]);
    assert!(nothing.err.contains("node1: nothing was left"), "{}", nothing.err);
    place.succeed(&["install", "--timeout", "60s"]);
    place.succeed(&["check"]);
}

#[test]
fn a_dry_run_shows_what_is_found_out_and_changes_nothing() {
    let place = Place::new();
    place.up(&["--nodes", "1", "--service-cidr", "10.97.0.0/16"]);
    let shown = place.succeed(&["install", "--dry-run", "-o", "json", "--set", "logLevel=debug"]);
    let objects = objects(&shown.out);
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    assert_eq!(of_kind("Service")["spec"]["clusterIP"], "10.97.0.10");
    let container = &of_kind("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let value = |name: &str| {
        let environment = container["env"].as_array().unwrap();
        environment.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    // The kubeconfig says 127.0.0.1, which means something else on every node.
    assert_eq!((value("KUBERNETES_SERVICE_HOST"), value("FAIRWAY_LOG")), ("10.89.0.254".into(), "debug".into()));
    let uninstall = place.succeed(&["uninstall", "--dry-run"]);
    assert!(uninstall.out.contains("would remove DaemonSet kube-system/fairway-agent"), "{}", uninstall.out);
    place.succeed(&["check"]);
}

#[test]
fn without_a_cluster_a_check_could_not_tell_and_the_rest_fails_with_a_reason() {
    let place = Place::new();
    let check = place.run(&["check", "--pre"]);
    assert_eq!((check.code, check.out.as_str()), (3, ""));
    assert!(check.err.contains("--kubeconfig"), "{}", check.err);
    let install = place.run(&["install"]);
    assert_eq!(install.code, 1);
    assert!(install.err.contains("--kubeconfig"), "{}", install.err);
    assert_eq!(place.run(&["install", "--timeout", "soon"]).code, 2);
}

#[test]
fn a_code_is_explained_without_a_cluster() {
    let place = Place::new();
    let said = place.succeed(&["explain", "FW0112"]);
    assert!(said.out.starts_with("FW0112  kube-proxy is installed\n"), "{}", said.out);
    let unknown = place.run(&["explain", "FW9999"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("all of them: fairway explain"), "{}", unknown.err);
}
