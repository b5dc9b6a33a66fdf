//! `get` in all its forms, `events` and `explain`.

use serde_json::Value;

use crate::kubectl::{Kubectl, columns, headers};

crate::tests!(
    nodes,
    pods,
    pods_everywhere,
    services_and_endpoints,
    everything,
    other_forms,
    watching,
    nothing_found,
    events,
    explain,
    api_resources,
    version_and_identity,
);

fn nodes(kubectl: &Kubectl) {
    assert_eq!(headers(&kubectl.ok("get nodes")), ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    let wide = kubectl.ok("get nodes -o wide");
    let expected = [
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "INTERNAL-IP",
        "EXTERNAL-IP",
        "OS-IMAGE",
        "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ];
    assert_eq!(headers(&wide), expected);
    let first = columns(wide.lines().nth(1).unwrap());
    assert_eq!((first[0], first[1]), ("node1", "Ready"));
    assert_eq!((first[4], first[5], first[6]), ("v1.36.0+fairway", "10.89.0.1", "<none>"));
    assert_eq!(kubectl.ok("get node node1 -o jsonpath={.status.nodeInfo.kubeletVersion}"), "v1.36.0+fairway");
    assert_eq!(kubectl.ok("get nodes -o name"), "node/node1\nnode/node2\n");
}

fn pods(kubectl: &Kubectl) {
    kubectl.deploy("shown", 2);
    let table = kubectl.ok("get pods -l app=shown");
    assert_eq!(headers(&table), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    let row = columns(table.lines().nth(1).unwrap());
    assert_eq!((row[1], row[2], row[3]), ("1/1", "Running", "0"));

    let wide = kubectl.ok("get po -l app=shown -o wide");
    let expected = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"];
    assert_eq!(headers(&wide), expected);
    let nodes: Vec<_> = wide.lines().skip(1).map(|line| columns(line)[6]).collect();
    assert!(nodes.contains(&"node1") && nodes.contains(&"node2"), "{wide}");
    let address = columns(wide.lines().nth(1).unwrap())[5];
    assert!(address.starts_with("10.244."), "{wide}");

    let labels = kubectl.ok("get pods -l app=shown --show-labels");
    assert_eq!(headers(&labels).last(), Some(&"LABELS"));
    assert!(labels.contains("app=shown,pod-template-hash="), "{labels}");
    assert_eq!(
        kubectl.ok(&format!("get pods -l app=shown --field-selector=status.podIP={address} -o name")).lines().count(),
        1
    );
    assert_eq!(kubectl.ok("get pods -l 'app in (shown),app!=other' --field-selector=status.phase!=Running"), "");
}

fn pods_everywhere(kubectl: &Kubectl) {
    let table = kubectl.ok("get pods -A");
    assert_eq!(headers(&table), ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert!(table.lines().any(|line| line.starts_with("kube-system ") && line.contains(" coredns-")), "{table}");
    assert_eq!(headers(&kubectl.ok("get svc -A")).first(), Some(&"NAMESPACE"));
}

fn services_and_endpoints(kubectl: &Kubectl) {
    kubectl.deploy("served", 2);
    kubectl.ok("expose deployment served --port=80 --target-port=8080");
    let services = kubectl.ok("get svc served -o wide");
    assert_eq!(headers(&services), ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]);
    let row = columns(services.lines().nth(1).unwrap());
    assert_eq!((row[1], row[3], row[4], row[6]), ("ClusterIP", "<none>", "80/TCP", "app=served"));

    let both = |said: &str| said.matches("10.244.").count() == 2;
    let endpoints = kubectl.eventually("get endpoints served", both);
    assert_eq!(headers(&endpoints), ["NAME", "ENDPOINTS", "AGE"]);
    let slices = kubectl.eventually("get endpointslices -l kubernetes.io/service-name=served", both);
    assert_eq!(headers(&slices), ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"]);
    let row = columns(slices.lines().nth(1).unwrap());
    assert_eq!((row[1], row[2]), ("IPv4", "8080"));
    let yaml = kubectl.ok("get endpointslices -l kubernetes.io/service-name=served -o yaml");
    assert!(
        yaml.contains(
            "addressType: IPv4
"
        ),
        "{yaml}"
    );
    assert!(yaml.contains("ready: true") && yaml.contains("kind: List"), "{yaml}");
}

fn everything(kubectl: &Kubectl) {
    kubectl.deploy("all", 1);
    let said = kubectl.ok("get all -l app=all");
    let kinds: Vec<_> = said.lines().filter_map(|line| line.split_once('/')).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["pod", "deployment.apps", "replicaset.apps"], "{said}");
    let sets = kubectl.ok("get rs -l app=all -o wide");
    let expected = ["NAME", "DESIRED", "CURRENT", "READY", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"];
    assert_eq!(headers(&sets), expected);
    let deployments = kubectl.ok("get deploy all -o wide");
    let expected = ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"];
    assert_eq!(headers(&deployments), expected);
    assert_eq!(columns(deployments.lines().nth(1).unwrap())[..4], ["all", "1/1", "1", "1"]);
}

fn other_forms(kubectl: &Kubectl) {
    kubectl.ok("create configmap form-b --from-literal=k=2");
    kubectl.ok("create configmap form-a --from-literal=k=1");
    let sorted = kubectl.ok("get cm form-a form-b --sort-by=.data.k -o name");
    assert_eq!(sorted, "configmap/form-a\nconfigmap/form-b\n");
    assert_eq!(kubectl.ok("get cm form-a -o jsonpath={.data.k}"), "1");
    assert_eq!(kubectl.ok("get cm form-a -o custom-columns=NAME:.metadata.name,K:.data.k"), "NAME     K\nform-a   1\n");
    assert_eq!(kubectl.ok("get cm form-a -o go-template={{.data.k}}"), "1");
    let yaml = kubectl.ok("get cm form-a -o yaml");
    assert!(yaml.starts_with("apiVersion: v1\ndata:\n  k: \"1\"\nkind: ConfigMap\nmetadata:\n"), "{yaml}");
    assert!(!yaml.contains("managedFields"), "{yaml}");
    assert!(kubectl.ok("get cm form-a -o yaml --show-managed-fields").contains("manager: kubectl-create"));
    let list: Value = serde_json::from_str(&kubectl.ok("get cm form-a form-b -o json")).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 2));
}

fn watching(kubectl: &Kubectl) {
    let mut watch = kubectl.follow("get pods -w --no-headers -l run=watched");
    kubectl.ok("run watched --image=agnhost --restart=Never -- pause");
    // The watch may begin before the pod is there or after; running is what it shows either way.
    watch.until(|line| columns(line)[1..3] == ["1/1", "Running"]);
    kubectl.ok("delete pod watched --now");
    watch.until(|line| columns(line)[2] == "Terminating");
}

fn nothing_found(kubectl: &Kubectl) {
    let said = kubectl.run("get pods -l app=nobody");
    let expected = format!("No resources found in {} namespace.\n", kubectl.namespace);
    assert_eq!((said.code, said.out, said.err), (0, String::new(), expected));
    assert_eq!(kubectl.refused("get pod nobody"), "Error from server (NotFound): pods \"nobody\" not found\n");
    let unknown = kubectl.refused("get unicorns");
    assert_eq!(unknown, "error: the server doesn't have a resource type \"unicorns\"\n");
    let unsupported = kubectl.refused("get pods --field-selector=spec.colour=red");
    assert!(unsupported.ends_with("field label not supported: spec.colour\n"), "{unsupported}");
}

fn events(kubectl: &Kubectl) {
    kubectl.deploy("eventful", 1);
    let events = kubectl.eventually("events --for deployment/eventful", |said| said.contains("ScalingReplicaSet"));
    assert_eq!(headers(&events), ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    let scaled = events.lines().find(|line| line.contains("ScalingReplicaSet")).unwrap();
    assert_eq!(columns(scaled)[1..4], ["Normal", "ScalingReplicaSet", "Deployment/eventful"]);
    assert!(scaled.contains("Scaled up replica set eventful-"), "{scaled}");
    assert!(scaled.trim_end().ends_with("from 0 to 1"), "{scaled}");
    kubectl.eventually("get events --field-selector=reason=Scheduled", |said| {
        said.contains("Successfully assigned") && said.contains("/eventful-")
    });
}

fn explain(kubectl: &Kubectl) {
    let said = kubectl.ok("explain deployment.spec.replicas");
    assert!(said.starts_with("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n"), "{said}");
    assert!(said.contains("FIELD: replicas <integer>"), "{said}");
    let service = kubectl.ok("explain service.spec.ports");
    assert!(service.contains("targetPort\t<IntOrString>"), "{service}");
    assert!(kubectl.ok("explain pods --recursive").contains("containers\t<[]Container>"));
    let unknown = kubectl.refused("explain pods.spec.colour");
    assert_eq!(unknown, "error: field \"colour\" does not exist\n");
}

fn api_resources(kubectl: &Kubectl) {
    let table = kubectl.ok("api-resources");
    assert_eq!(headers(&table), ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    let row = |kind: &str| {
        let line = table.lines().find(|line| line.ends_with(&format!(" {kind}")));
        line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(row("Deployment"), ["deployments", "deploy", "apps/v1", "true", "Deployment"]);
    assert_eq!(row("NetworkPolicy"), ["networkpolicies", "netpol", "networking.k8s.io/v1", "true", "NetworkPolicy"]);
    assert_eq!(row("Node"), ["nodes", "no", "v1", "false", "Node"]);
}

fn version_and_identity(kubectl: &Kubectl) {
    assert_eq!(kubectl.json("version")["serverVersion"]["gitVersion"], "v1.36.0+fairway");
    assert_eq!(kubectl.ok("auth can-i create pods"), "yes\n");
    assert_eq!(kubectl.json("auth whoami")["status"]["userInfo"]["username"], "kubernetes-admin");
}
