//! What a pod is when its author did not say.

use serde_json::{Value, json};

use crate::kinds::fill::{Fill, Object};

const TERMINATION_GRACE_SECONDS: u32 = 30;
const FILE_MODE: u32 = 0o644;
const TOKEN_LIFETIME_SECONDS: u32 = 3600;
/// Lists of a pod's containers, of every sort.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in a pod. Some defaults apply to pods only and not to templates, which would otherwise change under
/// the feet of those who watch them.
pub(super) fn default_pod(pod: &mut Object) {
    let spec = pod.object("spec");
    default_pod_spec(spec);
    for list in ["initContainers", "containers"] {
        for container in spec.objects(list) {
            default_requests(container.object("resources"));
        }
    }
    if let Some(resources) = spec.object_if_set("resources") {
        default_requests(resources);
    }
    spec.fill("enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        default_host_ports(spec);
    }
}

/// Fills in the specification of a pod or of a template for pods.
pub(crate) fn default_pod_spec(spec: &mut Object) {
    for volume in spec.objects("volumes") {
        default_volume(volume);
    }
    for list in CONTAINER_LISTS {
        for container in spec.objects(list) {
            default_container(container);
        }
    }
    spec.fill_text("restartPolicy", "Always");
    spec.fill("terminationGracePeriodSeconds", TERMINATION_GRACE_SECONDS);
    spec.fill_text("dnsPolicy", "ClusterFirst");
    agree_on_service_account(spec);
    spec.object("securityContext");
    spec.fill_text("schedulerName", "default-scheduler");
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are stored.
fn agree_on_service_account(spec: &mut Object) {
    let name = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount"),
        name => name,
    };
    if !name.is_empty() {
        let name = json!(name);
        spec.insert("serviceAccountName".into(), name.clone());
        spec.insert("serviceAccount".into(), name);
    }
}

fn default_container(container: &mut Object) {
    for port in container.objects("ports") {
        port.fill_text("protocol", "TCP");
    }
    for variable in container.objects("env") {
        if let Some(source) = variable.object_if_set("valueFrom") {
            default_field_reference(source);
        }
    }
    container.object("resources");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.object_if_set(probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = container.object_if_set("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.object_if_set(hook) {
                default_http_get(hook);
            }
        }
    }
    container.fill_text("terminationMessagePath", "/dev/termination-log");
    container.fill_text("terminationMessagePolicy", "File");
    let policy = pull_policy(container.text("image"));
    container.fill_text("imagePullPolicy", policy);
}

/// Whatever is called `latest`, by tag or for want of one, may have changed.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    let last = name.rsplit('/').next().unwrap_or_default();
    let latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_empty(),
    };
    if latest { "Always" } else { "IfNotPresent" }
}

fn default_probe(probe: &mut Object) {
    default_http_get(probe);
    if let Some(grpc) = probe.object_if_set("grpc") {
        grpc.fill("service", "");
    }
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(name).and_then(Value::as_i64).unwrap_or(0) == 0 {
            probe.insert(name.into(), json!(value));
        }
    }
}

fn default_http_get(handler: &mut Object) {
    if let Some(get) = handler.object_if_set("httpGet") {
        get.fill_text("path", "/");
        get.fill_text("scheme", "HTTP");
    }
}

fn default_field_reference(source: &mut Object) {
    if let Some(field) = source.object_if_set("fieldRef") {
        field.fill_text("apiVersion", "v1");
    }
}

fn default_volume(volume: &mut Object) {
    if volume.iter().all(|(name, value)| name == "name" || value.is_null()) {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.object_if_set(source) {
            source.fill("defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = volume.object_if_set("hostPath") {
        path.fill("type", "");
    }
    if let Some(fields) = volume.object_if_set("downwardAPI") {
        fields.objects("items").for_each(default_field_reference);
    }
    if let Some(projected) = volume.object_if_set("projected") {
        projected.objects("sources").for_each(default_projection);
    }
    if let Some(image) = volume.object_if_set("image") {
        let policy = pull_policy(image.text("reference"));
        image.fill_text("pullPolicy", policy);
    }
}

fn default_projection(source: &mut Object) {
    if let Some(token) = source.object_if_set("serviceAccountToken") {
        token.fill("expirationSeconds", TOKEN_LIFETIME_SECONDS);
    }
    if let Some(fields) = source.object_if_set("downwardAPI") {
        fields.objects("items").for_each(default_field_reference);
    }
}

/// Who limits a resource asks for that much of it.
fn default_requests(resources: &mut Object) {
    let Some(limits) = resources.object_if_set("limits").cloned() else { return };
    let requests = resources.object("requests");
    for (name, limit) in limits {
        requests.fill(&name, limit);
    }
}

/// In the node's network a port is the node's port.
fn default_host_ports(spec: &mut Object) {
    for list in ["initContainers", "containers"] {
        for port in spec.objects(list).flat_map(|container| container.objects("ports")) {
            if port.get("hostPort").and_then(Value::as_i64).unwrap_or(0) == 0 {
                let number = port.get("containerPort").cloned().unwrap_or_else(|| json!(0));
                port.insert("hostPort".into(), number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(spec: &Value) -> Value {
        let mut pod = json!({ "spec": spec });
        default_pod(pod.as_object_mut().expect("an object"));
        pod["spec"].take()
    }

    #[test]
    fn a_bare_pod_is_complete() {
        assert_eq!(
            defaulted(&json!({"containers": [{"name": "a", "image": "nginx"}]})),
            json!({
                "containers": [{
                    "name": "a", "image": "nginx", "resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "imagePullPolicy": "Always",
                }],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true,
            })
        );
    }

    #[test]
    fn only_the_latest_image_is_always_pulled() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/nginx", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn probes_are_patient() {
        let spec =
            defaulted(&json!({"containers": [{"readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 2}}]}));
        assert_eq!(
            spec["containers"][0]["readinessProbe"],
            json!({
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "periodSeconds": 2, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
            })
        );
    }

    #[test]
    fn a_volume_without_source_is_an_empty_directory() {
        let spec = defaulted(&json!({"volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "c"}}]}));
        assert_eq!(
            spec["volumes"],
            json!([{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c", "defaultMode": 420}}])
        );
    }

    #[test]
    fn limits_are_requested_where_nothing_else_is() {
        let spec = defaulted(
            &json!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5"}}}]}),
        );
        assert_eq!(spec["containers"][0]["resources"]["requests"], json!({"cpu": "0.5", "memory": "1Gi"}));
    }

    #[test]
    fn in_the_nodes_network_ports_are_the_nodes() {
        let spec = defaulted(&json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]}));
        assert_eq!(spec["containers"][0]["ports"], json!([{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]));
    }

    #[test]
    fn the_old_name_of_the_service_account_is_kept_in_step() {
        let spec = defaulted(&json!({"serviceAccount": "a"}));
        assert_eq!((&spec["serviceAccount"], &spec["serviceAccountName"]), (&json!("a"), &json!("a")));
    }
}
