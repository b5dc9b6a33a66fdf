//! For those who look after a node: what is given to whom, and what nobody has any more.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use datapath::route::Rtnetlink;
use ipnet::IpNet;

use crate::attachments::{self, Record};
use crate::config::Pools;
use crate::ipam::{self, RangeUse, Rest, Store};
use crate::state::StateDirectory;
use crate::wiring;
use crate::{CniError, host_ports};

/// No call takes longer: runtimes give up on one before.
const CALL_MAX: Duration = Duration::from_secs(300);
/// How often [`release_dead`] is worth calling: what is too young for one call is old enough for the next.
pub const RELEASE_INTERVAL: Duration = CALL_MAX;

/// An address and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// The container's identifier; none when the file that says so cannot be read.
    pub container: Option<String>,
    /// The interface inside.
    pub interface: Option<String>,
    /// The network it belongs to.
    pub network: Option<String>,
    /// `namespace/name` of the pod, where it is one.
    pub pod: Option<String>,
    /// Whether the container still has it; none of another plugin's containers is known to be gone.
    pub is_alive: bool,
}

/// The addresses that are given out, in their order; none where there is no state directory.
pub fn allocations(state_dir: &Path) -> Result<Vec<Allocation>, CniError> {
    let state = StateDirectory::open(state_dir);
    let mut host = Rtnetlink::open()?;
    let mut allocations = Vec::new();
    for (address, owner) in Store::new(&state).reservations()? {
        let record = match &owner {
            Some(owner) => attachments::read(&state, owner)?,
            None => None,
        };
        let is_alive = record.as_ref().map_or(Ok(false), |record| record.is_alive(&mut host))?;
        allocations.push(Allocation {
            address,
            container: owner.as_ref().map(|owner| owner.container.clone()),
            interface: owner.map(|owner| owner.interface),
            network: record.as_ref().map(|record| record.network.clone()),
            pod: record.and_then(|record| record.pod),
            is_alive,
        });
    }
    Ok(allocations)
}

/// What is left of these ranges, in their order, of which nobody gets an address for `reuse_delay` after its release. Some
/// of it is given out already where there is no state directory, too: by other networks of the node.
pub fn usage(state_dir: &Path, ranges: &[IpNet], reuse_delay: Duration) -> Result<Vec<RangeUse>, CniError> {
    let state = StateDirectory::open(state_dir);
    let store = Store::new(&state).avoiding(ipam::occupied(Path::new(ipam::HOST_LOCAL))?);
    Ok(store.usage(&Pools { ranges: ranges.to_vec(), reuse_delay })?)
}

/// What [`release_dead`] took back.
#[derive(Debug, Default)]
pub struct Released {
    /// The addresses that are free again.
    pub addresses: Vec<IpAddr>,
    /// What went wrong, one for each container; each keeps its record, for the next time.
    pub failures: Vec<CniError>,
}

/// Takes back what containers had that are gone without a `DEL`, as after a crash of the runtime. A container whose
/// remains cannot be taken back does not keep others from it.
///
/// Calls of the plugin may run meanwhile: what is younger than the longest of them is left alone, and so is what hangs
/// on another plugin's interface, which its own runtime must judge. Addresses of another plugin stay its own until `DEL`
/// or `GC`, which find them by the record.
pub fn release_dead(state_dir: &Path) -> Result<Released, CniError> {
    let state = StateDirectory::open(state_dir);
    let mut host = Rtnetlink::open()?;
    let mut released = Released::default();
    for record in attachments::read_all(&state)?.into_iter().filter(|record| !record.chained) {
        match release_if_dead(&state, &mut host, record) {
            Ok(addresses) => released.addresses.extend(addresses),
            Err(failure) => released.failures.push(failure),
        }
    }
    Ok(released)
}

/// Its addresses go last: none is given out that is still known somewhere.
fn release_if_dead(state: &StateDirectory, host: &mut Rtnetlink, record: Record) -> Result<Vec<IpAddr>, CniError> {
    if record.is_alive(host)? || is_young(state, &record) {
        return Ok(Vec::new());
    }
    let steps = [host_ports::withdraw(state, &record), wiring::detach(host, &record.owner)];
    CniError::of_all(steps.into_iter().filter_map(Result::err).collect())?;
    let released = Store::new(state).release(&record.owner, Rest::Due)?;
    let lock = state.lock()?;
    match record.delegated {
        false => attachments::remove(state, &lock, &record.owner)?,
        true if record.host_ports.is_empty() => {}
        true => attachments::write(state, &lock, &Record { host_ports: Vec::new(), ..record })?,
    }
    Ok(released)
}

fn is_young(state: &StateDirectory, record: &Record) -> bool {
    let written = fs::metadata(attachments::file_of(state, &record.owner)).and_then(|found| found.modified());
    // What is gone by now, or from the future, is somebody's at this moment.
    written.map_or(true, |written| SystemTime::now().duration_since(written).is_ok_and(|age| age < CALL_MAX))
}
