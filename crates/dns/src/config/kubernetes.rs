//! `kubernetes`: the zones of the cluster.

use std::collections::BTreeSet;

use model::Name;

use super::reading::Reading;
use super::zones::{fallthrough, zones_or};
use crate::corefile::{CorefileError, Directive, Fault};
use crate::wire::{DomainName, QueryName};
use crate::zone::{EndpointNames, PodNames, ZoneSettings};

/// Seconds a client may keep an answer: long enough for one connection attempt, short enough to follow endpoints.
pub const DEFAULT_TTL: u32 = 5;
/// The longest time to live that makes sense for names that move, in seconds.
const MAX_TTL: u32 = 3600;

const OPTIONS: &[&str] =
    &["pods", "endpoint_pod_names", "ttl", "namespaces", "noendpoints", "fallthrough", "ignore empty_service"];

impl Reading<'_> {
    pub(super) fn kubernetes(
        &mut self,
        directive: &Directive,
        block_zones: &[DomainName],
    ) -> Result<Vec<ZoneSettings>, CorefileError> {
        let zones = zones_or(directive, &directive.arguments, block_zones)?;
        let (reverse, origins): (Vec<_>, Vec<_>) = zones.into_iter().partition(is_reverse);
        let first = origins.first().ok_or_else(|| {
            directive.error(Fault::Expected { expected: "a zone beside the reverse zones, such as cluster.local" })
        })?;
        let mut settings = ZoneSettings::new(first.clone(), self.defaults.dns_service.clone());
        settings.reverse = reverse;
        for option in &directive.body {
            self.kubernetes_option(directive, option, &mut settings)?;
        }
        let others = origins[1..].iter().map(|origin| {
            // An address has its names in one zone.
            ZoneSettings { origin: origin.clone(), reverse: Vec::new(), ..settings.clone() }
        });
        let others: Vec<_> = others.collect();
        Ok(std::iter::once(settings).chain(others).collect())
    }

    fn kubernetes_option(
        &mut self,
        directive: &Directive,
        option: &Directive,
        settings: &mut ZoneSettings,
    ) -> Result<(), CorefileError> {
        match &*option.name {
            "pods" => settings.pods = option.only_as(parse_pods, "disabled, insecure or verified")?,
            "endpoint_pod_names" => {
                option.is_bare()?;
                settings.endpoints = EndpointNames::Pods;
            }
            "noendpoints" => {
                option.is_bare()?;
                settings.endpoints = EndpointNames::None;
            }
            "ttl" => settings.ttl = option.only_as(parse_ttl, "seconds from 0 to 3600")?,
            "namespaces" => settings.namespaces = Some(namespaces(option)?),
            "fallthrough" => settings.fallthrough = fallthrough(option)?,
            "ignore" => {
                option.only_as(|word| (word == "empty_service").then_some(()), "empty_service")?;
                settings.ignore_empty = true;
            }
            // The server answers from its first moment, and the API is watched without lists in between.
            "startup_timeout" | "resyncperiod" => {}
            "endpoint"
            | "tls"
            | "kubeconfig"
            | "apiserver_qps"
            | "apiserver_burst"
            | "apiserver_max_inflight"
            | "namespace_labels"
            | "labels"
            | "multicluster"
            | "zonal" => self.not_built(option)?,
            _ => return Err(directive.no_such(option, OPTIONS)),
        }
        Ok(())
    }
}

fn parse_pods(word: &str) -> Option<PodNames> {
    Some(match word {
        "disabled" => PodNames::Disabled,
        "insecure" => PodNames::Insecure,
        "verified" => PodNames::Verified,
        _ => return None,
    })
}

fn parse_ttl(word: &str) -> Option<u32> {
    word.parse().ok().filter(|&ttl| ttl <= MAX_TTL)
}

fn namespaces(option: &Directive) -> Result<BTreeSet<Name>, CorefileError> {
    option.counts(1..=usize::MAX, "names of namespaces")?;
    option.has_no_block()?;
    Ok(option.arguments.iter().map(|name| Name::from(&**name)).collect())
}

fn is_reverse(zone: &DomainName) -> bool {
    let name = QueryName::from(zone);
    ["in-addr.arpa", "ip6.arpa"]
        .iter()
        .any(|suffix| DomainName::parse(suffix).is_ok_and(|suffix| name.labels_under(&suffix).is_some()))
}
