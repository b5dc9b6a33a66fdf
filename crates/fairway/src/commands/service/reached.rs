//! How this machine's own programs reach a Service of a sandbox that runs here.

use std::net::SocketAddr;

use compile::FrontendKind;
use model::Protocol;
use sandbox::machine::{HostLink, Record, StateDir, list_records};

use super::forward::Transport;
use super::report::{FrontendReport, ServiceReport};
use crate::cli::ClusterArgs;
use crate::commands::{kubeconfig, state_root};

/// URLs where there is a link into the sandbox, else the command that forwards; nothing for a Service that is not
/// reached from outside its cluster, or of a cluster that is no sandbox of this machine.
pub(super) fn from_here(cluster: &ClusterArgs, report: &ServiceReport) -> Vec<String> {
    let outside: Vec<&FrontendReport> =
        report.frontends.iter().filter(|each| each.kind != FrontendKind::ClusterIp).collect();
    let Some((state, record)) = sandbox_of(cluster).filter(|_| !outside.is_empty()) else { return Vec::new() };
    let link = record.host_link.as_ref();
    let urls: Vec<String> = outside.iter().filter_map(|frontend| url(&state, link?, frontend)).collect();
    if !urls.is_empty() {
        return urls;
    }
    let name = &report.service.name;
    vec![format!("fairway service {} -n {} --sandbox {}", name.name, name.namespace, record.spec.name())]
}

fn url(state: &StateDir, link: &HostLink, report: &FrontendReport) -> Option<String> {
    let frontend = &report.frontend;
    let transport = match frontend.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => return None,
    };
    let address = SocketAddr::new(frontend.address, frontend.port);
    link.leads_to(state, address.ip()).then(|| transport.url(address))
}

/// The sandbox that the context leads to.
fn sandbox_of(cluster: &ClusterArgs) -> Option<(StateDir, Record)> {
    let path = cluster.kubeconfig.clone().or_else(|| kubeconfig::default_path().ok())?;
    let context = cluster.context.clone().or_else(|| kubeconfig::selected(&path))?;
    let server = kubeconfig::find(&path, &context).ok()??.server;
    let is_it = |record: &Record| record.is_running() && server == format!("https://127.0.0.1:{}", record.api_port);
    list_records(&state_root().ok()?).into_iter().find(|(_, record)| is_it(record))
}
