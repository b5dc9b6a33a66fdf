//! Fairway in a lab: its image on the nodes, and `fairway install` as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::assets::repository;
use super::machine::Inside;
use super::node::import_images;
use super::progress::Progress;
use super::site::{Node, Site};
use crate::image;
use crate::process::{output, run, show};

/// The program's place in its image.
const PROGRAM: &str = "bin/fairway";

/// Brings it up on nodes that have joined; `archive` is the image, made from this working tree if there is none.
pub fn install(site: &Site, nodes: &[Node], archive: Option<&Path>, progress: Progress) -> Result<()> {
    let archive = archive.map_or_else(|| build_image(progress), |path| Ok(path.to_owned()))?;
    nodes.iter().try_for_each(|node| import_images(node, &archive))?;
    let program = take_program(&archive, &site.folder.join("fairway"))?;
    let mut install = site.control().command(Inside::Network, program.to_str().context("a path that is not text")?)?;
    progress.say("install     fairway install");
    show(install.arg("install").arg("--kubeconfig").arg(site.kubeconfig()))
}

fn build_image(progress: Progress) -> Result<PathBuf> {
    progress.say("image       fairway, from this working tree");
    let archive = repository()?.join("target/lab/fairway.tar");
    image::make(&["--output".into(), archive.display().to_string()])?;
    Ok(archive)
}

/// Takes the program out of the image, so that what installs is what is installed.
fn take_program(archive: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let list = output(Command::new("tar").arg("-xOf").arg(archive).arg("manifest.json"))?;
    let list: Value = serde_json::from_str(&list).context("the archive's manifest.json is no JSON")?;
    let layer = list[0]["Layers"][0].as_str().context("the archive has no layer")?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder).arg(layer))?;
    run(Command::new("tar").arg("-xf").arg(folder.join(layer)).arg("-C").arg(folder).arg(PROGRAM))?;
    Ok(folder.join(PROGRAM))
}
