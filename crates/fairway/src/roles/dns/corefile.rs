//! Reading the Corefile and what it refers to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use dns::{Config, Defaults, Surroundings};

/// Where images of CoreDNS have it, and the manifests mount it.
const USUAL_PLACE: &str = "/etc/coredns/Corefile";

/// A Corefile, read anew whenever asked.
#[derive(Clone, Debug)]
pub(super) struct Corefile(Arc<Source>);

#[derive(Debug)]
struct Source {
    path: Option<PathBuf>,
    built_in: String,
    defaults: Defaults,
}

impl Corefile {
    /// The file at `path`; without one that in the usual place, or else what kubeadm writes for `zone`.
    pub(super) fn new(path: Option<PathBuf>, zone: &str, defaults: Defaults) -> Self {
        Self(Arc::new(Source { path, built_in: built_in(zone), defaults }))
    }

    /// Reads and validates it.
    pub(super) async fn load(&self) -> Result<Config> {
        let source = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || source.load()).await.context("reading the Corefile ended early")?
    }
}

impl Source {
    fn load(&self) -> Result<Config> {
        let (name, text) = match &self.path {
            Some(path) => (path.as_path(), read(path).with_context(|| format!("cannot read {}", path.display()))?),
            None => match read(Path::new(USUAL_PLACE)) {
                Ok(text) => (Path::new(USUAL_PLACE), text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    (Path::new("built-in Corefile"), self.built_in.clone())
                }
                Err(error) => return Err(error).context(format!("cannot read {USUAL_PLACE}")),
            },
        };
        Ok(Config::read((&name.display().to_string(), &text), &self.defaults, &Machine)?)
    }
}

/// What kubeadm writes.
fn built_in(zone: &str) -> String {
    include_str!("default_corefile").replace("CLUSTER_DOMAIN", zone)
}

fn read(path: &Path) -> std::io::Result<String> {
    fs::read_to_string(path)
}

/// The files and variables of this process.
struct Machine;

impl Surroundings for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn import(&self, pattern: &str, from: &str) -> Result<Vec<(String, String)>, String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        let paths = files_of(&folder.join(pattern))?;
        let read = |path: PathBuf| match read(&path) {
            Ok(text) => Ok((path.display().to_string(), text)),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        paths.into_iter().map(read).collect()
    }

    fn read(&self, path: &str) -> Result<String, String> {
        read(Path::new(path)).map_err(|error| error.to_string())
    }
}

/// The files that a pattern with at most one `*` names, sorted; without one the file of this name.
fn files_of(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut folder = PathBuf::new();
    let mut parts = pattern.components();
    while let Some(part) = parts.next() {
        let name = part.as_os_str().to_string_lossy().into_owned();
        let Some((before, after)) = name.split_once('*') else {
            folder.push(part);
            continue;
        };
        if after.contains('*') || parts.as_path().to_string_lossy().contains('*') {
            return Err("a pattern may have one * only".into());
        }
        let fits =
            |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(fits));
        let mut found: Vec<PathBuf> =
            named.map(|entry| join(&entry.path(), parts.as_path())).filter(|path| path.is_file()).collect();
        found.sort();
        return Ok(found);
    }
    Ok(vec![folder])
}

/// Joins without the slash that an empty end would leave.
fn join(folder: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { folder.to_owned() } else { folder.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.server", "a.server", "a.override", "server"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("c.server")).unwrap();
        let from = folder.path().join("Corefile").display().to_string();
        let names = |pattern: &str| {
            let files = Machine.import(pattern, &from).unwrap();
            files.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(names("*.server"), ["a.server", "b.server"]);
        assert_eq!(names("a.override"), ["a.override"]);
        assert!(names("none/*.server").is_empty());
        assert!(Machine.import("missing", &from).unwrap_err().contains("missing"));
    }

    #[test]
    fn the_built_in_corefile_is_sound() {
        let defaults =
            Defaults { dns_service: model::NamespacedName::new("a", "b"), port: 53, unsupported: Default::default() };
        let text = built_in("corp.test").replace("/etc/resolv.conf", "192.0.2.1");
        let config = Config::read(("built-in", &text), &defaults, &Machine).unwrap();
        assert_eq!(config.blocks[0].kubernetes[0].origin.to_string(), "corp.test");
    }
}
