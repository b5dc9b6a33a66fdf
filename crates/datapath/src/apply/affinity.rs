//! Forgetting endpoints that left, of those that clients of Services with affinity are remembered to have.

use compile::plan::affinity::{Affine, has_lost_endpoints, memories, stale};
use compile::ruleset::Operation;
use nix::errno::Errno;

use super::{Datapath, DatapathError, Outcome};
use crate::nft::NftError;

/// After endpoints left so many audits look again: a packet may have been on its way through the old rules, and be
/// remembered after the first look.
const LOOKS: u8 = 2;
/// What is remembered may be forgotten by itself while it is looked at; it is looked at anew this often.
const ATTEMPTS: u32 = 10;

impl Datapath {
    /// Looks at what is remembered of clients when endpoints left since the last look, or when there was none.
    pub(super) fn keep_memory_right(
        &mut self,
        committed: &mut Option<Affine>,
        wanted: Option<&Affine>,
        outcome: &mut Outcome,
    ) -> Result<(), DatapathError> {
        let Some(wanted) = wanted else { return Ok(()) };
        if committed.as_ref().is_none_or(|old| has_lost_endpoints(old, wanted)) {
            self.looks_at_memory = LOOKS;
            self.forget(wanted, outcome)?;
        }
        *committed = Some(wanted.clone());
        Ok(())
    }

    /// Looks again, as long as it is due.
    pub(super) fn look_at_memory(&mut self, affine: Option<&Affine>) -> Result<(), DatapathError> {
        let Some(affine) = affine.filter(|_| self.looks_at_memory > 0) else { return Ok(()) };
        self.looks_at_memory -= 1;
        self.forget(affine, &mut Outcome::default())
    }

    /// Takes out what leads to endpoints that left. Takes time in proportion to the clients that are remembered.
    fn forget(&mut self, affine: &Affine, outcome: &mut Outcome) -> Result<(), DatapathError> {
        for (name, spec) in memories() {
            for attempt in 1.. {
                let memory = self.table.read_memory(&name, &spec).map_err(DatapathError::Table)?;
                let stale = stale(&memory, affine);
                if stale.is_empty() {
                    break;
                }
                match self.run(&[Operation::DeleteElements(name.clone(), stale)], outcome) {
                    Ok(()) => break,
                    Err(error) if attempt < ATTEMPTS && is_gone(&error) => {}
                    Err(error) => return Err(DatapathError::Table(error)),
                }
            }
        }
        Ok(())
    }
}

/// Whether the kernel refused to delete what was not there any more.
fn is_gone(error: &NftError) -> bool {
    error.errno() == Some(Errno::ENOENT)
}
