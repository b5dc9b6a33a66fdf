//! A Service in words.

use compile::plan::{Dispatch, Hints, SourceRule, Treatment};
use model::{Affinity, Clients, IpFamily, Service, ServiceKind};

use super::report::ServiceReport;

/// What is done with connections to a frontend.
pub(super) fn describe(treatment: &Treatment) -> String {
    let mut text = match &treatment.dispatch {
        Dispatch::Refuse => "refused: no endpoint".to_owned(),
        Dispatch::Drop => "dropped: no endpoint on this node".to_owned(),
        Dispatch::Balance(endpoints) => format!("to {}", count(endpoints.len())),
        Dispatch::Split { inside, outside } if outside.is_empty() => {
            format!("to {} for this node and its pods; dropped for others: none on this node", count(inside.len()))
        }
        Dispatch::Split { inside, outside } => {
            format!(
                "to {} for this node and its pods, to {} on this node for others",
                count(inside.len()),
                outside.len()
            )
        }
    };
    let serves = !matches!(treatment.dispatch, Dispatch::Refuse | Dispatch::Drop);
    if serves {
        text += match treatment.sources {
            SourceRule::MasqueradeBypassing => ", source kept for all but the node itself",
            SourceRule::MasqueradeOutsiders => ", source kept for pods and nodes",
            SourceRule::MasqueradeAll => ", masqueraded",
        };
    }
    if let Some(timeout) = treatment.affinity.filter(|_| serves) {
        text += &format!(", same client same endpoint for {} s", timeout.as_secs());
    }
    if let Clients::Within(ranges) = &treatment.clients {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        text += &format!(", only from {}", if ranges.is_empty() { "nowhere".to_owned() } else { ranges.join(", ") });
    }
    text
}

fn count(endpoints: usize) -> String {
    if endpoints == 1 { "1 endpoint".to_owned() } else { format!("{endpoints} endpoints") }
}

/// The Service's settings; what only connections from outside know is left out where there can be none.
pub(super) fn settings(service: &Service) -> String {
    let mut words = match &service.kind {
        ServiceKind::ExternalName { target } => return format!("an alias for {target}"),
        ServiceKind::Headless { .. } => vec!["no addresses of its own; its name stands for the endpoints".to_owned()],
        ServiceKind::Virtual { .. } => vec![format!("internal policy {:?}", service.internal_policy)],
    };
    if is_open(service) {
        words.push(format!("external policy {:?}", service.external_policy));
    }
    if let Affinity::ClientIp { timeout } = service.affinity {
        words.push(format!("affinity ClientIP {} s", timeout.as_secs()));
    }
    if let Some(port) = service.health_check_port {
        words.push(format!("health check at port {port}"));
    }
    if service.publish_not_ready {
        words.push("endpoints count as ready though they are not".to_owned());
    }
    words.join(", ")
}

/// Whether it has addresses for clients outside the cluster.
pub(super) fn is_open(service: &Service) -> bool {
    let ServiceKind::Virtual { external_ips, load_balancer_ips, .. } = &service.kind else { return false };
    let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
    has_node_port || service.load_balancer.is_some() || !external_ips.is_empty() || !load_balancer_ips.is_empty()
}

/// What else is to be said of it, a sentence each.
pub(super) fn notes(report: &ServiceReport) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(record) = &report.record {
        notes.extend(record.delegated_by.iter().map(|label| format!("left to others by its label {label}")));
        notes.extend(record.proxied.iter().map(|name| format!("served by the load balancer itself: {name}")));
        notes.extend(record.unmet.iter().map(|condition| format!("its status says: {condition}")));
    }
    notes.extend(report.pending.iter().map(|why| format!("its EXTERNAL-IP is pending: {why}")));
    notes.extend(report.unanswered.iter().cloned());
    notes.extend(report.rejected.iter().map(|rejected| format!("not in force: {rejected}")));
    notes.extend(other_families(&report.service).map(|address| {
        format!("not in force: {address} is of a family that the Service does not have (spec.ipFamilies)")
    }));
    notes.extend(preferences(report));
    notes
}

/// Addresses that are nobody's, since the Service has no cluster IP of their family.
fn other_families(service: &Service) -> impl Iterator<Item = std::net::IpAddr> {
    let families = service.kind.families();
    let addresses = match &service.kind {
        ServiceKind::Virtual { external_ips, load_balancer_ips, .. } => [&external_ips[..], load_balancer_ips].concat(),
        ServiceKind::Headless { .. } | ServiceKind::ExternalName { .. } => Vec::new(),
    };
    addresses.into_iter().filter(move |address| !families.contains(&IpFamily::of(*address)))
}

/// What it prefers, and what the hints of its endpoints come to; those of a headless Service come to nothing.
fn preferences(report: &ServiceReport) -> Vec<String> {
    let preferred = report.record.as_ref().and_then(|record| record.traffic_distribution.as_deref());
    let mut words: Vec<String> = preferred.map(|text| format!("trafficDistribution {text}")).into_iter().collect();
    if !matches!(report.service.kind, ServiceKind::Virtual { .. }) {
        return words;
    }
    let told = report.hints.iter().filter(|(.., hints)| preferred.is_some() || *hints != Hints::Absent);
    words.extend(told.map(|(port, family, hints)| match port.as_str() {
        "" => format!("hints, IP{}: {hints}", version(*family)),
        port => format!("hints of port {port}, IP{}: {hints}", version(*family)),
    }));
    words
}

/// `v4` or `v6`.
pub(super) const fn version(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "v4",
        IpFamily::V6 => "v6",
    }
}
