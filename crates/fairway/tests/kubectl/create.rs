//! `create`, `expose` and `run`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::kubectl::Kubectl;

crate::tests!(configmap, secret, namespace, services, deployment_with_replicas, expose, dry_run_stores_nothing, token);

fn configmap(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok("create configmap made --from-literal=a=b"), "configmap/made created\n");
    assert_eq!(kubectl.json("get configmap made")["data"], json!({"a": "b"}));
    let again = kubectl.refused("create configmap made --from-literal=a=b");
    assert_eq!(again, "error: failed to create configmap: configmaps \"made\" already exists\n");
}

fn secret(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok("create secret generic made --from-literal=a=b"), "secret/made created\n");
    assert_eq!(kubectl.json("get secret made")["data"], json!({"a": STANDARD.encode("b")}));
    assert!(kubectl.ok("describe secret made").contains("a:  1 bytes"));
}

fn namespace(kubectl: &Kubectl) {
    let name = kubectl.unique("made");
    assert_eq!(kubectl.ok(&format!("create ns {name}")), format!("namespace/{name} created\n"));
    kubectl.eventually(&format!("get serviceaccount default -n {name} -o name"), |said| {
        said == "serviceaccount/default\n"
    });
    assert_eq!(
        kubectl.ok(&format!("delete ns {name}")).lines().last(),
        Some(&*format!("namespace \"{name}\" deleted"))
    );
}

fn services(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok("create service clusterip plain --tcp=80:8080"), "service/plain created\n");
    let plain = kubectl.json("get service plain");
    assert!(plain["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."));
    assert_eq!(plain["spec"]["clusterIPs"], json!([plain["spec"]["clusterIP"]]));
    assert_eq!(plain["spec"]["selector"], json!({"app": "plain"}));

    assert_eq!(kubectl.ok("create service nodeport outside --tcp=80"), "service/outside created\n");
    let port = kubectl.json("get service outside")["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..32768).contains(&port), "{port}");

    assert_eq!(kubectl.ok("create service clusterip headless --clusterip=None"), "service/headless created\n");
    assert_eq!(kubectl.json("get service headless")["spec"]["clusterIP"], "None");
    let external = "create service externalname elsewhere --external-name=example.org";
    assert_eq!(kubectl.ok(external), "service/elsewhere created\n");
    let again = kubectl.refused("create service clusterip plain --tcp=80");
    assert_eq!(again, "error: failed to create ClusterIP service: services \"plain\" already exists\n");
}

fn deployment_with_replicas(kubectl: &Kubectl) {
    let create = "create deployment made --image=agnhost --replicas=3";
    assert_eq!(kubectl.ok(create), "deployment.apps/made created\n");
    kubectl.eventually("get deployment made --no-headers", |said| said.split_whitespace().nth(1) == Some("3/3"));
    let pods = kubectl.json("get pods -l app=made");
    assert_eq!(pods["items"].as_array().unwrap().len(), 3);
    let again = kubectl.refused(create);
    assert_eq!(again, "error: failed to create deployment: deployments.apps \"made\" already exists\n");
}

fn expose(kubectl: &Kubectl) {
    kubectl.deploy("exposed", 2);
    assert_eq!(kubectl.ok("expose deployment exposed --port=80 --target-port=8080"), "service/exposed exposed\n");
    let two = |said: &str| said.split(',').count() == 2 && said.contains(":8080");
    kubectl.eventually("get endpoints exposed --no-headers -o custom-columns=E:.subsets[0].addresses[*].ip,P:.subsets[0].ports[0].port", |said| {
        said.split_whitespace().next().is_some_and(|addresses| addresses.split(',').count() == 2)
    });
    let table = kubectl.ok("get endpoints exposed --no-headers");
    assert!(table.split_whitespace().nth(1).is_some_and(two), "{table}");
    let refused = kubectl.refused("expose deployment exposed --port=80");
    assert_eq!(refused, "Error from server (AlreadyExists): services \"exposed\" already exists\n");
}

fn dry_run_stores_nothing(kubectl: &Kubectl) {
    let said = kubectl.ok("create configmap imagined --from-literal=a=b --dry-run=server");
    assert_eq!(said, "configmap/imagined created (server dry run)\n");
    let missing = kubectl.refused("get configmap imagined");
    assert_eq!(missing, "Error from server (NotFound): configmaps \"imagined\" not found\n");
}

fn token(kubectl: &Kubectl) {
    let token = kubectl.ok("create token default");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}
