//! Routes of the node: those to other nodes' pods, and those by which the node answers for pods that are gone.

use std::collections::{BTreeMap, BTreeSet};

use compile::plan::{self, Hop};
use compile::ranges::outermost;
use ipnet::IpNet;

use super::{Datapath, DatapathError, Outcome, warn};
use crate::route::{LinkIndex, Route, RouteAction, RouteError, RouteFilter, RouteOrigin, RouteRank};
use crate::tunnel;

/// Where the kernel can hold a route of ours: it holds one for each metric, and the metric follows from these. A route of
/// another metric does not give way to the one that is wanted, so it has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub destination: IpNet,
    rank: RouteRank,
    is_local: bool,
}

/// Routes by their places.
pub(super) type RouteMap = BTreeMap<Place, Hop>;

/// The planned ones among routes of ours; those of the CNI plugin, which lead to a link, are none.
pub(super) fn held(routes: &[Route], tunnel: Option<LinkIndex>) -> RouteMap {
    routes.iter().filter_map(|route| planned(route, tunnel)).collect()
}

fn planned(route: &Route, tunnel: Option<LinkIndex>) -> Option<(Place, Hop)> {
    let hop = match route.action {
        RouteAction::Via { gateway, link, .. } if Some(link) == tunnel => Hop::Tunnel(gateway),
        RouteAction::Via { gateway, .. } => Hop::Via(gateway),
        RouteAction::Local => Hop::Refused,
        RouteAction::Link(_) | RouteAction::Multipath | RouteAction::Blackhole | RouteAction::Unreachable => {
            return None;
        }
    };
    let is_local = hop == Hop::Refused;
    Some((Place { destination: route.destination, rank: route.rank, is_local }, hop))
}

/// Where a planned route belongs.
fn place(route: &plan::Route) -> Place {
    let is_local = route.hop == Hop::Refused;
    let rank = if is_local { RouteRank::Usual } else { RouteRank::BehindOthers };
    Place { destination: route.destination, rank, is_local }
}

/// Whether a planned route is among those that are held.
pub(super) fn holds(held: &RouteMap, route: &plan::Route) -> bool {
    held.get(&place(route)) == Some(&route.hop)
}

/// What turns the routes there are into those that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RouteChanges {
    /// Routes to set; each replaces what is in its place.
    pub set: Vec<plan::Route>,
    /// Routes in whose places none is wanted.
    pub gone: RouteMap,
}

impl RouteChanges {
    pub fn between(held: &RouteMap, wanted: &[plan::Route]) -> Self {
        let set: Vec<plan::Route> = wanted.iter().filter(|route| !holds(held, route)).copied().collect();
        if set.is_empty() && held.len() == wanted.len() {
            return Self::default();
        }
        let places: BTreeSet<Place> = wanted.iter().map(place).collect();
        let gone = held.iter().filter(|(place, _)| !places.contains(place));
        Self { set, gone: gone.map(|(place, hop)| (*place, *hop)).collect() }
    }
}

/// Where somebody else's routes lead to, and not to everything there is. Listed once, when it is first asked for.
#[derive(Debug, Default)]
enum Others {
    #[default]
    Unlisted,
    Listed(Vec<IpNet>),
    /// The listing failed, which was told.
    Unknown,
}

impl Others {
    /// Whether one leads there; none when that cannot be known.
    fn lead_to(&mut self, destination: IpNet, list: impl FnOnce() -> Result<Vec<Route>, RouteError>) -> Option<bool> {
        if matches!(self, Self::Unlisted) {
            *self = match list() {
                Ok(routes) => Self::Listed(outermost(
                    routes.into_iter().filter(leads_on).map(|route| route.destination).collect(),
                )),
                Err(error) => {
                    warn(&error);
                    Self::Unknown
                }
            };
        }
        let Self::Listed(ranges) = self else { return None };
        // Sorted and apart: only the last that begins no later can contain it.
        let before = ranges.partition_point(|range| range.network() <= destination.network());
        Some(ranges[..before].last().is_some_and(|range| range.contains(&destination)))
    }
}

fn leads_on(route: &Route) -> bool {
    let is_way = matches!(route.action, RouteAction::Via { .. } | RouteAction::Link(_) | RouteAction::Multipath);
    is_way && route.destination.prefix_len() > 0 && route.origin != RouteOrigin::Ours
}

