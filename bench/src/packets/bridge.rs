//! The peer: Debian's bridge and host-local plugins.

use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::Result;
use datapath::Netns;

use super::load::{PORT, Server};
use super::path::{Path, prepare_client};
use super::pods::make_pod;
use crate::plugin::Programs;

/// Two pods of one node.
pub fn paths(programs: &Programs, folder: &FilePath) -> Result<Vec<Path>> {
    let plugin = programs.bridge("10.202.0.0/24", &folder.join("host-local"))?;
    let node = Arc::new(Netns::create()?);
    let client = make_pod(&node, &plugin, folder, "bridge-client")?;
    let server = make_pod(&node, &plugin, folder, "bridge-server")?;
    prepare_client(&client.netns)?;
    Ok(vec![Path {
        name: "bridge + host-local, one node".to_owned(),
        client: client.netns,
        between: vec![node],
        target: (server.address, PORT).into(),
        server: Arc::new(Server::start(&server.netns)?),
    }])
}
