//! Telling users, on their own objects, what could not be admitted.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{self as core, Event, EventSource};
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use model::from_kube::LoadBalancerPool;
use model::{NamespacedName, ObjectKind, Rejected, RejectedReason, Subject, fnv1a};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, sleep};
use tracing::{debug, warn};

use crate::kinds::{Kind, ObjectReference};
use crate::watch::ClusterWatch;

/// How many lists of rejections may wait to be told; more are dropped, as the log has them.
const PENDING: usize = 64;
/// At most one Event in this time: thousands of bad objects must not become a flood of writes.
const SPACING: Duration = Duration::from_millis(100);
/// The same said again so soon after the last time is another node's telling of the same, or an agent's that was started
/// anew; later it is a repetition, and counted.
const SAME_TELLING: SignedDuration = SignedDuration::from_secs(60);
/// The pauses before an Event that the API server did not take is sent again.
const RETRIES_SECS: [u64; 4] = [1, 2, 4, 8];
/// How much of an object's name an Event's name begins with; the API allows 253 letters in all.
const NAME_PART: usize = 200;
/// Where Events on objects without a namespace live.
const CLUSTER_NAMESPACE: &str = "default";

/// Writes a Warning Event on every object of which something was refused: by the watch, or by whoever has the other
/// end of [`rejections`]. Ends with the watch.
///
/// An Event's name is made from what it says, so that the same refusal seen by every node of a cluster is one Event.
/// `component` is named as the source, e.g. `fairway-agent`.
pub async fn report_refusals(watch: &mut ClusterWatch, mut others: Rejections, client: &Client, component: &str) {
    let mut reporter = Reporter::new(client.clone(), component);
    loop {
        tokio::select! {
            refusal = watch.next_refusal() => {
                let Some(refusal) = refusal else { return };
                reporter.tell(&refusal.object, &refusal.rejected).await;
            }
            Some(rejected) = others.0.recv() => {
                for rejected in &rejected {
                    reporter.look_up_and_tell(rejected).await;
                }
            }
        }
    }
}

/// Writes a Warning Event on every object that [`rejections`] are about, as [`report_refusals`] does; ends when nobody
/// has the other end any more.
pub async fn report_rejections(mut rejections: Rejections, client: &Client, component: &str) {
    let mut reporter = Reporter::new(client.clone(), component);
    while let Some(rejected) = rejections.0.recv().await {
        for rejected in &rejected {
            reporter.look_up_and_tell(rejected).await;
        }
    }
}

/// Writes a Warning Event on a ConfigMap, of whose `field` the content was refused.
///
/// Gets the ConfigMap first, so that the Event belongs to this one and not to an earlier one of its name.
pub async fn report_refused_config(
    client: &Client,
    config_map: &NamespacedName,
    (field, why): (&str, &str),
    component: &str,
) -> Result<(), kube::Error> {
    let (namespace, name) = (&config_map.namespace, &config_map.name);
    let found = Api::<core::ConfigMap>::namespaced(client.clone(), namespace.as_str()).get(name.as_str()).await?;
    let object = ObjectReference {
        api_version: "v1",
        kind: core::ConfigMap::KIND,
        namespace: Some(namespace.to_string()),
        name: name.to_string(),
        uid: found.metadata.uid.unwrap_or_default(),
    };
    let note = Note::refusal(RejectedReason::Refused, field, why);
    let event = event_for(&object, &note, component, Timestamp::now());
    Reporter::new(client.clone(), component).write(&event).await;
    Ok(())
}

/// A way to have rejections told that are found after the door: two objects that are in each other's way, a node that
/// cannot be reached.
pub fn rejections() -> (RejectionSender, Rejections) {
    let (sender, receiver) = mpsc::channel(PENDING);
    (RejectionSender(sender), Rejections(receiver))
}

/// Where rejections are put.
#[derive(Clone, Debug)]
pub struct RejectionSender(mpsc::Sender<Vec<Rejected>>);

impl RejectionSender {
    /// Has these told on their objects, in time; whether they will be, which they are not when too many wait. Never waits
    /// itself.
    #[must_use = "what was not taken is lost unless it is told again"]
    pub fn tell(&self, rejected: Vec<Rejected>) -> bool {
        let is_taken = rejected.is_empty() || self.0.try_send(rejected).is_ok();
        if !is_taken {
            debug!("rejections not told: too many at once");
        }
        is_taken
    }

    /// The same for what nobody can tell again: it is dropped when too many wait.
    pub fn tell_or_drop(&self, rejected: Vec<Rejected>) {
        let _is_taken = self.tell(rejected);
    }
}

/// Rejections to be told by [`report_refusals`].
#[derive(Debug)]
pub struct Rejections(mpsc::Receiver<Vec<Rejected>>);

