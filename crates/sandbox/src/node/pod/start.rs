//! Starting one container of a pod.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc};

use super::compose::{FromPod, OwnPlaces, Refusal, compose};
use super::images::find_image;
use super::slot::{Current, Slot, Waiting, termination};
use super::{Context, hooks, sandbox};
use crate::controllers::events::Severity::{Normal, Warning};
use crate::node::container::{Container, Ended, StartError};
use crate::node::probe::{Finding, Probed, probe};
use crate::node::records::{ContainerRecord, SandboxRecord};
use crate::node::volumes::Volumes;
use crate::shim::Place;

/// When a container that lacks a ConfigMap or Secret is tried again.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// How long a hook after the start may take.
const POST_START_PATIENCE: Duration = Duration::from_secs(120);

/// What a pod's containers are started with.
pub struct Starter<'a> {
    /// The node.
    pub context: &'a Context,
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// Its namespaces.
    pub sandbox: &'a SandboxRecord,
    /// Its volumes.
    pub volumes: &'a Volumes,
    /// Told when a container has ended.
    pub changed: &'a Arc<Notify>,
    /// Where probes report.
    pub findings: &'a mpsc::Sender<Finding>,
}

impl Starter<'_> {
    /// Starts the container of `slot`, again if it has run before. Failures are left in the slot.
    pub async fn start(&self, slot: &mut Slot) {
        let now = Timestamp::now();
        let Some(image) = find_image(self.context, self.pod, slot, now) else { return };
        let again = slot.current.is_some();
        let attempt = if again { slot.restarts + 1 } else { slot.restarts };
        let prepared = self.prepare(slot, image, attempt).await;
        let (place, id, spec) = match prepared {
            Ok(prepared) => prepared,
            Err(Refusal(why)) => return self.refuse(slot, why, now),
        };
        self.make_room(slot, attempt, again, now);
        let event = ("Created", format!("Created container: {}", slot.spec.name));
        self.context.container_event(self.pod, slot, Normal, event);
        match Container::start(place, &spec, Arc::clone(self.changed)).await {
            Ok(container) => self.begin(slot, id, Arc::new(container)).await,
            Err(error) => self.fail(slot, id, &error),
        }
    }

    async fn prepare(
        &self,
        slot: &Slot,
        image: &'static crate::images::Image,
        attempt: u32,
    ) -> Result<(Place, String, crate::shim::ContainerSpec), Refusal> {
        let name = sandbox::name_of(self.context, self.pod).map_err(|error| Refusal(error.to_string()))?;
        let id = new_id();
        let record = ContainerRecord {
            id: id.clone(),
            pod_uid: self.pod.metadata.uid.clone().unwrap_or_default(),
            name: slot.spec.name.clone(),
            attempt,
            image: slot.spec.image.clone().unwrap_or_default(),
        };
        let place = self.context.records.write_container(&record).map_err(|error| Refusal(error.to_string()))?;
        let own = OwnPlaces {
            log: self.log(&slot.spec.name, attempt),
            last_words: place.directory().join("last-words"),
            image_data: place.directory().join("image"),
        };
        let from_pod = FromPod {
            pod: self.pod,
            host_name: &name.host_name,
            addresses: &self.sandbox.addresses,
            namespaces: sandbox::namespaces(self.context, self.pod, self.sandbox),
            volumes: self.volumes,
            shared_files: &sandbox::shared_files(self.context, self.pod),
        };
        match compose(self.context, &from_pod, (&slot.spec, image), &own).await {
            Ok(spec) => Ok((place, id, spec)),
            Err(refusal) => {
                self.context.records.remove_container(&place);
                Err(refusal)
            }
        }
    }

    /// The log of an attempt at the container called `name`.
    fn log(&self, name: &str, attempt: u32) -> PathBuf {
        self.context.records.log_directory(self.pod).join(name).join(format!("{attempt}.log"))
    }

    fn refuse(&self, slot: &mut Slot, why: String, now: Timestamp) {
        self.context.container_event(self.pod, slot, Warning, ("Failed", format!("Error: {why}")));
        slot.waiting = Some(Waiting { reason: "CreateContainerConfigError".to_owned(), message: Some(why) });
        slot.retry_at = now.checked_add(CONFIG_RETRY).ok();
    }

    /// Puts the container that ended before aside and forgets the one before that.
    fn make_room(&self, slot: &mut Slot, attempt: u32, again: bool, now: Timestamp) {
        if again {
            slot.back_off.note_restart(now);
        }
        slot.restarts = attempt;
        (slot.waiting, slot.retry_at) = (None, None);
        let Some(former) = slot.current.take() else { return };
        slot.last = former.ended;
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        for (record, place) in self.context.records.containers(uid) {
            if record.name == slot.spec.name && record.attempt + 1 < attempt {
                self.context.records.remove_container(&place);
                // The log may have been removed by hand.
                let _ = std::fs::remove_file(self.log(&record.name, record.attempt));
            }
        }
    }

    async fn begin(&self, slot: &mut Slot, id: String, container: Arc<Container>) {
        let event = ("Started", format!("Started container {}", slot.spec.name));
        self.context.container_event(self.pod, slot, Normal, event);
        let started = slot.spec.startup_probe.is_none();
        let ready = slot.spec.readiness_probe.is_none();
        slot.current = Some(Current {
            id,
            container: Some(Arc::clone(&container)),
            started,
            ready,
            stopping: false,
            ended: None,
            probes: None,
        });
        self.watch_over(slot);
        let hook = slot.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        if let Some(hook) = hook {
            let address = self.address();
            let ran = hooks::run_hook(&hook, &slot.spec, &container, address, POST_START_PATIENCE).await;
            if let Err(why) = ran {
                let event = ("FailedPostStartHook", format!("PostStartHook failed: {why}"));
                self.context.container_event(self.pod, slot, Warning, event);
                container.stop(Duration::ZERO).await;
            }
        }
    }

    /// Begins to ask the probes of a container that runs.
    pub fn watch_over(&self, slot: &mut Slot) {
        let (spec, address) = (slot.spec.clone(), self.address());
        let Some(current) = slot.current.as_mut().filter(|current| current.ended.is_none()) else { return };
        let Some(container) = current.container.clone() else { return };
        let probed = Probed { id: current.id.clone(), spec, container, address, findings: self.findings.clone() };
        current.probes = Some(probe(probed, current.started));
    }

    fn fail(&self, slot: &mut Slot, id: String, error: &StartError) {
        let why = sandbox::chain(error);
        let context = format!("Error: failed to start container: {why}");
        self.context.container_event(self.pod, slot, Warning, ("Failed", context));
        let now = Timestamp::now();
        let exit = match error {
            StartError::Program(exit) => exit.clone(),
            _ => crate::shim::ExitStatus {
                code: 128,
                signal: None,
                started_at: now,
                finished_at: now,
                start_error: Some(why),
            },
        };
        let ended = termination(&id, &Ended { exit, lost: false }, None);
        slot.current = Some(Current {
            id,
            container: None,
            started: false,
            ready: false,
            stopping: false,
            ended: Some(ended),
            probes: None,
        });
    }

    fn address(&self) -> Option<IpAddr> {
        self.sandbox.addresses.first().copied()
    }
}

/// A new id of 64 hexadecimal digits, as container runtimes have them.
pub fn new_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Every state is seeded by the operating system; four of them make 256 bits that nobody else has.
    (0..4)
        .map(|part| format!("{:016x}", RandomState::new().hash_one((part, Timestamp::now().as_nanosecond()))))
        .collect()
}
