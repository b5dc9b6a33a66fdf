//! What `ADD` answers, in the words of each version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::Version;
use crate::config::Config;

/// An attachment as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) host: End,
    pub(crate) container: End,
    /// The container's namespace, as the runtime named it.
    pub(crate) sandbox: String,
    pub(crate) mtu: u32,
    /// Each address with the gateway of its family.
    pub(crate) addresses: Vec<(IpAddr, IpAddr)>,
}

/// One end of the veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) mac: String,
}

impl Attachment {
    /// The specification's result, appended to that of the plugins before this one.
    pub(crate) fn result(&self, config: &Config) -> Value {
        let previous = |field: &str| -> Vec<Value> {
            let list = config.previous.as_ref().and_then(|previous| previous[field].as_array());
            list.cloned().unwrap_or_default()
        };
        let mut interfaces = previous("interfaces");
        let container_index = interfaces.len() + 1;
        interfaces.extend([
            self.interface(&self.host, None, config),
            self.interface(&self.container, Some(&self.sandbox), config),
        ]);
        let mut ips = previous("ips");
        ips.extend(
            self.addresses.iter().map(|(address, gateway)| ip(*address, *gateway, container_index, config.version)),
        );
        let mut routes = previous("routes");
        routes.extend(
            self.addresses.iter().map(|(address, gateway)| json!({ "dst": default_of(*address), "gw": gateway })),
        );
        let mut result = json!({
            "cniVersion": config.version.as_str(), "interfaces": interfaces, "ips": ips, "routes": routes, "dns": {}
        });
        if let Some(dns) = &config.dns {
            result["dns"] = dns.clone();
        }
        result
    }

    fn interface(&self, end: &End, sandbox: Option<&str>, config: &Config) -> Value {
        let mut interface = json!({ "name": end.name, "mac": end.mac });
        if let Some(sandbox) = sandbox {
            interface["sandbox"] = sandbox.into();
        }
        if config.version >= Version::V1_1_0 {
            interface["mtu"] = self.mtu.into();
        }
        interface
    }
}

fn ip(address: IpAddr, gateway: IpAddr, interface: usize, version: Version) -> Value {
    let mut ip = json!({ "address": IpNet::from(address), "gateway": gateway, "interface": interface });
    if version < Version::V1_0_0 {
        ip["version"] = if address.is_ipv4() { "4" } else { "6" }.into();
    }
    ip
}

fn default_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
}

/// The addresses a result gives, for comparison with what is there. Malformed ones are left out.
pub(crate) fn addresses_of(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().map_or(&[][..], Vec::as_slice);
    let nets = ips.iter().filter_map(|ip| ip["address"].as_str()?.parse::<IpNet>().ok());
    nets.map(|net| net.addr()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(version: Version, previous: Option<Value>) -> Value {
        let end = |name: &str, mac: &str| End { name: name.into(), mac: mac.into() };
        let attachment = Attachment {
            host: end("fw0123456789abc", "02:00:00:00:00:01"),
            container: end("eth0", "02:00:00:00:00:02"),
            sandbox: "/run/netns/x".into(),
            mtu: 1450,
            addresses: vec![("10.244.1.5".parse().unwrap(), "169.254.1.1".parse().unwrap())],
        };
        attachment.result(&Config {
            version,
            ranges: vec![],
            mtu: None,
            state_dir: "/x".into(),
            port_mappings: vec![],
            dns: None,
            previous,
            valid_attachments: None,
        })
    }

    #[test]
    fn each_version_is_answered_in_its_own_words() {
        let newest = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                { "name": "fw0123456789abc", "mac": "02:00:00:00:00:01", "mtu": 1450 },
                { "name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x", "mtu": 1450 },
            ],
            "ips": [{ "address": "10.244.1.5/32", "gateway": "169.254.1.1", "interface": 1 }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "169.254.1.1" }],
            "dns": {},
        });
        assert_eq!(result(Version::V1_1_0, None), newest);
        assert_eq!(result(Version::V0_4_0, None)["ips"][0]["version"], "4");
        assert_eq!(result(Version::V1_0_0, None)["interfaces"][0].get("mtu"), None);
        assert_eq!(result(Version::V1_0_0, None)["ips"][0].get("version"), None);
    }

    #[test]
    fn what_plugins_before_made_comes_first() {
        let previous =
            json!({ "interfaces": [{ "name": "net1" }], "ips": [{ "address": "192.0.2.1/24", "interface": 0 }] });
        let result = result(Version::V1_0_0, Some(previous));
        assert_eq!(result["interfaces"][0]["name"], "net1");
        assert_eq!(result["ips"][1]["interface"], 2);
        assert_eq!(addresses_of(&result), ["192.0.2.1".parse::<IpAddr>().unwrap(), "10.244.1.5".parse().unwrap()]);
    }
}
