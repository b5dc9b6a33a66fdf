//! The files by which a pod knows names: `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodDNSConfig, PodSpec};

/// glibc looks at no more servers.
const MAX_NAME_SERVERS: usize = 3;
/// Kubernetes allows no more search domains.
const MAX_SEARCH_DOMAINS: usize = 32;
/// The kernel's limit for a host name.
const MAX_HOST_NAME: usize = 64;
/// The limit of a DNS label.
const MAX_LABEL: usize = 63;

/// The meaning of a `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Servers, first choice first.
    pub name_servers: Vec<String>,
    /// Domains tried in this order.
    pub search: Vec<String>,
    /// Options as they stand in the file: `ndots:5`, `edns0`.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`; lines it does not know are ignored, as resolvers do.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            let rest = words.map(str::to_owned);
            match keyword {
                "nameserver" => resolver.name_servers.extend(rest.take(1)),
                "search" => resolver.search = rest.collect(),
                "options" => resolver.options.extend(rest),
                _ => {}
            }
        }
        resolver
    }

    /// The file.
    pub fn to_file(&self) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        for server in &self.name_servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }

    fn merge(&mut self, config: &PodDNSConfig) {
        append_new(&mut self.name_servers, config.nameservers.as_deref().unwrap_or_default());
        append_new(&mut self.search, config.searches.as_deref().unwrap_or_default());
        for option in config.options.as_deref().unwrap_or_default() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            self.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
}

fn append_new(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// The cluster's side of name resolution.
#[derive(Debug, Clone, Copy)]
pub struct ClusterNames<'a> {
    /// The cluster's DNS servers.
    pub servers: &'a [IpAddr],
    /// The cluster's domain.
    pub domain: &'a str,
}

/// The resolver of a pod on a node whose own is `node`.
pub fn plan_resolver(pod: &Pod, cluster: ClusterNames<'_>, node: &Resolver) -> Resolver {
    let default_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default_spec);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host_network = spec.host_network.unwrap_or_default();
    let of_cluster = || {
        let domain = cluster.domain;
        let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        append_new(&mut search, &node.search);
        let name_servers = cluster.servers.iter().map(ToString::to_string).collect();
        Resolver { name_servers, search, options: vec!["ndots:5".to_owned()] }
    };
    let mut resolver = match policy {
        "None" => Resolver::default(),
        "ClusterFirstWithHostNet" => of_cluster(),
        "ClusterFirst" if !host_network => of_cluster(),
        _ => node.clone(),
    };
    if let Some(config) = &spec.dns_config {
        resolver.merge(config);
    }
    resolver.name_servers.truncate(MAX_NAME_SERVERS);
    resolver.search.truncate(MAX_SEARCH_DOMAINS);
    resolver
}

/// What a pod is called, by itself and by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// The name its kernel reports.
    pub host_name: String,
    /// The first label of its names.
    pub short: String,
    /// The whole name, if it has a subdomain.
    pub full: Option<String>,
}

/// A pod's host name and, with a subdomain, its full name.
///
/// A host name that the kernel would not take is refused with a sentence for the user.
pub fn plan_name(pod: &Pod, domain: &str) -> Result<PodName, String> {
    let default_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default_spec);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let short = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(name);
    let short = short.get(..MAX_LABEL).unwrap_or(short).trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{short}.{subdomain}.{namespace}.svc.{domain}"));
    let host_name = match &full {
        Some(full) if spec.set_hostname_as_fqdn == Some(true) => full.clone(),
        _ => short.clone(),
    };
    if host_name.len() > MAX_HOST_NAME {
        let length = host_name.len();
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {host_name} is too long ({MAX_HOST_NAME} is the max, {length} characters requested)"
        ));
    }
    Ok(PodName { host_name, short, full })
}

