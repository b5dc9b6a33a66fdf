//! Corefiles as clusters have them, and what is said of those that are wrong.

use std::net::SocketAddr;
use std::time::Duration;

use model::NamespacedName;

use crate::config::{Policy, ServeStale, StaleMode};
use crate::zone::{EndpointNames, PodNames};
use crate::{Config, CorefileError, Defaults, Surroundings, Unsupported};

/// A machine with a resolver configuration, and the files of a k3s.
struct Machine;

impl Surroundings for Machine {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn import(&self, pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        Ok(match pattern {
            "/etc/coredns/custom/*.override" => vec![("a.override".into(), "log".into())],
            "/etc/coredns/custom/*.server" => vec![("b.server".into(), "b.org {\n forward . 10.0.0.9\n}".into())],
            _ => return Err("there is no such file".into()),
        })
    }

    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "/etc/resolv.conf" => Ok("nameserver 10.0.0.2\nnameserver 10.0.0.3\n".into()),
            "/etc/coredns/NodeHosts" => Ok("10.0.0.7 node-7\n".into()),
            _ => Err("there is no such file".into()),
        }
    }
}

pub fn read(text: &str) -> Result<Config, CorefileError> {
    read_with(text, Unsupported::Refuse)
}

fn read_with(text: &str, unsupported: Unsupported) -> Result<Config, CorefileError> {
    let defaults = Defaults { dns_service: NamespacedName::new("kube-system", "kube-dns"), port: 53, unsupported };
    Config::read(("Corefile", text), &defaults, &Machine)
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_corefile_of_kubeadm_means_what_it_means_to_coredns() {
    let config = read(include_str!("kubeadm")).unwrap();
    let [block] = &*config.blocks else { panic!("{} blocks", config.blocks.len()) };
    let served: Vec<_> = block.served.iter().map(|(address, zone)| (address.to_string(), zone.to_string())).collect();
    assert_eq!(served, [("0.0.0.0:53".into(), String::new()), ("[::]:53".into(), String::new())]);
    assert!(block.errors && block.shuffle && block.loop_guard && block.log.is_none() && block.hosts.is_none());
    let [zone] = &*block.kubernetes else { panic!("{} zones", block.kubernetes.len()) };
    assert_eq!((zone.origin.to_string(), zone.ttl, zone.pods), ("cluster.local".into(), 30, PodNames::Insecure));
    let reverse: Vec<_> = zone.reverse.iter().map(ToString::to_string).collect();
    assert_eq!(reverse, ["in-addr.arpa", "ip6.arpa"]);
    assert_eq!(zone.fallthrough, zone.reverse);
    let [forward] = &*block.forward else { panic!("{} forwards", block.forward.len()) };
    assert_eq!(forward.upstreams, addresses(&["10.0.0.2:53", "10.0.0.3:53"]));
    assert_eq!((forward.max_in_flight, forward.policy, forward.max_fails), (1000, Policy::Random, 2));
    let cache = block.cache.as_ref().unwrap();
    assert_eq!((cache.success.most, cache.denial.most), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!(cache.success.disabled.len(), 1);
    assert_eq!(config.pages.health, addresses(&["[::]:8080"]));
    assert_eq!(config.pages.ready, addresses(&["[::]:8181"]));
    assert_eq!(config.pages.metrics, addresses(&["[::]:9153"]));
    assert_eq!((config.lameduck(), config.reload), (Duration::from_secs(5), Some(Duration::from_secs(30))));
    assert!(config.ignored.is_empty() && !config.needs_pods());
}

#[test]
fn corefiles_of_other_installers_load_unchanged() {
    for (name, text, blocks) in [
        ("k3s", include_str!("k3s"), 2),
        ("eks", include_str!("eks"), 1),
        ("minikube", include_str!("minikube"), 1),
        ("openshift", include_str!("openshift"), 2),
        ("rke2", include_str!("rke2"), 1),
        ("stub-domains", include_str!("stub-domains"), 2),
    ] {
        match read(text) {
            Ok(config) => assert_eq!(config.blocks.len(), blocks, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn what_is_less_common_means_what_it_means_to_coredns() {
    let config = read(include_str!("stub-domains")).unwrap();
    let [all, stub] = &*config.blocks else { panic!("{} blocks", config.blocks.len()) };
    let zone = &all.kubernetes[0];
    assert_eq!((zone.pods, zone.endpoints), (PodNames::Verified, EndpointNames::Pods));
    assert_eq!(zone.namespaces.as_ref().map(std::collections::BTreeSet::len), Some(2));
    assert_eq!(zone.reverse.len(), 17, "16 for the /12, one for the /16");
    assert!(config.needs_pods());
    let forward = &all.forward[0];
    assert_eq!((forward.except.len(), forward.max_fails, forward.prefer_udp), (2, 3, true));
    let check = &forward.health_check;
    assert_eq!(
        (check.interval, check.recursive, check.domain.to_string()),
        (Duration::from_secs(5), false, "example.org".into())
    );
    let cache = all.cache.as_ref().unwrap();
    assert_eq!(cache.success.most, Duration::from_secs(60));
    assert_eq!(cache.serve_stale, Some(ServeStale { longest: Duration::from_secs(3600), mode: StaleMode::Immediate }));
    assert_eq!(cache.prefetch.map(|prefetch| (prefetch.hits, prefetch.percent)), Some((10, 20)));
    assert_eq!(stub.served.len(), 6, "three zones for each family");
    assert_eq!(stub.forward[0].upstreams, addresses(&["10.150.0.1:5300"]));
    assert_eq!((stub.forward[0].force_tcp, stub.forward[0].policy), (true, Policy::RoundRobin));
    assert_eq!(config.reload, Some(Duration::from_secs(10)));
}

fn refusal(body: &str) -> String {
    read(&format!(".:53 {{\n{body}\n}}")).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_would_be_right() {
    for (body, expected) in [
        ("kubernets cluster.local", "Corefile:2: kubernets: no such directive; did you mean kubernetes?"),
        ("frobnicate", "Corefile:2: frobnicate: no such directive"),
        ("errors\nerrors", "Corefile:3: errors: stands twice in one server block"),
        (
            "kubernetes cluster.local {\n pods secure\n}",
            "Corefile:3: pods: \"secure\" cannot be used; expected disabled, insecure or verified",
        ),
        (
            "kubernetes in-addr.arpa",
            "Corefile:2: kubernetes: expected a zone beside the reverse zones, such as cluster.local",
        ),
        ("kubernetes a {\n ttl 4000\n}", "Corefile:3: ttl: \"4000\" cannot be used; expected seconds from 0 to 3600"),
        (
            "kubernetes a {\n podz insecure\n}",
            "Corefile:3: podz: kubernetes has no such option; it has pods, endpoint_pod_names, ttl, namespaces, \
             noendpoints, fallthrough, ignore empty_service",
        ),
        (
            "forward . resolver",
            "Corefile:2: forward: \"resolver\" cannot be used; expected addresses of servers, or a file such as \
             /etc/resolv.conf",
        ),
        (
            "forward .",
            "Corefile:2: forward: has 1 values; expected a zone and where to ask about it, such as . /etc/resolv.conf",
        ),
        ("forward . /nowhere", "Corefile:2: forward: cannot read /nowhere: there is no such file"),
        ("health {\n lameduck soon\n}", "Corefile:3: lameduck: \"soon\" cannot be used; expected a time such as 5s"),
        (
            "cache 30 {\n disable all\n}",
            "Corefile:3: disable: \"all\" cannot be used; expected success or denial, and \
          zones if not all are meant",
        ),
        (
            "cache 30 {\n serve_stale 3000000000000000h\n}",
            "Corefile:3: serve_stale: \"3000000000000000h\" cannot be used; expected a time such as 1h, then immediate or \
             verify",
        ),
        (
            "cache 30 {\n success 1000 18446744073709551615\n}",
            "Corefile:3: success: \"18446744073709551615\" cannot be used; expected how many answers, then the most and the \
             least seconds to keep one",
        ),
        (
            "rewrite name a b",
            "Corefile:2: rewrite: CoreDNS has this, Fairway has not yet; remove it, or start the server with \
             --unsupported=ignore to go without",
        ),
    ] {
        assert_eq!(refusal(body), expected);
    }
    let twice = read(".:53 {\n errors\n}\n. {\n log\n}").unwrap_err().to_string();
    assert_eq!(twice, "Corefile:4: .: another server block answers for . at 0.0.0.0:53 already");
}

#[test]
fn what_fairway_has_not_can_be_left_out() {
    let text = ".:53 {\n rewrite name a b\n kubernetes a {\n  multicluster b\n }\n errors\n}";
    let config = read_with(text, Unsupported::Ignore).unwrap();
    let ignored: Vec<_> = config.ignored.iter().map(|error| format!("{}: {}", error.at, error.subject)).collect();
    assert_eq!(ignored, ["Corefile:2: rewrite", "Corefile:4: multicluster"]);
    assert!(config.blocks[0].errors);
    read_with(".:53 {\n rewrit name a b\n}", Unsupported::Ignore).unwrap_err();
}

#[test]
fn what_is_left_out_may_stand_more_than_once() {
    let text = ".:53 {\n rewrite name a b\n rewrite name c d\n errors\n}";
    assert_eq!(read_with(text, Unsupported::Ignore).unwrap().ignored.len(), 2);
    let refused = read(text).unwrap_err().to_string();
    assert!(refused.starts_with("Corefile:2: rewrite: CoreDNS has this"), "{refused}");
}
