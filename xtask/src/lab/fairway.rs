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

/// Kubernetes' suite writes DNS servers a Corefile only when it knows them by the name of CoreDNS.
pub const SETTINGS: [&str; 1] = ["dns.name=coredns"];

/// Brings it up on nodes that have joined; `archive` is the image, made from this working tree if there is none.
pub fn install(
    site: &Site,
    nodes: &[Node],
    settings: &[String],
    archive: Option<&Path>,
    progress: Progress,
) -> Result<()> {
    let program = bring(site, nodes, archive, progress)?;
    let words = words_with(settings, &[]);
    let mut install = site.control().command(Inside::Network, program.to_str().context("a path that is not text")?)?;
    progress.say(format!("install     fairway {}", words.join(" ")));
    show(install.args(words).arg("--kubeconfig").arg(site.kubeconfig()).stdout(std::io::stderr()))
}

/// Brings the image to the nodes, and returns the program in it.
pub fn bring(site: &Site, nodes: &[Node], archive: Option<&Path>, progress: Progress) -> Result<PathBuf> {
    let archive = archive.map_or_else(|| build_image(progress), |path| Ok(path.to_owned()))?;
    nodes.iter().try_for_each(|node| import_images(node, &archive))?;
    take_program(&archive, &site.folder.join("fairway"))
}

/// An image of another build: the installed program with bytes behind its end that nobody reads, under that tag.
pub fn other_build(site: &Site, tag: &str) -> Result<PathBuf> {
    let folder = site.folder.join("fairway");
    let mut binary = fs::read(folder.join(image::PROGRAM)).context("no program of this lab's installation")?;
    binary.extend_from_slice(tag.as_bytes());
    let archive = folder.join(format!("{tag}.tar"));
    image::write(&binary, &[format!("fairway:{tag}")], &archive)?;
    Ok(archive)
}

/// Brings the nodes the image of an archive and installs Fairway again from it, as `docs/upgrade.md` has it.
pub fn upgrade(site: &Site, archive: &Path) -> Result<()> {
    let shape = site.read_shape()?;
    let nodes = site.nodes(&shape);
    nodes.iter().try_for_each(|node| import_images(node, archive))?;
    let name = image_of(archive)?;
    let tag = name.rsplit_once(':').map(|(_, tag)| tag).with_context(|| format!("{name} has no tag"))?;
    let program = take_program(archive, &site.folder.join("fairway"))?;
    let words = words_with(&shape.settings, &[&format!("image.tag={tag}")]);
    command(site, &program, &words.iter().map(String::as_str).collect::<Vec<_>>()).map(|_| ())
}

/// `install` with the lab's own settings, the user's, and more.
fn words_with(settings: &[String], more: &[&str]) -> Vec<String> {
    let all = SETTINGS.iter().copied().chain(settings.iter().map(String::as_str)).chain(more.iter().copied());
    let set = all.flat_map(|setting| ["--set".to_owned(), setting.to_owned()]);
    std::iter::once("install".to_owned()).chain(set).collect()
}

/// Runs a command of Fairway's against the lab; what it printed.
pub fn command(site: &Site, program: &Path, words: &[&str]) -> Result<String> {
    let program = program.to_str().context("a path that is not text")?;
    let mut command = site.control().command(Inside::Network, program)?;
    output(command.args(words).arg("--kubeconfig").arg(site.kubeconfig()))
}

/// The name of the image in an archive.
fn image_of(archive: &Path) -> Result<String> {
    let name = manifest(archive)?["RepoTags"][0].as_str().map(str::to_owned);
    name.with_context(|| format!("the image in {} has no name", archive.display()))
}

fn manifest(archive: &Path) -> Result<Value> {
    let list = output(Command::new("tar").arg("-xOf").arg(archive).arg("manifest.json"))?;
    let list: Value = serde_json::from_str(&list).context("the archive's manifest.json is no JSON")?;
    Ok(list[0].clone())
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
    let manifest = manifest(archive)?;
    let layer = manifest["Layers"][0].as_str().context("the archive has no layer")?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder).arg(layer))?;
    run(Command::new("tar").arg("-xf").arg(folder.join(layer)).arg("-C").arg(folder).arg(image::PROGRAM))?;
    Ok(folder.join(image::PROGRAM))
}
