//! What plugins answered, kept for DEL and CHECK in the form and place libcni keeps it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{ConfigError, NetworkList};
use super::{Attachment, INTERFACE};

/// The directory of results.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// One attachment as libcni caches it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedAttachment {
    kind: String,
    container_id: String,
    /// The configuration list, base64.
    config: String,
    if_name: String,
    network_name: String,
    netns: String,
    /// What the last plugin answered.
    pub result: Value,
}

impl CachedAttachment {
    /// What is to be remembered of an attachment.
    pub fn new(network: &NetworkList, attachment: &Attachment<'_>, result: &Value) -> Self {
        Self {
            kind: "cniCacheV1".to_owned(),
            container_id: attachment.sandbox.to_owned(),
            config: STANDARD.encode(&network.source),
            if_name: INTERFACE.to_owned(),
            network_name: network.name.clone(),
            netns: attachment.netns.display().to_string(),
            result: result.clone(),
        }
    }

    /// The configuration with which the attachment was made.
    pub fn network(&self) -> Result<NetworkList, ConfigError> {
        let bytes = STANDARD.decode(&self.config).unwrap_or_default();
        NetworkList::parse(Path::new(&self.network_name), &String::from_utf8_lossy(&bytes))
    }
}

impl Cache {
    /// The cache in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Remembers an attachment.
    pub fn write(&self, attachment: &CachedAttachment) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let name = format!("{}-{}-{INTERFACE}", attachment.network_name, attachment.container_id);
        let unfinished = self.directory.join(format!(".{name}"));
        fs::write(&unfinished, serde_json::to_vec(attachment)?)?;
        fs::rename(unfinished, self.directory.join(name))
    }

    /// The attachment of a sandbox, if there is one.
    pub fn read(&self, sandbox: &str) -> io::Result<Option<CachedAttachment>> {
        match self.find(sandbox)? {
            Some(path) => Ok(Some(serde_json::from_slice(&fs::read(path)?)?)),
            None => Ok(None),
        }
    }

    /// Forgets the attachment of a sandbox.
    pub fn remove(&self, sandbox: &str) -> io::Result<()> {
        match self.find(sandbox)? {
            Some(path) => fs::remove_file(path),
            None => Ok(()),
        }
    }

    fn find(&self, sandbox: &str) -> io::Result<Option<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let suffix = format!("-{sandbox}-{INTERFACE}");
        let is_it = |path: &PathBuf| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| !name.starts_with('.') && name.ends_with(&suffix))
        };
        Ok(entries.flatten().map(|entry| entry.path()).find(is_it))
    }
}
