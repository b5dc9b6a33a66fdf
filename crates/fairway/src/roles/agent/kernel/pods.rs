//! The node's side of what connects pods, which the CNI plugin made and the agent keeps as it was made.

use std::path::PathBuf;

use anyhow::Error;
use cni::Repairs;
use tracing::warn;

use super::mended::Mended;

/// What looks after it.
#[derive(Debug)]
pub(super) struct Pods {
    repairs: Repairs,
    /// What could not be put right, as it was logged last.
    failed: Vec<String>,
}

impl Pods {
    /// Looks after the attachments that are written down in a state directory.
    pub(super) const fn new(cni_state_dir: PathBuf) -> Self {
        Self { repairs: Repairs::new(cni_state_dir), failed: Vec::new() }
    }

    /// Puts right what others changed, and tells it; what fails is done with the next call.
    pub(super) fn put_right(&mut self) -> Option<Mended> {
        let (damages, failures) = match self.repairs.put_right() {
            Ok(repaired) => (repaired.damages, repaired.failures),
            Err(error) => (Vec::new(), vec![error]),
        };
        let failed: Vec<String> = failures.into_iter().map(|error| format!("{:#}", Error::from(error))).collect();
        if failed != self.failed {
            for error in &failed {
                warn!(error, "cannot put right how pods are reached; trying again every few seconds");
            }
            self.failed = failed;
        }
        (!damages.is_empty()).then_some(Mended::Pods(damages))
    }
}
