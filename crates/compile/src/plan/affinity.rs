//! What the kernel remembers of clients that stay with their endpoint, and what of it must be forgotten.
//!
//! Packets fill the maps, and rules follow them without asking whether an endpoint still serves. So whoever takes
//! endpoints from a frontend with affinity has what is remembered of them taken out as well.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::{IpFamily, Name, Protocol, SharedMap};

use super::layout::SetKind;
use super::{Dispatch, Frontend, Treatment};
use crate::ruleset::{Content, Data, Element, ElementKey, SetSpec, Value};

/// The frontends whose clients stay with the endpoint they had.
#[derive(Clone, Debug, Default)]
pub struct Affine {
    pub(super) treatments: SharedMap<Frontend, Arc<Treatment>>,
    /// Ranges of clients inside, sorted, none inside another.
    pub(super) inside: Arc<[IpNet]>,
}

impl Affine {
    /// Whether a client of a frontend may stay with an endpoint.
    fn lets_stay(&self, client: IpAddr, frontend: &Frontend, endpoint: &SocketAddr) -> bool {
        let [inside, outside] = choices(self.treatments.get(frontend));
        let endpoints = if self.is_inside(client) { inside } else { outside };
        endpoints.binary_search(endpoint).is_ok()
    }

    fn is_inside(&self, client: IpAddr) -> bool {
        let behind = self.inside.partition_point(|range| range.network() <= client);
        behind.checked_sub(1).and_then(|at| self.inside.get(at)).is_some_and(|range| range.contains(&client))
    }
}

/// The maps, one for each family, with their shapes.
pub fn memories() -> [(Name, SetSpec); 2] {
    [IpFamily::V4, IpFamily::V6].map(|family| (SetKind::Affinity.name(family).into(), SetKind::Affinity.spec(family)))
}

/// What of a memory leads to endpoints that its client is not to choose from where it goes.
pub fn stale<'a>(memory: impl IntoIterator<Item = (&'a ElementKey, &'a Content)>, affine: &Affine) -> Vec<Element> {
    let may_stay = |memory: Remembered| affine.lets_stay(memory.client, &memory.frontend, &memory.endpoint);
    let stale =
        memory.into_iter().filter(|(key, content)| !remembered(key, content.data.as_ref()).is_some_and(may_stay));
    stale.map(|(key, _)| Element { key: key.clone(), content: Content::default() }).collect()
}

/// Whether an endpoint left a frontend with affinity between two plans, for some of its clients at least, so that
/// something may have to be forgotten.
pub fn has_lost_endpoints(old: &Affine, new: &Affine) -> bool {
    let changes = SharedMap::changes_between(&old.treatments, &new.treatments);
    old.inside != new.inside
        || changes.into_iter().any(|change| {
            let mut sides = choices(change.old).into_iter().zip(choices(change.new));
            sides.any(|(old, new)| old.iter().any(|endpoint| new.binary_search(endpoint).is_err()))
        })
}

/// The endpoints there are to choose from for clients inside, and for others.
fn choices(treatment: Option<&Arc<Treatment>>) -> [&[SocketAddr]; 2] {
    match treatment.map(|treatment| &treatment.dispatch) {
        None | Some(Dispatch::Refuse | Dispatch::Drop) => [&[], &[]],
        Some(Dispatch::Balance(endpoints)) => [endpoints, endpoints],
        Some(Dispatch::Split { inside, outside }) => [inside, outside],
    }
}

/// The endpoint a client has where it went.
struct Remembered {
    client: IpAddr,
    frontend: Frontend,
    endpoint: SocketAddr,
}

