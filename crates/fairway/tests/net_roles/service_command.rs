//! `fairway service`, on a node.

use apiserver::client::{ENDPOINT_SLICES, Patch, SERVICES};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::world::{DEADLINE, NODE, World};

/// Two endpoints, of which one is not ready.
fn create_slice(world: &World) {
    let endpoint = |address: &str, ready: bool| json!({ "addresses": [address], "nodeName": NODE, "conditions": { "ready": ready } });
    let slice = json!({
        "metadata": { "name": "shop-1", "labels": { "kubernetes.io/service-name": "shop" } },
        "addressType": "IPv4",
        "ports": [{ "name": "main", "port": 8080 }],
        "endpoints": [endpoint("10.244.1.5", true), endpoint("10.244.1.6", false)],
    });
    world.create(&ENDPOINT_SLICES, "default", &slice);
}

fn show(world: &World) -> Option<Value> {
    let (code, text) = world.run(&["service", "show", "shop", "-o", "json"]);
    (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())
}

fn is_held(report: &Value) -> bool {
    let elements = report["kernel"].as_array().map(Vec::as_slice).unwrap_or_default();
    !elements.is_empty() && elements.iter().all(|element| element["held"] == true)
}

#[test]
fn a_service_is_shown_with_who_serves_who_does_not_and_what_the_kernel_holds() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(1), "nobody serves it: {text}");
        create_slice(&world);
        let before = show(&world).unwrap();
        assert_eq!(before["kernel"], Value::Null, "no table yet");
        assert_eq!(before["frontends"][0]["does"], "to 1 endpoint, source kept for pods and nodes");
        let states: Vec<&Value> = before["backends"].as_array().unwrap().iter().map(|each| &each["state"]).collect();
        assert_eq!(states, [&json!("serves"), &json!("left out: it is not ready")]);

        let _agent = world.spawn_agent();
        wait_for("the elements", DEADLINE, || show(&world).filter(is_held));
        let (code, table) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0));
        assert!(table.contains("comment \"default/shop:main\" : goto lb_1") && !table.contains("MISSING"), "{table}");
        let (code, list) = world.run(&["service", "list", "-A"]);
        assert_eq!(code, Some(0));
        assert!(list.lines().any(|line| line.contains("shop") && line.contains("1/2")), "{list}");
    });
}

#[test]
fn node_ports_are_shown_where_the_agent_serves_them() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        create_slice(&world);
        let ports = json!([{ "name": "main", "port": 80, "targetPort": 8080, "nodePort": 30080 }]);
        world.merge(&SERVICES, "default", "shop", json!({ "spec": { "type": "NodePort", "ports": ports } }));
        let _agent = world.spawn_agent_with(&["--node-port-addresses", "10.244.1.6/32"]);
        wait_for("the elements", DEADLINE, || show(&world).filter(is_held));
        let (code, table) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0));
        assert!(table.contains("10.244.1.6:30080") && !table.contains("10.89.0.1:30080"), "{table}");
    });
}

#[test]
fn a_name_elsewhere_is_shown_as_such_and_needs_no_endpoints() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let ports = json!([{ "name": "sql", "port": 5432 }]);
        let spec = json!({ "type": "ExternalName", "externalName": "db.example.com", "ports": ports });
        world.create(&SERVICES, "default", &json!({ "metadata": { "name": "shop" }, "spec": spec }));
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("an alias for db.example.com"), "{text}");
    });
}

/// A Service of type LoadBalancer with something of everything that keeps connections from endpoints.
fn create_troubled_shop(world: &World) {
    let ports = json!([
        { "name": "main", "port": 80, "targetPort": 8080, "nodePort": 30080 },
        { "name": "admin", "port": 81, "targetPort": "admin", "nodePort": 30081 },
    ]);
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.50", "ports": ports, "externalIPs": ["203.0.113.7", "2001:db8::7"],
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, "trafficDistribution": "PreferSameZone",
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } },
        "loadBalancerClass": "example.com/other",
    });
    world.create(&SERVICES, "default", &json!({ "metadata": { "name": "shop" }, "spec": spec }));
    let other = json!({ "clusterIP": "10.96.0.51", "externalIPs": ["203.0.113.7"], "ports": [{ "port": 80 }] });
    world.create(&SERVICES, "default", &json!({ "metadata": { "name": "early" }, "spec": other }));
    let ingress = json!([{ "ip": "192.0.2.9", "ipMode": "Proxy" }]);
    let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    let patch = Patch::Merge(status);
    world.runtime.block_on(world.client.patch_status(&SERVICES, "default", "shop", &patch)).unwrap();
}

/// Slices that serve, lack a port, are left to others and cannot be served.
fn create_troubled_slices(world: &World) {
    let create = |name: &str, label: (&str, &str), kind: &str, ports: Value, endpoints: Value| {
        let labels = json!({ "kubernetes.io/service-name": "shop", label.0: label.1 });
        let metadata = json!({ "name": name, "labels": labels });
        let slice = json!({ "metadata": metadata, "addressType": kind, "ports": ports, "endpoints": endpoints });
        world.create(&ENDPOINT_SLICES, "default", &slice);
    };
    let managed = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
    let main = json!([{ "name": "main", "port": 8080 }]);
    let hinted = json!({ "forZones": [{ "name": "west" }] });
    let pods = json!([
        { "addresses": ["10.244.1.5"], "nodeName": NODE, "hints": hinted },
        { "addresses": ["10.244.2.5"], "nodeName": "node2" },
        { "addresses": ["10.244.2.6"], "nodeName": "node2", "conditions": { "ready": false } },
    ]);
    create("shop-a", managed, "IPv4", main.clone(), pods);
    let metrics = json!([{ "name": "metrics", "port": 9090 }]);
    create("shop-b", ("origin", "hand"), "IPv4", metrics, json!([{ "addresses": ["10.244.3.1"] }]));
    let proxy = ("service.kubernetes.io/service-proxy-name", "other");
    create("shop-c", proxy, "IPv4", main.clone(), json!([{ "addresses": ["10.244.4.1"] }]));
    create("shop-d", ("origin", "hand"), "FQDN", main.clone(), json!([{ "addresses": ["shop.example.com"] }]));
    create("shop-e", managed, "IPv6", main, json!([{ "addresses": ["fd00::5"] }]));
}

