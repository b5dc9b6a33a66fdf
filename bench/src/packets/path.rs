//! A way for packets: a client's namespace and an address that leads to a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use datapath::route::{Link, Rtnetlink};
use datapath::{Netns, sysctl};
use ipnet::IpNet;

use super::load::Server;

/// How long a link may take until packets pass it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A way from a client to a server.
pub struct Path {
    /// What it is called in the table.
    pub name: String,
    /// Where the client is.
    pub client: Arc<Netns>,
    /// What lies between client and server.
    #[expect(dead_code, reason = "a namespace ends with the last value that holds it")]
    pub between: Vec<Arc<Netns>>,
    /// Where the client sends.
    pub target: SocketAddr,
    /// What answers there.
    pub server: Arc<Server>,
}

/// Lets a client open as many connections as a test takes: ports of finished ones are free again after a second.
pub fn prepare_client(netns: &Netns) -> Result<()> {
    netns.run(|| {
        sysctl::write("ipv4/ip_local_port_range", "1024\t65535")?;
        sysctl::write("ipv4/tcp_tw_reuse", "1")
    })??;
    Ok(())
}

/// Sets a link of a namespace up and gives it addresses.
pub fn set_up(links: &mut Rtnetlink, name: &str, addresses: &[IpNet]) -> Result<Link> {
    let link = links.require_link(name)?;
    links.set_up(link.index)?;
    for address in addresses {
        links.add_address(link.index, *address)?;
    }
    Ok(link)
}

/// Waits until packets pass a link.
pub fn wait_for_link(links: &mut Rtnetlink, name: &str) -> Result<()> {
    Ok(links.wait_until_running(name, PATIENCE)?)
}
