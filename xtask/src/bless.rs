//! `cargo xtask bless`: writes the files that are made from others.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes every generated file that is not as it should be, and says which.
pub fn bless() -> Result<()> {
    for file in manifests::generated() {
        let path = Path::new(&file.path);
        if fs::read_to_string(path).is_ok_and(|found| found == file.text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, &file.text).with_context(|| format!("cannot write {}", file.path))?;
        println!("written: {}", file.path);
    }
    Ok(())
}
