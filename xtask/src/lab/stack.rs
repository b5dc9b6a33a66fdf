//! What the network of a lab is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::assets::Assets;
use super::progress::Progress;
use super::site::{Node, Shape, Site};
use super::{fairway, reference};

/// A network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// Fairway alone.
    Fairway,
    /// The bridge and host-local plugins, kube-proxy in nftables mode, CoreDNS.
    Reference,
    /// None: for trying an installation by hand.
    Bare,
}

impl Stack {
    /// The stack of that name.
    pub fn of_name(name: &str) -> Result<Self> {
        Ok(match name {
            "fairway" => Self::Fairway,
            "reference" => Self::Reference,
            "bare" => Self::Bare,
            other => bail!("no stack {other:?}: fairway, reference or bare"),
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fairway => "fairway",
            Self::Reference => "reference",
            Self::Bare => "bare",
        }
    }

    /// Puts the plugins on a node that the stack, or the container runtime, expects there.
    pub fn prepare(self, node: &Node, plugins: &[PathBuf]) -> Result<()> {
        // containerd 1.6 insists on the loopback plugin whatever the network is.
        let all = self == Self::Reference;
        let wanted = plugins.iter().filter(|plugin| all || plugin.ends_with("loopback"));
        wanted.into_iter().try_for_each(|plugin| install_plugin(node, plugin))
    }
}

/// Brings the network of that shape up on nodes that have joined.
pub fn install(site: &Site, shape: &Shape, assets: &Assets, progress: Progress) -> Result<()> {
    let nodes = site.nodes(shape);
    match shape.stack {
        Stack::Fairway => fairway::install(site, &nodes, &shape.settings, assets.fairway.as_deref(), progress),
        Stack::Reference => reference::install(site, &nodes, shape.families, assets),
        Stack::Bare => Ok(()),
    }
}

fn install_plugin(node: &Node, plugin: &Path) -> Result<()> {
    let name = plugin.file_name().context("a plugin without a name")?;
    let target = node.machine.folder.join("opt/cni/bin").join(name);
    fs::copy(plugin, &target).map(|_| ()).with_context(|| format!("cannot write {}", target.display()))
}
