//! Fairway as its agent does it: snapshot, plan, difference, kernel.

use std::time::{Duration, Instant};

use anyhow::Result;
use compile::sample::{NODES, add_plain, plain_cluster, plain_endpoints, plain_service, plain_slice};
use compile::{NodeView, Plan};
use datapath::{Datapath, Wanted};
use model::Cluster;

use super::case::{Case, Size};

/// An agent with its snapshot.
pub struct Flat {
    size: Size,
    cluster: Cluster,
    agent: Option<(Datapath, Plan)>,
}

impl Flat {
    /// Starts an agent on what the kernel holds; whether it wrote something.
    fn start(&mut self) -> Result<bool> {
        let plan = Plan::of(NodeView::new(NODES[0].name), &self.cluster);
        let mut datapath = Datapath::open()?;
        let outcome = datapath.apply(&Wanted { routes: &[], ..Wanted::from(&plan) })?;
        self.agent = Some((datapath, plan));
        Ok(!outcome.wrote_nothing())
    }
}

impl Case for Flat {
    fn prepare(size: &Size) -> Result<Self> {
        Ok(Self { size: *size, cluster: plain_cluster(size.services, size.endpoints), agent: None })
    }

    fn cold(&mut self) -> Result<()> {
        self.start().map(|_| ())
    }

    fn restart(&mut self) -> Result<Option<bool>> {
        self.agent = None;
        self.start().map(Some)
    }

    fn change(&mut self, change: usize) -> Result<Duration> {
        let Size { services, endpoints, .. } = self.size;
        let new = plain_service(services);
        let begun = Instant::now();
        match change {
            0 => add_plain(&mut self.cluster, services, endpoints),
            1 => {
                self.cluster.services.remove(&new.name);
                self.cluster.remove_slice(&new.name, &new.name.name);
            }
            _ => {
                let count = if change == 2 { endpoints + 1 } else { endpoints };
                self.cluster.insert_slice(plain_slice(&plain_service(0), plain_endpoints(0, count)));
            }
        }
        if let Some((datapath, plan)) = &mut self.agent {
            *plan = plan.next(&self.cluster);
            datapath.apply(&Wanted { routes: &[], ..Wanted::from(&*plan) })?;
        }
        Ok(begun.elapsed())
    }
}
