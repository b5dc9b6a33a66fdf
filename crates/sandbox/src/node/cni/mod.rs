//! The runtime's side of the Container Network Interface, spec 1.1: which plugins to call, with what, and what they said.
//!
//! It does what container runtimes do through libcni, down to the cache of results, so that a plugin cannot tell a
//! sandbox from a real node.

mod cache;
mod config;
mod invoke;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::{Value, json};

use self::cache::{Cache, CachedAttachment};
pub use self::config::{ConfigError, NetworkList, read_network};
use self::invoke::{Call, Verb, invoke};

/// The interface in every pod.
const INTERFACE: &str = "eth0";

/// Where plugins, configuration and results are.
#[derive(Debug, Clone)]
pub struct Networks {
    plugins: PathBuf,
    config: PathBuf,
    cache: Cache,
}

/// One pod's place in the network.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// The sandbox, the container id as CNI sees it.
    pub sandbox: &'a str,
    /// The pod's network namespace.
    pub netns: &'a Path,
    /// Namespace of the pod.
    pub pod_namespace: &'a str,
    /// Name of the pod.
    pub pod_name: &'a str,
    /// Uid of the pod.
    pub pod_uid: &'a str,
    /// What the runtime wishes of plugins with the capability.
    pub wishes: Wishes,
}

/// What plugins get as `runtimeConfig`, by the capabilities that take it.
pub type Wishes = BTreeMap<&'static str, Value>;

