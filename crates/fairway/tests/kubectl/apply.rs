//! `apply`, `diff` and `replace`.

use crate::kubectl::Kubectl;

crate::tests!(
    new_unchanged_and_changed,
    removed_fields_go_and_foreign_fields_stay,
    diff,
    several_documents,
    server_side_and_its_conflicts,
    dry_run,
    replace,
);

fn deployment(name: &str, replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: {image}
        args: [pause]
        ports: [{{containerPort: 80}}]
"
    )
}

fn config(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {data}\n")
}

fn new_unchanged_and_changed(kubectl: &Kubectl) {
    let apply = |text: &str| kubectl.ok_with("apply -f -", text);
    let first = deployment("applied", 1, "agnhost");
    assert_eq!(apply(&first), "deployment.apps/applied created\n");
    assert_eq!(apply(&first), "deployment.apps/applied unchanged\n");
    assert_eq!(apply(&deployment("applied", 2, "agnhost")), "deployment.apps/applied configured\n");
    assert_eq!(kubectl.ok("get deployment applied -o jsonpath={.spec.replicas}"), "2");
}

fn removed_fields_go_and_foreign_fields_stay(kubectl: &Kubectl) {
    kubectl.ok_with("apply -f -", &config("merged", "{a: '1', b: '2'}"));
    kubectl.ok(r#"patch configmap merged --type=merge -p '{"data":{"foreign":"3"}}'"#);
    assert_eq!(kubectl.ok_with("apply -f -", &config("merged", "{a: '4'}")), "configmap/merged configured\n");
    let found = kubectl.json("get configmap merged");
    assert_eq!(found["data"], serde_json::json!({"a": "4", "foreign": "3"}));
    let last = found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert!(last.contains(r#""data":{"a":"4"}"#), "{last}");
}

fn diff(kubectl: &Kubectl) {
    let first = deployment("compared", 1, "agnhost");
    kubectl.ok_with("apply -f -", &first);
    let same = kubectl.feed("diff -f -", &first);
    assert_eq!((same.code, same.out), (0, String::new()), "{}", same.err);
    let different = kubectl.feed("diff -f -", &deployment("compared", 4, "agnhost"));
    assert_eq!(different.code, 1, "{}", different.err);
    assert!(different.out.contains("\n-  replicas: 1\n+  replicas: 4\n"), "{}", different.out);
    assert_eq!(kubectl.ok("get deployment compared -o jsonpath={.spec.replicas}"), "1");
    let new = kubectl.feed("diff -f -", &deployment("unheard", 1, "agnhost"));
    assert!(new.code == 1 && new.out.contains("+kind: Deployment"), "{}{}", new.out, new.err);
}

fn several_documents(kubectl: &Kubectl) {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: several}\nspec: {selector: {app: several}, ports: [{port: 80}]}\n";
    let both = deployment("several", 1, "agnhost") + service;
    assert_eq!(kubectl.ok_with("apply -f -", &both), "deployment.apps/several created\nservice/several created\n");
    assert_eq!(kubectl.ok_with("apply -f -", &both), "deployment.apps/several unchanged\nservice/several unchanged\n");
    let deleted = kubectl.ok_with("delete -f -", &both);
    assert!(deleted.starts_with("deployment.apps \"several\" deleted"), "{deleted}");
    assert!(deleted.contains("\nservice \"several\" deleted"), "{deleted}");
}

fn server_side_and_its_conflicts(kubectl: &Kubectl) {
    let config = |value: &str| config("shared", &format!("{{key: {value}}}"));
    let mine = kubectl.ok_with("apply --server-side -f -", &config("mine"));
    assert_eq!(mine, "configmap/shared serverside-applied\n");
    assert_eq!(kubectl.ok_with("apply --server-side -f -", &config("mine")), mine);
    let refused = kubectl.refused_with("apply --server-side --field-manager=other -f -", &config("theirs"));
    assert!(
        refused.starts_with("error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.key\n"),
        "{refused}"
    );
    kubectl.ok_with("apply --server-side --field-manager=other --force-conflicts -f -", &config("theirs"));
    assert_eq!(kubectl.ok("get cm shared -o jsonpath={.data.key}"), "theirs");
}

fn dry_run(kubectl: &Kubectl) {
    let said = kubectl.ok_with("apply --dry-run=server -f -", &deployment("imagined", 1, "agnhost"));
    assert_eq!(said, "deployment.apps/imagined created (server dry run)\n");
    let missing = kubectl.refused("get deployment imagined");
    assert_eq!(missing, "Error from server (NotFound): deployments.apps \"imagined\" not found\n");
}

fn replace(kubectl: &Kubectl) {
    let config = |key: &str| config("replaced", &format!("{{{key}: x}}"));
    let missing = kubectl.refused_with("replace -f -", &config("a"));
    assert_eq!(
        missing,
        "Error from server (NotFound): error when replacing \"STDIN\": configmaps \"replaced\" not found\n"
    );
    kubectl.ok_with("create -f -", &config("a"));
    assert_eq!(kubectl.ok_with("replace -f -", &config("b")), "configmap/replaced replaced\n");
    assert_eq!(kubectl.json("get cm replaced")["data"], serde_json::json!({"b": "x"}));
}
