//! Forgetting endpoints that left, of those that clients of Services with affinity are remembered to have.

use compile::plan::affinity::{Affine, has_lost_endpoints, memories, stale};
use compile::ruleset::{Element, Operation};
use nix::errno::Errno;

use super::{Datapath, Outcome};
use crate::nft::NftError;

/// After endpoints left so many audits look again: a packet may have been on its way through the old rules, and be
/// remembered after the first look.
const LOOKS: u8 = 2;

impl Datapath {
    /// Looks at what is remembered of clients when endpoints left since the last look, or when there was none. What
    /// cannot be looked at now is with the next step: the rules are in force, whatever clients are remembered to have.
    pub(super) fn keep_memory_right(
        &mut self,
        committed: &mut Option<Affine>,
        wanted: Option<&Affine>,
        outcome: &mut Outcome,
    ) {
        let Some(wanted) = wanted else { return };
        if committed.as_ref().is_none_or(|old| has_lost_endpoints(old, wanted)) {
            self.looks_at_memory = LOOKS;
            if let Err(error) = self.forget(wanted, outcome) {
                warn(&error);
                *committed = None;
                return;
            }
        }
        *committed = Some(wanted.clone());
    }

    /// Looks again, as long as it is due; one that fails is due again.
    pub(super) fn look_at_memory(&mut self, affine: Option<&Affine>) {
        let Some(affine) = affine.filter(|_| self.looks_at_memory > 0) else { return };
        match self.forget(affine, &mut Outcome::default()) {
            Ok(()) => self.looks_at_memory -= 1,
            Err(error) => warn(&error),
        }
    }

    /// Takes out what leads to endpoints that left. Takes time in proportion to the clients that are remembered.
    fn forget(&mut self, affine: &Affine, outcome: &mut Outcome) -> Result<(), NftError> {
        for (name, spec) in memories() {
            let memory = self.table.read_memory(&name, &spec)?;
            delete_those_left(&stale(&memory, affine), &mut |part| {
                self.run(&[Operation::DeleteElements(name.clone(), part.to_vec())], outcome)
            })?;
        }
        Ok(())
    }
}

/// Deletes elements of which any may be gone by itself meanwhile: the kernel refuses a transaction that deletes such a one,
/// and then each half is tried. (`NFT_MSG_DESTROYSETELEM`, which does not refuse, is in Linux from 6.3 on.)
fn delete_those_left<F>(elements: &[Element], delete: &mut F) -> Result<(), NftError>
where
    F: FnMut(&[Element]) -> Result<(), NftError>,
{
    if elements.is_empty() {
        return Ok(());
    }
    match delete(elements) {
        Err(error) if is_gone(&error) && elements.len() > 1 => {
            let (first, second) = elements.split_at(elements.len() / 2);
            delete_those_left(first, delete)?;
            delete_those_left(second, delete)
        }
        Err(error) if is_gone(&error) => Ok(()),
        outcome => outcome,
    }
}

/// Whether the kernel refused to delete what was not there any more.
fn is_gone(error: &NftError) -> bool {
    error.errno() == Some(Errno::ENOENT)
}

fn warn(error: &NftError) {
    let cause = std::error::Error::source(error);
    tracing::warn!(%error, ?cause, "cannot forget endpoints that left, which clients may go on being sent to; trying again");
}

#[cfg(test)]
mod tests {
    use compile::ruleset::{Content, ElementKey, Value};

    use super::*;
    use crate::netlink::KernelRefusal;

    fn refused(errno: Errno) -> NftError {
        let refusal = KernelRefusal { errno, explanation: None, offset: None };
        NftError::Refused { operation: "delete elements".into(), refusal }
    }

    #[test]
    fn elements_that_went_by_themselves_keep_no_other_from_being_deleted() {
        let elements: Vec<Element> = (0..8)
            .map(|number| Element { key: ElementKey::Exact([Value::Mark(number)].into()), content: Content::default() })
            .collect();
        for gone in [vec![], vec![3], vec![0, 7], (0..8).collect()] {
            let mut left: Vec<Element> = elements.clone();
            gone.iter().rev().for_each(|index| drop(left.remove(*index)));
            delete_those_left(&elements, &mut |part| {
                if part.iter().any(|element| !left.contains(element)) {
                    return Err(refused(Errno::ENOENT));
                }
                left.retain(|element| !part.contains(element));
                Ok(())
            })
            .unwrap();
            assert_eq!(left, [], "{gone:?}");
        }
        let denied = delete_those_left(&elements, &mut |_| Err(refused(Errno::EPERM)));
        assert_eq!(denied.unwrap_err().errno(), Some(Errno::EPERM));
    }
}
