//! What is done to a lab, and when it is over.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::tokens;
use super::victims::{self, Victim};
use crate::lab::cluster::Cluster;
use crate::lab::fairway;
use crate::lab::probes;
use crate::lab::progress::{pause, wait_for};
use crate::lab::site::{Node, Site};

/// How long a program may take to be back: kubelet waits longer and longer before it starts a container again.
const BACK_LIMIT: Duration = Duration::from_secs(200);
/// etcd is frozen for so long.
const FREEZE: Duration = Duration::from_secs(120);
const STOP: u8 = 19;
const CONTINUE: u8 = 18;
const READY_LIMIT: Duration = Duration::from_secs(120);

/// One thing that must not be noticed.
pub enum Blow {
    /// A program is killed.
    Kill(Victim),
    /// etcd stands still for two minutes.
    Freeze,
    /// The tokens of Fairway's accounts stop being accepted.
    Tokens,
    /// Fairway is installed again with this image, another build.
    Upgrade(PathBuf),
}

/// Where blows fall.
pub struct Field<'a> {
    /// The lab.
    pub site: &'a Site,
    /// Its nodes.
    pub nodes: &'a [Node],
    /// Its cluster.
    pub cluster: &'a Cluster,
}

impl Blow {
    /// All of them; the upgrade is to the image `other`.
    pub fn all(field: &Field<'_>, other: PathBuf) -> Vec<Self> {
        let kills = victims::all(field.site, field.nodes).into_iter().map(Self::Kill);
        kills.chain([Self::Freeze, Self::Tokens, Self::Upgrade(other)]).collect()
    }

    /// Strikes, and returns when what was struck is back.
    pub fn strike(&self, field: &Field<'_>) -> Result<()> {
        match self {
            Self::Kill(victim) => kill(victim),
            Self::Freeze => freeze(field),
            Self::Tokens => tokens::renew(field),
            Self::Upgrade(archive) => fairway::upgrade(field.site, archive),
        }
    }

    /// Whether there is anything to strike: a DNS server or a controller is not on every node.
    pub fn is_possible(&self) -> Result<bool> {
        match self {
            Self::Kill(victim) => Ok(!victim.processes()?.is_empty()),
            Self::Freeze | Self::Tokens | Self::Upgrade(_) => Ok(true),
        }
    }

    /// The tasks of probers that lose something whatever the network does: questions on their way to a DNS server that is
    /// killed, and those that come before the cluster knows.
    pub fn excused(&self) -> &'static [&'static str] {
        match self {
            Self::Kill(victim) if victim.is_dns_server() => &[probes::NAME],
            _ => &[],
        }
    }
}

fn kill(victim: &Victim) -> Result<()> {
    let before = victim.processes()?;
    victim.kill(&before)?;
    wait_for(format_args!("{victim} to be back"), BACK_LIMIT, || {
        let now = victim.processes()?;
        Ok((now.len() >= before.len() && now.iter().all(|id| !before.contains(id))).then_some(()))
    })
}

fn freeze(field: &Field<'_>) -> Result<()> {
    field.site.control().signal("etcd", STOP)?;
    pause(FREEZE);
    field.site.control().signal("etcd", CONTINUE)?;
    field.cluster.wait_for_api(READY_LIMIT)?;
    field.cluster.wait_for_nodes(field.nodes.len(), READY_LIMIT)
}

impl fmt::Display for Blow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim) => write!(out, "kill -9 {victim}"),
            Self::Freeze => write!(out, "freeze etcd for {} s", FREEZE.as_secs()),
            Self::Tokens => write!(out, "new tokens for Fairway's accounts"),
            Self::Upgrade(_) => write!(out, "upgrade to another build"),
        }
    }
}
