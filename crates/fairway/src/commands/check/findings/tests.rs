use super::*;

/// Three nodes, Fairway on each of them, nothing wrong.
fn healthy() -> Survey {
    let node = |number: u8| {
        json!({
            "metadata": { "name": format!("node{number}") },
            "spec": { "podCIDR": format!("10.244.{number}.0/24"), "podCIDRs": [format!("10.244.{number}.0/24")] },
            "status": { "addresses": [{ "type": "InternalIP", "address": format!("10.77.0.{number}") }] },
        })
    };
    let pod = |number: u8| {
        json!({
            "metadata": { "labels": { "app.kubernetes.io/name": "fairway-agent" } },
            "spec": { "nodeName": format!("node{number}") },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    Survey {
        version: "v1.36.3".to_owned(),
        nodes: [1, 2].map(node).to_vec(),
        daemon_sets: vec![agent("10.77.0.1")],
        deployments: vec![deployment("fairway-dns", true, 2)],
        pods: [1, 2].map(pod).to_vec(),
        service_cidrs: vec![json!({ "spec": { "cidrs": ["10.96.0.0/16"] } })],
        api_service: Some(json!({ "spec": { "clusterIP": "10.96.0.1" } })),
        dns_service: Some(json!({})),
        dns_slices: vec![json!({ "endpoints": [{ "conditions": { "ready": true } }] })],
        ..Survey::default()
    }
}

fn agent(api_host: &str) -> Value {
    json!({
        "kind": "DaemonSet",
        "metadata": {
            "name": "fairway-agent", "namespace": "kube-system", "generation": 1,
            "labels": { "app.kubernetes.io/part-of": "fairway" },
        },
        "spec": { "template": { "spec": { "containers": [
            { "env": [{ "name": "KUBERNETES_SERVICE_HOST", "value": api_host }] },
        ] } } },
        "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2,
        },
    })
}

fn deployment(name: &str, is_ours: bool, ready: u64) -> Value {
    let part = if is_ours { "fairway" } else { "other" };
    json!({
        "kind": "Deployment",
        "metadata": {
            "name": name, "namespace": "kube-system", "generation": 1,
            "labels": { "app.kubernetes.io/part-of": part },
        },
        "spec": { "replicas": 2, "template": { "metadata": { "labels": { "k8s-app": "kube-dns" } } } },
        "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready },
    })
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, &str)> {
    findings.iter().map(|finding| (finding.diagnostic.code, finding.detail.as_str())).collect()
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    let survey = healthy();
    assert_eq!([ground(&survey), rivals(&survey), installation(&survey)].concat(), []);
}

#[test]
fn an_api_server_too_old_or_unknown_is_found() {
    for version in ["v1.29.9", "v1.9.0-rc.1", "dev"] {
        let survey = Survey { version: version.to_owned(), ..healthy() };
        assert_eq!(codes(&ground(&survey)), [("FW0101", version)]);
    }
    assert_eq!(ground(&Survey { version: "v1.30.0+k3s1".to_owned(), ..healthy() }), []);
}

#[test]
fn nodes_without_a_range_or_with_anothers_are_found() {
    let mut survey = healthy();
    survey.nodes[0]["spec"] = json!({});
    assert_eq!(codes(&ground(&survey)), [("FW0102", "node1")]);
    survey.nodes[0]["spec"] = json!({ "podCIDRs": ["10.244.0.0/16"] });
    assert_eq!(codes(&ground(&survey)), [("FW0103", "node1 has 10.244.0.0/16, node2 has 10.244.2.0/24")]);
}

#[test]
fn ranges_that_hold_others_addresses_are_found() {
    let mut survey = healthy();
    survey.nodes[1]["spec"] = json!({ "podCIDRs": ["10.77.0.0/24"] });
    let held = |of: u8| format!("10.77.0.0/24 of node2 holds 10.77.0.{of} of node{of}");
    assert_eq!(codes(&ground(&survey)), [("FW0104", &*held(1)), ("FW0104", &*held(2))]);
    let mut survey = healthy();
    survey.service_cidrs = vec![json!({ "spec": { "cidrs": ["10.244.1.0/24"] } })];
    assert_eq!(codes(&ground(&survey)), [("FW0105", "Services have 10.244.1.0/24, pods of node1 have 10.244.1.0/24")]);
}

#[test]
fn what_does_the_same_work_is_found() {
    let mut survey = healthy();
    for name in ["kube-proxy", "calico-node", "node-exporter"] {
        survey
            .daemon_sets
            .push(json!({ "kind": "DaemonSet", "metadata": { "name": name, "namespace": "kube-system" } }));
    }
    survey.deployments.push(deployment("coredns", false, 2));
    let expected = [
        ("FW0112", "DaemonSet kube-system/kube-proxy"),
        ("FW0111", "DaemonSet kube-system/calico-node"),
        ("FW0113", "Deployment kube-system/coredns"),
    ];
    assert_eq!(codes(&rivals(&survey)), expected);
    survey.deployments[1]["spec"]["replicas"] = json!(0);
    assert_eq!(codes(&rivals(&survey)), expected[..2], "scaled to nothing");
    survey.daemon_sets[0]["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["agent", "--cni=false"]);
    assert_eq!(codes(&rivals(&survey)), expected[..1], "the other plugin is to stay");
}

#[test]
fn an_installation_that_is_not_there_is_one_finding() {
    let survey = Survey { daemon_sets: Vec::new(), ..healthy() };
    assert_eq!(codes(&installation(&survey)), [("FW0131", "no DaemonSet fairway-agent")]);
}

#[test]
fn nodes_without_a_ready_agent_are_found() {
    let mut survey = healthy();
    survey.pods.pop();
    survey.pods[0]["status"] = json!({});
    let expected = [("FW0132", "node1: running, not ready"), ("FW0132", "node2: no agent runs there")];
    assert_eq!(codes(&installation(&survey)), expected);
    let mut survey = healthy();
    survey.daemon_sets[0]["status"]["updatedNumberScheduled"] = json!(1);
    assert_eq!(codes(&installation(&survey)), [("FW0132", "1 of 2 are of this version")]);
}

#[test]
fn an_agent_says_why_it_cannot_work_on_its_node() {
    let mut survey = healthy();
    let ended =
        json!({ "terminated": { "message": "FW0121 a node's kernel lacks something: cannot list tracked flows" } });
    survey.pods[1]["status"] = json!({ "containerStatuses": [
        { "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } }, "lastState": ended },
    ] });
    let told = "node2: CrashLoopBackOff back-off; it ended with: \
                FW0121 a node's kernel lacks something: cannot list tracked flows";
    assert_eq!(codes(&installation(&survey)), [("FW0121", told)]);
}

#[test]
fn names_that_nobody_answers_are_found() {
    let mut survey = healthy();
    survey.deployments = vec![deployment("fairway-dns", true, 1)];
    survey.dns_slices = vec![json!({ "endpoints": [{ "conditions": { "ready": false } }] })];
    let expected =
        [("FW0133", "Deployment kube-system/fairway-dns: 1 of 2"), ("FW0134", "Service kube-system/kube-dns")];
    assert_eq!(codes(&installation(&survey)), expected);
}

#[test]
fn agents_that_need_a_service_to_make_services_are_found() {
    for host in ["$(KUBERNETES_SERVICE_HOST)", "10.96.0.1", "10.96.44.7", "kubernetes.default.svc"] {
        let survey = Survey { daemon_sets: vec![agent(host)], ..healthy() };
        assert_eq!(codes(&installation(&survey)), [("FW0135", "DaemonSet kube-system/fairway-agent")], "{host}");
    }
}