/// Writes Events, slowly.
struct Reporter<'a> {
    client: Client,
    component: &'a str,
    pace: Interval,
}

impl<'a> Reporter<'a> {
    fn new(client: Client, component: &'a str) -> Self {
        let mut pace = tokio::time::interval(SPACING);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client, component, pace }
    }

    async fn tell(&mut self, object: &ObjectReference, rejected: &[Rejected]) {
        for rejected in rejected {
            self.pace.tick().await;
            self.write(&event_for(object, &Note::from(rejected), self.component, Timestamp::now())).await;
        }
    }

    async fn look_up_and_tell(&mut self, rejected: &Rejected) {
        self.pace.tick().await;
        let subject = &rejected.object;
        match with_retries(|| async { find(&self.client, subject).await }).await {
            Ok(Some(object)) => self.tell(&object, std::slice::from_ref(rejected)).await,
            Ok(None) => debug!(object = %subject, "gone before it was told what is wrong with it"),
            Err(error) => warn!(%error, object = %subject, "cannot find the object of an event"),
        }
    }

    async fn write(&self, event: &Event) {
        let namespace = event.metadata.namespace.as_deref().unwrap_or(CLUSTER_NAMESPACE);
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Err(error) = with_retries(|| create_or_count(&events, event)).await {
            warn!(%error, "cannot write an event");
        }
    }
}

/// Writes an Event, or counts it if it stands there already.
async fn create_or_count(events: &Api<Event>, event: &Event) -> Result<(), kube::Error> {
    match events.create(&PostParams::default(), event).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        outcome => return outcome.map(drop),
    }
    let name = event.metadata.name.as_deref().unwrap_or_default();
    // It may have run out since it was in the way.
    let Some(known) = events.get_opt(name).await? else { return Ok(()) };
    let Some(repetition) = repetition_of(&known, event) else { return Ok(()) };
    events.patch(name, &PatchParams::default(), &Patch::Merge(repetition)).await.map(drop)
}

/// What an Event that is known becomes when it comes again; nothing if it is the same telling.
fn repetition_of(known: &Event, event: &Event) -> Option<Value> {
    let now = event.last_timestamp.as_ref()?.0;
    let last = known.last_timestamp.as_ref().map(|time| time.0);
    if last.is_some_and(|last| now.duration_since(last) < SAME_TELLING) {
        return None;
    }
    Some(json!({ "count": known.count.unwrap_or(1) + 1, "lastTimestamp": Time(now) }))
}

/// Does something with the API server until it does not fail any more, for a quarter of a minute. What was refused is not
/// tried again.
async fn with_retries<T, F>(action: impl Fn() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    for pause in RETRIES_SECS.map(Duration::from_secs) {
        match action().await {
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                return Err(kube::Error::Api(status));
            }
            Err(error) => debug!(%error, "the API server does not take an event; trying again"),
            done => return done,
        }
        sleep(pause).await;
    }
    action().await
}

/// The object as an Event names it. Lists, because that is a right whoever watches the kind has anyway.
async fn find(client: &Client, subject: &Subject) -> Result<Option<ObjectReference>, kube::Error> {
    match subject.kind {
        ObjectKind::Node => find_as::<core::Node>(client, subject).await,
        ObjectKind::Namespace => find_as::<core::Namespace>(client, subject).await,
        ObjectKind::Pod => find_as::<core::Pod>(client, subject).await,
        ObjectKind::Service => find_as::<core::Service>(client, subject).await,
        ObjectKind::EndpointSlice => find_as::<discovery::EndpointSlice>(client, subject).await,
        ObjectKind::LoadBalancerPool => find_as::<LoadBalancerPool>(client, subject).await,
        ObjectKind::ServiceCidr => find_as::<ServiceCIDR>(client, subject).await,
    }
}

async fn find_as<K>(client: &Client, subject: &Subject) -> Result<Option<ObjectReference>, kube::Error>
where
    K: Kind + kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    // The namespace by a field as well, so that kinds with and without one are asked alike.
    let namespace = subject.namespace.as_ref().map(|namespace| format!(",metadata.namespace={namespace}"));
    let fields = format!("metadata.name={}{}", subject.name, namespace.unwrap_or_default());
    let found = Api::<K>::all(client.clone()).list(&ListParams::default().fields(&fields)).await?;
    Ok(found.items.first().map(Kind::reference))
}

/// Writes an Event of type Normal: something was done for an object.
pub(crate) async fn report_done(
    client: &Client,
    object: &ObjectReference,
    (reason, message): (&str, &str),
    component: &str,
) -> Result<(), kube::Error> {
    let now = Timestamp::now();
    let note = Note { kind: "Normal", reason, action: reason, message: message.into() };
    let mut event = event_for(object, &note, component, now);
    // As client-go names them: the same is done again, and told again.
    let name: String = object.name.chars().take(NAME_PART).collect();
    event.metadata.name = Some(format!("{name}.{:x}", now.as_nanosecond()));
    let namespace = event.metadata.namespace.clone().unwrap_or_else(|| CLUSTER_NAMESPACE.into());
    Api::<Event>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await.map(drop)
}

