//! Which nodes take part in something, by a Lease each.
//!
//! A node that is to be chosen for work renews a Lease of its own; everybody watches those of all. That costs writes in
//! proportion to the nodes, not to the work that is shared out. No two clocks are compared: a Lease counts until it has
//! stood still for its duration by the watcher's own, and a node that cannot renew its Lease stops counting itself
//! before the others do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use model::{Name, NodeNetworks};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// How soon a Lease that has run out is noticed.
const LOOK: Duration = Duration::from_millis(200);
/// A watch that fails for one reason is complained of so often.
const REMINDER: Duration = Duration::from_mins(5);
/// A Lease is renewed so many times in its duration.
const RENEWALS: u32 = 4;
/// What happens to the Leases, as the API server tells it.
type LeaseEvents = BoxStream<'static, Result<Event<Lease>, watcher::Error>>;

/// The label of all Leases by which nodes take part in something.
const PRESENCE_LABEL: &str = "fairway.network/presence";
/// What a node tells of the networks it is on.
const NETWORKS: &str = "fairway.network/networks";

/// What helps an agent whose Lease has no place.
const NO_PLACE: &str = "install Fairway again with the version that runs: fairway install, Helm or install.yaml";

/// Whether a Lease cannot be written since its namespace is missing, and with it what permits it.
fn has_no_place(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

/// One node's presence at something.
#[derive(Clone, Debug)]
pub struct Presence {
    leases: Api<Lease>,
    namespace: String,
    purpose: &'static str,
    node: Name,
    networks: watch::Receiver<NodeNetworks>,
    duration: Duration,
}

impl Presence {
    /// The presence of a node, on the networks it is on, at `purpose`, by which its Lease is named; it counts for
    /// `duration` after it was renewed the last time.
    pub fn new(
        (client, namespace): (Client, &str),
        purpose: &'static str,
        (node, networks): (Name, watch::Receiver<NodeNetworks>),
        duration: Duration,
    ) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, namespace: namespace.to_owned(), purpose, node, networks, duration }
    }

    /// Takes part until `cancel`, and tells who else does. The Lease is left behind, and runs out unless this node takes part
    /// again before.
    pub async fn keep(&self, present: &watch::Sender<BTreeMap<Name, NodeNetworks>>, cancel: &CancellationToken) {
        let (to_renewed, renewed) = watch::channel(None);
        tokio::join!(
            cancel.run_until_cancelled(self.renew(&to_renewed)),
            cancel.run_until_cancelled(self.follow(present, &renewed)),
        );
        present.send_replace(BTreeMap::new());
    }

    /// Gives the Lease back, so that others need not wait until it runs out; not while it is kept.
    pub async fn leave(&self) {
        let (name, parameters) = (self.lease_name(), DeleteParams::default());
        match timeout(self.duration, self.leases.delete(&name, &parameters)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%error, name, "cannot give the lease back; it will run out"),
            Err(_) => debug!(name, "the API server does not answer; the lease will run out"),
        }
    }

    fn lease_name(&self) -> String {
        format!("fairway-{}-{}", self.purpose, self.node)
    }

    /// Renews the Lease, and tells when it was last known to be.
    async fn renew(&self, renewed: &watch::Sender<Option<Instant>>) {
        let mut ticks = interval(self.duration / RENEWALS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_shut_out = false;
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            match timeout(self.duration / RENEWALS, self.write_lease()).await {
                Ok(Ok(_)) => {
                    renewed.send_replace(Some(asked));
                    if std::mem::take(&mut is_shut_out) {
                        info!(namespace = self.namespace, "this node's lease can be kept again");
                    }
                }
                Ok(Err(error)) if has_no_place(&error) => {
                    // Once, and not at every renewal: trying again does not mend it.
                    if !std::mem::replace(&mut is_shut_out, true) {
                        error!(
                            %error, namespace = self.namespace, advice = NO_PLACE,
                            "this node does not take part: there is no namespace for its lease, or no right to keep one there"
                        );
                    }
                }
                Ok(Err(error)) => warn!(%error, "cannot renew the lease; trying again"),
                Err(_) => debug!("the lease was not renewed in time; trying again"),
            }
        }
    }

    async fn write_lease(&self) -> Result<Lease, kube::Error> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.lease_name(), "labels": { PRESENCE_LABEL: self.purpose },
                "annotations": { NETWORKS: self.networks.borrow().to_string() },
            },
            "spec": {
                "holderIdentity": self.node.as_str(),
                "leaseDurationSeconds": self.duration.as_secs(),
                "renewTime": MicroTime(Timestamp::now()),
            },
        });
        let parameters = PatchParams::apply(self.node.as_str()).force();
        self.leases.patch(&self.lease_name(), &parameters, &Patch::Apply(lease)).await
    }

    fn watch(&self) -> LeaseEvents {
        let config = watcher::Config::default().labels(&format!("{PRESENCE_LABEL}={}", self.purpose));
        watcher(self.leases.clone(), config).default_backoff().boxed()
    }

    /// Watches the Leases of all and tells whose count.
    async fn follow(
        &self,
        present: &watch::Sender<BTreeMap<Name, NodeNetworks>>,
        renewed: &watch::Receiver<Option<Instant>>,
    ) {
        let mut events = self.watch();
        let mut failure = Failure::default();
        let mut looks = interval(LOOK);
        let (mut seen, mut begun) = (Seen::default(), Instant::now());
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        failure.ended();
                        seen.take(event, Instant::now());
                    }
                    Some(Err(error)) if failure.is_news(&error.to_string(), Instant::now()) => {
                        warn!(%error, "cannot watch the leases: nobody may answer for addresses; trying again");
                    }
                    Some(Err(error)) => debug!(%error, "watching the leases failed; trying again"),
                    None => return,
                },
                _ = looks.tick() => {}
            }
            let now = Instant::now();
            // Before the others give up on this node it has to have given up itself.
            let is_renewed = renewed.borrow().is_some_and(|renewed| now < renewed + self.duration * 2 / 3);
            if is_renewed && seen.lacks(&self.node, begun, now, self.duration / 2) {
                debug!("own renewals are not seen; the connection may be dead, watching anew");
                (events, begun) = (self.watch(), now);
            }
            // Whoever has not seen the others yet is not alone.
            if !seen.is_complete {
                continue;
            }
            let mut counted = seen.counted(now, self.duration);
            // A watch that does not show this node's own renewals shows nobody's.
            match counted.get_mut(&self.node) {
                Some(networks) if is_renewed => networks.clone_from(&self.networks.borrow()),
                _ => drop(counted.remove(&self.node)),
            }
            present.send_if_modified(|known| {
                let is_new = *known != counted;
                *known = counted;
                is_new
            });
        }
    }
}

