//! Everything a lab is made of that is not the lab itself: built once, then found.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::Cache;
use super::programs::Programs;
use super::progress::Progress;
use super::{images, packages, programs};

/// What `lab build` makes.
pub struct Assets {
    /// Programs.
    pub programs: Programs,
    /// The archive with every image.
    pub images: PathBuf,
    /// The archive with Fairway's image, if it was made before.
    pub fairway: Option<PathBuf>,
}

impl Assets {
    /// Builds what is not there yet.
    pub fn build(progress: Progress) -> Result<Self> {
        packages::install(progress)?;
        let cache = Cache::open()?;
        let programs = programs::build(&cache, &repository()?.join("lab"), progress)?;
        let images = images::build(&cache, &programs.in_images, progress)?;
        Ok(Self { programs, images, fairway: None })
    }
}

/// Helm, which checks the chart; built by itself, since that takes no Kubernetes.
pub fn helm(progress: Progress) -> Result<PathBuf> {
    programs::build_helm(&Cache::open()?, &repository()?.join("lab"), progress)
}

/// The root of this repository.
pub fn repository() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask lab ...`")?;
    Path::new(&here).parent().map(Path::to_owned).context("xtask is not in a repository")
}
