//! Kinds by CustomResourceDefinition, and what Fairway makes of its own: addresses for load balancers.

use crate::kubectl::{Kubectl, columns, headers};

crate::tests!(
    a_kind_of_ones_own_is_explained_applied_printed_and_gone_with_its_definition,
    a_load_balancer_service_shows_an_external_ip,
);

fn definition(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: widgets, kind: Widget}}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {{name: Size, type: integer, jsonPath: .spec.size}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {{type: integer, minimum: 1, description: How many parts there are.}}
              mode: {{type: string, default: safe}}
"
    )
}

fn widget(group: &str, size: i32) -> String {
    format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{size: {size}}}\n")
}

fn a_kind_of_ones_own_is_explained_applied_printed_and_gone_with_its_definition(kubectl: &Kubectl) {
    // Definitions have no namespace, and other kubectls make theirs at the same time.
    let group = format!("{}.example.com", kubectl.namespace);
    let kind = format!("widgets.{group}");
    kubectl.ok_with("apply -f -", &definition(&group));
    kubectl.ok(&format!("wait --for=condition=established crd/{kind} --timeout=30s"));
    let explained = kubectl.ok(&format!("explain widgets.spec.size --api-version={group}/v1"));
    assert!(explained.contains("How many parts there are."), "{explained}");
    assert!(kubectl.ok_with("apply -f -", &widget(&group, 1)).contains("created"));
    assert!(kubectl.ok_with("apply -f -", &widget(&group, 1)).contains("unchanged"));
    assert!(kubectl.ok_with("apply -f -", &widget(&group, 2)).contains("configured"));
    assert!(
        kubectl
            .ok_with("apply --server-side --force-conflicts -f -", &widget(&group, 3))
            .contains("serverside-applied")
    );
    let refused = kubectl.refused_with("apply -f -", &widget(&group, 0));
    assert!(refused.contains("should be greater than or equal to 1"), "{refused}");
    let table = kubectl.ok(&format!("get {kind}"));
    assert_eq!(headers(&table), ["NAME", "SIZE"]);
    assert_eq!(columns(table.lines().nth(1).unwrap()), ["one", "3"]);
    assert_eq!(kubectl.ok(&format!("get {kind} one -o jsonpath={{.spec.mode}}")), "safe");
    kubectl.ok(&format!("patch {kind} one --type=merge -p {{\"spec\":{{\"mode\":\"fast\"}}}}"));
    kubectl.ok(&format!("delete crd {kind}"));
    let gone = kubectl.refused(&format!("get {kind}"));
    assert!(gone.contains("the server doesn't have a resource type"), "{gone}");
}

fn a_load_balancer_service_shows_an_external_ip(kubectl: &Kubectl) {
    kubectl.deploy("front", 1);
    kubectl.ok("expose deployment front --port=8080 --target-port=80 --type=LoadBalancer");
    kubectl.ok("wait --for=jsonpath={.status.loadBalancer.ingress} svc/front --timeout=60s");
    let table = kubectl.ok("get svc front");
    let external = headers(&table).iter().position(|header| *header == "EXTERNAL-IP").unwrap();
    let address = columns(table.lines().nth(1).unwrap())[external];
    assert!(address.starts_with("10.89.0.2"), "{table}");
    kubectl.eventually("describe svc front", |text| text.contains("IPAllocated"));
}