/// What `show` prints of it.
const TROUBLED_SHOP: &str = r#"Service default/shop, LoadBalancer, as node node1 sees it
internal policy Cluster, external policy Local, affinity ClientIP 60 s, health check at port 32000
served by the load balancer itself: 192.0.2.9
not in force: spec.ports[name=main]: TCP 203.0.113.7:80 belongs to Service default/early, which comes first by name; use another
not in force: spec.ports[name=admin].targetPort: no endpoint has a TCP port named "admin"; it must be the name of a port in the pods' containers
not in force: EndpointSlice default/shop-d: addressType: "FQDN" cannot be served; it must be IPv4 or IPv6
not in force: 2001:db8::7 is of a family that the Service does not have (spec.ipFamilies)
trafficDistribution PreferSameZone
hints of port main, IPv4: without effect, 10.244.2.5:8080 has none and every ready endpoint needs one

FRONTEND             PORT   KIND         CONNECTIONS GO
TCP 10.89.0.1:30080  main   node port    to 2 endpoints for this node and its pods, to 1 on this node for others, source kept for all but the node itself, same client same endpoint for 60 s
TCP 10.89.0.1:30081  admin  node port    refused: no endpoint
TCP 10.96.0.50:80    main   cluster IP   to 2 endpoints, source kept for pods and nodes, same client same endpoint for 60 s
TCP 10.96.0.50:81    admin  cluster IP   refused: no endpoint
TCP 203.0.113.7:80   main   external IP  belongs to another Service
TCP 203.0.113.7:81   admin  external IP  refused: no endpoint

BACKEND          PORT   NODE   LOCAL  STATE
10.244.1.5:8080  main   node1  yes    serves
10.244.2.5:8080  main   node2  no     serves, but no clients from outside: it is not on this node (externalTrafficPolicy Local)
10.244.2.6:8080  main   node2  no     left out: it is not ready
[fd00::5]:8080   main   -      no     left out: the Service has no address of its family (spec.ipFamilies)
10.244.3.1       main   -      no     left out: EndpointSlice shop-b does not have the port
10.244.1.5       admin  node1  no     left out: EndpointSlice shop-a does not have the port
10.244.2.5       admin  node2  no     left out: EndpointSlice shop-a does not have the port
10.244.2.6       admin  node2  no     left out: EndpointSlice shop-a does not have the port
10.244.3.1       admin  -      no     left out: EndpointSlice shop-b does not have the port
10.244.4.1       -      -      no     left out: EndpointSlice shop-c is left to others by its label

SLICE   FAMILY  ENDPOINTS  PORTS             MANAGED BY
shop-a  IPv4    3          main:8080/TCP     endpointslice-controller.k8s.io
shop-b  IPv4    1          metrics:9090/TCP  -
shop-c  IPv4    1          main:8080/TCP     -                                left to others by service.kubernetes.io/service-proxy-name=other
shop-d  FQDN    1          main:8080/TCP     -
shop-e  IPv6    1          main:8080/TCP     endpointslice-controller.k8s.io

Run this on a node, as root, to see what its kernel holds.
"#;

#[test]
fn whatever_keeps_connections_from_endpoints_is_shown_with_the_reason() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        create_troubled_shop(&world);
        create_troubled_slices(&world);
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(text, TROUBLED_SHOP);
        assert_eq!(code, Some(1), "nobody serves the port admin");

        let (_, text) = world.run(&["service", "show", "shop", "-o", "json"]);
        let report: Value = serde_json::from_str(&text).unwrap();
        let settings = json!({
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
            "affinityTimeoutSeconds": 60, "healthCheckNodePort": 32000, "loadBalancerSourceRanges": null,
            "publishNotReadyAddresses": false,
        });
        assert_eq!(report["settings"], settings);
        assert_eq!(report["trafficDistribution"], "PreferSameZone");
        assert_eq!(report["hints"][0]["family"], "IPv4");
        assert_eq!(report["leftOut"].as_array().unwrap().len(), 6);
        assert_eq!(report["slices"][2]["delegatedBy"], "service.kubernetes.io/service-proxy-name=other");
        assert_eq!(report["slices"][3]["refused"].as_array().unwrap().len(), 1);
        assert_eq!(report["servedByLoadBalancer"], json!(["192.0.2.9"]));
    });
}

#[test]
fn a_service_of_another_proxy_is_shown_as_such() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        create_slice(&world);
        let labels = json!({ "service.kubernetes.io/service-proxy-name": "other" });
        world.merge(&SERVICES, "default", "shop", json!({ "metadata": { "labels": labels } }));
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("left to others by its label service.kubernetes.io/service-proxy-name=other"), "{text}");
        assert!(text.contains("left to others, as the whole Service is") && !text.contains("serves"), "{text}");
    });
}
