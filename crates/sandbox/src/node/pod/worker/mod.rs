//! The loop of one pod: look at what is, decide, act, tell; then wait until something changes.

mod adoption;
mod ending;
mod network;
mod report;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::network::Network;
use super::images::settle_into_back_off;
use super::last_words::last_words;
use super::plan::{ContainerView, Outcome, Plan, RestartPolicy, plan_end, plan_run};
use super::publisher::Publisher;
use super::roles::containers_of;
use super::slot::{Slot, Waiting, termination};
use super::start::{Starter, new_id};
use super::{Context, Wanted, label, sandbox};
use crate::controllers::events::Severity::{Normal, Warning};
use crate::node::back_off::go_duration;
use crate::node::probe::{Answer, Finding, Question};
use crate::node::records::PodRecord;
use crate::node::volumes::Volumes;

/// The pause after a failure to make what all containers need.
const SETUP_RETRY: Duration = Duration::from_secs(1);

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
    network: Network,
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
            outcome: adoption::outcome_in(&pod),
            verdict: None,
            volumes: None,
            setup_retry: None,
            network: Network::new(&context.network_problem),
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
        let problem = self.network.problem();
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

    fn address(&self) -> Option<IpAddr> {
        self.record.sandbox.as_ref().and_then(|sandbox| sandbox.addresses.first().copied())
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
        tokio::select! {
            () = alarm => {}
            () = self.changed.notified() => {}
            changed = self.wanted.changed() => if changed.is_ok() { self.take_update() },
            Some(finding) = self.findings.1.recv() => self.note_finding(finding),
            Some(ended) = self.endings.join_next(), if !self.endings.is_empty() => self.note_ending(ended),
            () = self.network.changed(), if self.setup_retry.is_some() => self.setup_retry = None,
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
}
