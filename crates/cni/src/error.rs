//! What the plugin refuses or fails at, with the specification's error codes.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use datapath::netns::NetnsError;
use datapath::route::RouteError;
use datapath::sysctl::SysctlError;
use datapath::{HostPortError, NetlinkError};
use model::IpFamily;
use serde_json::{Value, json};

use crate::Version;
use crate::ipam::IpamError;
use crate::state::StateError;

/// A CNI command that failed.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// Standard input could not be read.
    #[error("cannot read the configuration from standard input")]
    ReadInput {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard input is not a configuration.
    #[error("cannot decode the configuration")]
    Decode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration is for a version this plugin does not speak.
    #[error("incompatible CNI version {asked}: supported are 0.3.1, 0.4.0, 1.0.0 and 1.1.0")]
    IncompatibleVersion {
        /// What was asked for.
        asked: String,
    },
    /// The command does not exist in the version asked for.
    #[error("{command} needs CNI version {since} or newer, the configuration says {asked}")]
    CommandTooNew {
        /// The command.
        command: &'static str,
        /// The version that brought it.
        since: Version,
        /// The configuration's.
        asked: Version,
    },
    /// A variable of the environment is missing or wrong.
    #[error("environment variable {name}: {why}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A field of the configuration is wrong.
    #[error("configuration field {field}: {why}")]
    Config {
        /// Path of the field.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A field of the configuration asks for what this plugin does not do.
    #[error("configuration field {field} is not supported: {why}")]
    Unsupported {
        /// Path of the field.
        field: String,
        /// What to do instead.
        why: String,
    },
    /// The attachment is not known.
    #[error("container {container} has no interface {interface} of this network")]
    UnknownContainer {
        /// The container's identifier.
        container: String,
        /// The interface.
        interface: String,
    },
    /// Addresses could not be reserved or released.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A port of the node leads to another container.
    #[error("{port} leads to container {container}; two cannot share it")]
    PortTaken {
        /// The port.
        port: String,
        /// Who has it.
        container: String,
    },
    /// Ports of the node could not be led to the container.
    #[error("cannot lead ports of the host to the container")]
    HostPorts(#[from] HostPortError),
    /// The container's namespace could not be used.
    #[error("cannot use the container's network namespace")]
    Namespace(#[from] NetnsError),
    /// Links or routes failed.
    #[error("cannot wire the container")]
    Wiring(#[from] RouteError),
    /// The kernel could not be reached.
    #[error("cannot reach the kernel's links")]
    Netlink(#[from] NetlinkError),
    /// A setting failed.
    #[error("cannot prepare the host")]
    Setting(#[from] SysctlError),
    /// The container's interface is not one end of a pair whose other end the host has.
    #[error("the container's interface {interface} has no end on the host, so nothing can be added to it")]
    NoHostEnd {
        /// The interface.
        interface: String,
    },
    /// Another plugin this one depends on could not be run.
    #[error("cannot run the plugin {plugin}")]
    RunDelegate {
        /// Its type.
        plugin: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another plugin this one depends on refused.
    #[error("plugin {plugin} refused {command}: {message}")]
    Delegate {
        /// Its type.
        plugin: String,
        /// What it was asked.
        command: String,
        /// Its error's code.
        code: u32,
        /// Its words.
        message: String,
        /// More of them; may be empty.
        details: String,
    },
    /// Another plugin this one depends on was to give addresses, and gave none.
    #[error("plugin {plugin} gave no address; it said {said:?}")]
    NoAddress {
        /// Its type.
        plugin: String,
        /// Its words, as far as they are no more than a few; may be empty.
        said: String,
    },
    /// The file that names the node's range could not be read.
    #[error("cannot read {path}")]
    ReadSubnetFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The attachment is not as `ADD` left it.
    #[error("the container's network is not as it should be: {}", faults.join("; "))]
    Damaged {
        /// What is wrong, each as a sentence.
        faults: Vec<String>,
    },
    /// New containers cannot be served.
    #[error("cannot serve new containers")]
    NotReady {
        /// Why and what would help.
        #[source]
        source: Box<CniError>,
    },
    /// New containers cannot be served, and those that are there cannot either.
    #[error("cannot serve new containers, and those there are may reach little")]
    Limited {
        /// Why and what would help.
        #[source]
        source: Box<CniError>,
    },
    /// The table that guards containers and leads host ports to them is gone.
    #[error("the table inet {} is gone; the agent makes it anew, or the next ADD", compile::ruleset::TABLE)]
    NoTable,
    /// The node passes on no packets of a family.
    #[error("the node passes on no packets of IP{family:?}; the agent allows it, or the next ADD")]
    NoForwarding {
        /// The family.
        family: IpFamily,
    },
    /// Something of a container could not be taken down; the rest was.
    #[error("cannot take everything down: {}", failures.iter().map(|failure| chain(failure)).collect::<Vec<_>>().join("; "))]
    Teardown {
        /// Each failure.
        failures: Vec<CniError>,
    },
}

impl CniError {
    /// The specification's code: 1 to 11, 50 and 51 are well-known, from 100 on the plugin's own.
    pub fn code(&self) -> u32 {
        match self {
            Self::IncompatibleVersion { .. } | Self::CommandTooNew { .. } => 1,
            Self::Unsupported { .. } => 2,
            Self::UnknownContainer { .. } => 3,
            Self::Variable { .. } => 4,
            Self::ReadInput { .. } => 5,
            Self::Decode { .. } => 6,
            Self::Config { .. } => 7,
            Self::Ipam(IpamError::Exhausted { .. }) => 11,
            Self::Ipam(IpamError::OutOfRange { .. } | IpamError::Unusable { .. }) => 7,
            Self::Ipam(IpamError::Taken { .. } | IpamError::Occupied { .. }) | Self::PortTaken { .. } => 103,
            Self::Ipam(_) | Self::State(_) | Self::ReadSubnetFile { .. } => 5,
            Self::Delegate { code, .. } => *code,
            Self::NotReady { .. } => 50,
            Self::Limited { .. } => 51,
            Self::Damaged { .. } => 100,
            Self::Namespace(_) | Self::Wiring(_) | Self::Netlink(_) | Self::Setting(_) | Self::HostPorts(_) => 101,
            Self::NoTable | Self::NoForwarding { .. } => 101,
            Self::Teardown { .. } => 102,
            Self::NoHostEnd { .. } => 104,
            Self::RunDelegate { .. } | Self::NoAddress { .. } => 105,
        }
    }

    /// What several steps failed at, as one error; fine when none did.
    pub(crate) fn of_all(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.pop() {
            None => Ok(()),
            Some(only) if failures.is_empty() => Err(only),
            Some(last) => {
                failures.push(last);
                Err(Self::Teardown { failures })
            }
        }
    }

    /// The specification's error object.
    pub(crate) fn object(&self, version: Version) -> Value {
        let mut object = json!({ "cniVersion": version.as_str(), "code": self.code(), "msg": self.to_string() });
        if let Self::Delegate { details, .. } = self {
            object["details"] = details.clone().into();
        } else if let Some(source) = self.source() {
            object["details"] = chain(source).into();
        }
        object
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
