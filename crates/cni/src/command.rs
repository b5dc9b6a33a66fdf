//! The commands.

use std::net::IpAddr;
use std::path::Path;

use datapath::route::Rtnetlink;
use serde_json::Value;

use crate::config::Config;
use crate::environment::Request;
use crate::ipam::Store;
use crate::owner::Owner;
use crate::result::addresses_of;
use crate::state::StateDirectory;
use crate::wiring::{self, Wiring};
use crate::{CniError, Version, attachments, host_ports};

/// What a command answers when it succeeds.
#[derive(Debug)]
pub(crate) enum Answer {
    Nothing,
    Object(Value),
}

pub(crate) fn run(request: &Request, config: &Config) -> Result<Answer, CniError> {
    let state = StateDirectory::open(&config.state_dir);
    match request {
        Request::Add { owner, netns, pod } => add(&state, config, owner, netns, pod.as_deref()),
        Request::Del { owner } => del(&state, owner),
        Request::Check { owner, netns } => check(&state, config, owner, netns),
        Request::Gc => gc(&state, config),
        Request::Status => status(&state, config),
        Request::Version => Ok(Answer::Nothing),
    }
}

fn add(
    state: &StateDirectory,
    config: &Config,
    owner: &Owner,
    netns: &Path,
    pod: Option<&str>,
) -> Result<Answer, CniError> {
    let addresses = Store::new(state).reserve(owner, &config.ranges)?;
    let wiring = Wiring { owner, netns, pod, addresses: &addresses, mtu: config.mtu };
    let made = wiring::attach(&wiring).and_then(|attachment| {
        let ports = host_ports::plan(&config.port_mappings, &addresses);
        host_ports::publish(state, owner, &attachment.host.name, &ports)?;
        Ok(attachment)
    });
    match made {
        Ok(attachment) => Ok(Answer::Object(attachment.result(config))),
        Err(error) => {
            // The first failure is the one to tell; what stays goes with DEL.
            let _ = take_down(state, owner);
            Err(error)
        }
    }
}

/// Takes everything down that may be there, goes on after failures, and works without the container's namespace.
fn del(state: &StateDirectory, owner: &Owner) -> Result<Answer, CniError> {
    take_down(state, owner)?;
    Ok(Answer::Nothing)
}

/// What leads to the container goes first and its address last, so that no address is given out that is still known
/// somewhere. A failure of the first part stops none of the others; one of the link keeps the address.
fn take_down(state: &StateDirectory, owner: &Owner) -> Result<(), CniError> {
    let withdrawn = host_ports::withdraw(state, owner);
    let detached = Rtnetlink::open().map_err(CniError::from).and_then(|mut host| wiring::detach(&mut host, owner));
    let released = detached.and_then(|()| Ok(Store::new(state).release(owner)?));
    match (withdrawn, released) {
        (Ok(()), Ok(_)) => Ok(()),
        (Err(error), Ok(_)) | (Ok(()), Err(error)) => Err(error),
        (Err(first), Err(second)) => Err(CniError::Teardown { failures: vec![first, second] }),
    }
}

fn check(state: &StateDirectory, config: &Config, owner: &Owner, netns: &Path) -> Result<Answer, CniError> {
    require(config, "CHECK", Version::V0_4_0)?;
    let Some(previous) = &config.previous else {
        let why = "CHECK compares with the result of ADD; the runtime must give it".to_owned();
        return Err(CniError::Config { field: "prevResult".into(), why });
    };
    let reservations = Store::new(state).reservations()?;
    let held: Vec<IpAddr> = reservations
        .into_iter()
        .filter(|(_, holder)| holder.as_ref() == Some(owner))
        .map(|(address, _)| address)
        .collect();
    if held.is_empty() {
        let (container, interface) = (owner.container.clone(), owner.interface.clone());
        return Err(CniError::UnknownContainer { container, interface });
    }
    let mut faults = wiring::faults(owner, netns, &held)?;
    faults.extend(host_ports::faults(state, owner, &host_ports::plan(&config.port_mappings, &held))?);
    let promised = addresses_of(previous);
    let missing = held.iter().filter(|address| !promised.contains(address));
    faults.extend(missing.map(|address| format!("prevResult does not have the container's address {address}")));
    if faults.is_empty() { Ok(Answer::Nothing) } else { Err(CniError::Damaged { faults }) }
}

/// Takes down what belongs to attachments the runtime does not know; goes on after failures.
fn gc(state: &StateDirectory, config: &Config) -> Result<Answer, CniError> {
    require(config, "GC", Version::V1_1_0)?;
    let Some(valid) = &config.valid_attachments else {
        let why = "GC needs the attachments that are in use; the runtime must give them".to_owned();
        return Err(CniError::Config { field: "cni.dev/valid-attachments".into(), why });
    };
    let store = Store::new(state);
    let mut stale: Vec<Owner> = store.reservations()?.into_values().flatten().collect();
    stale.extend(attachments::read_all(state)?.into_iter().map(|attachment| attachment.owner));
    stale.sort();
    stale.dedup();
    let stale = stale.iter().filter(|owner| !valid.contains(owner));
    let mut failures: Vec<CniError> = stale.filter_map(|owner| take_down(state, owner).err()).collect();
    failures.extend(store.release_unowned().err().map(CniError::from));
    if failures.is_empty() { Ok(Answer::Nothing) } else { Err(CniError::Teardown { failures }) }
}

/// Whether an `ADD` would find an address and somewhere to write it down.
fn status(state: &StateDirectory, config: &Config) -> Result<Answer, CniError> {
    require(config, "STATUS", Version::V1_1_0)?;
    let probed = Store::new(state).probe(&config.ranges).map_err(CniError::from);
    let reached = Rtnetlink::open().map_err(CniError::from);
    match probed.and(reached) {
        Ok(_) => Ok(Answer::Nothing),
        Err(error) => Err(CniError::NotReady { why: crate::error::chain(&error) }),
    }
}

fn require(config: &Config, command: &'static str, since: Version) -> Result<(), CniError> {
    if config.version >= since {
        return Ok(());
    }
    Err(CniError::CommandTooNew { command, since, asked: config.version })
}
