//! What an installation is set to where nobody says: read off the cluster.

use std::net::IpAddr;

use ipnet::IpNet;
use manifests::{SettingError, Settings};

use crate::commands::survey::{Survey, entries, texts};

/// The tenth address of the Services' range is the DNS server's by custom, and the first is the Service `kubernetes`'s.
const DNS_AFTER_KUBERNETES: u32 = 9;
/// More controllers than this wait for nothing.
const CONTROLLERS: usize = 2;

/// Where the kubeconfig has the API server.
#[derive(Clone, Copy, Debug)]
pub struct ApiServer<'a> {
    pub host: &'a str,
    pub port: u16,
}

/// The settings for this cluster, before the user's own.
pub fn settings_for(survey: &Survey, api: ApiServer<'_>) -> Result<Settings, SettingError> {
    let mut settings = Settings::default();
    if let Some((host, port)) = api_address(survey, api) {
        settings.set("apiHost", host)?;
        settings.set("apiPort", port)?;
    }
    if let Some(address) = dns_address(survey) {
        settings.set("dns.serviceIP", address.to_string())?;
    }
    settings.set("serviceCIDR", service_ranges(survey))?;
    // They have a port of the node's each, so that there is no place for two on one node.
    settings.set("controller.replicas", survey.nodes.len().clamp(1, CONTROLLERS))?;
    Ok(settings)
}

/// The API server as nodes reach it: as the kubeconfig has it, unless that means the machine it is read on, or the
/// Service, as it does in a pod.
fn api_address(survey: &Survey, api: ApiServer<'_>) -> Option<(String, u16)> {
    if !is_loopback(api.host) && !survey.is_service(api.host) {
        return Some((api.host.to_owned(), api.port));
    }
    survey.api_slices.iter().find_map(|slice| {
        let port = entries(&slice["ports"]).find_map(|port| u16::try_from(port["port"].as_u64()?).ok())?;
        let address = entries(&slice["endpoints"]).flat_map(|endpoint| texts(&endpoint["addresses"])).next()?;
        Some((address.to_owned(), port))
    })
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The address pods ask: that of the Service that is there, else the one kubelets are usually told.
fn dns_address(survey: &Survey) -> Option<IpAddr> {
    let address = |service: &Option<serde_json::Value>| service.as_ref()?["spec"]["clusterIP"].as_str()?.parse().ok();
    address(&survey.dns_service).or_else(|| match address(&survey.api_service)? {
        IpAddr::V4(first) => Some(IpAddr::V4((u32::from(first).checked_add(DNS_AFTER_KUBERNETES)?).into())),
        IpAddr::V6(first) => Some(IpAddr::V6((u128::from(first).checked_add(DNS_AFTER_KUBERNETES.into())?).into())),
    })
}

fn service_ranges(survey: &Survey) -> String {
    let ranges = survey.service_cidrs.iter().flat_map(|object| texts(&object["spec"]["cidrs"]));
    let valid: Vec<&str> = ranges.filter(|range| range.parse::<IpNet>().is_ok()).collect();
    valid.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn survey() -> Survey {
        let slice = json!({
            "ports": [{ "name": "https", "port": 6443 }],
            "endpoints": [{ "addresses": ["192.0.2.10"] }],
        });
        Survey {
            nodes: vec![json!({}); 3],
            api_service: Some(json!({ "spec": { "clusterIP": "10.96.0.1" } })),
            api_slices: vec![slice],
            ..Survey::default()
        }
    }

    fn chosen(survey: &Survey, host: &str) -> [Value; 5] {
        let settings = settings_for(survey, ApiServer { host, port: 7443 }).unwrap();
        ["apiHost", "apiPort", "dns.serviceIP", "serviceCIDR", "controller.replicas"]
            .map(|name| settings.value(name).clone())
    }

    #[test]
    fn the_kubeconfig_says_where_the_api_server_is() {
        let expected = ["api.example.com", "7443", "10.96.0.10", ""].map(Value::from);
        assert_eq!(chosen(&survey(), "api.example.com")[..4], expected);
    }

    #[test]
    fn a_loopback_address_is_no_use_to_nodes_so_that_the_service_is_asked() {
        for host in ["127.0.0.1", "localhost", "::1", "0.0.0.0"] {
            assert_eq!(chosen(&survey(), host)[..2], ["192.0.2.10", "6443"].map(Value::from), "{host}");
        }
    }

    #[test]
    fn a_pod_reaches_the_api_server_by_its_service_and_nodes_must_not() {
        for host in ["10.96.0.1", "kubernetes.default.svc"] {
            assert_eq!(chosen(&survey(), host)[..2], ["192.0.2.10", "6443"].map(Value::from), "{host}");
        }
    }

    #[test]
    fn a_dns_service_that_is_there_keeps_its_address() {
        let dns_service = Some(json!({ "spec": { "clusterIP": "10.96.7.7" } }));
        let cidrs = vec![json!({ "spec": { "cidrs": ["10.96.0.0/12", "fd00:1::/108"] } })];
        let survey = Survey { dns_service, service_cidrs: cidrs, ..survey() };
        let expected = [json!("10.96.7.7"), json!("10.96.0.0/12,fd00:1::/108"), json!(2)];
        assert_eq!(chosen(&survey, "a")[2..], expected);
    }

    #[test]
    fn of_an_unknown_cluster_nothing_is_made_up() {
        let settings = settings_for(&Survey::default(), ApiServer { host: "127.0.0.1", port: 1 }).unwrap();
        let mut expected = Settings::default();
        expected.set("controller.replicas", 1).unwrap();
        assert_eq!(settings, expected);
    }
}
