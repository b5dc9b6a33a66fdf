//! Whom endpoints are meant for, as their Service prefers (`spec.trafficDistribution`).

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone};

use super::slices::Group;

/// Puts endpoints into the zones of their nodes and gives the ready ones the hints `preference` asks for.
pub(super) fn place(groups: &mut [Group], preference: Option<&str>, zone_of: impl Fn(&str) -> Option<String>) {
    for endpoint in groups.iter_mut().flat_map(|group| &mut group.endpoints) {
        endpoint.zone = endpoint.node_name.as_deref().and_then(&zone_of);
        endpoint.hints = hints(endpoint, preference);
    }
}

fn hints(endpoint: &Endpoint, preference: Option<&str>) -> Option<EndpointHints> {
    let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true);
    let for_nodes = match preference.filter(|_| is_ready)? {
        "PreferSameNode" => endpoint.node_name.clone().map(|name| vec![ForNode { name }]),
        "PreferSameZone" | "PreferClose" => None,
        _ => return None,
    };
    let for_zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    (for_nodes.is_some() || for_zones.is_some()).then_some(EndpointHints { for_nodes, for_zones })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    use super::super::members::Family;
    use super::*;

    fn placed(preference: Option<&str>, ready: bool) -> (Option<String>, Option<EndpointHints>) {
        let conditions = EndpointConditions { ready: Some(ready), ..EndpointConditions::default() };
        let endpoint = Endpoint { node_name: Some("n1".into()), conditions: Some(conditions), ..Endpoint::default() };
        let mut groups = [Group { family: Family::V4, ports: Vec::new(), endpoints: vec![endpoint] }];
        place(&mut groups, preference, |node| (node == "n1").then(|| "a".to_owned()));
        let endpoint = groups[0].endpoints.remove(0);
        (endpoint.zone, endpoint.hints)
    }

    #[test]
    fn ready_endpoints_are_meant_for_whom_the_service_prefers() {
        let for_zones = Some(vec![ForZone { name: "a".into() }]);
        let for_nodes = Some(vec![ForNode { name: "n1".into() }]);
        let zone = Some("a".to_owned());
        let same_zone = EndpointHints { for_zones: for_zones.clone(), for_nodes: None };
        assert_eq!(placed(Some("PreferSameZone"), true), (zone.clone(), Some(same_zone.clone())));
        assert_eq!(placed(Some("PreferClose"), true), (zone.clone(), Some(same_zone)));
        assert_eq!(placed(Some("PreferSameNode"), true), (zone.clone(), Some(EndpointHints { for_zones, for_nodes })));
        assert_eq!(placed(Some("PreferSameNode"), false), (zone.clone(), None));
        assert_eq!(placed(None, true), (zone, None));
    }
}
