//! `fairway ip plan`

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use compile::address_plan::{self, Demand, Objection, Sizes};
use datapath::route::{RouteFilter, Rtnetlink};
use ipnet::IpNet;
use model::IpFamily;
use serde_json::{Value, json};

use crate::cli::{IpPlanArgs, Output};

/// A range of one family, chosen or given, with what speaks against it.
struct Choice {
    sizes: Sizes,
    range: Option<IpNet>,
    objections: Vec<Objection>,
}

/// A range of Services with what speaks against it.
struct Services {
    range: IpNet,
    objections: Vec<Objection>,
}

/// Says how large the ranges must be and which are free; exit code 1 when something speaks against those given.
pub fn run(args: &IpPlanArgs) -> Result<ExitCode> {
    let grown = f64::from(args.nodes) * (1.0 + f64::from(args.growth) / 100.0);
    let demand = Demand { nodes: grown.ceil() as u32, pods_per_node: args.pods_per_node };
    let families = if args.ipv4_only { &[IpFamily::V4][..] } else { &[IpFamily::V4, IpFamily::V6] };
    refuse_surplus(args, families)?;
    let routes = if args.ignore_routes { Vec::new() } else { routes_of_this_machine()? };
    let services: Vec<Services> = args.service_cidr.iter().map(|range| Services::of(range.trunc(), &routes)).collect();
    let taken: Vec<(IpNet, String)> =
        services.iter().map(|services| (services.range, "the range of Services".to_owned())).chain(routes).collect();
    let choices = families.iter().map(|family| choose(args, demand, *family, &taken)).collect::<Result<Vec<_>>>()?;
    match args.output {
        Output::Json => say!(
            "{:#}",
            json!({
                "nodes": demand.nodes,
                "ranges": choices.iter().map(Choice::to_json).collect::<Vec<_>>(),
                "services": services.iter().map(Services::to_json).collect::<Vec<_>>(),
            })
        ),
        Output::Table => print(args, demand, &choices, &services),
    }
    let is_good = is_good(&choices, &services);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Refuses ranges that would have no part in the answer.
fn refuse_surplus(args: &IpPlanArgs, families: &[IpFamily]) -> Result<()> {
    for (index, range) in args.pod_cidr.iter().enumerate() {
        let family = IpFamily::of(range.addr());
        if !families.contains(&family) {
            bail!("--pod-cidr {range} is of {family}, which --ipv4-only leaves out; give one of them only");
        }
        let earlier = args.pod_cidr[..index].iter().find(|other| IpFamily::of(other.addr()) == family);
        if let Some(earlier) = earlier {
            bail!("--pod-cidr {earlier} and {range} are both of {family}; a cluster has one range of each family");
        }
    }
    Ok(())
}

fn is_good(choices: &[Choice], services: &[Services]) -> bool {
    let pods = choices.iter().all(|choice| choice.range.is_some() && choice.objections.is_empty());
    pods && services.iter().all(|services| services.objections.is_empty())
}

/// Where this machine has routes to. Its routes to pods do not count.
fn routes_of_this_machine() -> Result<Vec<(IpNet, String)>> {
    let routes = Rtnetlink::open()?.routes(RouteFilter::Main).context("cannot read this machine's routes")?;
    let foreign = routes.into_iter().filter(|route| route.origin != datapath::route::RouteOrigin::Ours);
    let specific = foreign.filter(|route| route.destination.prefix_len() > 0);
    Ok(specific.map(|route| (route.destination, "a route of this machine".to_owned())).collect())
}

fn choose(args: &IpPlanArgs, demand: Demand, family: IpFamily, taken: &[(IpNet, String)]) -> Result<Choice> {
    let sizes = demand.sizes(family).with_context(|| {
        format!("no private range holds {} nodes of {} pods each", demand.nodes, demand.pods_per_node)
    })?;
    let given = args.pod_cidr.iter().copied().find(|range| IpFamily::of(range.addr()) == family);
    Ok(match given.map(|range| range.trunc()) {
        Some(range) => Choice { sizes, range: Some(range), objections: demand.objections(range, sizes.node, taken) },
        None => Choice { sizes, range: demand.free_range(family, taken), objections: Vec::new() },
    })
}

impl Services {
    fn of(range: IpNet, routes: &[(IpNet, String)]) -> Self {
        Self { range, objections: address_plan::overlaps(range, routes) }
    }

    fn to_json(&self) -> Value {
        json!({ "serviceCIDR": self.range, "objections": self.objections.iter().map(describe).collect::<Vec<_>>() })
    }
}

impl Choice {
    fn to_json(&self) -> Value {
        json!({
            "clusterCIDR": self.range,
            "clusterPrefixLength": self.sizes.cluster,
            "nodePrefixLength": self.sizes.node,
            "nodes": self.sizes.nodes,
            "objections": self.objections.iter().map(describe).collect::<Vec<_>>(),
        })
    }
}

fn describe(objection: &Objection) -> String {
    match objection {
        Objection::TooSmall { nodes } => format!("it has parts for {nodes} nodes only"),
        Objection::TooManyParts { widest } => {
            format!("the controller manager takes no more than a /{widest} of such parts")
        }
        Objection::Overlaps { with, what } => format!("it overlaps {with}, {what}"),
    }
}

fn print(args: &IpPlanArgs, demand: Demand, choices: &[Choice], services: &[Services]) {
    say!("{} nodes ({} now), {} pods each:", demand.nodes, args.nodes, demand.pods_per_node);
    for choice in choices {
        let Sizes { cluster, node, nodes } = choice.sizes;
        match choice.range {
            Some(range) => say!("  {range}: a /{node} for each node; a /{cluster} has parts for {nodes}"),
            None => say!("  no private /{cluster} is free here; name one with --pod-cidr"),
        }
        for objection in &choice.objections {
            say!("    but {}", describe(objection));
        }
    }
    for services in services {
        for objection in &services.objections {
            say!("  {} for Services: but {}", services.range, describe(objection));
        }
    }
    if !is_good(choices, services) {
        say!("no line for the controller manager before these ranges are good");
        return;
    }
    let ranges: Vec<String> = choices.iter().filter_map(|choice| choice.range).map(|range| range.to_string()).collect();
    say!("for the controller manager: --allocate-node-cidrs --cluster-cidr={}", ranges.join(","));
    for choice in choices {
        let family = if choice.range.is_some_and(|range| range.addr().is_ipv6()) { "ipv6" } else { "ipv4" };
        say!("                            --node-cidr-mask-size-{family}={}", choice.sizes.node);
    }
}
