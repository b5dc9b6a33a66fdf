//! What there is of each attachment beside its addresses, written down so that whoever finds it can undo or restore it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use compile::host_ports::{HostPort, PublishedPort};
use datapath::route::Rtnetlink;
use model::{Name, Protocol};
use serde::{Deserialize, Serialize};

use crate::CniError;
use crate::made::Made;
use crate::owner::Owner;
use crate::state::{StateDirectory, StateError, StateLock};

/// What is known of one attachment, written down before anything is made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// The network it belongs to.
    pub(crate) network: String,
    /// The container's namespace, as the runtime named it.
    pub(crate) netns: PathBuf,
    /// `namespace/name` of the pod, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    /// Whether another plugin made the interface.
    #[serde(default)]
    pub(crate) chained: bool,
    /// Whether another plugin gave the addresses, which alone can take them back.
    #[serde(default)]
    pub(crate) delegated: bool,
    /// Ports of the node that lead to it.
    #[serde(default, with = "host_port_records")]
    pub(crate) host_ports: Vec<HostPort>,
    /// What there is of it on the node's side: from when all of that is made until the first of it is taken down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<Made>,
}

impl Record {
    /// Whose it is in words for people: the pod's, or the container's where none is known.
    pub(crate) fn name(&self) -> Name {
        self.pod.as_deref().map_or_else(|| self.owner.container_in_words(), Name::from)
    }

    /// Its ports with whose they are.
    pub(crate) fn published(&self) -> Vec<PublishedPort> {
        let owner = self.name();
        self.host_ports.iter().map(|port| PublishedPort { port: *port, owner: owner.clone() }).collect()
    }

    /// Whether the container still has the attachment. After a crash runtimes never say `DEL`.
    pub(crate) fn is_alive(&self, host: &mut Rtnetlink) -> Result<bool, CniError> {
        if self.chained {
            // What a runtime unmounted without removing it is a plain file.
            return Ok(fs::metadata(&self.netns).is_ok_and(|found| found.dev() == namespaces_device()));
        }
        // The kernel takes the host's end with the container's.
        Ok(host.link(&self.owner.host_link())?.is_some())
    }
}

/// The device of all namespaces (nsfs); 0 where there is none.
fn namespaces_device() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |found| found.dev())
}

/// What is known of the attachment of `owner`.
pub(crate) fn read(state: &StateDirectory, owner: &Owner) -> Result<Option<Record>, StateError> {
    let content = state.read(&file_of(state, owner))?;
    // A file nobody understands is as good as none: what it stood for is found by whoever compares with the kernel.
    Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
}

/// What is known of all attachments.
pub(crate) fn read_all(state: &StateDirectory) -> Result<Vec<Record>, StateError> {
    let mut attachments = Vec::new();
    for name in state.names(&state.attachments())? {
        let content = state.read(&state.attachments().join(name))?;
        attachments.extend(content.and_then(|content| serde_json::from_slice(&content).ok()));
    }
    Ok(attachments)
}

/// Writes an attachment down, in the place of what was known of it.
pub(crate) fn write(state: &StateDirectory, lock: &StateLock<'_>, record: &Record) -> Result<(), StateError> {
    let path = file_of(state, &record.owner);
    let content =
        serde_json::to_vec(record).map_err(|error| StateError::Write { path: path.clone(), source: error.into() })?;
    lock.replace(&path, &content)
}

/// Forgets an attachment; fine when it is not known.
pub(crate) fn remove(state: &StateDirectory, lock: &StateLock<'_>, owner: &Owner) -> Result<(), StateError> {
    lock.remove(&file_of(state, owner))
}

/// Where an attachment is written down. Neither a container's identifier nor an interface's name has a colon.
pub(crate) fn file_of(state: &StateDirectory, owner: &Owner) -> PathBuf {
    state.attachments().join(format!("{}:{}", owner.container, owner.interface))
}

/// Host ports in the words of `portMappings`.
mod host_port_records {
    use super::{Deserialize, HostPort, IpAddr, NonZeroU16, Protocol, Serialize, SocketAddr};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Record {
        #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
        host_ip: Option<IpAddr>,
        host_port: NonZeroU16,
        protocol: Transport,
        endpoint: SocketAddr,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase", remote = "Protocol")]
    enum ProtocolName {
        Tcp,
        Udp,
        Sctp,
    }

    #[derive(Serialize, Deserialize)]
    struct Transport(#[serde(with = "ProtocolName")] Protocol);

    pub(super) fn serialize<S: Serializer>(ports: &[HostPort], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ports.iter().map(|port| Record {
            host_ip: port.address,
            host_port: port.port,
            protocol: Transport(port.protocol),
            endpoint: port.endpoint,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HostPort>, D::Error> {
        let records: Vec<Record> = Vec::deserialize(deserializer)?;
        let ports = records.into_iter().map(|record| HostPort {
            address: record.host_ip,
            protocol: record.protocol.0,
            port: record.host_port,
            endpoint: record.endpoint,
        });
        Ok(ports.collect())
    }
}

#[cfg(test)]
mod tests {
    use datapath::route::{Link, LinkIndex, MacAddress};

    use super::*;
    use crate::bandwidth::{Bandwidth, RawBandwidth};
    use crate::made::Wire;

    /// All that can be made of an attachment.
    fn made() -> Made {
        let link = Link {
            index: LinkIndex(7),
            name: "fwp0".into(),
            mtu: 1450,
            mac: None,
            alias: None,
            is_up: true,
            is_running: true,
            controller: None,
            peer: None,
            peer_netns: None,
            kind: None,
        };
        let wire = Wire {
            mtu: 1450,
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            container_mac: None,
            addresses: vec!["10.244.1.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        };
        let limits: RawBandwidth = serde_json::from_value(serde_json::json!({ "ingressRate": 8_000_000 })).unwrap();
        Made::of(&link, Some(wire), Bandwidth::from(&limits))
    }

    #[test]
    fn an_attachment_is_read_back_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::in_boot(root.path(), "boot".into());
        let owner = Owner { container: "a".into(), interface: "eth0".into() };
        assert_eq!(read(&state, &owner).unwrap(), None);
        let port = |address: Option<&str>, protocol, endpoint: &str| HostPort {
            address: address.map(|text| text.parse().unwrap()),
            protocol,
            port: NonZeroU16::MIN,
            endpoint: endpoint.parse().unwrap(),
        };
        let host_ports = vec![
            port(None, Protocol::Tcp, "10.244.1.5:80"),
            port(Some("10.0.0.1"), Protocol::Udp, "10.244.1.5:53"),
            port(None, Protocol::Sctp, "[fd00::5]:80"),
        ];
        let attachment = Record {
            owner: owner.clone(),
            network: "pods".into(),
            netns: "/run/netns/x".into(),
            pod: Some("shop/cart-0".into()),
            chained: false,
            delegated: true,
            host_ports,
            made: Some(made()),
        };
        let lock = state.lock().unwrap();
        write(&state, &lock, &attachment).unwrap();
        assert_eq!(read(&state, &owner).unwrap().as_ref(), Some(&attachment));
        assert_eq!(read_all(&state).unwrap(), [attachment]);
        remove(&state, &lock, &owner).unwrap();
        assert_eq!(read_all(&state).unwrap(), []);
    }
}
