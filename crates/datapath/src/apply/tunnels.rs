//! The tunnel's part of applying a wanted state.

use compile::plan::{Hop, Tunnel};

use super::{Committed, Datapath, Outcome};
use crate::route::{LinkIndex, RouteError};
use crate::tunnel::{self, Changes};

/// What is known of the tunnel in the kernel.
#[derive(Clone, Debug)]
pub(super) enum HeldTunnel {
    Known(Option<Tunnel>),
    /// A change of it failed halfway.
    Unknown,
}

impl Datapath {
    pub(super) fn tunnel_device(&mut self) -> Result<Option<LinkIndex>, RouteError> {
        Ok(self.links.link(tunnel::DEVICE)?.map(|link| link.index))
    }

    /// Gives the tunnel what it lacks and tells what it is to lose.
    pub(super) fn extend_tunnel(
        &mut self,
        committed: &mut Committed,
        wanted: Option<&Tunnel>,
        outcome: &mut Outcome,
    ) -> Option<Changes> {
        let extended = (|| {
            let held = match std::mem::replace(&mut committed.tunnel, HeldTunnel::Unknown) {
                HeldTunnel::Known(held) => held,
                HeldTunnel::Unknown => tunnel::read(&mut self.links)?,
            };
            let changes = Changes::between(held.as_ref(), wanted);
            if changes.replaces_device() {
                // They go with the device.
                committed.routes.retain(|_, hop| !matches!(hop, Hop::Tunnel(_)));
            }
            if let Some(wanted) = wanted {
                tunnel::extend(&mut self.links, &changes, wanted)?;
            }
            Ok(changes)
        })();
        extended.map_err(|error: RouteError| failed(&error, outcome)).ok()
    }

    /// Takes from the tunnel what it is to lose.
    pub(super) fn reduce_tunnel(
        &mut self,
        changes: Option<&Changes>,
        committed: &mut Committed,
        wanted: Option<&Tunnel>,
        outcome: &mut Outcome,
    ) {
        let Some(changes) = changes else { return };
        match tunnel::reduce(&mut self.links, changes) {
            Ok(()) => {
                outcome.tunnel_changes += changes.count();
                committed.tunnel = HeldTunnel::Known(wanted.cloned());
            }
            Err(error) => failed(&error, outcome),
        }
    }
}

fn failed(error: &RouteError, outcome: &mut Outcome) {
    tracing::warn!(%error, cause = ?std::error::Error::source(error), "the tunnel to other nodes could not be set up");
    outcome.routes_failed += 1;
}
