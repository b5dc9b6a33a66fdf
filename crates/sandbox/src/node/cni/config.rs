//! Network configuration lists: finding the one that counts, and what a plugin gets to read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Wishes;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no JSON.
    #[error("cannot parse {path}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It lacks what every list has.
    #[error("{path}: {field} is missing")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        field: &'static str,
    },
}

/// A network: its plugins in the order in which they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkList {
    /// Its name.
    pub name: String,
    /// The version of the specification it follows.
    pub cni_version: String,
    /// Whether CHECK is not to be called.
    pub disable_check: bool,
    /// The configuration of each plugin.
    pub plugins: Vec<Value>,
    /// The file as it was read.
    pub source: String,
}

/// The network described by the first file of `directory`, in the order of names; `None` if there is none.
pub fn read_network(directory: &Path) -> Result<Option<NetworkList>, ConfigError> {
    let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path: directory.to_path_buf(), source }),
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
    };
    files.retain(|path| path.extension().is_some_and(|kind| kind == "conflist" || kind == "conf" || kind == "json"));
    files.sort();
    let Some(path) = files.into_iter().next() else { return Ok(None) };
    let source = fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    NetworkList::parse(&path, &source).map(Some)
}

impl NetworkList {
    /// Reads a list, or a single plugin's configuration as a list of one.
    pub fn parse(path: &Path, source: &str) -> Result<Self, ConfigError> {
        let parsed: Value =
            serde_json::from_str(source).map_err(|source| ConfigError::Parse { path: path.to_path_buf(), source })?;
        let missing = |field| ConfigError::Missing { path: path.to_path_buf(), field };
        let name = parsed["name"].as_str().filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
        let plugins = match parsed["plugins"].as_array() {
            Some(plugins) => plugins.clone(),
            None => vec![parsed.clone()],
        };
        if plugins.is_empty() || plugins.iter().any(|plugin| plugin["type"].as_str().is_none_or(str::is_empty)) {
            return Err(missing("the type of a plugin"));
        }
        Ok(Self {
            name: name.to_owned(),
            cni_version: parsed["cniVersion"].as_str().unwrap_or("0.1.0").to_owned(),
            disable_check: parsed["disableCheck"].as_bool().unwrap_or_default(),
            plugins,
            source: source.to_owned(),
        })
    }

    /// Whether the list follows at least this version.
    pub fn at_least(&self, version: &str) -> bool {
        let numbers =
            |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or_default()).collect() };
        numbers(&self.cni_version) >= numbers(version)
    }

    /// What `plugin` reads on its standard input.
    pub fn request(&self, plugin: &Value, previous: &Value, wishes: &Wishes) -> Value {
        let mut request = plugin.clone();
        request["name"] = json!(self.name);
        request["cniVersion"] = json!(self.cni_version);
        if !previous.is_null() && self.at_least("0.3.0") {
            request["prevResult"] = previous.clone();
        }
        if let Some(fields) = request.as_object_mut()
            && let Some(capabilities) = fields.remove("capabilities")
        {
            let heard: Wishes = wishes.clone().into_iter().filter(|(name, _)| capabilities[*name] == true).collect();
            if !heard.is_empty() {
                fields.insert("runtimeConfig".to_owned(), json!(heard));
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_counts_and_other_files_do_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_network(directory.path()).unwrap(), None);
        fs::write(directory.path().join("00-readme.txt"), "no").unwrap();
        fs::write(directory.path().join("20-b.conflist"), r#"{"name":"b","plugins":[{"type":"x"}]}"#).unwrap();
        fs::write(directory.path().join("10-a.conf"), r#"{"name":"a","type":"y","cniVersion":"1.1.0"}"#).unwrap();
        let network = read_network(directory.path()).unwrap().unwrap();
        assert_eq!((network.name.as_str(), network.plugins.len()), ("a", 1));
        assert!(network.at_least("0.4.0") && network.at_least("1.1.0") && !network.at_least("1.2.0"));
    }

    #[test]
    fn a_list_without_plugins_says_what_is_missing() {
        let error = NetworkList::parse(Path::new("x.conflist"), r#"{"name":"a","plugins":[]}"#).unwrap_err();
        assert_eq!(error.to_string(), "x.conflist: the type of a plugin is missing");
    }
}
