//! What the runtime must still know after it was restarted, kept beside what it describes.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use crate::json_file;
use crate::shim::Place;

use super::config::Paths;

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// The object as it was last seen: enough to end the pod without the API server.
    pub pod: Pod,
    /// Its namespaces, once made.
    pub sandbox: Option<SandboxRecord>,
    /// When this node accepted it.
    pub accepted_at: Timestamp,
}

/// The namespaces of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Its id, the container id as CNI sees it.
    pub id: String,
    /// Where its network namespace is bound; `None` if it is the node's.
    pub netns: Option<PathBuf>,
    /// Its addresses, the pod's own one first.
    pub addresses: Vec<IpAddr>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its id.
    pub id: String,
    /// The pod it belongs to.
    pub pod_uid: String,
    /// Its name in the pod.
    pub name: String,
    /// How often a container of this name had been started before.
    pub attempt: u32,
    /// The image it was started from, as the pod names it.
    pub image: String,
}

/// The records of a node.
#[derive(Debug, Clone)]
pub struct Records {
    paths: Paths,
}

impl Records {
    /// The records below `paths`.
    pub fn new(paths: &Paths) -> Self {
        Self { paths: paths.clone() }
    }

    /// All pods there are. What cannot be read is reported and left out.
    pub fn pods(&self) -> Vec<PodRecord> {
        let entries = fs::read_dir(self.paths.run.join("pods")).into_iter().flatten().flatten();
        entries.filter_map(|entry| readable(&entry.path().join("record.json"))).collect()
    }

    /// The pod with this uid, if it is known.
    pub fn pod(&self, uid: &str) -> Option<PodRecord> {
        let path = self.paths.pod(uid).join("record.json");
        path.exists().then(|| readable(&path)).flatten()
    }

    /// All containers of a pod, oldest attempt first.
    pub fn containers(&self, pod_uid: &str) -> Vec<(ContainerRecord, Place)> {
        let entries = fs::read_dir(self.paths.containers()).into_iter().flatten().flatten();
        let mut containers: Vec<(ContainerRecord, Place)> = entries
            .filter_map(|entry| {
                let record: ContainerRecord = readable(&entry.path().join("record.json"))?;
                Some((record, Place::new(entry.path())))
            })
            .filter(|(record, _)| record.pod_uid == pod_uid)
            .collect();
        containers.sort_by_key(|(record, _)| record.attempt);
        containers
    }

    /// Keeps a pod's record.
    pub fn write_pod(&self, uid: &str, record: &PodRecord) -> io::Result<()> {
        let directory = self.paths.pod(uid);
        fs::create_dir_all(&directory)?;
        json_file::write(&directory.join("record.json"), record)
    }

    /// Makes a new container's directory and keeps its record there.
    pub fn write_container(&self, record: &ContainerRecord) -> io::Result<Place> {
        let directory = self.paths.containers().join(&record.id);
        fs::create_dir_all(&directory)?;
        json_file::write(&directory.join("record.json"), record)?;
        Ok(Place::new(directory))
    }

    /// Removes everything kept of a container.
    pub fn remove_container(&self, place: &Place) {
        // What is left is found and removed with the pod.
        let _ = fs::remove_dir_all(place.directory());
    }

    /// Removes everything kept of a pod: containers, volumes and logs too. Its namespaces must be gone.
    pub fn remove_pod(&self, pod: &Pod) -> io::Result<()> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for (_, place) in self.containers(uid) {
            self.remove_container(&place);
        }
        for directory in [self.paths.lib.join("pods").join(uid), self.log_directory(pod), self.paths.pod(uid)] {
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where a pod's logs are.
    pub fn log_directory(&self, pod: &Pod) -> PathBuf {
        let metadata = &pod.metadata;
        let [namespace, name, uid] =
            [&metadata.namespace, &metadata.name, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
        self.paths.logs.join(format!("{namespace}_{name}_{uid}"))
    }
}

fn readable<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Option<T> {
    json_file::read(path).inspect_err(|error| tracing::warn!(path = %path.display(), %error, "record ignored")).ok()
}
