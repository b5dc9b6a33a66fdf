//! The per-namespace settings under `/proc/sys/net`.

use std::fs;
use std::io;
use std::path::PathBuf;

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
    fs::read_to_string(path(key))
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
    fs::write(path(key), value).map_err(|source| SysctlError::Write {
        key: key.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}