/// What was last told of a watch that fails.
#[derive(Debug, Default)]
struct Failure(Option<(String, Instant)>);

impl Failure {
    /// Whether a failure is to be told: another one than the last, or the same that still lasts.
    fn is_news(&mut self, said: &str, now: Instant) -> bool {
        let is_known = |(known, told): &(String, Instant)| known == said && now < *told + REMINDER;
        let is_news = !self.0.as_ref().is_some_and(is_known);
        if is_news {
            self.0 = Some((said.to_owned(), now));
        }
        is_news
    }

    fn ended(&mut self) {
        self.0 = None;
    }
}

/// What was last seen of each node's Lease.
#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeMap<Name, Renewal>,
    /// What a list that has not ended yet has brought.
    listed: BTreeSet<Name>,
    /// Whether a list has ended.
    is_complete: bool,
}

#[derive(Debug)]
struct Renewal {
    time: Option<MicroTime>,
    seen: Instant,
    networks: NodeNetworks,
}

impl Seen {
    fn take(&mut self, event: Event<Lease>, now: Instant) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(lease) => {
                let noted = self.note(&lease, now);
                self.listed.extend(noted);
            }
            Event::InitDone => {
                self.is_complete = true;
                self.nodes.retain(|node, _| self.listed.contains(node));
            }
            Event::Apply(lease) => drop(self.note(&lease, now)),
            Event::Delete(lease) => drop(holder(&lease).and_then(|node| self.nodes.remove(&node))),
        }
    }

    fn note(&mut self, lease: &Lease, now: Instant) -> Option<Name> {
        let node = holder(lease)?;
        let time = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let stands_still = self.nodes.get(&node).is_some_and(|known| known.time == time);
        if !stands_still {
            self.nodes.insert(node.clone(), Renewal { time, seen: now, networks: networks(lease) });
        }
        Some(node)
    }

    /// Whether no renewal of a node was seen for `patience` although it was looked for since `begun`.
    fn lacks(&self, node: &Name, begun: Instant, now: Instant, patience: Duration) -> bool {
        let seen = self.nodes.get(node).map_or(begun, |renewal| renewal.seen.max(begun));
        now >= seen + patience
    }

    fn counted(&self, now: Instant, duration: Duration) -> BTreeMap<Name, NodeNetworks> {
        let alive = self.nodes.iter().filter(|(_, renewal)| now < renewal.seen + duration);
        alive.map(|(node, renewal)| (node.clone(), renewal.networks.clone())).collect()
    }
}

