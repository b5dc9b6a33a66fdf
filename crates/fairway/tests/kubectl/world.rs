//! The cluster the tests share, and the kubectls they are run with.

use std::path::{Path, PathBuf};

use crate::harness::Place;
use crate::kubectl::Kubectl;

/// The first minor version that must work.
const OLDEST_MINOR: u32 = 31;

pub struct World {
    kubectls: Vec<Kubectl>,
    /// The sandbox, taken down at the end; none when the user named a cluster.
    _place: Option<Place>,
}

impl World {
    pub fn start() -> Self {
        let paths = find_kubectls();
        assert!(!paths.is_empty(), "no kubectl on the PATH: install one, or name some in FAIRWAY_KUBECTL");
        let (kubeconfig, place) = match std::env::var_os("FAIRWAY_TEST_KUBECONFIG") {
            Some(kubeconfig) => (PathBuf::from(kubeconfig), None),
            None => {
                let place = Place::new();
                place.up(&["--nodes", "2"]);
                (place.kubeconfig(), Some(place))
            }
        };
        let kubectls = paths.into_iter().map(|path| Kubectl::new(path, &kubeconfig)).collect();
        Self { kubectls, _place: place }
    }

    pub fn kubectls(&self) -> &[Kubectl] {
        &self.kubectls
    }
}

fn find_kubectls() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("FAIRWAY_KUBECTL") {
        return std::env::split_paths(&named).collect();
    }
    let folders = std::env::var_os("PATH").map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
    let found =
        folders.unwrap_or_default().into_iter().map(|folder| folder.join("kubectl")).find(|path| path.is_file());
    let Some(kubectl) = found.and_then(|path| path.canonicalize().ok()) else { return Vec::new() };
    let versions = versions_beside(&kubectl);
    if versions.is_empty() { vec![kubectl] } else { versions }
}

/// `kubectl.1.31` and its later siblings.
fn versions_beside(kubectl: &Path) -> Vec<PathBuf> {
    let siblings = kubectl.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let minor = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.strip_prefix("kubectl.1.")?.parse().ok() };
    let mut versions: Vec<_> = siblings.filter_map(|sibling| Some((minor(&sibling.path())?, sibling.path()))).collect();
    versions.retain(|(minor, _)| *minor >= OLDEST_MINOR);
    versions.sort();
    versions.into_iter().map(|(_, path)| path).collect()
}
