//! A node's runtime: the kubelet's job, without containers.

mod amount;
mod back_off;
mod cni;
mod config;
mod container;
pub mod entry;
mod environment;
mod exec;
mod facts;
mod fields;
pub(crate) mod names;
mod namespaces;
mod objects;
mod pod;
mod pods;
mod probe;
mod readiness;
mod records;
mod registration;
mod registry;
mod shim_client;
mod volumes;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver::client::{Client, ListOptions, SERVICES, Store};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::cni::Networks;
use self::container::this_program;
use self::objects::Objects;
use self::pod::Context;
use self::records::Records;
use self::registry::Registry;
use self::volumes::VolumeMaker;
use crate::controllers::events;
use crate::streams::{self, StreamServer};

pub use self::config::{Config, Paths};

/// A node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A directory it needs cannot be made.
    #[error("cannot make directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket for logs and commands cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Runs a node until `cancel`: registers it, runs the pods bound to it, serves logs and commands.
///
/// Pods that run already, from before a restart of the runtime, are taken over. When it ends, containers go on: their
/// shims look after them until it runs again.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), NodeError> {
    let paths = &config.paths;
    for path in [&paths.run, &paths.lib, &paths.logs, &paths.netns, &paths.cni_config, &paths.containers()] {
        std::fs::create_dir_all(path).map_err(|source| NodeError::Directory { path: path.clone(), source })?;
    }
    let client = Client::unix(&config.api_socket).as_manager("kubelet");
    let (recorder, writer) = events::recorder(&client);
    let events = AbortOnDropHandle::new(tokio::spawn(writer.run()));
    let (tell_problem, network_problem) = watch::channel(readiness::network_problem(&paths.cni_config));
    let network = readiness::follow_network(paths.cni_config.clone(), tell_problem);
    let network = AbortOnDropHandle::new(tokio::spawn(network));
    let context = Arc::new(context(&config, &client, &recorder, network_problem));
    let listener = listen(&config.listen)?;
    let server = StreamServer { containers: Arc::new(context.registry.clone()), program: this_program() };
    let streams = AbortOnDropHandle::new(tokio::spawn(streams::serve(listener, server, cancel.clone())));
    let registration =
        registration::keep_registered(client, config.clone(), context.machine.clone(), context.network_problem.clone());
    let work = async {
        context.services.synced().await;
        pods::run(Arc::clone(&context), cancel.clone()).await;
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = registration => {}
        () = work => {}
    }
    drop((network, events, streams));
    Ok(())
}

/// A socket in place of one that a killed runtime left.
fn listen(path: &Path) -> Result<UnixListener, NodeError> {
    let bind = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    };
    bind().map_err(|source| NodeError::Listen { path: path.to_path_buf(), source })
}

fn context(
    config: &Config,
    client: &Client,
    recorder: &events::Recorder,
    network_problem: watch::Receiver<Option<String>>,
) -> Context {
    let (paths, objects, machine) = (&config.paths, Objects::new(client.clone()), facts::read_machine());
    Context {
        recorder: recorder.of("kubelet"),
        services: Store::start(client, &SERVICES, "", ListOptions::default()),
        volumes: VolumeMaker {
            client: client.clone(),
            objects: objects.clone(),
            paths: paths.clone(),
            capacity: machine.capacity,
        },
        networks: Networks::new(&paths.cni_plugins, &paths.cni_config, &paths.cni_results),
        records: Records::new(paths),
        registry: Registry::default(),
        client: client.clone(),
        config: config.clone(),
        objects,
        network_problem,
        machine,
    }
}
