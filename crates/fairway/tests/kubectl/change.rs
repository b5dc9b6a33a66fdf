//! `edit`, `label`, `annotate`, `patch`, `taint` and `cordon`.

use serde_json::json;

use crate::kubectl::Kubectl;

crate::tests!(edit_without_change, edit_with_change, label, annotate, patches);

fn edit_without_change(kubectl: &Kubectl) {
    kubectl.ok("create configmap untouched --from-literal=a=b");
    let said = kubectl.edit("edit configmap untouched", "true");
    assert_eq!((said.code, said.err.as_str()), (0, "Edit cancelled, no changes made.\n"));
}

fn edit_with_change(kubectl: &Kubectl) {
    kubectl.ok("create deployment edited --image=agnhost");
    let said = kubectl.edit("edit deployment edited", "sed -i s/replicas:.1/replicas:\\ 2/");
    assert_eq!((said.code, said.out.as_str()), (0, "deployment.apps/edited edited\n"), "{}", said.err);
    assert_eq!(kubectl.ok("get deployment edited -o jsonpath={.spec.replicas}"), "2");
    let invalid = kubectl.edit("edit deployment edited", "sed -i s/replicas:.2/replicas:\\ -1/");
    assert_eq!(invalid.code, 1);
    assert!(invalid.err.starts_with("error: deployments.apps \"edited\" is invalid\n"), "{}", invalid.err);
    assert!(invalid.err.ends_with("error: Edit cancelled, no valid changes were saved.\n"), "{}", invalid.err);
    assert_eq!(kubectl.ok("get deployment edited -o jsonpath={.spec.replicas}"), "2");
}

fn label(kubectl: &Kubectl) {
    kubectl.ok("create configmap labelled --from-literal=a=b");
    assert_eq!(kubectl.ok("label configmap labelled tier=front"), "configmap/labelled labeled\n");
    assert_eq!(kubectl.ok("label configmap labelled tier=front"), "configmap/labelled not labeled\n");
    let refused = kubectl.refused("label configmap labelled tier=back");
    assert_eq!(refused, "error: 'tier' already has a value (front), and --overwrite is false\n");
    assert_eq!(kubectl.ok("label configmap labelled tier=back --overwrite"), "configmap/labelled labeled\n");
    assert_eq!(kubectl.ok("get configmap -l tier=back -o name"), "configmap/labelled\n");
    assert_eq!(kubectl.ok("label configmap labelled tier-"), "configmap/labelled unlabeled\n");
    assert_eq!(kubectl.json("get configmap labelled")["metadata"]["labels"], json!(null));
}

fn annotate(kubectl: &Kubectl) {
    kubectl.ok("create configmap noted --from-literal=a=b");
    assert_eq!(kubectl.ok("annotate configmap noted 'why=because of it'"), "configmap/noted annotated\n");
    assert_eq!(kubectl.json("get configmap noted")["metadata"]["annotations"], json!({"why": "because of it"}));
    assert_eq!(kubectl.ok("annotate configmap noted why-"), "configmap/noted annotated\n");
}

fn patches(kubectl: &Kubectl) {
    kubectl.deploy("patched", 1);
    let sidecar = r#"patch deployment patched -p '{"spec":{"template":{"spec":{"containers":[{"name":"more","image":"pause"}]}}}}'"#;
    assert_eq!(kubectl.ok(sidecar), "deployment.apps/patched patched\n");
    // A change of status between reading and patching would count as one.
    kubectl.ok("rollout status deployment/patched --timeout=60s");
    kubectl.eventually(sidecar, |said| said == "deployment.apps/patched patched (no change)\n");
    let names = "get deployment patched -o jsonpath={.spec.template.spec.containers[*].name}";
    assert_eq!(kubectl.ok(names), "more agnhost");
    let merge = r#"patch deployment patched --type=merge -p '{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"pause"}]}}}}'"#;
    assert_eq!(kubectl.ok(merge), "deployment.apps/patched patched\n");
    assert_eq!(kubectl.ok(names), "only");
    let json = r#"patch deployment patched --type=json -p '[{"op":"replace","path":"/spec/replicas","value":2}]'"#;
    assert_eq!(kubectl.ok(json), "deployment.apps/patched patched\n");
    assert_eq!(kubectl.ok("get deployment patched -o jsonpath={.spec.replicas}"), "2");
    let status = r#"patch deployment patched --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'"#;
    kubectl.ok(status);
    assert_eq!(kubectl.ok("get deployment patched -o jsonpath={.spec.replicas}"), "1");
    let missing = r#"patch deployment patched --type=json -p '[{"op":"remove","path":"/spec/nothing"}]'"#;
    let refused = kubectl.refused(missing);
    assert!(refused.starts_with("The request is invalid: "), "{refused}");
    assert!(refused.contains("/spec/nothing"), "{refused}");
}
