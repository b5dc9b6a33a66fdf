//! Installing the CNI plugin and its configuration; blocking.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::json;
use tracing::info;

/// The name of the plugin, and of the network.
pub const PLUGIN: &str = "fairway";
/// Runtimes take the configuration that sorts first.
pub const CONFIGURATION: &str = "05-fairway.conflist";
/// This program, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Where a node's runtime looks for CNI plugins.
#[derive(Clone, Debug)]
pub(in crate::roles::agent) struct CniFiles {
    bin_dir: PathBuf,
    conf_dir: PathBuf,
    /// Where the plugin keeps what it remembers.
    state_dir: PathBuf,
    /// How long nobody gets an address that was given back.
    reuse_delay: Duration,
    /// The plugin's file as it was when it was last found right: comparing it byte by byte takes too long for every
    /// change of a cluster.
    right: Option<Stamp>,
}

/// What changes when a file does: device, inode, length and the time of its last change.
type Stamp = (u64, u64, u64, i64, i64);

impl CniFiles {
    pub(in crate::roles::agent) const fn new(
        bin_dir: PathBuf,
        conf_dir: PathBuf,
        state_dir: PathBuf,
        reuse_delay: Duration,
    ) -> Self {
        Self { bin_dir, conf_dir, state_dir, reuse_delay, right: None }
    }

    /// Installs this program as the plugin, then the configuration that names it: a runtime that sees the one finds
    /// the other. Files that are right already are left alone.
    pub(super) fn install(&mut self, pod_ranges: &[IpNet]) -> Result<()> {
        let program = self.bin_dir.join(PLUGIN);
        if self.right.is_none() || stamp(&program) != self.right {
            let installed = install_program(Path::new(OWN_PROGRAM), &program);
            installed.with_context(|| format!("cannot install the CNI plugin {}", program.display()))?;
            self.right = stamp(&program);
        }
        let path = self.conf_dir.join(CONFIGURATION);
        let written = write_if_other(&path, &self.configuration(pod_ranges));
        written.with_context(|| format!("cannot write the CNI configuration {}", path.display()))
    }

    /// Whether [`install`](Self::install) would leave everything alone, as far as can be told without comparing programs.
    pub(super) fn are_installed(&self, pod_ranges: &[IpNet]) -> bool {
        let configuration = fs::read_to_string(self.conf_dir.join(CONFIGURATION));
        stamp(&self.bin_dir.join(PLUGIN)) == self.right
            && configuration.is_ok_and(|found| found == self.configuration(pod_ranges))
    }

    /// Whether runtimes find no configuration of ours.
    pub(super) fn are_withdrawn(&self) -> bool {
        !self.conf_dir.join(CONFIGURATION).exists()
    }

    /// Removes the configuration, so that new pods get another network. The plugin stays for the pods it has connected.
    pub(super) fn withdraw(&self) -> io::Result<()> {
        match fs::remove_file(self.conf_dir.join(CONFIGURATION)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            Ok(()) => {
                info!("CNI configuration removed: new pods get another network");
                Ok(())
            }
        }
    }

    /// The configurations of others that runtimes take in place of ours, in order. They are left alone: whoever put
    /// them there may have a reason.
    pub(super) fn preferred_to_ours(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.conf_dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| is_configuration(name) && name.as_str() < CONFIGURATION);
        names.sort();
        Ok(names)
    }

    fn configuration(&self, pod_ranges: &[IpNet]) -> String {
        let network = json!({
            // Runtimes made before 1.1.0 refuse its results and do not look at the list; those after take the newest.
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": PLUGIN,
            "plugins": [{
                "type": PLUGIN,
                "ipam": { "ranges": pod_ranges, "reuseDelaySeconds": self.reuse_delay.as_secs() },
                "capabilities": { "portMappings": true, "bandwidth": true, "ips": true, "mac": true },
                "stateDir": self.state_dir,
            }],
        });
        format!("{network:#}\n")
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
}

/// Whether runtimes read a file of this name as a configuration.
fn is_configuration(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end))
}

fn install_program(source: &Path, target: &Path) -> io::Result<()> {
    if is_same_program(source, target)? {
        return Ok(());
    }
    replace(target, 0o755, |file| io::copy(&mut File::open(source)?, file).map(|_| ()))?;
    info!(path = %target.display(), "CNI plugin installed");
    Ok(())
}

/// Whether `target` is the very file, or holds the same bytes and may be executed.
fn is_same_program(source: &Path, target: &Path) -> io::Result<bool> {
    let wanted = fs::metadata(source)?;
    let Ok(found) = fs::metadata(target) else { return Ok(false) };
    if (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()) {
        return Ok(true);
    }
    Ok(found.len() == wanted.len() && found.mode() & 0o111 != 0 && holds_same(source, target)?)
}

