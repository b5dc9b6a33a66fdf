use serde_json::{Value, json};

use super::*;

/// What is wrong with a pod of one sound container, changed.
fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}});
    change(&mut pod["spec"]);
    default(&mut pod);
    texts(&validate(&Field::root(&pod), &Field::nothing()))
}

fn container_errors(name: &str, value: Value) -> Vec<String> {
    errors(|spec| spec["containers"][0][name] = value)
}

fn change_errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut old = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}], "activeDeadlineSeconds": 10}});
    default(&mut old);
    let mut new = old.clone();
    change(&mut new["spec"]);
    texts(&validate(&Field::root(&new), &Field::root(&old)))
}

fn default(pod: &mut Value) {
    super::super::defaulting::default_pod(pod.as_object_mut().expect("an object"));
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_pod_has_no_faults() {
    assert_eq!(errors(|_| {}), Vec::<String>::new());
}

#[test]
fn a_pod_has_containers_with_names_and_images() {
    assert_eq!(errors(|spec| spec["containers"] = json!([])), ["spec.containers: Required value"]);
    assert_eq!(
        errors(|spec| spec["containers"] = json!([{}])),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]
    );
    assert_eq!(
        errors(|spec| spec["initContainers"] = json!([{"name": "a", "image": "y"}])),
        ["spec.initContainers[0].name: Duplicate value: \"a\""]
    );
}

#[test]
fn ports_have_numbers_and_distinct_names() {
    assert_eq!(
        container_errors("ports", json!([{"name": "a"}, {"name": "a", "containerPort": 80, "hostPort": 70000}])),
        [
            "spec.containers[0].ports[0].containerPort: Required value",
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
            "spec.containers[0].ports[1].hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ]
    );
    assert_eq!(
        container_errors("ports", json!([{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}])),
        ["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""]
    );
}

#[test]
fn a_variable_has_one_source() {
    assert_eq!(
        container_errors("env", json!([{"name": "A=B"}])),
        ["spec.containers[0].env[0].name: Invalid value: \"A=B\": \
          a valid environment variable name must consist only of printable ASCII characters other than '='"]
    );
    assert_eq!(
        container_errors("env", json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}])),
        ["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": \
          supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
          \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\""]
    );
    assert_eq!(
        container_errors(
            "env",
            json!([{"name": "A", "value": "x", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}])
        ),
        ["spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"]
    );
    let label = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]);
    assert!(container_errors("env", label).is_empty());
}

#[test]
fn mounts_are_of_volumes_there_are() {
    assert_eq!(
        container_errors("volumeMounts", json!([{"name": "v", "mountPath": "/a"}])),
        ["spec.containers[0].volumeMounts[0].name: Not found: \"v\""]
    );
    let mounted_twice = errors(|spec| {
        spec["volumes"] = json!([{"name": "v"}]);
        spec["containers"][0]["volumeMounts"] =
            json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a", "subPath": "../b"}]);
    });
    assert_eq!(
        mounted_twice,
        [
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../b\": must not contain '..'",
        ]
    );
}

