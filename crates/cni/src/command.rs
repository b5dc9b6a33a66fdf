//! The commands.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use datapath::route::Rtnetlink;
use serde_json::Value;

use crate::config::Config;
use crate::environment::Request;
use crate::ipam::Store;
use crate::owner::Owner;
use crate::result::addresses_of;
use crate::wiring::{self, Wiring};
use crate::{CniError, Version};

/// Tells boots apart (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a command answers when it succeeds.
#[derive(Debug)]
pub(crate) enum Answer {
    Nothing,
    Object(Value),
}

pub(crate) fn run(request: &Request, config: &Config) -> Result<Answer, CniError> {
    let store = Store::new(&config.state_dir, boot_id());
    match request {
        Request::Add { owner, netns, pod } => add(&store, config, owner, netns, pod.as_deref()),
        Request::Del { owner } => del(&store, owner),
        Request::Check { owner, netns } => check(&store, config, owner, netns),
        Request::Gc => gc(&store, config),
        Request::Status => status(&store, config),
        Request::Version => Ok(Answer::Nothing),
    }
}

fn boot_id() -> String {
    // Without it every boot looks the same and stale reservations wait for DEL or GC.
    fs::read_to_string(BOOT_ID).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

fn add(store: &Store, config: &Config, owner: &Owner, netns: &Path, pod: Option<&str>) -> Result<Answer, CniError> {
    let addresses = store.reserve(owner, &config.ranges)?;
    let wiring = Wiring { owner, netns, pod, addresses: &addresses, mtu: config.mtu };
    match wiring::attach(&wiring) {
        Ok(attachment) => Ok(Answer::Object(attachment.result(config))),
        Err(error) => {
            // The first failure is the one to tell; what stays reserved goes with DEL.
            let _ = store.release(owner);
            Err(error)
        }
    }
}

/// Takes everything down that may be there, goes on after failures, and works without the container's namespace.
fn del(store: &Store, owner: &Owner) -> Result<Answer, CniError> {
    take_down(store, owner)?;
    Ok(Answer::Nothing)
}

/// The link goes before the address, so that no address is given out that still has a route.
fn take_down(store: &Store, owner: &Owner) -> Result<(), CniError> {
    let detached = Rtnetlink::open().map_err(CniError::from).and_then(|mut host| wiring::detach(&mut host, owner));
    detached?;
    store.release(owner)?;
    Ok(())
}

fn check(store: &Store, config: &Config, owner: &Owner, netns: &Path) -> Result<Answer, CniError> {
    require(config, "CHECK", Version::V0_4_0)?;
    let Some(previous) = &config.previous else {
        let why = "CHECK compares with the result of ADD; the runtime must give it".to_owned();
        return Err(CniError::Config { field: "prevResult".into(), why });
    };
    let reservations = store.reservations()?;
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
    let promised = addresses_of(previous);
    let missing = held.iter().filter(|address| !promised.contains(address));
    faults.extend(missing.map(|address| format!("prevResult does not have the container's address {address}")));
    if faults.is_empty() { Ok(Answer::Nothing) } else { Err(CniError::Damaged { faults }) }
}

/// Takes down what belongs to attachments the runtime does not know; goes on after failures.
fn gc(store: &Store, config: &Config) -> Result<Answer, CniError> {
    require(config, "GC", Version::V1_1_0)?;
    let Some(valid) = &config.valid_attachments else {
        let why = "GC needs the attachments that are in use; the runtime must give them".to_owned();
        return Err(CniError::Config { field: "cni.dev/valid-attachments".into(), why });
    };
    let mut stale: Vec<Owner> = store.reservations()?.into_values().flatten().collect();
    stale.sort();
    stale.dedup();
    let stale = stale.iter().filter(|owner| !valid.contains(owner));
    let mut failures: Vec<CniError> = stale.filter_map(|owner| take_down(store, owner).err()).collect();
    failures.extend(store.release_unowned().err().map(CniError::from));
    if failures.is_empty() { Ok(Answer::Nothing) } else { Err(CniError::Teardown { failures }) }
}

/// Whether an `ADD` would find an address and somewhere to write it down.
fn status(store: &Store, config: &Config) -> Result<Answer, CniError> {
    require(config, "STATUS", Version::V1_1_0)?;
    let probed = store.probe(&config.ranges).map_err(CniError::from);
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
