//! What the node's API knows of pods: kept current by their workers, read by whoever asks for logs or a command.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::shim::Place;
use crate::streams::{Container, ContainerNotFound, Containers};

/// A pod of this node.
#[derive(Debug, Clone)]
pub struct PodEntry {
    /// Its uid.
    pub uid: String,
    /// Its containers by name.
    pub containers: BTreeMap<String, ContainerEntry>,
}

/// A container of a pod.
#[derive(Debug, Clone)]
pub struct ContainerEntry {
    /// The instance that runs now or ended last: its directory and its log.
    pub current: Option<(Place, PathBuf)>,
    /// Why there is none yet.
    pub waiting_for: String,
    /// The log of the instance before.
    pub previous_log: Option<PathBuf>,
    /// Whether it runs on a terminal.
    pub terminal: bool,
    /// Whether it reads standard input.
    pub stdin: bool,
}

/// All pods of this node.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    pods: Arc<RwLock<HashMap<(String, String), PodEntry>>>,
}

impl Registry {
    /// Notes what there is to know of a pod.
    pub fn set(&self, namespace: &str, name: &str, entry: PodEntry) {
        let key = (namespace.to_owned(), name.to_owned());
        self.pods.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
    }

    /// Forgets a pod, unless it is a successor of the one with this uid.
    pub fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        if pods.get(&key).is_some_and(|entry| entry.uid == uid) {
            pods.remove(&key);
        }
    }
}

impl Containers for Registry {
    fn find(&self, namespace: &str, pod: &str, container: &str) -> Result<Container, ContainerNotFound> {
        let not_found = |message: String| ContainerNotFound { message };
        let key = (namespace.to_owned(), pod.to_owned());
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        let entry = pods.get(&key).ok_or_else(|| not_found(format!("pod \"{pod}_{namespace}\" not found")))?;
        let entry = entry.containers.get(container);
        let entry = entry.ok_or_else(|| not_found(format!("container {container} is not valid for pod {pod}")))?;
        let (place, log) = entry.current.clone().ok_or_else(|| {
            let waiting_for = &entry.waiting_for;
            not_found(format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {waiting_for}"))
        })?;
        let (previous_log, terminal, stdin) = (entry.previous_log.clone(), entry.terminal, entry.stdin);
        Ok(Container { place, log, previous_log, terminal, stdin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_has_not_started_says_what_it_waits_for() {
        let registry = Registry::default();
        let entry = ContainerEntry {
            current: None,
            waiting_for: "ImagePullBackOff".into(),
            previous_log: None,
            terminal: false,
            stdin: false,
        };
        let containers = BTreeMap::from([("web".to_owned(), entry)]);
        registry.set("shop", "web-0", PodEntry { uid: "1".into(), containers });
        let ask = |pod, container| registry.find("shop", pod, container).unwrap_err().message;
        assert_eq!(ask("web-0", "web"), "container \"web\" in pod \"web-0\" is waiting to start: ImagePullBackOff");
        assert_eq!(ask("web-0", "x"), "container x is not valid for pod web-0");
        assert_eq!(ask("web-1", "web"), "pod \"web-1_shop\" not found");
        registry.remove("shop", "web-0", "2");
        assert!(ask("web-0", "x").contains("not valid"));
        registry.remove("shop", "web-0", "1");
        assert!(ask("web-0", "x").contains("not found"));
    }
}
