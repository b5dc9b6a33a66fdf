//! `DEL` and `GC`: what was made is taken down, as far as it is there.

use datapath::route::{RouteError, Rtnetlink};

use crate::attachments::{self, Record};
use crate::ipam::{Rest, Store};
use crate::owner::Owner;
use crate::removal::Removal;
use crate::state::StateDirectory;
use crate::wiring;
use crate::{CniError, bandwidth, host_ports};

/// Takes everything down that may be there of an attachment, goes on after failures, and works without the container's
/// namespace, twice, and for attachments that never were.
///
/// What leads to the container goes first and its addresses last, so that no address is given out that is still known
/// somewhere; a failure keeps the record, for the next try.
pub(super) fn take_down(state: &StateDirectory, removal: &Removal, owner: &Owner) -> Result<(), CniError> {
    undo(state, removal, owner, Rest::Due)
}

/// The same for an attachment nobody can have met: its addresses need no rest.
pub(super) fn roll_back(state: &StateDirectory, removal: &Removal, owner: &Owner) -> Result<(), CniError> {
    undo(state, removal, owner, Rest::Needless)
}

fn undo(state: &StateDirectory, removal: &Removal, owner: &Owner, rest: Rest) -> Result<(), CniError> {
    let record = attachments::read(state, owner)?;
    disown(state, record.as_ref());
    let withdrawn = record.as_ref().map_or(Ok(()), |record| host_ports::withdraw(state, record));
    let detached = Rtnetlink::open().map_err(CniError::from).and_then(|mut host| {
        // As long as the link of another plugin sends by our detour, that must stay: the link would drop all it gets.
        lift_limits(&mut host, record.as_ref())?;
        wiring::detach(&mut host, owner)
    });
    let released = match detached {
        Ok(()) => release(&Store::new(state), removal, record.as_ref(), (owner, rest)),
        Err(error) => Err(error),
    };
    CniError::of_all([withdrawn, released].into_iter().filter_map(Result::err).collect())?;
    forget(state, owner)
}

/// Has nobody restore what is taken down from now on. Where that cannot be written down, as on a full disk, what is restored
/// meanwhile goes with the link.
fn disown(state: &StateDirectory, record: Option<&Record>) {
    if let Some(record) = record.filter(|record| record.made.is_some())
        && let Ok(lock) = state.lock()
    {
        let _ = attachments::write(state, &lock, &Record { made: None, ..record.clone() });
    }
}

/// Lifts the limits from the link of another plugin, which may stay. With its namespace a container's link is gone.
fn lift_limits(host: &mut Rtnetlink, record: Option<&Record>) -> Result<(), CniError> {
    let Some(record) = record.filter(|record| record.chained) else { return Ok(()) };
    if !record.is_alive(host)? {
        return Ok(());
    }
    match wiring::host_end(host, &record.netns, &record.owner.interface) {
        Ok(link) => bandwidth::lift_from(host, &record.owner, &link),
        Err(CniError::NoHostEnd { .. } | CniError::Wiring(RouteError::NoLink { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives the addresses back to whoever gave them.
fn release(
    store: &Store<'_>,
    removal: &Removal,
    record: Option<&Record>,
    (owner, rest): (&Owner, Rest),
) -> Result<(), CniError> {
    let given_back = match &removal.address_plugin {
        // Of another network are the attachments another configuration is for.
        Some(plugin) if record.is_none_or(|record| record.network == removal.network) => plugin.give_back(owner),
        _ => Ok(()),
    };
    store.release(owner, rest)?;
    given_back
}

fn forget(state: &StateDirectory, owner: &Owner) -> Result<(), CniError> {
    if !state.exists() {
        return Ok(());
    }
    let lock = state.lock()?;
    Ok(attachments::remove(state, &lock, owner)?)
}

/// Takes down the attachments of this network the runtime does not know; goes on after failures.
pub(super) fn collect(state: &StateDirectory, removal: &Removal) -> Result<(), CniError> {
    let Some(valid) = &removal.valid_attachments else {
        let why = "GC needs the attachments that are in use; the runtime must give them".to_owned();
        return Err(CniError::Config { field: "cni.dev/valid-attachments".into(), why });
    };
    let records = attachments::read_all(state)?;
    let stale = records.iter().filter(|record| record.network == removal.network && !valid.contains(&record.owner));
    let mut failures: Vec<CniError> =
        stale.filter_map(|record| take_down(state, removal, &record.owner).err()).collect();
    failures.extend(release_unknown(state).err());
    if let Some(plugin) = &removal.address_plugin {
        failures.extend(plugin.forward("GC").err());
    }
    if failures.is_empty() { Ok(()) } else { Err(CniError::Teardown { failures }) }
}

/// Ends reservations of attachments that are not written down, as none is.
fn release_unknown(state: &StateDirectory) -> Result<(), CniError> {
    if !state.exists() {
        return Ok(());
    }
    // Written down before anything is reserved: whoever reserves meanwhile is on the list already.
    let is_known = |owner: &Owner| Ok(attachments::read(state, owner)?.is_some());
    Store::new(state).release_unknown(is_known)?;
    Ok(())
}
