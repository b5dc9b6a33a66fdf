//! Bringing a sandbox up: the part `up` and `demo` share.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use apiserver::client::{Client, DEPLOYMENTS, ListOptions, NAMESPACES, NODES};
use apiserver::tls::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::{Flock, FlockArg};
use sandbox::machine::{self, Progress, Record, Spec, StateDir};
use serde_json::Value;
use tokio::time::sleep;

use super::context::KubeContext;
use super::reach::Reach;
use super::report::Report;
use super::{kubeconfig, state_root};
use crate::apply::{self, comma_separated};
use crate::cli::ShapeArgs;

/// The API server's usual port; the search for a free one starts here.
const FIRST_PORT: u16 = 6443;
/// How many ports are tried before giving up.
const PORTS: u16 = 100;
/// How long each step may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Lines of a log shown when something failed.
const LOG_TAIL: usize = 5;

/// What to bring up.
#[derive(Debug)]
pub struct Request<'a> {
    /// The shape.
    pub spec: Spec,
    /// What was asked for beside the shape.
    pub shape: &'a ShapeArgs,
    /// The port the user insists on.
    pub api_port: Option<u16>,
    /// The kubeconfig that gets the context.
    pub kubeconfig: PathBuf,
}

/// A sandbox that is up.
#[derive(Debug)]
pub struct Sandbox {
    /// Its state directory.
    pub state: StateDir,
    /// What runs.
    pub record: Record,
    /// A client with every right.
    pub client: Client,
    /// How it is reached from this machine's network.
    pub reach: Reach,
}

/// Brings a sandbox up, up to nodes that are ready for pods and names that resolve.
///
/// On failure nothing is left behind, and the error ends with what the logs say.
pub async fn launch(request: &Request<'_>, report: &mut Report) -> Result<Sandbox> {
    machine::preflight(&request.spec)?;
    let state = StateDir::new(&state_root()?, request.spec.name())?;
    let _lock = lock(&state)?;
    clear_remains(&state)?;
    let (listener, api_port) = listen(request.api_port)?;
    let outcome = raise(request, &state, listener, api_port, report).await;
    if let Err(error) = outcome {
        let error = error.context("the sandbox did not come up and was removed");
        let logs = log_tails(&state);
        kubeconfig::remove(&request.kubeconfig, &context_name(&request.spec)).unwrap_or_default();
        let removed = machine::tear_down(&state).map_err(anyhow::Error::from);
        forget_lock(&state);
        return Err(match removed {
            Ok(_) => anyhow!("{error:#}{logs}"),
            Err(left) => anyhow!("{error:#}{logs}\nand something is left of it: {left:#}"),
        });
    }
    outcome
}

/// The context of the sandbox in kubeconfigs: `fairway`, or `fairway-NAME` for another name.
pub fn context_name(spec: &Spec) -> String {
    match spec.name() {
        "fairway" => "fairway".to_owned(),
        name => format!("fairway-{name}"),
    }
}

async fn raise(
    request: &Request<'_>,
    state: &StateDir,
    listener: TcpListener,
    api_port: u16,
    report: &mut Report,
) -> Result<Sandbox> {
    let spec = &request.spec;
    state.create(spec)?;
    // Made before any process reads it, so that all of them read the same.
    let authority = Authority::load_or_create(&state.api_dir(), jiff::Timestamp::now())?;
    let mut record = start(request, state, listener, api_port, report)?;
    let reach = if request.spec.is_isolated() { Reach::Isolated } else { Reach::connect(state, &record) };
    if let Some(link) = reach.link() {
        record.host_link = Some(link.clone());
        state.write_record(&record)?;
    }
    let client = Client::unix(state.api_socket());
    until("the API server answers", || async { Ok(client.get(&NAMESPACES, "", "kube-system").await.is_ok()) }).await?;
    report.step(&format!("API server    https://127.0.0.1:{api_port}"));
    apply::apply_system(&client, spec, request.shape.routing.name()).await?;
    kubeconfig::add(&request.kubeconfig, &kube_context(&authority, &record)?)?;
    until("every node is ready", || nodes_ready(&client, spec.nodes())).await?;
    let (pods, services) = (comma_separated(spec.pod_cidrs()), comma_separated(spec.service_cidrs()));
    report.step(&format!("pod network   {pods}   services {services}   routing {}", request.shape.routing.name()));
    until("the cluster's DNS is ready", || deployment_ready(&client, "kube-system", apply::DNS_DEPLOYMENT)).await?;
    report.step(&format!("DNS           {} (cluster.local)", spec.dns_service()));
    Ok(Sandbox { state: state.clone(), record, client, reach })
}