fn networks(lease: &Lease) -> NodeNetworks {
    let annotations = lease.metadata.annotations.as_ref();
    NodeNetworks::parse(annotations.and_then(|annotations| annotations.get(NETWORKS)).map(String::as_str))
}

fn holder(lease: &Lease) -> Option<Name> {
    lease.spec.as_ref()?.holder_identity.as_deref().map(Name::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(5);

    fn lease(node: &str, renewed: i64) -> Lease {
        let time = MicroTime(Timestamp::from_second(renewed).unwrap());
        serde_json::from_value(json!({ "metadata": {}, "spec": { "holderIdentity": node, "renewTime": time } }))
            .unwrap()
    }

    fn names(seen: &Seen, now: Instant) -> Vec<String> {
        seen.counted(now, DURATION).keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_lease_counts_until_it_has_stood_still_for_its_duration() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.take(Event::Apply(lease("a", 1)), start);
        seen.take(Event::Apply(lease("a", 1)), start + DURATION / 2);
        assert_eq!(names(&seen, start + DURATION - LOOK), ["a"]);
        assert!(names(&seen, start + DURATION).is_empty(), "the same renewal seen again is no renewal");
        seen.take(Event::Apply(lease("a", 2)), start + DURATION);
        assert_eq!(names(&seen, start + DURATION), ["a"]);
    }

    #[test]
    fn a_watch_that_fails_is_told_at_once_and_while_it_lasts_now_and_then() {
        let (mut failure, start) = (Failure::default(), Instant::now());
        assert!(failure.is_news("forbidden", start));
        assert!(!failure.is_news("forbidden", start + REMINDER / 2));
        assert!(failure.is_news("forbidden", start + REMINDER));
        assert!(failure.is_news("timeout", start + REMINDER), "another one");
        failure.ended();
        assert!(failure.is_news("timeout", start + REMINDER), "it had ended in between");
    }

    #[test]
    fn a_node_tells_the_networks_it_is_on() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut told = lease("a", 1);
        told.metadata.annotations = Some([(NETWORKS.to_owned(), "10.89.0.0/24".to_owned())].into());
        seen.take(Event::Apply(told), start);
        seen.take(Event::Apply(lease("b", 1)), start);
        let wanted = [("a", NodeNetworks::Told(vec!["10.89.0.0/24".parse().unwrap()])), ("b", NodeNetworks::Untold)];
        assert_eq!(seen.counted(start, DURATION), wanted.map(|(name, networks)| (name.into(), networks)).into());
    }

    #[test]
    fn a_watch_that_shows_no_renewal_of_a_node_for_long_lacks_it() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let lacks = |seen: &Seen, now| seen.lacks(&Name::from("a"), start, now, DURATION / 2);
        assert!(!lacks(&seen, start + DURATION / 2 - LOOK));
        assert!(lacks(&seen, start + DURATION / 2), "it never came");
        seen.take(Event::Apply(lease("a", 1)), start + DURATION / 2);
        assert!(!lacks(&seen, start + DURATION / 2));
        seen.take(Event::Apply(lease("b", 1)), start + DURATION);
        assert!(lacks(&seen, start + DURATION), "only another's came");
    }

    #[test]
    fn a_lease_given_back_counts_no_more_and_neither_does_one_a_list_lacks() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.take(Event::Apply(lease("a", 1)), start);
        seen.take(Event::Apply(lease("b", 1)), start);
        seen.take(Event::Delete(lease("a", 1)), start);
        assert_eq!(names(&seen, start), ["b"]);
        seen.take(Event::Init, start);
        seen.take(Event::InitApply(lease("c", 1)), start);
        seen.take(Event::InitDone, start);
        assert_eq!(names(&seen, start), ["c"]);
    }
}
