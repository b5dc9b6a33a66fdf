//! A program that carries Services: how it is started on the node, and how all of it is taken away again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::lab::control_plane::flag;
use crate::lab::cost::footprint::Usage;
use crate::lab::machine::{Inside, Service};
use crate::lab::progress::wait_for;
use crate::lab::reference::{PROXY, PROXY_TABLES, proxy_service};
use crate::lab::site::{Families, Site};
use crate::process::run;

const END_LIMIT: Duration = Duration::from_secs(30);

/// Who is measured.
pub struct Contender {
    service: Service,
    /// Its tables: family and name.
    tables: Vec<(&'static str, &'static str)>,
}

impl Contender {
    /// kube-proxy in nftables mode, as the reference stack starts it.
    pub fn kube_proxy(bench: &Bench<'_>) -> Self {
        let tables = PROXY_TABLES.into_iter().map(|family| (family, PROXY)).collect();
        Self { service: proxy_service(&bench.node, bench.programs), tables }
    }

    /// Fairway's agent for Services alone, from the program of its image.
    pub fn fairway(bench: &Bench<'_>, site: &Site, program: PathBuf) -> Self {
        let arguments = vec![
            "agent".to_owned(),
            flag("kubeconfig", site.kubeconfig().display()),
            flag("node-name", bench.node.name()),
            flag("cluster-cidr", Families::Ipv4.pod_ranges()),
            flag("service-cidr", Families::Ipv4.service_ranges()),
            // The pods keep the reference stack's network.
            flag("cni", false),
        ];
        Self { service: Service { name: "fairway", program, arguments }, tables: vec![("inet", "fairway")] }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.service.name
    }

    /// Starts it.
    pub fn start(&self, bench: &Bench<'_>) -> Result<()> {
        bench.node.machine.start(&self.service)
    }

    /// Ends it and removes its tables, so that the other one begins with nothing.
    pub fn end(&self, bench: &Bench<'_>) -> Result<()> {
        bench.node.machine.stop(self.name())?;
        self.clear(bench)
    }

    /// Removes its tables once it has ended.
    pub fn clear(&self, bench: &Bench<'_>) -> Result<()> {
        let nodes = std::slice::from_ref(&bench.node);
        wait_for(format_args!("{} to end", self.name()), END_LIMIT, || Ok(Usage::of(nodes)?.is_none().then_some(())))?;
        self.tables.iter().try_for_each(|(family, name)| {
            let mut nft = bench.node.machine.command(Inside::Network, "nft")?;
            run(nft.args(["delete", "table", family, name]))
        })
    }
}
