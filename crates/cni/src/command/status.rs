//! `STATUS`: whether an `ADD` could be served, and whether containers that are there still can.

use std::path::Path;

use datapath::HostPorts;
use datapath::route::Rtnetlink;
use model::IpFamily;

use crate::config::{AddressSource, Config, Position};
use crate::ipam::{self, Store};
use crate::state::StateDirectory;
use crate::{CniError, attachments, forwarding};

/// Whether the kernel is as containers need it, and an `ADD` would find addresses and somewhere to write them down.
pub(super) fn status(state: &StateDirectory, config: &Config) -> Result<(), CniError> {
    let not_ready = |error: CniError| CniError::NotReady { source: Box::new(error) };
    let records = attachments::read_all(state).map_err(|error| not_ready(error.into()))?;
    // What those that are there need ADD sees to, where there are none.
    if records.iter().any(|record| record.network == config.network)
        && let Err(error) = connectivity(config)
    {
        return Err(CniError::Limited { source: Box::new(error) });
    }
    let served = match &config.position {
        Position::Main(AddressSource::Own(pools)) => reach_links().and_then(|()| {
            let store = Store::new(state).avoiding(ipam::occupied(Path::new(ipam::HOST_LOCAL))?);
            Ok(store.probe(pools)?)
        }),
        // Its own words and code say best what is wrong with it.
        Position::Main(AddressSource::Plugin(plugin)) => reach_links().and(plugin.forward("STATUS")),
        Position::Chained => state.lock().map(drop).map_err(CniError::from),
    };
    served.map_err(|error| if let CniError::Delegate { .. } = error { error } else { not_ready(error) })
}

fn reach_links() -> Result<(), CniError> {
    Ok(Rtnetlink::open().map(drop)?)
}

/// Whether the kernel has what containers need beside their links.
fn connectivity(config: &Config) -> Result<(), CniError> {
    if !HostPorts::open()?.is_prepared()? {
        return Err(CniError::NoTable);
    }
    for family in [IpFamily::V4, IpFamily::V6].into_iter().filter(|family| config.position.has_family(*family)) {
        if !forwarding::is_allowed(family)? {
            return Err(CniError::NoForwarding { family });
        }
    }
    Ok(())
}
