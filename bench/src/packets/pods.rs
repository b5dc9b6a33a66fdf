//! Pods as a plugin connects them.

use std::net::IpAddr;
use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::{Context, Result};
use datapath::Netns;
use datapath::route::Rtnetlink;
use ipnet::IpNet;
use serde_json::Value;

use super::path::wait_for_link;
use crate::plugin::Plugin;

/// A pod.
#[derive(Clone)]
pub struct Pod {
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Its address.
    pub address: IpAddr,
}

/// Makes a pod on a node; its namespace is bound to a file of this name in `folder`.
pub fn make_pod(node: &Netns, plugin: &Plugin, folder: &FilePath, name: &str) -> Result<Pod> {
    let path = folder.join(name);
    let netns = Arc::new(Netns::create_at(&path)?);
    let result = node.run(|| plugin.finish(plugin.start("ADD", &path)?))??;
    let result: Value = serde_json::from_slice(&result)?;
    let address = result.pointer("/ips/0/address").and_then(Value::as_str).context("a pod without an address")?;
    wait_for_link(&mut Rtnetlink::open_in(&netns)?, "eth0")?;
    Ok(Pod { netns, address: address.parse::<IpNet>()?.addr() })
}
