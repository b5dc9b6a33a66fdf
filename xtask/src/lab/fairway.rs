//! Fairway in a lab: its image on the nodes and its objects in the cluster, nothing else.

use std::path::{Path, PathBuf};

use anyhow::Result;
use manifests::Settings;
use serde_json::json;

use super::assets::repository;
use super::cluster::Cluster;
use super::node::import_images;
use super::progress::Progress;
use super::site::{API_PORT, CLUSTER_DOMAIN, CONTROL, DNS_SERVICE, Node, POD_CIDR, SERVICE_CIDR, Site};
use crate::image;

/// Brings it up on nodes that have joined; `archive` is the image, made from this working tree if there is none.
pub fn install(site: &Site, nodes: &[Node], archive: Option<&Path>, progress: Progress) -> Result<()> {
    let archive = archive.map_or_else(|| build_image(progress), |path| Ok(path.to_owned()))?;
    nodes.iter().try_for_each(|node| import_images(node, &archive))?;
    let objects = manifests::objects(&settings()?);
    Cluster::of(site).apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())
}

fn build_image(progress: Progress) -> Result<PathBuf> {
    progress.say("image       fairway, from this working tree");
    let archive = repository()?.join("target/lab/fairway.tar");
    image::make(&["--output".into(), archive.display().to_string()])?;
    Ok(archive)
}

fn settings() -> Result<Settings> {
    let mut settings = Settings::default();
    let values = [
        ("apiHost", CONTROL.to_string()),
        ("apiPort", API_PORT.to_string()),
        ("clusterCIDR", POD_CIDR.to_owned()),
        ("serviceCIDR", SERVICE_CIDR.to_owned()),
        ("clusterDomain", CLUSTER_DOMAIN.to_owned()),
        ("dns.serviceIP", DNS_SERVICE.to_owned()),
    ];
    values.into_iter().try_for_each(|(name, value)| settings.set(name, value))?;
    Ok(settings)
}
