//! What was built once, by the digest of what it was built from.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// The folder of built things; outside the repository, may be deleted at any time.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The user's.
    pub fn open() -> Result<Self> {
        let folder = user_folder("XDG_CACHE_HOME", ".cache")?.join("fairway-lab");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where what is built from `inputs` is, or will be.
    pub fn place(&self, name: &str, inputs: &[impl AsRef<[u8]>]) -> PathBuf {
        // Lengths keep two inputs from being taken for one.
        let framed = |input: &[u8]| [&input.len().to_le_bytes()[..], input].concat();
        let text: Vec<u8> = inputs.iter().flat_map(|input| framed(input.as_ref())).collect();
        self.folder.join(format!("{name}-{}", &digest(&text)[..12]))
    }

    /// Builds into an empty folder that takes its place only when it is complete; nothing if it is there.
    pub fn fill(&self, place: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if place.exists() {
            return Ok(());
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let draft = self.folder.join(format!(".{name}.{}", std::process::id()));
        fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
        let built = build(&draft).and_then(|()| fs::rename(&draft, place).context("cannot put it in place"));
        if built.is_err() {
            // What is left of a build that failed is in nobody's way.
            let _ = fs::remove_dir_all(&draft);
        }
        built
    }
}

/// SHA-256, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hexadecimal.
pub fn digest_of_file(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).with_context(context)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            length => hasher.update(&piece[..length]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder of the XDG base directory specification.
pub fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    if let Some(folder) = std::env::var_os(variable).map(PathBuf::from).and_then(absolute) {
        return Ok(folder);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).and_then(absolute);
    Ok(home.with_context(|| format!("neither {variable} nor HOME names a folder"))?.join(below_home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), known);
    }

    #[test]
    fn places_differ_with_where_inputs_end() {
        let cache = Cache { folder: "/c".into() };
        assert_ne!(cache.place("x", &["ab", "c"]), cache.place("x", &["a", "bc"]));
    }
}
