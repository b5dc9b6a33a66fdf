//! What the kernel remembers of clients that stay with their endpoint, and what of it must be forgotten.
//!
//! Packets fill the maps, and rules follow them without asking whether an endpoint still serves. So whoever takes
//! endpoints from a frontend with affinity has what is remembered of them taken out as well.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{IpFamily, Name, Protocol, SharedMap};

use super::layout::SetKind;
use super::{Frontend, Treatment};
use crate::ruleset::{Data, Element, ElementKey, SetSpec, Value};

/// The frontends whose clients stay with the endpoint they had.
pub type Affine = SharedMap<Frontend, Arc<Treatment>>;

/// The maps, one for each family, with their shapes.
pub fn memories() -> [(Name, SetSpec); 2] {
    [IpFamily::V4, IpFamily::V6].map(|family| (SetKind::Affinity.name(family).into(), SetKind::Affinity.spec(family)))
}

/// What of a memory leads to endpoints that are not to choose from where the client goes.
pub fn stale<'a>(
    memory: impl IntoIterator<Item = (&'a ElementKey, &'a Option<Data>)>,
    affine: &Affine,
) -> Vec<Element> {
    let may_stay = |(frontend, endpoint): (Frontend, SocketAddr)| {
        affine.get(&frontend).is_some_and(|treatment| treatment.dispatch.choices().concat().contains(&endpoint))
    };
    let stale = memory.into_iter().filter(|(key, data)| !remembered(key, data.as_ref()).is_some_and(may_stay));
    stale.map(|(key, _)| Element { key: key.clone(), data: None }).collect()
}

/// Whether an endpoint left a frontend with affinity between two plans, so that something may have to be forgotten.
pub fn has_lost_endpoints(old: &Affine, new: &Affine) -> bool {
    SharedMap::changes_between(old, new).iter().any(|change| {
        let old = change.old.map(|treatment| treatment.dispatch.choices().concat()).unwrap_or_default();
        let new = change.new.map(|treatment| treatment.dispatch.choices().concat()).unwrap_or_default();
        old.iter().any(|endpoint| !new.contains(endpoint))
    })
}

/// Where a client went and the endpoint it has there, in an element of a memory.
fn remembered(key: &ElementKey, data: Option<&Data>) -> Option<(Frontend, SocketAddr)> {
    let ElementKey::Exact(key) = key else { return None };
    let (&[_, address, Value::Protocol(protocol), Value::Port(port)], &[endpoint, Value::Port(endpoint_port)]) =
        (&*key.to_vec(), &*data.and_then(Data::values)?.to_vec())
    else {
        return None;
    };
    let protocol =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|known| known.number() == protocol)?;
    let frontend = Frontend { address: ip(address)?, protocol, port };
    Some((frontend, SocketAddr::new(ip(endpoint)?, endpoint_port)))
}

fn ip(value: Value) -> Option<IpAddr> {
    match value {
        Value::Ipv4Address(address) => Some(address.into()),
        Value::Ipv6Address(address) => Some(address.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Affinity, Cluster};

    use super::*;
    use crate::sample::{NODES, add_plain, plain_address, plain_cluster, plain_endpoints, plain_service};
    use crate::{NodeView, Plan};

    /// What is affine among two plain Services, of which the first has affinity and so many endpoints.
    fn affine(endpoints: u32) -> Affine {
        let mut cluster: Cluster = plain_cluster(2, 3);
        add_plain(&mut cluster, 0, endpoints);
        let affinity = Affinity::ClientIp { timeout: Duration::from_secs(60) };
        let service = model::Service { affinity, ..plain_service(0) };
        cluster.services.insert(service.name.clone(), Arc::new(service));
        Plan::of(NodeView::new(NODES[0].name), &cluster).affine().clone()
    }

    fn memory(service: u32, endpoint: IpAddr, port: u16) -> (ElementKey, Option<Data>) {
        let client = Value::from(IpAddr::from([192, 0, 2, 1]));
        let frontend = [IpAddr::from(plain_address(service)).into(), Value::Protocol(6), Value::Port(80)];
        let key = [client].into_iter().chain(frontend).collect();
        (ElementKey::Exact(key), Some(Data::Values([endpoint.into(), Value::Port(port)].into())))
    }

    #[test]
    fn what_leads_to_an_endpoint_that_serves_there_stays_and_nothing_else() {
        let affine = affine(2);
        let endpoints: Vec<IpAddr> = plain_endpoints(0, 3).map(IpAddr::from).collect();
        let stays = memory(0, endpoints[1], 8080);
        let left = memory(0, endpoints[2], 8080);
        let at_another_port = memory(0, endpoints[1], 9090);
        let without_affinity = memory(1, plain_endpoints(1, 3).next().unwrap().into(), 8080);
        let all = [stays, left, at_another_port, without_affinity];
        let gone = stale(all.iter().map(|(key, data)| (key, data)), &affine);
        let keys: Vec<&ElementKey> = gone.iter().map(|element| &element.key).collect();
        assert_eq!(keys, [&all[1].0, &all[2].0, &all[3].0]);
    }

    #[test]
    fn only_an_endpoint_that_leaves_makes_a_look_necessary() {
        assert!(has_lost_endpoints(&affine(3), &affine(2)));
        assert!(has_lost_endpoints(&affine(3), &Affine::new()));
        assert!(!has_lost_endpoints(&affine(2), &affine(3)));
        assert!(!has_lost_endpoints(&affine(2), &affine(2)));
    }
}