fn holds_same(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut from_a, mut from_b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let len = a.read(&mut from_a)?;
        if len == 0 {
            return Ok(b.read(&mut from_b)? == 0);
        }
        match b.read_exact(&mut from_b[..len]) {
            Ok(()) if from_a[..len] == from_b[..len] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn write_if_other(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    replace(path, 0o644, |file| file.write_all(text.as_bytes()))?;
    info!(path = %path.display(), "CNI configuration written");
    Ok(())
}

/// Puts a new file in the place of `path` at once: whoever opens it sees the old one or the new one, also after a
/// power cut.
fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Runtimes look at `*.conf`, `*.conflist` and `*.json` only.
    let draft = directory.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        write(&mut file)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&draft, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(root: &Path) -> CniFiles {
        CniFiles::new(root.join("bin"), root.join("net.d"), "/var/lib/cni/x".into(), Duration::from_secs(45))
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_plugin_and_its_configuration_are_installed() {
        let root = tempfile::tempdir().unwrap();
        files(root.path()).install(&ranges(&["10.244.1.0/24", "fd00:1::/64"])).unwrap();
        let program = root.path().join("bin/fairway");
        assert!(holds_same(Path::new(OWN_PROGRAM), &program).unwrap());
        assert_eq!(fs::metadata(&program).unwrap().mode() & 0o777, 0o755);
        let text = fs::read_to_string(root.path().join("net.d/05-fairway.conflist")).unwrap();
        let expected = json!({
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": "fairway",
            "plugins": [{
                "type": "fairway",
                "ipam": { "ranges": ["10.244.1.0/24", "fd00:1::/64"], "reuseDelaySeconds": 45 },
                "capabilities": { "portMappings": true, "bandwidth": true, "ips": true, "mac": true },
                "stateDir": "/var/lib/cni/x",
            }],
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
        assert_eq!((names(&root.path().join("bin")).len(), names(&root.path().join("net.d")).len()), (1, 1));
    }

    #[test]
    fn new_pods_are_left_to_another_plugin_and_old_ones_keep_theirs() {
        let root = tempfile::tempdir().unwrap();
        let mut cni = files(root.path());
        cni.withdraw().unwrap();
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        cni.withdraw().unwrap();
        assert_eq!((names(&root.path().join("net.d")), names(&root.path().join("bin"))), (vec![], vec![PLUGIN.into()]));
    }

    #[test]
    fn files_that_are_right_are_not_touched_and_others_are_replaced() {
        let root = tempfile::tempdir().unwrap();
        let (mut cni, path) = (files(root.path()), root.path().join("net.d/05-fairway.conflist"));
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        let before = (inode(&path), inode(&root.path().join("bin/fairway")));
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        assert_eq!((inode(&path), inode(&root.path().join("bin/fairway"))), before);
        cni.install(&ranges(&["10.244.2.0/24"])).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("10.244.2.0/24"));
    }

    #[test]
    fn configurations_that_come_before_ours_are_named_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut cni = files(root.path());
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        for name in ["00-first.conf", "10-later.conflist", "01-second.conflist", "02-note.txt", ".05-x.conflist.new"] {
            fs::write(cni.conf_dir.join(name), "").unwrap();
        }
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        assert_eq!(cni.preferred_to_ours().unwrap(), ["00-first.conf", "01-second.conflist"]);
        assert_eq!(names(&cni.conf_dir).len(), 6);
    }

    #[test]
    fn a_damaged_plugin_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let mut cni = files(root.path());
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        let program = root.path().join("bin/fairway");
        File::options().write(true).open(&program).unwrap().write_all(b"broken").unwrap();
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        assert!(holds_same(Path::new(OWN_PROGRAM), &program).unwrap());
    }

    #[test]
    fn a_link_to_this_program_is_as_good_as_a_copy() {
        let root = tempfile::tempdir().unwrap();
        let mut cni = files(root.path());
        fs::create_dir_all(&cni.bin_dir).unwrap();
        let link = cni.bin_dir.join("fairway");
        std::os::unix::fs::symlink(fs::read_link(OWN_PROGRAM).unwrap(), &link).unwrap();
        cni.install(&ranges(&["10.244.1.0/24"])).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("bin"), "a file").unwrap();
        let error = files(root.path()).install(&ranges(&["10.244.1.0/24"])).unwrap_err();
        assert!(error.to_string().contains("bin/fairway"), "{error}");
    }
}
