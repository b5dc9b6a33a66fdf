//! Other plugins this one calls: those that give addresses in its place.

use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ipnet::IpNet;
use serde_json::Value;

use crate::CniError;
use crate::owner::Owner;

/// As many characters of what a plugin said are told.
const SAID_MAX: usize = 200;

/// A plugin that gives addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressPlugin {
    /// Its type, the name of its program.
    pub(crate) kind: String,
    /// The network's configuration as it came, which is its configuration too.
    pub(crate) config: Value,
    /// This call's environment, which is its environment too.
    pub(crate) variables: BTreeMap<String, String>,
}

/// What a plugin gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the container is to have routes to; empty for everywhere.
    pub(crate) destinations: Vec<IpNet>,
    /// What it says about names.
    pub(crate) dns: Option<Value>,
}

impl AddressPlugin {
    /// The plugin of this type, for the call with this input and these variables.
    pub(crate) fn of(kind: &str, input: &[u8], variables: &BTreeMap<String, String>) -> Result<Self, CniError> {
        Ok(Self { kind: kind.to_owned(), config: crate::config::decode(input)?, variables: variables.clone() })
    }

    /// Takes addresses for the container this call is about.
    pub(crate) fn obtain(&self) -> Result<Lease, CniError> {
        let said = self.call("ADD", None)?;
        let result: Value = serde_json::from_str(&said).unwrap_or_default();
        let addresses = crate::result::addresses_of(&result);
        if addresses.is_empty() {
            let said = said.trim().chars().take(SAID_MAX).collect();
            return Err(CniError::NoAddress { plugin: self.kind.clone(), said });
        }
        let routes = result["routes"].as_array().map_or(&[][..], Vec::as_slice);
        let destinations = routes.iter().filter_map(|route| route["dst"].as_str()?.parse().ok()).collect();
        let dns = result.get("dns").filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty())).cloned();
        Ok(Lease { addresses, destinations, dns })
    }

    /// Gives back what `owner` has.
    pub(crate) fn give_back(&self, owner: &Owner) -> Result<(), CniError> {
        self.call("DEL", Some(owner)).map(drop)
    }

    /// Passes on a command that answers nothing: `CHECK`, `GC` or `STATUS`.
    pub(crate) fn forward(&self, command: &str) -> Result<(), CniError> {
        self.call(command, None).map(drop)
    }

    /// Returns what it said. `owner` when it is not the one this call is about.
    fn call(&self, command: &str, owner: Option<&Owner>) -> Result<String, CniError> {
        let failed = |source| CniError::RunDelegate { plugin: self.kind.clone(), source };
        let mut process = Command::new(self.program()?);
        process.env_clear().envs(&self.variables).env("CNI_COMMAND", command);
        if let Some(owner) = owner {
            process.env("CNI_CONTAINERID", &owner.container).env("CNI_IFNAME", &owner.interface);
        }
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = process.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that does not read its input has its reasons, and will say so.
            let _ = stdin.write_all(self.config.to_string().as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(self.refusal(command, &said)) }
    }

    fn refusal(&self, command: &str, said: &str) -> CniError {
        let said: Value = serde_json::from_str(said).unwrap_or_default();
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        let code = said["code"].as_u64().and_then(|code| u32::try_from(code).ok());
        CniError::Delegate {
            plugin: self.kind.clone(),
            command: command.to_owned(),
            // What says nothing failed somehow.
            code: code.unwrap_or(999),
            message: text("msg"),
            details: text("details"),
        }
    }

    /// The program in the directories of `CNI_PATH`.
    fn program(&self) -> Result<PathBuf, CniError> {
        let directories = self.variables.get("CNI_PATH").map_or("", String::as_str);
        let program =
            env::split_paths(directories).map(|directory| directory.join(&self.kind)).find(|path| path.is_file());
        program.ok_or_else(|| {
            let why = format!("there is no plugin {:?} in {directories:?}", self.kind);
            CniError::Variable { name: "CNI_PATH", why }
        })
    }
}
