//! What is not accepted, in Kubernetes' words.

use crate::kubectl::Kubectl;

crate::tests!(
    invalid_service,
    unknown_field,
    wrong_type,
    immutable_fields,
    bad_names,
    missing_namespace,
    stale_version
);

fn invalid_service(kubectl: &Kubectl) {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 70000, targetPort: 80}]}\n";
    let refused = kubectl.refused_with("apply -f -", text);
    let expected = "The Service \"bad\" is invalid: \
                    spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive\n";
    assert_eq!(refused, expected);
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {type: Wrong, ports: [{port: 80}]}\n";
    let refused = kubectl.refused_with("apply -f -", text);
    assert!(refused.contains("spec.type: Unsupported value: \"Wrong\": supported values: "), "{refused}");
}

fn unknown_field(kubectl: &Kubectl) {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndota: {a: b}\n";
    let refused = kubectl.refused_with("apply -f -", text);
    let expected = "Error from server (BadRequest): error when creating \"STDIN\": ConfigMap in version \"v1\" cannot be \
                    handled as a ConfigMap: strict decoding error: unknown field \"dota\"\n";
    assert_eq!(refused, expected);
    let said = kubectl.feed("apply --validate=warn -f -", text);
    assert_eq!(said.out, "configmap/odd created\n");
    assert!(said.err.contains("Warning: unknown field \"dota\""), "{}", said.err);
}

fn wrong_type(kubectl: &Kubectl) {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {ports: many}\n";
    let refused = kubectl.refused_with("apply -f -", text);
    assert!(refused.starts_with("Error from server (BadRequest): error when creating \"STDIN\": Service in version \"v1\" cannot be handled as a Service: "), "{refused}");
    let refused = kubectl.refused_with("apply -f -", "apiVersion: v1\nkind: Unicorn\nmetadata: {name: odd}\n");
    assert!(refused.contains("no matches for kind \"Unicorn\" in version \"v1\""), "{refused}");
}

fn immutable_fields(kubectl: &Kubectl) {
    kubectl.ok("create deployment fixed --image=agnhost");
    let refused =
        kubectl.refused(r#"patch deployment fixed -p '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}'"#);
    assert!(refused.starts_with("The Deployment \"fixed\" is invalid: "), "{refused}");
    assert!(refused.contains("field is immutable"), "{refused}");
    kubectl.ok("create service clusterip fixed --tcp=80");
    let refused = kubectl.refused(r#"patch service fixed -p '{"spec":{"clusterIP":"10.96.77.77"}}'"#);
    assert!(refused.contains("spec.clusterIPs[0]: Invalid value: "), "{refused}");
    assert!(refused.contains("may not change once set"), "{refused}");
}

fn bad_names(kubectl: &Kubectl) {
    let refused = kubectl.refused("create configmap Bad_Name --from-literal=a=b");
    assert!(
        refused.contains("metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of"),
        "{refused}"
    );
}

fn missing_namespace(kubectl: &Kubectl) {
    let refused = kubectl.refused("create configmap lost --from-literal=a=b -n nowhere");
    assert_eq!(refused, "error: failed to create configmap: namespaces \"nowhere\" not found\n");
}

fn stale_version(kubectl: &Kubectl) {
    kubectl.ok("create configmap contested --from-literal=a=1");
    let mine = kubectl.ok("get configmap contested -o yaml");
    kubectl.ok(r#"patch configmap contested --type=merge -p '{"data":{"a":"2"}}'"#);
    let refused = kubectl.refused_with("replace -f -", &mine);
    let expected = "Error from server (Conflict): error when replacing \"STDIN\": Operation cannot be fulfilled on \
                    configmaps \"contested\": the object has been modified; please apply your changes to the latest \
                    version and try again\n";
    assert_eq!(refused, expected);
}