/// The `/etc/hosts` of a pod with these addresses.
pub fn hosts_file(addresses: &[IpAddr], name: &PodName, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for address in addresses {
        match &name.full {
            Some(full) => text.push_str(&format!("{address}\t{full}\t{}\n", name.short)),
            None => text.push_str(&format!("{address}\t{}\n", name.short)),
        }
    }
    text + &alias_lines(aliases)
}

/// The `/etc/hosts` of a pod in its node's network.
pub fn host_network_hosts_file(node_file: &str, aliases: &[HostAlias]) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_file}{}", alias_lines(aliases))
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line =
        |alias: &HostAlias| format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
    format!("\n# Entries added by HostAliases.\n{}", aliases.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NODE: &str = "# made by hand\nnameserver 192.0.2.1\nsearch example.net\noptions edns0\n";

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn resolv_conf(spec: &Value) -> String {
        let servers = ["10.96.0.10".parse().unwrap()];
        let cluster = ClusterNames { servers: &servers, domain: "cluster.local" };
        plan_resolver(&pod(spec), cluster, &Resolver::parse(NODE)).to_file()
    }

    const OF_CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local example.net\nnameserver 10.96.0.10\noptions ndots:5\n";
    const OF_NODE: &str = "search example.net\nnameserver 192.0.2.1\noptions edns0\n";

    #[test]
    fn the_four_policies_choose_between_cluster_and_node() {
        let cases = [
            (json!({"containers": []}), OF_CLUSTER),
            (json!({"containers": [], "dnsPolicy": "ClusterFirst", "hostNetwork": true}), OF_NODE),
            (json!({"containers": [], "dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), OF_CLUSTER),
            (json!({"containers": [], "dnsPolicy": "Default"}), OF_NODE),
            (json!({"containers": [], "dnsPolicy": "None"}), ""),
        ];
        for (spec, expected) in cases {
            assert_eq!(resolv_conf(&spec), expected, "{spec}");
        }
    }

    #[test]
    fn dns_config_adds_servers_and_domains_and_replaces_options() {
        let config = json!({
            "nameservers": ["192.0.2.9", "10.96.0.10"],
            "searches": ["extra.test"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "use-vc"}],
        });
        assert_eq!(
            resolv_conf(&json!({"containers": [], "dnsPolicy": "Default", "dnsConfig": config})),
            "search example.net extra.test\nnameserver 192.0.2.1\nnameserver 192.0.2.9\nnameserver 10.96.0.10\n\
             options edns0 ndots:2 use-vc\n"
        );
        assert!(resolv_conf(&json!({"containers": [], "dnsConfig": config})).ends_with("options ndots:2 use-vc\n"));
    }

    #[test]
    fn a_subdomain_gives_a_full_name_that_may_become_the_host_name() {
        let name = plan_name(&pod(&json!({"containers": [], "subdomain": "db"})), "cluster.local").unwrap();
        assert_eq!((name.host_name.as_str(), name.full.as_deref()), ("web-0", Some("web-0.db.shop.svc.cluster.local")));
        let spec = json!({"containers": [], "hostname": "x", "subdomain": "db", "setHostnameAsFQDN": true});
        assert_eq!(plan_name(&pod(&spec), "cluster.local").unwrap().host_name, "x.db.shop.svc.cluster.local");
        let long = json!({"containers": [], "hostname": "x".repeat(60), "subdomain": "db", "setHostnameAsFQDN": true});
        assert!(plan_name(&pod(&long), "cluster.local").unwrap_err().contains("64 is the max"));
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let name = plan_name(&pod(&json!({"containers": [], "subdomain": "db"})), "cluster.local").unwrap();
        let alias = HostAlias { ip: "192.0.2.5".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let file = hosts_file(&["10.244.1.2".parse().unwrap()], &name, std::slice::from_ref(&alias));
        assert!(
            file.ends_with(
                "10.244.1.2\tweb-0.db.shop.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.5\ta\tb\n"
            ),
            "{file}"
        );
        assert!(host_network_hosts_file("127.0.0.1\tlocalhost\n", &[]).ends_with("127.0.0.1\tlocalhost\n"));
    }
}
