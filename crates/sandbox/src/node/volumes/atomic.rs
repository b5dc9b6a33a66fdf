//! A directory of files that change all at once, the way the kubelet does it.
//!
//! Files are links into `..data`, itself a link to a directory with a time in its name. An update makes a new directory
//! and moves `..data` over to it in one step, so that a reader sees all of the old files or all of the new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

const DATA: &str = "..data";
const NEXT_DATA: &str = "..data_tmp";

/// The content of a volume: files by their path, with permissions.
pub type Content = BTreeMap<PathBuf, File>;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// Makes the directory at `volume` show exactly `content`; does nothing if it does already.
pub fn write(volume: &Path, content: &Content, now: Timestamp) -> io::Result<()> {
    fs::create_dir_all(volume)?;
    let current = fs::read_link(volume.join(DATA)).ok().map(|name| volume.join(name));
    if let Some(current) = &current
        && shows(current, content)
    {
        return Ok(());
    }
    let name = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let next = volume.join(&name);
    for (path, file) in content {
        let target = next.join(checked(path)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.bytes)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
    }
    fs::create_dir_all(&next)?;
    remove_if_there(&volume.join(NEXT_DATA))?;
    symlink(&name, volume.join(NEXT_DATA))?;
    fs::rename(volume.join(NEXT_DATA), volume.join(DATA))?;
    link_top(volume, content)?;
    match current {
        Some(former) if former != next => fs::remove_dir_all(former),
        _ => Ok(()),
    }
}

/// Whether the files below `directory` are exactly `content`.
fn shows(directory: &Path, content: &Content) -> bool {
    let same = |(path, file): (&PathBuf, &File)| fs::read(directory.join(path)).is_ok_and(|bytes| bytes == file.bytes);
    count_files(directory) == content.len() && content.iter().all(same)
}

fn count_files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

/// Makes the visible links those of `content` and removes others.
fn link_top(volume: &Path, content: &Content) -> io::Result<()> {
    let tops: BTreeSet<&OsStr> =
        content.keys().filter_map(|path| path.components().next()).map(Component::as_os_str).collect();
    for entry in fs::read_dir(volume)?.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("..") && !tops.contains(name.as_os_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    for top in tops {
        let link = volume.join(top);
        if !link.is_symlink() {
            symlink(Path::new(DATA).join(top), link)?;
        }
    }
    Ok(())
}

fn checked(path: &Path) -> io::Result<&Path> {
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if inside && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {}", path.display())))
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> Content {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o644 };
        files.iter().map(|(path, text)| (PathBuf::from(path), file(text))).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn visible(volume: &Path) -> Vec<String> {
        let names = fs::read_dir(volume).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("..")).collect();
        names.sort();
        names
    }

    #[test]
    fn an_update_replaces_all_files_in_one_step_and_leaves_nothing_of_the_old() {
        let volume = tempfile::tempdir().unwrap();
        write(volume.path(), &content(&[("a", "1"), ("sub/b", "1")]), at(1)).unwrap();
        assert_eq!(fs::read_to_string(volume.path().join("sub/b")).unwrap(), "1");
        write(volume.path(), &content(&[("a", "2"), ("c", "2")]), at(2)).unwrap();
        assert_eq!(visible(volume.path()), ["a", "c"]);
        assert_eq!(fs::read_to_string(volume.path().join("a")).unwrap(), "2");
        // The directory with the time, `..data` and the two links.
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 4);
    }

    #[test]
    fn the_same_content_changes_nothing() {
        let volume = tempfile::tempdir().unwrap();
        write(volume.path(), &content(&[("a", "1")]), at(1)).unwrap();
        let before = fs::read_link(volume.path().join(DATA)).unwrap();
        write(volume.path(), &content(&[("a", "1")]), at(2)).unwrap();
        assert_eq!(fs::read_link(volume.path().join(DATA)).unwrap(), before);
    }

    #[test]
    fn a_path_that_leaves_the_volume_is_refused() {
        let volume = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(write(volume.path(), &content(&[(path, "x")]), at(1)).is_err(), "{path}");
        }
    }
}