/// Writes an Event of type Normal on a Service; nothing if it is gone.
pub async fn report_on_service(
    client: &Client,
    service: &NamespacedName,
    told: (&str, &str),
    component: &str,
) -> Result<(), kube::Error> {
    match find(client, &Subject::service(service)).await? {
        Some(object) => report_done(client, &object, told, component).await,
        None => Ok(()),
    }
}

/// What an Event says.
struct Note<'a> {
    /// `Normal` or `Warning`.
    kind: &'static str,
    reason: &'a str,
    action: &'a str,
    message: String,
}

impl Note<'static> {
    /// A field was refused.
    fn refusal(reason: RejectedReason, field: &str, why: &str) -> Self {
        Self { kind: "Warning", reason: reason.as_str(), action: "Admit", message: format!("{field}: {why}") }
    }
}

impl From<&Rejected> for Note<'static> {
    fn from(rejected: &Rejected) -> Self {
        Self::refusal(rejected.reason, &rejected.field, &rejected.why)
    }
}

fn event_for(object: &ObjectReference, note: &Note<'_>, component: &str, now: Timestamp) -> Event {
    let namespace = object.namespace.clone().unwrap_or_else(|| CLUSTER_NAMESPACE.into());
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(object, note)),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: core::ObjectReference {
            api_version: Some(object.api_version.into()),
            kind: Some(object.kind.into()),
            namespace: object.namespace.clone(),
            name: Some(object.name.clone()),
            uid: Some(object.uid.clone()),
            ..core::ObjectReference::default()
        },
        type_: Some(note.kind.into()),
        reason: Some(note.reason.into()),
        action: Some(note.action.into()),
        message: Some(note.message.clone()),
        count: Some(1),
        event_time: Some(MicroTime(now)),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(component.into()), host: None }),
        reporting_component: Some(component.into()),
        reporting_instance: Some(component.into()),
        ..Event::default()
    }
}

fn event_name(object: &ObjectReference, note: &Note<'_>) -> String {
    let parts = [&object.uid, object.kind, &note.message].map(str::as_bytes);
    let name: String = object.name.chars().take(NAME_PART).collect();
    format!("{name}.{:016x}", fnv1a(&parts.join(&0)))
}

#[cfg(test)]
mod tests {
    use model::NamespacedName;

    use model::RejectedReason;

    use super::*;

    fn refused(why: &str) -> (ObjectReference, Rejected) {
        let object = ObjectReference {
            api_version: "v1",
            kind: "Service",
            namespace: Some("shop".into()),
            name: "cart".into(),
            uid: "u1".into(),
        };
        let rejected = Rejected {
            object: Subject::service(&NamespacedName::new("shop", "cart")),
            field: "spec.ports[0].port".into(),
            why: why.into(),
            reason: RejectedReason::Refused,
        };
        (object, rejected)
    }

    #[test]
    fn an_event_says_what_is_wrong_with_which_object() {
        let (object, rejected) = refused("0 is not a port");
        let event = event_for(&object, &Note::from(&rejected), "fairway-agent", Timestamp::UNIX_EPOCH);
        assert_eq!(event.message.as_deref(), Some("spec.ports[0].port: 0 is not a port"));
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("Refused")));
        assert_eq!(event.involved_object.name.as_deref(), Some("cart"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn what_is_refused_again_later_is_counted_and_not_what_every_node_tells_of_the_same() {
        let (object, rejected) = refused("0 is not a port");
        let at = |second| {
            event_for(&object, &Note::from(&rejected), "fairway-agent", Timestamp::from_second(second).unwrap())
        };
        assert_eq!(repetition_of(&at(0), &at(59)), None);
        let repeated = repetition_of(&at(0), &at(60)).unwrap();
        assert_eq!(repeated, json!({ "count": 2, "lastTimestamp": "1970-01-01T00:01:00Z" }));
        let again = repetition_of(&Event { count: Some(2), ..at(60) }, &at(120)).unwrap();
        assert_eq!(again["count"], 3);
    }

    #[test]
    fn the_same_refusal_is_the_same_event_on_every_node() {
        let (object, rejected) = refused("0 is not a port");
        assert_eq!(event_name(&object, &Note::from(&rejected)), event_name(&object, &Note::from(&rejected)));
        let (_, other) = refused("1 is not a port");
        assert_ne!(event_name(&object, &Note::from(&rejected)), event_name(&object, &Note::from(&other)));
    }
}