impl Datapath {
    pub(super) fn set_routes<'a>(
        &mut self,
        routes: impl Iterator<Item = &'a plan::Route>,
        held: &mut RouteMap,
        outcome: &mut Outcome,
    ) {
        let known = std::mem::take(&mut self.unreachable);
        self.led_by_others.clear();
        let mut others = Others::default();
        for route in routes {
            match self.set_route(*route) {
                Ok(()) => {
                    held.insert(place(route), route.hop);
                    outcome.routes_set += 1;
                }
                Err(DatapathError::Unreachable { destination, via }) => {
                    match others.lead_to(destination, || self.links.routes(RouteFilter::Main)) {
                        // Not ours, so that it is looked for again with the next change.
                        Some(true) => {
                            self.led_by_others.insert(destination);
                        }
                        Some(false) => {
                            outcome.routes_failed += 1;
                            self.unreachable.insert(destination, via);
                            if known.get(&destination) != Some(&via) {
                                warn(&DatapathError::Unreachable { destination, via });
                            }
                        }
                        None => outcome.routes_failed += 1,
                    }
                }
                Err(error) => {
                    outcome.routes_failed += 1;
                    warn(&error);
                }
            }
        }
    }

    fn set_route(&mut self, route: plan::Route) -> Result<(), DatapathError> {
        let plan::Route { destination, hop } = route;
        let action = match hop {
            Hop::Refused => RouteAction::Local,
            Hop::Via(via) => {
                let link = self.links.link_towards(via).map_err(DatapathError::Routes)?;
                let link = link.ok_or(DatapathError::Unreachable { destination, via })?;
                RouteAction::Via { gateway: via, link, on_link: false }
            }
            Hop::Tunnel(gateway) => {
                let device = self.links.require_link(tunnel::DEVICE).map_err(DatapathError::Routes)?;
                RouteAction::Via { gateway, link: device.index, on_link: true }
            }
        };
        let route = Route::new(destination, action).ours().behind_others();
        self.links.replace_route(&route).map_err(DatapathError::Routes)
    }

    pub(super) fn delete_routes(
        &mut self,
        gone: &RouteMap,
        held: &mut RouteMap,
        outcome: &mut Outcome,
    ) -> Result<(), DatapathError> {
        if gone.is_empty() {
            return Ok(());
        }
        held.retain(|place, _| !gone.contains_key(place));
        let device = self.tunnel_device().map_err(DatapathError::Routes)?;
        for route in self.links.routes(RouteFilter::Ours).map_err(DatapathError::Routes)? {
            let Some((place, hop)) = planned(&route, device).filter(|(place, hop)| gone.get(place) == Some(hop)) else {
                continue;
            };
            match self.links.delete_route(&route) {
                Ok(_) => outcome.routes_deleted += 1,
                Err(error) => {
                    warn(&error);
                    held.insert(place, hop);
                    outcome.routes_failed += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, via: &str) -> plan::Route {
        plan::Route { destination: destination.parse().unwrap(), hop: Hop::Via(via.parse().unwrap()) }
    }

    #[test]
    fn a_moved_range_is_replaced_and_not_deleted() {
        let kept = route("10.244.1.0/24", "10.89.0.1");
        let (old, new) = (route("10.244.2.0/24", "10.89.0.2"), route("10.244.2.0/24", "10.89.0.3"));
        let gone = route("10.244.3.0/24", "10.89.0.3");
        let map =
            |routes: &[plan::Route]| -> RouteMap { routes.iter().map(|route| (place(route), route.hop)).collect() };
        let changes = RouteChanges::between(&map(&[kept, old, gone]), &[kept, new]);
        assert_eq!(changes, RouteChanges { set: vec![new], gone: map(&[gone]) });
        assert_eq!(RouteChanges::between(&map(&[kept]), &[kept]), RouteChanges::default());
    }

    #[test]
    fn a_route_to_a_link_is_not_a_planned_one() {
        let pod = Route::on_link("10.244.0.5/32".parse().unwrap(), LinkIndex(2));
        assert_eq!(planned(&pod, Some(LinkIndex(3))), None);
    }

    #[test]
    fn routes_of_others_are_listed_once_and_only_when_asked_for() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let others = ["0.0.0.0/0", "10.244.0.0/16", "10.244.3.0/24", "fd00:1::/48"];
        let mut routes: Vec<Route> = others.iter().map(|text| Route::on_link(net(text), LinkIndex(2))).collect();
        routes.push(Route::new(net("10.245.0.0/16"), RouteAction::Multipath));
        routes.push(Route::on_link(net("10.246.0.0/16"), LinkIndex(2)).ours());
        routes.push(Route::new(net("10.247.0.0/16"), RouteAction::Blackhole));
        let mut listed = 0;
        let mut others = Others::default();
        let asked = ["10.244.3.0/24", "10.244.9.0/24", "10.245.1.0/24", "fd00:1:0:7::/64"];
        let unknown = ["10.0.0.0/8", "10.246.1.0/24", "10.247.1.0/24", "10.248.1.0/24", "fd00:2::/64"];
        for (range, is_led) in asked.iter().map(|range| (range, true)).chain(unknown.iter().map(|range| (range, false)))
        {
            let found = others.lead_to(net(range), || {
                listed += 1;
                Ok(routes.clone())
            });
            assert_eq!(found, Some(is_led), "{range}");
        }
        assert_eq!(listed, 1);
    }

    #[test]
    fn routes_of_others_that_cannot_be_listed_are_neither_there_nor_not() {
        let mut listed = 0;
        let mut others = Others::default();
        for range in ["10.244.3.0/24", "10.244.9.0/24"] {
            let found = others.lead_to(range.parse().unwrap(), || {
                listed += 1;
                Err(RouteError::NoLink { name: "any error".to_owned() })
            });
            assert_eq!(found, None, "{range}");
        }
        assert_eq!(listed, 1);
    }

    #[test]
    fn a_route_of_another_metric_is_not_the_one_that_is_wanted() {
        let wanted = route("10.244.1.0/24", "10.89.0.1");
        let gateway = "10.89.0.1".parse().unwrap();
        let of_an_earlier_build = Route::via(wanted.destination, gateway, LinkIndex(2)).ours();
        let held = held(&[of_an_earlier_build, Route::new(wanted.destination, RouteAction::Local).ours()], None);
        let changes = RouteChanges::between(&held, &[wanted]);
        assert_eq!((changes.set, changes.gone.len()), (vec![wanted], 2));
    }
}