/// Starts the processes; the record is on disk as soon as there is one to remove.
fn start(
    request: &Request<'_>,
    state: &StateDir,
    listener: TcpListener,
    api_port: u16,
    report: &mut Report,
) -> Result<Record> {
    let spec = &request.spec;
    let mut booted = machine::boot(state, spec, listener)?;
    let mut record = None;
    loop {
        match Progress::read(&mut booted.events).context("cannot follow the start")? {
            Some(Progress::Supervisor { pid }) => {
                let written = Record {
                    spec: spec.clone(),
                    supervisor: pid,
                    started: machine::process_start(pid).context("the supervisor ended at once")?,
                    api_port,
                    kubeconfig: request.kubeconfig.clone(),
                    context: context_name(spec),
                    host_link: None,
                };
                state.write_record(&written)?;
                record = Some(written);
            }
            Some(Progress::Nodes { nodes }) => {
                let names: Vec<String> = nodes.iter().map(|(name, address)| format!("{name} {address}")).collect();
                report.step(&format!("{:<13} {}", format!("{} nodes", nodes.len()), names.join("  ")));
            }
            Some(Progress::RolesStarted) => return record.context("the supervisor did not say which process it is"),
            Some(Progress::Failed { reason }) => bail!(reason),
            None => bail!("the supervisor ended before the sandbox was up"),
        }
    }
}

/// The administrator's context, with a certificate of the sandbox's own authority.
fn kube_context(authority: &Authority, record: &Record) -> Result<KubeContext> {
    let admin = authority.client_certificate("kubernetes-admin", &["system:masters"])?;
    let encode = |pem: &str| STANDARD.encode(pem);
    Ok(KubeContext {
        name: record.context.clone(),
        server: format!("https://127.0.0.1:{}", record.api_port),
        authority: encode(authority.certificate_pem()),
        certificate: encode(&admin.certificate_pem),
        key: encode(&admin.key_pem),
    })
}

/// Keeps two `up` or `down` of one name from meeting.
pub fn lock(state: &StateDir) -> Result<Flock<File>> {
    let path = state.lock_file();
    let failed = || format!("cannot open {}", path.display());
    if let Some(root) = path.parent() {
        fs::create_dir_all(root).with_context(failed)?;
    }
    let file = File::options().create(true).append(true).open(&path).with_context(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another `fairway up` or `fairway down` of this sandbox is at work; wait for it"))
}

/// Deletes the file of the lock, by its holder, when nothing is left that it could guard.
pub fn forget_lock(state: &StateDir) {
    // An empty file that stays behind harms nobody.
    let _ = fs::remove_file(state.lock_file());
}

/// A running sandbox is refused, a dead one is removed.
fn clear_remains(state: &StateDir) -> Result<()> {
    let Ok(Some(record)) = state.read_record() else {
        machine::tear_down(state)?;
        return Ok(());
    };
    let name = record.spec.name();
    ensure!(
        !record.is_running(),
        "sandbox {name} is already up (context {}, API server on port {}); \
         use another --name, or remove it with: fairway down --name {name}",
        record.context,
        record.api_port,
    );
    machine::tear_down(state)?;
    Ok(())
}

/// The API server's listener on the host: the port asked for, or the first free one.
fn listen(wanted: Option<u16>) -> Result<(TcpListener, u16)> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = wanted {
        let listener = bind(port).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => anyhow!("port {port} on 127.0.0.1 is taken; choose another with --api-port"),
            _ => anyhow!(error).context(format!("cannot listen on 127.0.0.1:{port}")),
        })?;
        return Ok((listener, port));
    }
    (FIRST_PORT..FIRST_PORT + PORTS)
        .find_map(|port| bind(port).ok().map(|listener| (listener, port)))
        .with_context(|| format!("no free port on 127.0.0.1 from {FIRST_PORT} on; choose one with --api-port"))
}

/// Waits until `condition` holds.
pub async fn until<F>(what: &str, condition: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = condition().await;
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waited = format!("waited {} s until {what}", PATIENCE.as_secs());
            return Err(match outcome {
                Err(error) => error.context(waited),
                Ok(_) => anyhow!(waited),
            });
        }
        sleep(POLL).await;
    }
}

async fn nodes_ready(client: &Client, wanted: u8) -> Result<bool> {
    let nodes = client.list(&NODES, "", &ListOptions::default()).await?;
    Ok(nodes.items.iter().filter(|node| has_condition(node, "Ready")).count() >= usize::from(wanted))
}

async fn deployment_ready(client: &Client, namespace: &str, name: &str) -> Result<bool> {
    let deployment = client.get(&DEPLOYMENTS, namespace, name).await?;
    Ok(deployment["status"]["readyReplicas"].as_u64() >= deployment["spec"]["replicas"].as_u64())
}

/// Whether the object's status says so of itself.
pub fn has_condition(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|entry| entry["type"] == condition && entry["status"] == "True")
}

/// The last lines of every log that has any, for an error.
fn log_tails(state: &StateDir) -> String {
    let tail = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let kept = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n    ");
        (!kept.is_empty()).then(|| format!("\n  {}:\n    {kept}", path.file_name().unwrap_or_default().display()))
    };
    let logs = fs::read_dir(state.path().join("log")).into_iter().flatten().flatten();
    logs.filter_map(|entry| tail(&entry.path())).collect()
}
