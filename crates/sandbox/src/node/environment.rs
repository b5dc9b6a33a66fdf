//! A container's environment: order, references between variables, and the variables that point to Services.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// Variables in the order in which they were defined, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    /// Sets a variable; an earlier value of the same name is replaced in its place.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    /// Sets a variable unless it is set.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `text` with `$(NAME)` replaced where `NAME` is set here or in `fallback`, and `$$` meaning one `$`.
    pub fn expand(&self, text: &str, fallback: &HashMap<String, String>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let reference = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            match reference {
                Some((name, after)) => {
                    match self.get(name).or_else(|| fallback.get(name).map(String::as_str)) {
                        Some(value) => out.push_str(value),
                        // What nobody set stays as it was written.
                        None => out.push_str(&format!("$({name})")),
                    }
                    rest = after;
                }
                None => out.push('$'),
            }
        }
        out.push_str(rest);
        out
    }

    /// The variables, in order.
    pub fn into_variables(self) -> Vec<(String, String)> {
        self.variables
    }
}

/// Whether `name` may be the name of an environment variable that comes from a ConfigMap or Secret.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=')
}

/// The variables that tell a pod in `namespace` where Services are, as Docker links once did.
///
/// Services of the own namespace count if `links`; the one named `kubernetes` in `default` always does.
pub fn service_variables<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> HashMap<String, String> {
    let mut variables = HashMap::new();
    for service in services {
        let metadata = &service.metadata;
        let (own, name) =
            (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let is_api_server = own == "default" && name == "kubernetes";
        if is_api_server || (links && own == namespace) {
            variables.extend(variables_of(service, name));
        }
    }
    variables
}

fn variables_of(service: &Service, name: &str) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let address: Option<IpAddr> = spec.and_then(|spec| spec.cluster_ip.as_deref()).and_then(|ip| ip.parse().ok());
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let (Some(address), Some(first)) = (address, ports.first()) else { return Vec::new() };
    let prefix = variable_prefix(name);
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), address.to_string()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
        (format!("{prefix}_PORT"), link(first, address)),
    ];
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.push((format!("{prefix}_SERVICE_PORT_{}", variable_prefix(port_name)), port.port.to_string()));
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let port_prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.push((port_prefix.clone(), link(port, address)));
        variables.push((format!("{port_prefix}_PROTO"), protocol.to_lowercase()));
        variables.push((format!("{port_prefix}_PORT"), port.port.to_string()));
        variables.push((format!("{port_prefix}_ADDR"), address.to_string()));
    }
    variables
}

fn variable_prefix(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn link(port: &ServicePort, address: IpAddr) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("{protocol}://{host}:{}", port.port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_replaced_and_unknown_ones_stay() {
        let mut environment = Environment::default();
        environment.set("A", "1");
        let fallback = HashMap::from([("B".to_owned(), "2".to_owned())]);
        let cases = [
            ("$(A)$(B)", "12"),
            ("$(NOPE)", "$(NOPE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ];
        for (text, expected) in cases {
            assert_eq!(environment.expand(text, &fallback), expected, "{text}");
        }
    }

    #[test]
    fn a_later_value_takes_the_earlier_ones_place() {
        let mut environment = Environment::default();
        environment.set("A", "1");
        environment.set("B", "2");
        environment.set("A", "3");
        environment.set_default("B", "4");
        assert_eq!(environment.into_variables(), [("A".into(), "3".into()), ("B".into(), "2".into())]);
    }

    fn service(namespace: &str, name: &str, address: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": address, "ports": [{"name": "http-web", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_service_shows_as_the_variables_docker_links_had() {
        let services = [service("shop", "my-db", "10.96.0.7"), service("other", "hidden", "10.96.0.8")];
        let mut variables: Vec<_> = service_variables(&services, "shop", true).into_iter().collect();
        variables.sort();
        let lines: Vec<String> = variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            lines,
            [
                "MY_DB_PORT=tcp://10.96.0.7:80",
                "MY_DB_PORT_53_UDP=udp://10.96.0.7:53",
                "MY_DB_PORT_53_UDP_ADDR=10.96.0.7",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_80_TCP=tcp://10.96.0.7:80",
                "MY_DB_PORT_80_TCP_ADDR=10.96.0.7",
                "MY_DB_PORT_80_TCP_PORT=80",
                "MY_DB_PORT_80_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.96.0.7",
                "MY_DB_SERVICE_PORT=80",
                "MY_DB_SERVICE_PORT_HTTP_WEB=80",
            ]
        );
    }

    #[test]
    fn without_links_only_the_api_server_shows_and_headless_services_never_do() {
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("shop", "db", "10.96.0.7"),
            service("default", "headless", "None"),
        ];
        let variables = service_variables(&services, "shop", false);
        assert_eq!(variables.get("KUBERNETES_SERVICE_HOST").map(String::as_str), Some("10.96.0.1"));
        assert!(!variables.contains_key("DB_SERVICE_HOST"));
        assert!(!service_variables(&services, "default", true).contains_key("HEADLESS_SERVICE_HOST"));
    }
}