#[test]
fn a_volume_is_of_one_thing() {
    let volume = |volume: Value| errors(|spec| spec["volumes"] = json!([volume]));
    assert_eq!(
        volume(json!({"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}})),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"]
    );
    assert_eq!(
        volume(json!({"name": "v", "configMap": {"items": [{"key": "k", "path": "/p"}]}})),
        [
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"/p\": must be a relative path",
        ]
    );
    assert_eq!(
        volume(json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Folder"}}))[0],
        "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"
    );
}

#[test]
fn a_probe_has_one_handler() {
    assert_eq!(
        container_errors("livenessProbe", json!({"successThreshold": 2})),
        [
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ]
    );
    assert_eq!(
        container_errors("readinessProbe", json!({"exec": {}, "tcpSocket": {"port": 0}, "periodSeconds": -1})),
        [
            "spec.containers[0].readinessProbe.exec.command: Required value",
            "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}

#[test]
fn requests_stay_within_limits() {
    assert_eq!(
        container_errors("resources", json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}})),
        ["spec.containers[0].resources.requests: Invalid value: \"2\": \
          must be less than or equal to cpu limit of 1500m"]
    );
}

#[test]
fn policies_are_known_ones() {
    assert_eq!(
        errors(|spec| spec["restartPolicy"] = json!("Sometimes")),
        ["spec.restartPolicy: Unsupported value: \"Sometimes\": \
          supported values: \"Always\", \"OnFailure\", \"Never\""]
    );
    assert_eq!(
        errors(|spec| spec["dnsPolicy"] = json!("Mine")),
        ["spec.dnsPolicy: Unsupported value: \"Mine\": \
          supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\""]
    );
}

#[test]
fn without_a_dns_policy_there_are_nameservers() {
    assert_eq!(
        errors(|spec| spec["dnsPolicy"] = json!("None")),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]
    );
    let config = json!({"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "x"], "searches": ["A"], "options": [{}]});
    let found = errors(|spec| spec["dnsConfig"] = config);
    assert_eq!(
        found[0],
        "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"2.2.2.2\",\"3.3.3.3\",\"x\"]: \
         must not have more than 3 nameservers"
    );
    assert!(found[1].starts_with("spec.dnsConfig.nameservers[3]: Invalid value: \"x\": must be a valid IP address"));
    assert!(found[2].starts_with("spec.dnsConfig.searches[0]: Invalid value: \"A\": a lowercase RFC 1123 subdomain"));
    assert_eq!(found[3], "spec.dnsConfig.options[0]: Required value: must not be empty");
}

#[test]
fn only_sidecars_among_init_containers_are_probed() {
    let probed = json!({"name": "i", "image": "x", "readinessProbe": {"exec": {"command": ["true"]}}});
    assert_eq!(
        errors(|spec| spec["initContainers"] = json!([probed])),
        ["spec.initContainers[0].readinessProbe: Forbidden: \
          may not be set for init containers without restartPolicy=Always"]
    );
    let mut sidecar = probed;
    sidecar["restartPolicy"] = json!("Always");
    assert!(errors(|spec| spec["initContainers"] = json!([sidecar])).is_empty());
}

#[test]
fn images_and_more_tolerations_may_change() {
    let found = change_errors(|spec| {
        spec["containers"][0]["image"] = json!("x:2");
        spec["activeDeadlineSeconds"] = json!(5);
        spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn containers_neither_come_nor_go() {
    let found = change_errors(|spec| spec["containers"] = json!([]));
    assert_eq!(
        found.last().expect("a fault"),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}

#[test]
fn a_deadline_only_comes_closer() {
    assert_eq!(
        change_errors(|spec| spec["activeDeadlineSeconds"] = json!(20)),
        ["spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"]
    );
}

#[test]
fn anything_else_is_shown_as_it_would_have_changed() {
    assert_eq!(
        change_errors(|spec| spec["restartPolicy"] = json!("Never")),
        ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
          `spec.tolerations` (only additions to existing tolerations),\
          `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
          @@ -12,7 +12,7 @@\n  ],\n  \"dnsPolicy\": \"ClusterFirst\",\n  \"enableServiceLinks\": true,\n\
          - \"restartPolicy\": \"Always\",\n+ \"restartPolicy\": \"Never\",\n  \"schedulerName\": \"default-scheduler\",\n  \
          \"securityContext\": {},\n  \"terminationGracePeriodSeconds\": 30\n"]
    );
}

#[test]
fn in_the_nodes_network_ports_cannot_be_mapped() {
    let found = errors(|spec| {
        spec["hostNetwork"] = json!(true);
        spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
    });
    assert_eq!(
        found,
        ["spec.containers[0].ports[0].hostPort: Invalid value: 8080: \
          must match `containerPort` when `hostNetwork` is true"]
    );
}

#[test]
fn tolerations_say_what_they_tolerate() {
    let found = errors(|spec| {
        spec["tolerations"] =
            json!([{"value": "x"}, {"key": "a", "operator": "Exists", "value": "x", "tolerationSeconds": 1}]);
    });
    assert_eq!(
        found,
        [
            "spec.tolerations[0].operator: Invalid value: \"\": \
             operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            "spec.tolerations[1].effect: Invalid value: \"\": \
             effect must be 'NoExecute' when `tolerationSeconds` is set",
            "spec.tolerations[1].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
        ]
    );
}
