//! Watching the cluster.

use std::fmt::Debug;
use std::future::ready;

use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use model::from_kube::LoadBalancerPool;
use model::{Cluster, ObjectKind};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::assembly::{Assembly, Report};
use crate::decoded::{Decoded, is_undecodable};
use crate::kinds::{Kind, Refusal};
use crate::pace::Pace;

/// How many refusals may wait to be told; more are dropped, as the log has them.
const PENDING_REFUSALS: usize = 256;

/// A running watch of the cluster, and where its snapshots appear.
///
/// Watches that break resume where they were or list again; what was deleted meanwhile is then found missing.
#[derive(Debug)]
pub struct ClusterWatch {
    snapshots: watch::Receiver<Option<Cluster>>,
    refusals: mpsc::Receiver<Refusal>,
    task: JoinHandle<()>,
}

impl ClusterWatch {
    /// Watches objects of `kinds` until `cancel`.
    pub fn start(client: Client, kinds: Vec<ObjectKind>, cancel: CancellationToken) -> Self {
        let (to_snapshots, snapshots) = watch::channel(None);
        let (to_refusals, refusals) = mpsc::channel(PENDING_REFUSALS);
        let task = tokio::spawn(async move {
            let reports = kinds.iter().map(|&kind| reports_of(kind, client.clone())).collect();
            let gathering = Gathering {
                kinds,
                assembly: Assembly::default(),
                to_snapshots,
                to_refusals,
                pace: Pace::from(Instant::now()),
            };
            cancel.run_until_cancelled_owned(gathering.run(reports)).await;
        });
        Self { snapshots, refusals, task }
    }

    /// Where snapshots appear; nothing until every kind was listed once. Readers see the latest, not each one.
    pub fn snapshots(&self) -> watch::Receiver<Option<Cluster>> {
        self.snapshots.clone()
    }

    /// The next thing that could not be admitted, told once until it changes; nothing after the end of the watch.
    pub async fn next_refusal(&mut self) -> Option<Refusal> {
        self.refusals.recv().await
    }

    /// Ends once the watch has, after it was cancelled.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            warn!(%error, "cluster watch ended abnormally");
        }
    }
}

/// Turns reports into snapshots.
struct Gathering {
    kinds: Vec<ObjectKind>,
    assembly: Assembly,
    to_snapshots: watch::Sender<Option<Cluster>>,
    to_refusals: mpsc::Sender<Refusal>,
    pace: Pace,
}

impl Gathering {
    async fn run(mut self, mut reports: SelectAll<BoxStream<'static, Report>>) {
        let mut due: Option<Instant> = None;
        loop {
            let wait = tokio::time::sleep_until(due.unwrap_or_else(Instant::now));
            tokio::select! {
                report = reports.next() => {
                    let Some(report) = report else { return };
                    let mut changed = self.assembly.take(report);
                    while let Some(Some(report)) = reports.next().now_or_never() {
                        changed |= self.assembly.take(report);
                    }
                    self.tell_refusals();
                    if changed && due.is_none() {
                        due = Some(self.pace.due(Instant::now()));
                    }
                }
                () = wait, if due.is_some() => {
                    due = None;
                    self.publish();
                }
            }
        }
    }

    fn publish(&mut self) {
        if !self.assembly.is_complete(&self.kinds) {
            return;
        }
        self.pace.published(Instant::now());
        let cluster = self.assembly.cluster().clone();
        debug!(nodes = cluster.nodes.len(), services = cluster.services.len(), "new snapshot");
        if self.to_snapshots.send_replace(Some(cluster)).is_none() {
            info!("first complete snapshot of the cluster");
        }
    }

    fn tell_refusals(&mut self) {
        for refusal in self.assembly.take_refusals() {
            for rejected in &refusal.rejected {
                warn!(object = %rejected.object, field = rejected.field, why = rejected.why, "object refused");
            }
            if self.to_refusals.try_send(refusal).is_err() {
                debug!("refusal not told: too many at once");
            }
        }
    }
}

fn reports_of(kind: ObjectKind, client: Client) -> BoxStream<'static, Report> {
    match kind {
        ObjectKind::Node => events_of::<core::Node>(kind, client).map(Report::Node).boxed(),
        ObjectKind::Namespace => events_of::<core::Namespace>(kind, client).map(Report::Namespace).boxed(),
        ObjectKind::Pod => events_of::<core::Pod>(kind, client).map(Report::Pod).boxed(),
        ObjectKind::Service => events_of::<core::Service>(kind, client).map(Report::Service).boxed(),
        ObjectKind::EndpointSlice => {
            events_of::<discovery::EndpointSlice>(kind, client).map(Report::EndpointSlice).boxed()
        }
        ObjectKind::LoadBalancerPool => {
            events_of::<LoadBalancerPool>(kind, client).map(Report::LoadBalancerPool).boxed()
        }
        ObjectKind::ServiceCidr => optional_events_of::<ServiceCIDR>(kind, client).map(Report::ServiceCidr).boxed(),
    }
}

/// The events of all objects of a kind. Lists are read as a whole, which is quickest, until one cannot be: from then on
/// each object is read by itself.
fn events_of<K>(kind: ObjectKind, client: Client) -> BoxStream<'static, Event<Decoded<K>>>
where
    K: Kind + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let whole = watch_of::<K>(client.clone()).take_while(|event| ready(!event.as_ref().is_err_and(is_undecodable)));
    let each = watch_of::<Decoded<K>>(client);
    whole
        .map(|event| event.map(Decoded::event))
        .chain(each)
        .filter_map(move |event| {
            let event = event.inspect_err(|error| warn!(%kind, %error, "watch failed; trying again")).ok();
            ready(event)
        })
        .boxed()
}

/// The events of all objects of a kind that not every API server has: as long as it has none, or shows none, there are
/// none. It is asked again all the while.
fn optional_events_of<K>(kind: ObjectKind, client: Client) -> BoxStream<'static, Event<Decoded<K>>>
where
    K: Kind + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watch_of::<Decoded<K>>(client).map(move |event| match event {
        Ok(event) => vec![event],
        Err(error) if is_absent(&error) => {
            debug!(%kind, %error, "the API server shows no such objects");
            vec![Event::Init, Event::InitDone]
        }
        Err(error) => {
            warn!(%kind, %error, "watch failed; trying again");
            Vec::new()
        }
    });
    events.flat_map(stream::iter).boxed()
}

/// Whether a list failed because there is no such kind, or no permission to see it.
fn is_absent(error: &watcher::Error) -> bool {
    let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error else { return false };
    matches!(status.code, 403 | 404)
}

/// A watch that asks for nothing before it is polled.
fn watch_of<K>(client: Client) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Kind + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::all(client), watcher::Config::default()).default_backoff()
}
