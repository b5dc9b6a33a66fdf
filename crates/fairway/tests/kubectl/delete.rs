//! `delete` in all its ways, `drain` and `cordon`.

use crate::kubectl::Kubectl;

crate::tests!(background, foreground, orphan, now, namespace, by_selector, missing);

/// Deletions are worded a little differently from version to version.
fn says_deleted(said: &str, what: &str) {
    assert!(said.starts_with(&format!("{what} deleted")), "{said}");
}

fn background(kubectl: &Kubectl) {
    kubectl.deploy("backstage", 2);
    says_deleted(&kubectl.ok("delete deployment backstage"), "deployment.apps \"backstage\"");
    kubectl.eventually("get rs,pods -l app=backstage -o name", str::is_empty);
}

fn foreground(kubectl: &Kubectl) {
    kubectl.deploy("foremost", 2);
    says_deleted(&kubectl.ok("delete deployment foremost --cascade=foreground"), "deployment.apps \"foremost\"");
    assert_eq!(kubectl.ok("get rs,pods -l app=foremost -o name"), "");
}

fn orphan(kubectl: &Kubectl) {
    kubectl.deploy("parent", 1);
    kubectl.ok("delete deployment parent --cascade=orphan");
    assert_eq!(
        kubectl.json("get rs -l app=parent")["items"][0]["metadata"]["ownerReferences"],
        serde_json::json!(null)
    );
    kubectl.ok("delete rs -l app=parent");
    kubectl.eventually("get pods -l app=parent -o name", str::is_empty);
}

fn now(kubectl: &Kubectl) {
    kubectl.ok("run brief --image=agnhost -- pause");
    kubectl.ok("wait --for=condition=Ready pod/brief --timeout=60s");
    says_deleted(&kubectl.ok("delete pod brief --now"), "pod \"brief\"");
    kubectl.refused("get pod brief");
    kubectl.ok("run forced --image=agnhost -- pause");
    let said = kubectl.run("delete pod forced --force --grace-period=0");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("pod \"forced\" force deleted"), "{}", said.out);
}

fn namespace(kubectl: &Kubectl) {
    let name = kubectl.unique("doomed");
    kubectl.ok(&format!("create namespace {name}"));
    kubectl.ok(&format!("create deployment web --image=agnhost --replicas=2 -n {name}"));
    kubectl.ok(&format!("rollout status deployment/web -n {name} --timeout=60s"));
    kubectl.ok(&format!("expose deployment web --port=80 -n {name}"));
    let said = kubectl.ok(&format!("delete namespace {name}"));
    assert!(said.ends_with(&format!("namespace \"{name}\" deleted\n")), "{said}");
    let gone = kubectl.refused(&format!("get namespace {name}"));
    assert_eq!(gone, format!("Error from server (NotFound): namespaces \"{name}\" not found\n"));
    assert_eq!(kubectl.ok(&format!("get pods,rs,deployments,services -n {name} -o name")), "");
}

fn by_selector(kubectl: &Kubectl) {
    for name in ["one", "two", "three"] {
        kubectl.ok(&format!("create configmap {name} --from-literal=a=b"));
    }
    kubectl.ok("label configmap one two group=chosen");
    let said = kubectl.ok("delete configmap -l group=chosen");
    says_deleted(&said, "configmap \"one\"");
    assert_eq!(said.lines().count(), 2);
    kubectl.ok("get configmap three");
}

fn missing(kubectl: &Kubectl) {
    let refused = kubectl.refused("delete pod nobody");
    assert_eq!(refused, "Error from server (NotFound): pods \"nobody\" not found\n");
    assert_eq!(kubectl.ok("delete pod nobody --ignore-not-found"), "");
}
