//! What `ADD` answers, in the words of each version.

use std::net::IpAddr;
use std::str::FromStr;

use datapath::route::MacAddress;
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
    /// Each range the container has a route to, with the gateway.
    pub(crate) routes: Vec<(IpNet, IpAddr)>,
    /// What is said about names.
    pub(crate) dns: Option<Value>,
}

/// One end of the veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) mac: Option<MacAddress>,
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
        routes.extend(self.routes.iter().map(|(destination, gateway)| json!({ "dst": destination, "gw": gateway })));
        json!({
            "cniVersion": config.version.as_str(),
            "interfaces": interfaces,
            "ips": ips,
            "routes": routes,
            "dns": self.dns.clone().unwrap_or_else(|| json!({})),
        })
    }

    fn interface(&self, end: &End, sandbox: Option<&str>, config: &Config) -> Value {
        let mut interface = json!({ "name": end.name, "mac": end.mac.map(|mac| mac.to_string()).unwrap_or_default() });
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

/// The addresses a result gives, for comparison with what is there. Malformed ones are left out.
pub(crate) fn addresses_of(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().map_or(&[][..], Vec::as_slice);
    let nets = ips.iter().filter_map(|ip| ip["address"].as_str()?.parse::<IpNet>().ok());
    nets.map(|net| net.addr()).collect()
}

/// The addresses a result gives to one interface of a container; all of those that belong to no interface in particular.
pub(crate) fn addresses_of_interface(result: &Value, name: &str) -> Vec<IpAddr> {
    let interfaces = result["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
    let is_it = |index: u64| {
        let interface = usize::try_from(index).ok().and_then(|index| interfaces.get(index));
        interface.is_none_or(|interface| {
            interface["name"] == name && interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty())
        })
    };
    let ips = result["ips"].as_array().map_or(&[][..], Vec::as_slice);
    let ours = ips.iter().filter(|ip| ip["interface"].as_u64().is_none_or(is_it));
    let nets = ours.filter_map(|ip| ip["address"].as_str()?.parse::<IpNet>().ok());
    nets.map(|net| net.addr()).collect()
}

/// The routes a result tells, each with its gateway. Malformed ones are left out.
pub(crate) fn routes_of(result: &Value) -> Vec<(IpNet, IpAddr)> {
    let routes = result["routes"].as_array().map_or(&[][..], Vec::as_slice);
    routes.iter().filter_map(|route| Some((parse(&route["dst"])?, parse(&route["gw"])?))).collect()
}

/// What a result tells of an interface of the host, or of one of a container.
pub(crate) fn interface_of<'a>(result: &'a Value, name: &str, side: Side) -> Option<&'a Value> {
    let sandbox = |entry: &Value| entry["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty());
    let mut interfaces = result["interfaces"].as_array()?.iter();
    interfaces.find(|entry| entry["name"] == name && sandbox(entry) == (side == Side::Container))
}

/// Where an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Host,
    Container,
}

fn parse<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Position;
    use crate::runtime_config::Wishes;

    fn result(version: Version, previous: Option<Value>) -> Value {
        let end = |name: &str, last: u8| End { name: name.into(), mac: Some(MacAddress([2, 0, 0, 0, 0, last])) };
        let attachment = Attachment {
            host: end("fw0123456789abc", 1),
            container: end("eth0", 2),
            sandbox: "/run/netns/x".into(),
            mtu: 1450,
            addresses: vec![("10.244.1.5".parse().unwrap(), "169.254.1.1".parse().unwrap())],
            routes: vec![("0.0.0.0/0".parse().unwrap(), "169.254.1.1".parse().unwrap())],
            dns: None,
        };
        attachment.result(&Config {
            version,
            network: "pods".into(),
            position: Position::Chained,
            mtu: None,
            state_dir: "/x".into(),
            sysctls: BTreeMap::new(),
            wishes: Wishes::default(),
            dns: None,
            previous,
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
    fn an_interface_has_its_own_addresses_and_those_of_none() {
        let result = json!({
            "interfaces": [{ "name": "eth0" }, { "name": "eth0", "sandbox": "/x" }],
            "ips": [
                { "address": "192.0.2.1/24", "interface": 0 },
                { "address": "10.0.0.5/24", "interface": 1 },
                { "address": "10.0.0.6/24" },
            ],
        });
        let expected: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "10.0.0.6".parse().unwrap()];
        assert_eq!(addresses_of_interface(&result, "eth0"), expected);
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