/// A plugin or its configuration let us down.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// There is no usable configuration.
    #[error("cni config load failed")]
    Config(#[from] ConfigError),
    /// There is none at all.
    #[error("no networks found in {directory}")]
    NoNetwork {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A plugin could not be run.
    #[error("failed to find or run plugin {plugin:?} in path [{directory}]")]
    Run {
        /// Its type.
        plugin: String,
        /// Where plugins are.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A plugin said no.
    #[error("plugin type={plugin:?} failed ({verb}): {message}")]
    Refused {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: &'static str,
        /// Its own words.
        message: String,
    },
    /// A plugin ended badly without a word.
    #[error("netplugin {plugin:?} failed ({verb}) with no error message: {status}")]
    Silent {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// A plugin took too long.
    #[error("plugin type={plugin:?} did not finish ({verb}) in time")]
    Late {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: &'static str,
    },
    /// A plugin's answer is no result.
    #[error("plugin type={plugin:?} gave an unusable result: {text}")]
    Result {
        /// Its type.
        plugin: String,
        /// What it said.
        text: String,
    },
    /// What a plugin said could not be kept.
    #[error("cannot keep the result of a network attachment")]
    Cache {
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Networks {
    /// Networks described in `config`, made by the programs in `plugins`, remembered in `results`.
    pub fn new(plugins: impl Into<PathBuf>, config: impl Into<PathBuf>, results: impl Into<PathBuf>) -> Self {
        Self { plugins: plugins.into(), config: config.into(), cache: Cache::new(results.into()) }
    }

    /// Attaches a pod to the first network there is; gives back its addresses.
    ///
    /// After a failure the attachment is undone as far as it went.
    pub async fn add(&self, attachment: &Attachment<'_>) -> Result<Vec<IpAddr>, CniError> {
        let network =
            read_network(&self.config)?.ok_or_else(|| CniError::NoNetwork { directory: self.config.clone() })?;
        let mut result = Value::Null;
        for plugin in &network.plugins {
            let request = network.request(plugin, &result, &attachment.wishes);
            match self.call(Verb::Add, plugin, attachment, request).await {
                Ok(Some(answer)) => result = answer,
                Ok(None) => {}
                Err(error) => {
                    self.detach(&network, &result, attachment).await;
                    return Err(error);
                }
            }
        }
        let cached = CachedAttachment::new(&network, attachment, &result);
        if let Err(source) = self.cache.write(&cached) {
            self.detach(&network, &result, attachment).await;
            return Err(CniError::Cache { source });
        }
        Ok(addresses_in(&result))
    }

    /// Undoes an attachment. Works twice, and with the namespace gone.
    pub async fn delete(&self, attachment: &Attachment<'_>) -> Result<(), CniError> {
        let cached = self.cache.read(attachment.sandbox).map_err(|source| CniError::Cache { source })?;
        let (network, result) = match cached {
            Some(cached) => (cached.network()?, cached.result),
            None => match read_network(&self.config)? {
                Some(network) => (network, Value::Null),
                None => return Ok(()),
            },
        };
        let mut failed = Ok(());
        for plugin in network.plugins.iter().rev() {
            let request = network.request(plugin, &result, &attachment.wishes);
            if let Err(error) = self.call(Verb::Delete, plugin, attachment, request).await {
                failed = Err(error);
            }
        }
        failed?;
        self.cache.remove(attachment.sandbox).map_err(|source| CniError::Cache { source })
    }

    /// Asks whether an attachment is still as it was made.
    pub async fn check(&self, attachment: &Attachment<'_>) -> Result<(), CniError> {
        let cached = self.cache.read(attachment.sandbox).map_err(|source| CniError::Cache { source })?;
        let Some(cached) = cached else { return Ok(()) };
        let network = cached.network()?;
        if network.disable_check || !network.at_least("0.4.0") {
            return Ok(());
        }
        for plugin in &network.plugins {
            let request = network.request(plugin, &cached.result, &attachment.wishes);
            self.call(Verb::Check, plugin, attachment, request).await?;
        }
        Ok(())
    }

    async fn detach(&self, network: &NetworkList, result: &Value, attachment: &Attachment<'_>) {
        for plugin in network.plugins.iter().rev() {
            let request = network.request(plugin, result, &attachment.wishes);
            if let Err(error) = self.call(Verb::Delete, plugin, attachment, request).await {
                tracing::warn!(sandbox = attachment.sandbox, %error, "half an attachment not undone");
            }
        }
    }

    async fn call(
        &self,
        verb: Verb,
        plugin: &Value,
        attachment: &Attachment<'_>,
        request: Value,
    ) -> Result<Option<Value>, CniError> {
        let kind = plugin["type"].as_str().unwrap_or_default();
        invoke(&Call { verb, plugin: kind, plugins: &self.plugins, attachment, request }).await
    }
}

/// The addresses in a plugin's result, in its order.
fn addresses_in(result: &Value) -> Vec<IpAddr> {
    let entries = result["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    let addresses = entries.iter().filter_map(|entry| entry["address"].as_str());
    addresses.filter_map(|address| address.split('/').next()?.parse().ok()).collect()
}

/// A host port of a container as `runtimeConfig` wants it.
pub fn port_mapping(host_port: i32, container_port: i32, protocol: &str, host_ip: Option<&str>) -> Value {
    let protocol = protocol.to_lowercase();
    json!({"hostPort": host_port, "containerPort": container_port, "protocol": protocol, "hostIP": host_ip.unwrap_or_default()})
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Writes a plugin that notes its call in `calls` and answers with `answer`.
    fn plugin(directory: &Path, name: &str, answer: &str, code: u8) {
        let path = directory.join(name);
        let script = format!(
            "#!/bin/sh\ncat > {0}/stdin-{name}-$CNI_COMMAND\necho \"$CNI_COMMAND {name} $CNI_IFNAME $CNI_ARGS\" >> {0}/calls\n\
             if [ \"$CNI_COMMAND\" != DEL ]; then echo '{answer}'; exit {code}; fi\n",
            directory.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn networks(directory: &Path) -> Networks {
        let config = directory.join("net.d");
        fs::create_dir(&config).unwrap();
        let list = json!({
            "cniVersion": "1.0.0", "name": "cluster",
            "plugins": [
                {"type": "first", "capabilities": {"bandwidth": true, "portMappings": false}},
                {"type": "second", "capabilities": {"portMappings": true}},
            ],
        });
        fs::write(config.join("05-cluster.conflist"), list.to_string()).unwrap();
        Networks::new(directory, &config, directory.join("results"))
    }

    fn attachment(netns: &Path) -> Attachment<'_> {
        let wishes = Wishes::from([
            ("portMappings", json!([port_mapping(8080, 80, "TCP", None)])),
            ("bandwidth", json!({"ingressRate": 8_000_000})),
        ]);
        Attachment { sandbox: "s1", netns, pod_namespace: "shop", pod_name: "web", pod_uid: "u1", wishes }
    }

    const RESULT: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.244.1.5/24"}]}"#;

    #[tokio::test]
    async fn plugins_run_in_order_and_are_undone_in_reverse_with_the_result() {
        let directory = tempfile::tempdir().unwrap();
        plugin(directory.path(), "first", RESULT, 0);
        plugin(directory.path(), "second", RESULT, 0);
        let networks = networks(directory.path());
        let netns = Path::new("/run/netns/s1");
        assert_eq!(networks.add(&attachment(netns)).await.unwrap(), ["10.244.1.5".parse::<IpAddr>().unwrap()]);
        networks.delete(&attachment(netns)).await.unwrap();
        let args =
            "eth0 K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u1;IgnoreUnknown=1";
        let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
        let expected = ["ADD first", "ADD second", "DEL second", "DEL first"].map(|call| format!("{call} {args}"));
        assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
        let read =
            |name: &str| -> Value { serde_json::from_slice(&fs::read(directory.path().join(name)).unwrap()).unwrap() };
        assert_eq!(read("stdin-first-ADD")["prevResult"], Value::Null);
        assert_eq!(read("stdin-second-ADD")["prevResult"]["ips"][0]["address"], "10.244.1.5/24");
        let mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""});
        assert_eq!(read("stdin-second-ADD")["runtimeConfig"], json!({"portMappings": [mapping]}));
        assert_eq!(read("stdin-first-ADD")["runtimeConfig"], json!({"bandwidth": {"ingressRate": 8_000_000}}));
        assert_eq!(read("stdin-first-DEL")["prevResult"]["ips"][0]["address"], "10.244.1.5/24");
        assert_eq!(fs::read_dir(directory.path().join("results")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_plugin_that_refuses_is_quoted_and_undone() {
        let directory = tempfile::tempdir().unwrap();
        plugin(directory.path(), "first", RESULT, 0);
        plugin(directory.path(), "second", r#"{"code":11,"msg":"pool is empty"}"#, 1);
        let networks = networks(directory.path());
        let error = networks.add(&attachment(Path::new("/run/netns/s1"))).await.unwrap_err();
        assert_eq!(error.to_string(), r#"plugin type="second" failed (add): pool is empty"#);
        let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
        let verbs: Vec<_> = calls.lines().map(|line| &line[..line.find(" eth0").unwrap()]).collect();
        assert_eq!(verbs, ["ADD first", "ADD second", "DEL second", "DEL first"]);
    }

    #[tokio::test]
    async fn delete_of_what_never_was_succeeds_without_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let networks = Networks::new(directory.path(), directory.path().join("none"), directory.path().join("results"));
        networks.delete(&attachment(Path::new("/run/netns/s1"))).await.unwrap();
        let error = networks.add(&attachment(Path::new("/run/netns/s1"))).await.unwrap_err();
        assert!(matches!(error, CniError::NoNetwork { .. }), "{error}");
    }
}
