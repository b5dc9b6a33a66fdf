//! The loop of one pod: look at what is, decide, act, tell; then wait until something changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver::client::{DeleteOptions, PODS};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::images::settle_into_back_off;
use super::plan::{ContainerView, Outcome, Plan, RestartPolicy, plan_end, plan_run};
use super::publisher::Publisher;
use super::roles::{Role, containers_of};
use super::slot::{Current, Slot, Waiting, bare_id, termination};
use super::start::{Starter, new_id};
use super::status::{StatusFacts, plan_status};
use super::{Context, Wanted, hooks, label, sandbox};
use crate::controllers::events::Severity::{Normal, Warning};
use crate::node::back_off::go_duration;
use crate::node::container::{Container, Ended};
use crate::node::probe::{Answer, Finding, Question};
use crate::node::records::PodRecord;
use crate::node::registry::{ContainerEntry, PodEntry};
use crate::node::volumes::Volumes;
use crate::shim::Place;

/// The pause after a failure to make what all containers need.
const SETUP_RETRY: Duration = Duration::from_secs(1);

/// What a pod without a grace period of its own gets.
const USUAL_GRACE_SECONDS: i64 = 30;

/// How much of a container's last words is kept.
const LAST_WORDS_BYTES: usize = 4096;

/// Looks after one pod until nothing of it is left, or until `cancel`: then its containers go on without us.
pub async fn run(context: Arc<Context>, wanted: watch::Receiver<Wanted>, cancel: CancellationToken) {
    let Some(mut worker) = Worker::new(context, wanted) else { return };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = worker.work() => {}
    }
}

struct Worker {
    context: Arc<Context>,
    wanted: watch::Receiver<Wanted>,
    pod: Arc<Pod>,
    /// Follows `pod`, for volumes that show parts of it.
    pod_updates: watch::Sender<Arc<Pod>>,
    record: PodRecord,
    volumes: Option<Volumes>,
    slots: Vec<Slot>,
    outcome: Option<Outcome>,
    /// Why the pod is being ended, if not because it was deleted.
    verdict: Option<(String, String)>,
    publisher: Publisher,
    changed: Arc<Notify>,
    findings: (mpsc::Sender<Finding>, mpsc::Receiver<Finding>),
    endings: JoinSet<(usize, Result<(), String>)>,
    /// Making what all containers need is not to be tried earlier.
    setup_retry: Option<Timestamp>,
}

impl Worker {
    fn new(context: Arc<Context>, mut wanted: watch::Receiver<Wanted>) -> Option<Self> {
        let pod = Arc::clone(&wanted.borrow_and_update().pod);
        let uid = pod.metadata.uid.clone()?;
        let known = context.records.pod(&uid);
        let is_new = known.is_none();
        let accepted_at = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        let record = known.unwrap_or_else(|| PodRecord {
            pod: (*pod).clone(),
            sandbox: None,
            accepted_at: accepted_at.unwrap_or_else(Timestamp::now),
        });
        let mut worker = Self {
            publisher: Publisher::new(context.client.clone(), &pod),
            slots: containers_of(&pod).into_iter().map(|(role, spec)| Slot::new(role, spec)).collect(),
            pod_updates: watch::Sender::new(Arc::clone(&pod)),
            changed: Arc::new(Notify::new()),
            findings: mpsc::channel(64),
            endings: JoinSet::new(),
            outcome: outcome_in(&pod),
            verdict: None,
            volumes: None,
            setup_retry: None,
            context,
            wanted,
            pod,
            record,
        };
        if is_new {
            worker.keep_record();
        }
        worker.adopt(&uid);
        Some(worker)
    }

    fn keep_record(&self) {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = self.context.records.write_pod(uid, &self.record) {
            tracing::error!(pod = label(&self.pod), %error, "pod not recorded: a restart would not know it");
        }
    }

