//! Volumes of a pod: made before its containers, kept current while they run.

mod atomic;
mod content;
mod host_path;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver::client::Client;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::content::Renderer;
use super::config::Paths;
use super::facts::Capacity;
use super::objects::Objects;

/// A volume could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Something it is made of is missing or unusable; the words are for the user.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    Source {
        /// The volume.
        volume: String,
        /// What is missing.
        why: String,
    },
    /// Its directory could not be written.
    #[error("MountVolume.SetUp failed for volume {volume:?} : cannot write {path}")]
    Write {
        /// The volume.
        volume: String,
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What making volumes needs.
#[derive(Clone)]
pub struct VolumeMaker {
    /// For tokens.
    pub client: Client,
    /// For ConfigMaps and Secrets.
    pub objects: Objects,
    /// Where volumes are.
    pub paths: Paths,
    /// What the node has.
    pub capacity: Capacity,
}

/// The volumes of one pod; while this lives their content follows its sources.
pub struct Volumes {
    places: BTreeMap<String, PathBuf>,
    _keeper: AbortOnDropHandle<()>,
}

impl Volumes {
    /// Where the volume called `name` is.
    pub fn place(&self, name: &str) -> Option<&Path> {
        self.places.get(name).map(PathBuf::as_path)
    }
}

impl VolumeMaker {
    /// Makes all volumes of a pod and begins to follow what they are made of.
    ///
    /// Making them again, as after a restart, changes only what differs.
    pub async fn make(&self, mut pod: watch::Receiver<Arc<Pod>>) -> Result<Volumes, VolumeError> {
        let current = Arc::clone(&pod.borrow_and_update());
        let uid = current.metadata.uid.as_deref().unwrap_or_default();
        let directory = self.paths.pod_volumes(uid);
        let volumes = current.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        let mut renderer = Renderer::new(self);
        let mut places = BTreeMap::new();
        for volume in &volumes {
            let place = directory.join(&volume.name);
            let place = self.make_one(&mut renderer, &current, volume, place).await?;
            places.insert(volume.name.clone(), place);
        }
        let keeper = tokio::spawn(keep(self.clone(), renderer, pod, volumes, places.clone()));
        Ok(Volumes { places, _keeper: AbortOnDropHandle::new(keeper) })
    }

    async fn make_one(
        &self,
        renderer: &mut Renderer,
        pod: &Pod,
        volume: &Volume,
        place: PathBuf,
    ) -> Result<PathBuf, VolumeError> {
        let failed = |why: String| VolumeError::Source { volume: volume.name.clone(), why };
        if let Some(source) = &volume.host_path {
            let path = PathBuf::from(&source.path);
            host_path::prepare(&path, source.type_.as_deref().unwrap_or_default()).map_err(failed)?;
            return Ok(path);
        }
        let written = if let Some(content) = renderer.render(pod, volume).await.map_err(failed)? {
            atomic::write(&place, &content, Timestamp::now())
        } else if let Some(source) = &volume.empty_dir {
            make_empty(&place, source)
        } else {
            return Err(failed(
                "a sandbox has no storage of this kind; use emptyDir, hostPath, configMap, secret, downwardAPI or projected"
                    .to_owned(),
            ));
        };
        match written {
            Ok(()) => Ok(place),
            Err(source) => Err(VolumeError::Write { volume: volume.name.clone(), path: place, source }),
        }
    }

    /// Unmounts what a pod's volumes are made of. Their directories go with the pod's record.
    pub fn unmount(&self, uid: &str) {
        for entry in fs::read_dir(self.paths.pod_volumes(uid)).into_iter().flatten().flatten() {
            // Most volumes are plain directories.
            let _ = umount2(&entry.path(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
    }
}

/// Writes content anew whenever something it comes from has changed, until dropped.
async fn keep(
    maker: VolumeMaker,
    mut renderer: Renderer,
    mut pod: watch::Receiver<Arc<Pod>>,
    volumes: Vec<Volume>,
    places: BTreeMap<String, PathBuf>,
) {
    loop {
        tokio::select! {
            () = renderer.changed() => {}
            changed = pod.changed() => if changed.is_err() { return },
        }
        let current = Arc::clone(&pod.borrow_and_update());
        let mut next = Renderer::new(&maker);
        next.keep_tokens_of(&renderer);
        for volume in &volumes {
            let Some(place) = places.get(&volume.name) else { continue };
            let written = match next.render(&current, volume).await {
                Ok(Some(content)) => {
                    atomic::write(place, &content, Timestamp::now()).map_err(|error| error.to_string())
                }
                Ok(None) => Ok(()),
                Err(why) => Err(why),
            };
            if let Err(why) = written {
                tracing::warn!(volume = volume.name, why, "volume keeps its last content");
            }
        }
        renderer = next;
    }
}

fn make_empty(place: &Path, source: &EmptyDirVolumeSource) -> io::Result<()> {
    let existed = place.exists();
    fs::create_dir_all(place)?;
    if source.medium.as_deref() == Some("Memory") && !existed {
        let limit = source.size_limit.as_ref().and_then(|limit| super::amount::Amount::parse(&limit.0));
        let bytes = limit.map(|limit| limit.divided_rounding_up(super::amount::Amount::of_units(1)));
        let options = bytes.map_or_else(|| "mode=0777".to_owned(), |bytes| format!("mode=0777,size={bytes}"));
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o777))
}