/// What an element of a memory says.
fn remembered(key: &ElementKey, data: Option<&Data>) -> Option<Remembered> {
    let ElementKey::Exact(key) = key else { return None };
    let (&[client, address, Value::Protocol(protocol), Value::Port(port)], &[endpoint, Value::Port(endpoint_port)]) =
        (&*key.to_vec(), &*data.and_then(Data::values)?.to_vec())
    else {
        return None;
    };
    let protocol =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|known| known.number() == protocol)?;
    let frontend = Frontend { address: ip(address)?, protocol, port };
    Some(Remembered { client: ip(client)?, frontend, endpoint: SocketAddr::new(ip(endpoint)?, endpoint_port) })
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
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use model::{Affinity, Cluster, TrafficPolicy};

    use super::*;
    use crate::sample::{
        CLIENTS, ENDPOINTS, EXTERNAL, NODES, add_plain, plain_address, plain_cluster, plain_endpoints, plain_service,
        plain_slice,
    };
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

    fn memory(service: u32, endpoint: IpAddr, port: u16) -> (ElementKey, Content) {
        let client = Value::from(IpAddr::from([192, 0, 2, 1]));
        let frontend = [IpAddr::from(plain_address(service)).into(), Value::Protocol(6), Value::Port(80)];
        let key = [client].into_iter().chain(frontend).collect();
        (ElementKey::Exact(key), Data::Values([endpoint.into(), Value::Port(port)].into()).into())
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

    /// What is affine of a Service with an external address, whose endpoints are on each node.
    fn affine_outside(policy: TrafficPolicy) -> Affine {
        let mut cluster: Cluster = plain_cluster(0, 0);
        let affinity = Affinity::ClientIp { timeout: Duration::from_secs(60) };
        let mut service = model::Service { affinity, external_policy: policy, ..plain_service(0) };
        if let model::ServiceKind::Virtual { external_ips, .. } = &mut service.kind {
            external_ips.push(EXTERNAL[0].into());
        }
        cluster.insert_slice(plain_slice(&service, [ENDPOINTS[0], ENDPOINTS[3]]));
        cluster.services.insert(service.name.clone(), Arc::new(service));
        Plan::of(NodeView::new(NODES[0].name), &cluster).affine().clone()
    }

    #[test]
    fn under_the_policy_local_each_client_keeps_only_what_it_may_choose() {
        let remembered = |client: Ipv4Addr, endpoint: Ipv4Addr| {
            let frontend = [IpAddr::from(EXTERNAL[0]).into(), Value::Protocol(6), Value::Port(80)];
            let key = [Value::from(IpAddr::from(client))].into_iter().chain(frontend).collect();
            (ElementKey::Exact(key), Data::Values([IpAddr::from(endpoint).into(), Value::Port(8080)].into()).into())
        };
        let [own_pod, outside] = CLIENTS;
        let all = [
            remembered(own_pod, ENDPOINTS[3]),
            remembered(outside, ENDPOINTS[0]),
            remembered(outside, ENDPOINTS[3]),
            remembered(NODES[1].address, ENDPOINTS[3]),
            remembered(NODES[0].address, ENDPOINTS[3]),
        ];
        let [everywhere, here] = [TrafficPolicy::Cluster, TrafficPolicy::Local].map(affine_outside);
        let gone = |affine| stale(all.iter().map(|(key, data)| (key, data)), affine);
        assert_eq!(gone(&everywhere), []);
        let gone: Vec<ElementKey> = gone(&here).into_iter().map(|element| element.key).collect();
        assert_eq!(gone, [all[2].0.clone(), all[3].0.clone()]);
        assert!(has_lost_endpoints(&everywhere, &here), "clients outside lost one");
        assert!(!has_lost_endpoints(&here, &everywhere));
    }

    #[test]
    fn only_an_endpoint_that_leaves_makes_a_look_necessary() {
        assert!(has_lost_endpoints(&affine(3), &affine(2)));
        assert!(has_lost_endpoints(&affine(3), &Affine::default()));
        assert!(!has_lost_endpoints(&affine(2), &affine(3)));
        assert!(!has_lost_endpoints(&affine(2), &affine(2)));
    }
}