    /// Takes over what an earlier runtime left: the containers that run, and what became of those that do not.
    fn adopt(&mut self, uid: &str) {
        let statuses = self.pod.status.as_ref();
        let ready: BTreeMap<String, (bool, bool)> = statuses
            .iter()
            .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
            .filter_map(|status| {
                let id = bare_id(status.container_id.as_deref()?).to_owned();
                Some((id, (status.started.unwrap_or_default(), status.ready)))
            })
            .collect();
        for (record, place) in self.context.records.containers(uid) {
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.spec.name == record.name) else { continue };
            let former = slot.current.take().and_then(|current| current.ended);
            slot.last = former.or(slot.last.take());
            slot.restarts = record.attempt;
            let (started, was_ready) = ready.get(&record.id).copied().unwrap_or_default();
            let ended = place.exit().ok().map(|exit| {
                let words = last_words(slot, &place, exit.code);
                termination(&record.id, &Ended { exit, lost: false }, words)
            });
            let container = Container::adopt(place, Arc::clone(&self.changed)).ok().map(Arc::new);
            if container.is_none() && ended.is_none() {
                continue;
            }
            slot.current = Some(Current {
                id: record.id,
                container,
                started: started || slot.spec.startup_probe.is_none(),
                ready: was_ready || slot.spec.readiness_probe.is_none(),
                stopping: false,
                ended,
                probes: None,
            });
        }
    }

    async fn work(&mut self) {
        if self.record.sandbox.is_some() && !self.is_ending() {
            // Volumes must be followed again, and probes asked again.
            self.set_up().await;
            self.watch_over_all();
            self.check_network().await;
        }
        loop {
            self.note_ends();
            let now = Timestamp::now();
            let plan = self.plan(now);
            if let Some(outcome) = plan.over {
                self.outcome = self.outcome.or(Some(outcome));
                self.tear_down().await;
            }
            let acted = self.carry_out(&plan, now).await;
            self.tell();
            if plan.over.is_some() && self.is_leaving() && self.record.sandbox.is_none() {
                return self.leave().await;
            }
            if !acted {
                self.wait(plan.wake_at.into_iter().chain(self.setup_retry).min()).await;
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some() || self.wanted.borrow().gone
    }

    fn is_ending(&self) -> bool {
        self.is_leaving() || self.verdict.is_some() || self.outcome.is_some()
    }

    /// Notes what containers ended since the last look.
    fn note_ends(&mut self) {
        for slot in &mut self.slots {
            let Some(current) = &slot.current else { continue };
            let (None, Some(container)) = (&current.ended, &current.container) else { continue };
            let Some(ended) = container.ended() else { continue };
            let words = last_words(slot, container.place(), ended.exit.code);
            if let Some(current) = &mut slot.current {
                current.ended = Some(termination(&current.id, &ended, words));
                current.probes = None;
            }
        }
    }

    fn plan(&mut self, now: Timestamp) -> Plan {
        let views: Vec<ContainerView> = self.slots.iter().map(|slot| slot.view(now)).collect();
        let policy = RestartPolicy::named(self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()));
        let mut deadline = None;
        if !self.is_ending()
            && let Some(end) = self.active_deadline()
        {
            if end <= now {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.context.pod_event(&self.pod, Normal, "DeadlineExceeded", message.clone());
                self.verdict = Some(("DeadlineExceeded".to_owned(), message));
            }
            deadline = Some(end);
        }
        if self.is_ending() {
            return plan_end(&views, self.verdict.as_ref().map(|_| Outcome::Failed));
        }
        let mut plan = plan_run(&views, policy, now);
        plan.wake_at = plan.wake_at.into_iter().chain(deadline).min();
        plan
    }

    fn active_deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        self.record.accepted_at.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// Does what `plan` says; true if something may be different now.
    async fn carry_out(&mut self, plan: &Plan, now: Timestamp) -> bool {
        for &index in &plan.stop {
            self.stop(index, self.grace());
        }
        for &index in &plan.postponed {
            self.postpone(index, now);
        }
        if plan.start.is_empty() {
            return !plan.stop.is_empty();
        }
        if !self.set_up().await {
            return false;
        }
        for &index in &plan.start {
            self.start(index).await;
        }
        true
    }

    /// Makes what all containers need; false if that did not work and has to be tried later.
    async fn set_up(&mut self) -> bool {
        if self.setup_retry.is_some_and(|at| at > Timestamp::now()) {
            return false;
        }
        self.setup_retry = None;
        let problem = self.context.network_problem.borrow().clone();
        if let Some(problem) = problem.filter(|_| !sandbox::is_host_network(&self.pod) && self.record.sandbox.is_none())
        {
            let message = format!("network is not ready: {problem}");
            self.context.pod_event(&self.pod, Warning, "NetworkNotReady", message);
            return self.retry_setup();
        }
        let (volumes, network) = tokio::join!(self.make_volumes(), self.make_sandbox());
        let volumes = volumes.map(|made| self.volumes = made.or(self.volumes.take()));
        let network = network.map(|made| {
            if let Some(sandbox) = made {
                self.record.sandbox = Some(sandbox);
                self.keep_record();
            }
        });
        for (reason, message) in [volumes.err(), network.err()].into_iter().flatten() {
            self.context.pod_event(&self.pod, Warning, reason, message);
            self.retry_setup();
        }
        self.setup_retry.is_none()
    }

    fn retry_setup(&mut self) -> bool {
        self.setup_retry =
            SignedDuration::try_from(SETUP_RETRY).ok().and_then(|wait| Timestamp::now().checked_add(wait).ok());
        false
    }

    async fn make_volumes(&self) -> Result<Option<Volumes>, (&'static str, String)> {
        if self.volumes.is_some() {
            return Ok(None);
        }
        let made = self.context.volumes.make(self.pod_updates.subscribe()).await;
        made.map(Some).map_err(|error| ("FailedMount", sandbox::chain(&error)))
    }

    async fn make_sandbox(&self) -> Result<Option<crate::node::records::SandboxRecord>, (&'static str, String)> {
        if self.record.sandbox.is_some() {
            return Ok(None);
        }
        let made = sandbox::make(&self.context, &self.pod, new_id()).await;
        made.map(Some).map_err(|error| {
            ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {}", sandbox::chain(&error)))
        })
    }

    async fn start(&mut self, index: usize) {
        let (Some(sandbox), Some(volumes)) = (&self.record.sandbox, &self.volumes) else { return };
        let starter = Starter {
            context: &self.context,
            pod: &self.pod,
            sandbox,
            volumes,
            changed: &self.changed,
            findings: &self.findings.0,
        };
        starter.start(&mut self.slots[index]).await;
    }

    /// Tells if the network of a pod taken over is not as it was made. What to do about it is for people to decide.
    async fn check_network(&self) {
        let Some(sandbox) = &self.record.sandbox else { return };
        if let Err(error) = sandbox::check(&self.context, &self.pod, sandbox).await {
            self.context.pod_event(&self.pod, Warning, "NetworkNotAsMade", error);
        }
    }

    fn watch_over_all(&mut self) {
        let (Some(sandbox), Some(volumes)) = (&self.record.sandbox, &self.volumes) else { return };
        let starter = Starter {
            context: &self.context,
            pod: &self.pod,
            sandbox,
            volumes,
            changed: &self.changed,
            findings: &self.findings.0,
        };
        self.slots.iter_mut().for_each(|slot| starter.watch_over(slot));
    }

    /// Asks a container to end, in the background: its hook may take long.
    fn stop(&mut self, index: usize, grace: Duration) {
        let address = self.address();
        let slot = &mut self.slots[index];
        let event = ("Killing", format!("Stopping container {}", slot.spec.name));
        self.context.container_event(&self.pod, slot, Normal, event);
        self.end(index, grace, address);
    }

    fn end(&mut self, index: usize, grace: Duration, address: Option<IpAddr>) {
        let slot = &mut self.slots[index];
        let spec = slot.spec.clone();
        let Some(current) = slot.current.as_mut().filter(|current| !current.stopping) else { return };
        let Some(container) = current.container.clone() else { return };
        (current.stopping, current.ready) = (true, current.ready && self.pod.metadata.deletion_timestamp.is_some());
        self.endings.spawn(async move { (index, hooks::end(spec, container, address, grace).await) });
    }

    fn address(&self) -> Option<IpAddr> {
        self.record.sandbox.as_ref().and_then(|sandbox| sandbox.addresses.first().copied())
    }

    fn grace(&self) -> Duration {
        let asked = self.pod.metadata.deletion_grace_period_seconds;
        let own = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        // An object that is gone was deleted without grace.
        let seconds = if self.wanted.borrow().gone { 0 } else { asked.or(own).unwrap_or(USUAL_GRACE_SECONDS) };
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// Lets a container's status say what it waits for.
    fn postpone(&mut self, index: usize, now: Timestamp) {
        let pod = label(&self.pod);
        let slot = &mut self.slots[index];
        settle_into_back_off(&self.context, &self.pod, slot);
        if let (Some((_, wait)), None) = (slot.restart_wait(now), &slot.waiting) {
            let name = &slot.spec.name;
            let message = format!("back-off {} restarting failed container={name} pod={pod}", go_duration(wait));
            let event = ("BackOff", format!("Back-off restarting failed container {name} in pod {pod}"));
            self.context.container_event(&self.pod, slot, Warning, event);
            slot.waiting = Some(Waiting { reason: "CrashLoopBackOff".to_owned(), message: Some(message) });
        }
    }

    /// Gives up what all containers shared, once none of them runs.
    async fn tear_down(&mut self) {
        let Some(sandbox) = &self.record.sandbox else { return };
        match sandbox::remove(&self.context, &self.pod, sandbox).await {
            Ok(()) => {
                self.record.sandbox = None;
                self.keep_record();
            }
            Err(error) => {
                let message = format!("error killing pod: failed to stop sandbox: {error}");
                self.context.pod_event(&self.pod, Warning, "FailedKillPod", message);
                self.retry_setup();
            }
        }
    }

    /// Lets the API server and the node's own API know how things are.
    fn tell(&self) {
        let metadata = &self.pod.metadata;
        let [namespace, name, uid] =
            [&metadata.namespace, &metadata.name, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
        let has_init = self.slots.iter().any(|slot| slot.role != Role::Main);
        let pending = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let logs = self.context.records.log_directory(&self.pod);
        let entry = |slot: &Slot| {
            let log = |attempt: u32| logs.join(&slot.spec.name).join(format!("{attempt}.log"));
            let entry = ContainerEntry {
                current: slot.current.as_ref().map(|current| {
                    let directory = self.context.config.paths.containers().join(&current.id);
                    (Place::new(directory), log(slot.restarts))
                }),
                waiting_for: slot.waiting.as_ref().map_or(pending, |waiting| &waiting.reason).to_owned(),
                previous_log: slot.restarts.checked_sub(1).map(log),
                terminal: slot.spec.tty.unwrap_or_default(),
                stdin: slot.spec.stdin.unwrap_or_default(),
            };
            (slot.spec.name.clone(), entry)
        };
        let containers = self.slots.iter().map(entry).collect();
        self.context.registry.set(namespace, name, PodEntry { uid: uid.to_owned(), containers });
        if !self.wanted.borrow().gone {
            self.publisher.publish(plan_status(&self.pod, &self.facts(pending), Timestamp::now()));
        }
    }

    fn facts(&self, pending: &str) -> StatusFacts {
        let known = self.pod.status.as_ref().and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
        let addresses = match &self.record.sandbox {
            Some(sandbox) => sandbox.addresses.clone(),
            // A pod that has ended keeps the address it had.
            None if self.outcome.is_some() => known.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            None => Vec::new(),
        };
        StatusFacts {
            host_address: self.context.config.address,
            addresses,
            sandbox_ready: self.record.sandbox.is_some(),
            accepted_at: self.record.accepted_at,
            containers: self.slots.iter().map(|slot| (slot.role, slot.status(pending))).collect(),
            outcome: self.outcome,
            verdict: self.verdict.clone(),
        }
    }

    /// Waits until something has changed or `until` has come.
    async fn wait(&mut self, until: Option<Timestamp>) {
        let alarm = async {
            match until {
                Some(at) => {
                    let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                    tokio::time::sleep(wait).await;
                }
                None => std::future::pending().await,
            }
        };
        let mut network = self.context.network_problem.clone();
        tokio::select! {
            () = alarm => {}
            () = self.changed.notified() => {}
            changed = self.wanted.changed() => if changed.is_ok() { self.take_update() },
            Some(finding) = self.findings.1.recv() => self.note_finding(finding),
            Some(ended) = self.endings.join_next(), if !self.endings.is_empty() => self.note_ending(ended),
            Ok(()) = network.changed(), if self.setup_retry.is_some() => self.setup_retry = None,
        }
    }

    fn take_update(&mut self) {
        let pod = Arc::clone(&self.wanted.borrow_and_update().pod);
        if pod.metadata.labels != self.pod.metadata.labels || pod.metadata.annotations != self.pod.metadata.annotations
        {
            self.pod_updates.send_replace(Arc::clone(&pod));
        }
        let deletion_began =
            pod.metadata.deletion_timestamp.is_some() && self.pod.metadata.deletion_timestamp.is_none();
        let shorter = pod.metadata.deletion_grace_period_seconds < self.pod.metadata.deletion_grace_period_seconds;
        self.pod = pod;
        if deletion_began {
            self.record.pod = (*self.pod).clone();
            self.keep_record();
        }
        if shorter || self.wanted.borrow().gone {
            self.hurry();
        }
    }

    /// The grace period became shorter: containers that are ending already are told so.
    fn hurry(&mut self) {
        let grace = self.grace();
        for current in self.slots.iter().filter_map(|slot| slot.current.as_ref()) {
            if let (true, Some(container)) = (current.stopping && current.ended.is_none(), current.container.clone()) {
                self.endings.spawn(async move {
                    container.stop(grace).await;
                    (usize::MAX, Ok(()))
                });
            }
        }
    }

    fn note_ending(&mut self, ended: Result<(usize, Result<(), String>), tokio::task::JoinError>) {
        if let Ok((index, Err(why))) = ended
            && let Some(slot) = self.slots.get(index)
        {
            self.context.container_event(
                &self.pod,
                slot,
                Warning,
                ("FailedPreStopHook", format!("PreStopHook failed: {why}")),
            );
        }
    }

    fn note_finding(&mut self, finding: Finding) {
        let of = |slot: &Slot| slot.current.as_ref().is_some_and(|current| current.id == finding.container);
        let Some(index) = self.slots.iter().position(of) else { return };
        let slot = &mut self.slots[index];
        let Some(current) = slot.current.as_mut().filter(|current| current.ended.is_none()) else { return };
        match (finding.question, finding.answer) {
            (question, Answer::Failed(why)) => {
                let event = ("Unhealthy", format!("{} probe failed: {}", question.title(), why.trim_end()));
                self.context.container_event(&self.pod, slot, Warning, event);
            }
            (Question::Started, Answer::Yes) => current.started = true,
            (Question::Ready, answer) => current.ready = answer == Answer::Yes,
            (Question::Alive, Answer::Yes) => {}
            (question @ (Question::Alive | Question::Started), Answer::No) => self.restart_unhealthy(index, question),
        }
    }

    fn restart_unhealthy(&mut self, index: usize, question: Question) {
        let slot = &self.slots[index];
        if self.is_ending() || slot.current.as_ref().is_none_or(|current| current.stopping) {
            return;
        }
        let probe = match question {
            Question::Alive => slot.spec.liveness_probe.as_ref(),
            _ => slot.spec.startup_probe.as_ref(),
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds).and_then(|s| u64::try_from(s).ok());
        let what = question.title().to_lowercase();
        let event = ("Killing", format!("Container {} failed {what} probe, will be restarted", slot.spec.name));
        self.context.container_event(&self.pod, slot, Normal, event);
        let grace = own.map_or_else(|| self.grace(), Duration::from_secs);
        self.end(index, grace, self.address());
    }

    /// The end: nothing of the pod is left here, and the API server may forget it, too.
    async fn leave(&mut self) {
        let metadata = &self.pod.metadata;
        let [namespace, name, uid] =
            [&metadata.namespace, &metadata.name, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
        self.context.registry.remove(namespace, name, uid);
        self.volumes = None;
        self.context.volumes.unmount(uid);
        if !self.wanted.borrow().gone {
            self.publisher.flush().await;
            self.delete_object(namespace, name, uid).await;
        }
        if let Err(error) = self.context.records.remove_pod(&self.pod) {
            tracing::warn!(pod = label(&self.pod), %error, "something of a pod is left on disk");
        }
    }

    async fn delete_object(&self, namespace: &str, name: &str, uid: &str) {
        let options = DeleteOptions::now().with_uid(uid);
        loop {
            match self.context.client.delete(&PODS, namespace, name, &options).await {
                Ok(_) => return,
                Err(error) if error.is_not_found() || error.is_conflict() => return,
                Err(error) => {
                    tracing::warn!(pod = label(&self.pod), %error, "pod not deleted");
                    tokio::time::sleep(SETUP_RETRY).await;
                }
            }
        }
    }
}

/// How a pod that is over ended, as its status says.
fn outcome_in(pod: &Pod) -> Option<Outcome> {
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some(Outcome::Succeeded),
        "Failed" => Some(Outcome::Failed),
        _ => None,
    }
}

/// What a container left in its termination message file, or the end of its log if it asks for that.
fn last_words(slot: &Slot, place: &Place, code: i32) -> Option<String> {
    let text = |bytes: Vec<u8>| {
        let start = bytes.len().saturating_sub(LAST_WORDS_BYTES);
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    };
    let written = std::fs::read(place.directory().join("last-words")).map(text).unwrap_or_default();
    if !written.is_empty() {
        return Some(written);
    }
    let falls_back = slot.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if code == 0 || !falls_back {
        return None;
    }
    let log = std::fs::read(place.spec().ok()?.log).ok()?;
    let lines = log.split(|&byte| byte == b'\n').filter_map(crate::shim::log::Line::parse);
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.text).into_owned()).collect();
    let last = &lines[lines.len().saturating_sub(80)..];
    Some(text(last.join("\n").into_bytes())).filter(|words| !words.is_empty())
}
