//! What Helm makes of the chart is what `fairway install` applies. Needs the program `helm`; `FAIRWAY_HELM` names another.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::{Command, Output};

use manifests::{Settings, objects};
use serde_json::Value;

/// Runs Helm in the chart's folder.
fn run(arguments: &[&str]) -> Output {
    let program = std::env::var_os("FAIRWAY_HELM").unwrap_or_else(|| "helm".into());
    let chart = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/fairway");
    let output = Command::new(&program).args(arguments).current_dir(chart).output();
    output.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
}

/// What Helm prints when it succeeds, as it must.
fn helm(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Helm, given these values, would apply exactly these objects.
fn assert_renders(values: &[&str], expected: Vec<Value>) {
    let set = values.iter().flat_map(|value| ["--set-json", value]);
    let fixed = ["template", "fairway", ".", "--namespace", "kube-system", "--kube-version", "1.36.0"];
    let text = helm(&fixed.into_iter().chain(set).collect::<Vec<_>>());
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let made = sorted(documents.into_iter().filter(|document| !document.is_null()).collect());
    assert_eq!(made.len(), expected.len());
    for (made, expected) in made.iter().zip(sorted(expected)) {
        assert_eq!(made, &expected);
    }
}

/// By kind and name, since Helm has an order of its own.
fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
    objects
}

#[test]
fn the_chart_with_its_defaults_makes_the_objects_of_an_installation() {
    assert_renders(&[], objects(&Settings::default()));
}

#[test]
fn the_chart_with_other_values_makes_the_objects_of_the_same_settings() {
    let values = [
        ("image.pullSecrets", r#"[{"name":"pull"}]"#),
        ("apiHost", r#""10.0.0.1""#),
        ("apiPort", "6443"),
        ("clusterCIDR", r#""10.244.0.0/16,fd00::/48""#),
        ("dns.replicas", "3"),
        ("dns.service", "false"),
        ("dns.tolerations", "[]"),
        ("agent.resources", r#"{"requests":{"cpu":null},"limits":{"memory":"100Mi"}}"#),
        ("controller.enabled", "false"),
    ];
    let mut settings = Settings::default();
    for (name, value) in values {
        settings.set(name, serde_json::from_str::<Value>(value).unwrap()).unwrap();
    }
    let set: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_renders(&set.iter().map(String::as_str).collect::<Vec<_>>(), objects(&settings));
}

#[test]
fn the_chart_passes_helm_s_own_checks() {
    let said = helm(&["lint", ".", "--strict"]);
    assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
}

#[test]
fn a_value_that_is_no_setting_is_refused() {
    let output = run(&["template", "fairway", ".", "--kube-version", "1.36.0", "--set", "dns.replica=3"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("replica"), "{said}");
}
