//! `describe`: what it gathers from several objects.

use crate::kubectl::{Kubectl, columns};

crate::tests!(pod, service, node, deployment);

/// The value after a heading.
fn value<'a>(text: &'a str, heading: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(heading)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {heading} in:\n{text}")).trim()
}

fn pod(kubectl: &Kubectl) {
    kubectl.ok("run described --image=agnhost --labels=app=described -- pause");
    kubectl.ok("wait --for=condition=Ready pod/described --timeout=60s");
    let reasons = ["Scheduled", "Created", "Started"];
    let tells = |said: &str, reason| said.lines().any(|line| columns(line).get(1) == Some(&reason));
    let text = kubectl.eventually("describe pod described", |said| reasons.iter().all(|reason| tells(said, *reason)));
    assert_eq!(value(&text, "Name"), "described");
    assert_eq!(value(&text, "Namespace"), kubectl.namespace);
    assert_eq!(value(&text, "Labels"), "app=described");
    assert_eq!(value(&text, "Status"), "Running");
    assert_eq!(value(&text, "State"), "Running");
    assert_eq!(value(&text, "QoS Class"), "BestEffort");
    assert!(value(&text, "IP").starts_with("10.244."), "{text}");
    assert!(value(&text, "Node").starts_with("node"), "{text}");
}

fn service(kubectl: &Kubectl) {
    kubectl.deploy("looked-up", 1);
    kubectl.ok("expose deployment looked-up --port=80 --target-port=8080 --type=NodePort");
    let text = kubectl.eventually("describe svc looked-up", |said| value(said, "Endpoints").starts_with("10.244."));
    assert_eq!(value(&text, "Selector"), "app=looked-up");
    assert_eq!(value(&text, "Type"), "NodePort");
    assert_eq!(value(&text, "TargetPort"), "8080/TCP");
    assert!(value(&text, "IP").starts_with("10.96."), "{text}");
    assert!(value(&text, "NodePort").ends_with("/TCP"), "{text}");
    assert!(value(&text, "Endpoints").ends_with(":8080"), "{text}");
    assert_eq!(value(&text, "Session Affinity"), "None");
}

fn node(kubectl: &Kubectl) {
    let text = kubectl.ok("describe node node1");
    assert_eq!(value(&text, "Name"), "node1");
    assert_eq!(value(&text, "Taints"), "<none>");
    assert_eq!(value(&text, "Kubelet Version"), "v1.36.0+fairway");
    assert!(value(&text, "PodCIDR").starts_with("10.244."), "{text}");
    assert!(value(&text, "InternalIP").starts_with("10.89.0.1"), "{text}");
    assert!(text.lines().any(|line| columns(line).first() == Some(&"Ready")), "{text}");
    assert!(!text.contains("-9223372036854775808"), "{text}");
    assert!(value(&text, "HolderIdentity") == "node1", "{text}");
}

fn deployment(kubectl: &Kubectl) {
    kubectl.deploy("detailed", 2);
    let text = kubectl.eventually("describe deployment detailed", |said| said.contains("ScalingReplicaSet"));
    let replicas = "2 desired | 2 updated | 2 total | 2 available | 0 unavailable";
    assert_eq!(value(&text, "Replicas"), replicas);
    assert_eq!(value(&text, "RollingUpdateStrategy"), "25% max unavailable, 25% max surge");
    assert_eq!(value(&text, "OldReplicaSets"), "<none>");
    assert!(value(&text, "NewReplicaSet").ends_with("(2/2 replicas created)"), "{text}");
}
