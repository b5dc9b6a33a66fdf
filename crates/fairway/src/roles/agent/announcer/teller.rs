//! Telling on Services which node answers for their addresses, beside the work: the API server may take its time.

use std::net::IpAddr;
use std::time::Duration;

use kubeapi::Client;
use model::{Name, NamespacedName};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::roles::agent::COMPONENT;

/// How many Services may wait to be told; more are not. They are answered for all the same.
const PENDING: usize = 1024;
/// How long the API server may take for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who tells what was sent to it.
pub(super) struct Teller {
    node: Name,
    client: Client,
    waiting: Receiver<(NamespacedName, IpAddr)>,
}

/// Where it is sent what to tell.
pub(super) struct TellerSender(Sender<(NamespacedName, IpAddr)>);

impl TellerSender {
    /// Has it told on a Service that this node answers for its address.
    pub(super) fn tell(&self, service: &NamespacedName, address: IpAddr) {
        if self.0.try_send((service.clone(), address)).is_err() {
            debug!(%service, %address, "too many Services wait to be told who answers for them");
        }
    }
}

impl Teller {
    /// A teller for `node`.
    pub(super) fn new(node: Name, client: Client) -> (TellerSender, Self) {
        let (sender, waiting) = channel(PENDING);
        (TellerSender(sender), Self { node, client, waiting })
    }

    /// Tells one after the other until the sender is gone.
    pub(super) async fn run(mut self) {
        while let Some((service, address)) = self.waiting.recv().await {
            let message = format!("node {} answers for {address}", self.node);
            let told = kubeapi::report_on_service(&self.client, &service, ("NodeAssigned", &message), COMPONENT);
            match timeout(PATIENCE, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, %service, "cannot write an event"),
                Err(_) => warn!(%service, "the API server does not take an event"),
            }
        }
    }
}
