//! `fairway service`
//!
//! `list` and `show` make the plan that the agent of a node makes, so that they cannot disagree with it; on a node `show` compares it
//! with what the kernel holds.

mod forward;
mod json;
mod kernel;
mod pending;
mod print;
mod reached;
mod report;
mod standing;
mod words;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use compile::{NodeView, Plan};
use kubeapi::{ApiAccess, read_service_record};
use model::from_kube::ServiceRecord;
use model::{Cluster, Name, NamespacedName, Service};
use nix::unistd::gethostname;

use super::block_on;
use super::snapshot::read_snapshot;
use crate::cli::{ClusterArgs, ListArgs, ScopeArgs, ServiceAction, ServiceArgs, ServiceOutput, ShowArgs};
use kernel::{OwnKernel, Unseen};
use pending::LoadBalancing;
use report::ServiceReport;

/// The exit code of a command that could not find out what it was asked.
const COULD_NOT_TELL: u8 = 3;

/// Forwards a Service's ports, lists Services or shows one.
pub fn run(args: &ServiceArgs) -> Result<ExitCode> {
    let Some(action) = &args.action else {
        let name = args.forward.name.as_deref().context("the name of a Service is missing")?;
        return forward::run(&args.forward, name);
    };
    let (ServiceAction::List(ListArgs { scope, .. }) | ServiceAction::Show(ShowArgs { scope, .. })) = action;
    let asked = match action {
        ServiceAction::Show(args) => Some(NamespacedName::new(args.scope.namespace.as_str(), args.name.as_str())),
        ServiceAction::List(_) => None,
    };
    let world = match World::read(scope, asked) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(COULD_NOT_TELL));
        }
    };
    match action {
        ServiceAction::List(args) => Ok(list(args, &world)),
        ServiceAction::Show(args) => show(args, world),
    }
}

fn list(args: &ListArgs, world: &World) -> ExitCode {
    let in_scope =
        |service: &&Service| args.all_namespaces || service.name.namespace.as_str() == args.scope.namespace.as_str();
    let services = world.cluster.services.values().map(|service| &**service).filter(in_scope);
    let reports: Vec<ServiceReport> = services.map(|service| world.report(service)).collect();
    if reports.is_empty() && !args.all_namespaces {
        eprintln!("no Service is in namespace {}; -A shows those of all namespaces", args.scope.namespace);
    }
    match args.scope.output {
        ServiceOutput::Json => say!("{:#}", json::list(&world.view.name, &reports)),
        ServiceOutput::Table => print::table(&reports, false),
        ServiceOutput::Wide => print::table(&reports, true),
    }
    ExitCode::SUCCESS
}

fn show(args: &ShowArgs, world: World) -> Result<ExitCode> {
    let key = NamespacedName::new(args.scope.namespace.as_str(), args.name.as_str());
    let Some(record) = &world.record else {
        bail!("there is no Service {key}; fairway service list -A shows all there are");
    };
    let Some(service) = world.cluster.services.get(&key) else {
        let why: Vec<String> = record.rejected.iter().map(ToString::to_string).collect();
        bail!("nothing of it is in force: {}", why.join("; "));
    };
    let mut report = world.report(service).with_record(record.clone());
    if let Some(load_balancing) = &world.load_balancing {
        report.pending = load_balancing.why_pending(&world.cluster, service);
        report.unanswered = load_balancing.unanswered().collect();
    }
    report.reached = reached::from_here(&args.scope.cluster, &report);
    report.kernel = Some(world.kernel.and_then(|kernel| kernel.compare(&world.plan.elements_of(&key))));
    match args.scope.output {
        ServiceOutput::Json => say!("{:#}", json::one(&report)),
        ServiceOutput::Table => print::one(&world.view.name, &report, false),
        ServiceOutput::Wide => print::one(&world.view.name, &report, true),
    }
    Ok(if report.is_served() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is known of a cluster, and what a node makes of it.
struct World {
    cluster: Cluster,
    /// What the API has of the Service that was asked for, when it has it.
    record: Option<ServiceRecord>,
    /// What the API has of load balancing, when a Service was asked for.
    load_balancing: Option<LoadBalancing>,
    view: NodeView,
    /// The node's kernel, where this machine is the node.
    kernel: Result<OwnKernel, Unseen>,
    plan: Plan,
}

impl World {
    fn read(scope: &ScopeArgs, asked: Option<NamespacedName>) -> Result<Self> {
        let Found { cluster, record, load_balancing } = block_on(read_api(scope, asked))??;
        let (view, kernel) = kernel::completed(NodeView::new(node(scope, &cluster)?), &cluster);
        let plan = Plan::of(view.clone(), &cluster);
        Ok(Self { cluster, record, load_balancing, view, kernel, plan })
    }

    fn report(&self, service: &Service) -> ServiceReport {
        ServiceReport::of(&self.view, &self.cluster, &self.plan, service)
    }
}

/// What the API has.
struct Found {
    cluster: Cluster,
    record: Option<ServiceRecord>,
    load_balancing: Option<LoadBalancing>,
}

async fn read_api(scope: &ScopeArgs, asked: Option<NamespacedName>) -> Result<Found> {
    let ClusterArgs { kubeconfig, context } = &scope.cluster;
    let access = ApiAccess { kubeconfig: kubeconfig.clone(), context: context.clone(), server: None };
    let client = access.connect_as_user().await?.client;
    let record = match &asked {
        Some(service) => read_service_record(&client, service).await?,
        None => None,
    };
    let mut cluster = read_snapshot(client.clone(), &[]).await?.cluster;
    let load_balancing = match &asked {
        Some(service) => Some(LoadBalancing::read(&client, &mut cluster, service).await),
        None => None,
    };
    Ok(Found { cluster, record, load_balancing })
}

/// The node whose view is asked for.
fn node(scope: &ScopeArgs, cluster: &Cluster) -> Result<Name> {
    if let Some(name) = &scope.node {
        let known = cluster.nodes.contains_key(name.as_str());
        return if known { Ok(name.as_str().into()) } else { bail!("there is no Node {name}") };
    }
    let own = gethostname().ok().and_then(|name| name.into_string().ok());
    let own = own.filter(|name| cluster.nodes.contains_key(name.as_str())).map(Name::from);
    own.or_else(|| cluster.nodes.keys().next().cloned()).context("the cluster has no Node")
}
