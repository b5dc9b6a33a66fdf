//! The per-namespace settings under `/proc/sys/net`.

use std::fs;
use std::io;
use std::path::Path;

/// Where the kernel has them.
const SETTINGS: &str = "/proc/sys/net";
/// Where a container finds the same directory that its runtime mounts read-only at its usual place, as runtimes do
/// unless a container is privileged. The kernel shows every reader its own namespace's settings under both.
const SETTINGS_OF_HOST: &str = "/host/proc/sys/net";

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// It could not be read.
    #[error("cannot read the setting net.{key}")]
    Read {
        /// The setting, e.g. `ipv4/ip_forward`.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot set net.{key} to {value}")]
    Write {
        /// The setting, e.g. `ipv4/ip_forward`.
        key: String,
        /// The value wanted.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads `/proc/sys/net/<key>` of the calling thread's namespace (see [`crate::Netns::run`]), without the line end.
pub fn read(key: &str) -> Result<String, SysctlError> {
    fs::read_to_string(Path::new(SETTINGS).join(key))
        .map(|value| value.trim_end().to_owned())
        .map_err(|source| SysctlError::Read { key: key.to_owned(), source })
}

/// Makes `/proc/sys/net/<key>` of the calling thread's namespace be `value`; writes only when it is not.
///
/// Keys use slashes, since interface names may hold dots: `ipv4/conf/eth0.5/rp_filter`.
pub fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    if read(key).is_ok_and(|current| current == value) {
        return Ok(());
    }
    write_setting([Path::new(SETTINGS), Path::new(SETTINGS_OF_HOST)], key, value).map_err(|source| SysctlError::Write {
        key: key.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes at the second place only what cannot be written at the first because that is read-only.
fn write_setting([usual, other]: [&Path; 2], key: &str, value: &str) -> io::Result<()> {
    match fs::write(usual.join(key), value) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            fs::write(other.join(key), value).map_err(|_| error)
        }
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};

    use super::*;
    use crate::testing::isolated;

    #[test]
    fn a_setting_that_is_read_only_is_written_where_the_container_finds_it_too() {
        isolated(|| {
            let (usual, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let nothing = None::<&str>;
            mount(Some("tmpfs"), usual.path(), Some("tmpfs"), MsFlags::MS_RDONLY, nothing).unwrap();
            let places = [usual.path(), other.path()];
            write_setting(places, "forwarding", "1").unwrap();
            assert_eq!(fs::read_to_string(other.path().join("forwarding")).unwrap(), "1");
            let nowhere = [usual.path(), Path::new("/nowhere")];
            let refused = write_setting(nowhere, "forwarding", "1").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem, "the first failure is told");
        });
    }
}
