//! One container of a pod through all its restarts.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio_util::task::AbortOnDropHandle;

use super::plan::{ContainerView, Life};
use super::roles::Role;
use crate::node::back_off::BackOff;
use crate::node::container::{Container, Ended};

/// How container ids are shown: they carry the name of their runtime.
const ID_PREFIX: &str = "fairway://";

/// One container of a pod.
pub struct Slot {
    /// Its part in the pod.
    pub role: Role,
    /// Its specification.
    pub spec: ContainerSpec,
    /// How often it has been restarted.
    pub restarts: u32,
    /// What runs now or ended last.
    pub current: Option<Current>,
    /// What ended before that.
    pub last: Option<ContainerStateTerminated>,
    /// Why it does not run yet.
    pub waiting: Option<Waiting>,
    /// Waits between restarts.
    pub back_off: BackOff,
    /// Waits between attempts to find its image.
    pub image_back_off: BackOff,
    /// It must not be tried earlier.
    pub retry_at: Option<Timestamp>,
}

/// A container that was started, or failed to.
pub struct Current {
    /// Its id.
    pub id: String,
    /// The container, unless it failed to start.
    pub container: Option<Arc<Container>>,
    /// Its startup probe has succeeded, or it has none.
    pub started: bool,
    /// Its readiness probe says so, or it has none.
    pub ready: bool,
    /// It has been asked to end.
    pub stopping: bool,
    /// How it ended.
    pub ended: Option<ContainerStateTerminated>,
    /// Its probes, while it runs.
    pub probes: Option<AbortOnDropHandle<()>>,
}

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One word: `ErrImagePull`.
    pub reason: String,
    /// The details.
    pub message: Option<String>,
}

impl Slot {
    /// A container that has done nothing yet.
    pub fn new(role: Role, spec: ContainerSpec) -> Self {
        Self {
            role,
            spec,
            restarts: 0,
            current: None,
            last: None,
            waiting: None,
            back_off: BackOff::default(),
            image_back_off: BackOff::default(),
            retry_at: None,
        }
    }

    /// The part of the pod events about it name: `spec.containers{web}`.
    pub fn field(&self) -> String {
        format!("{}{{{}}}", self.role.field(), self.spec.name)
    }

    /// It as the next decision sees it.
    pub fn view(&self, now: Timestamp) -> ContainerView {
        let life = match &self.current {
            None => Life::Fresh,
            Some(Current { ended: Some(ended), .. }) => Life::Ended { code: ended.exit_code },
            Some(Current { stopping: true, .. }) => Life::Stopping,
            Some(current) => Life::Running { started: current.started },
        };
        let back_off = self.restart_wait(now).map(|(until, _)| until);
        ContainerView { role: self.role, life, not_before: back_off.max(self.retry_at) }
    }

    /// Until when its restart has to wait, and the wait to name.
    pub fn restart_wait(&self, now: Timestamp) -> Option<(Timestamp, SignedDuration)> {
        let finished_at = self.current.as_ref()?.ended.as_ref()?.finished_at.as_ref()?.0;
        self.back_off.wait_until(finished_at, now)
    }

    /// Whether it runs and is ready for traffic.
    pub fn is_ready(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.ended.is_none() && current.started && current.ready)
    }

    /// Its status. Without a reason of its own it waits for `pending`.
    pub fn status(&self, pending: &str) -> ContainerStatus {
        let waiting = |waiting: Waiting| ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(waiting.reason), message: waiting.message }),
            ..ContainerState::default()
        };
        let mut last = self.last.clone();
        let state = match (&self.current, &self.waiting) {
            (Some(Current { ended: Some(ended), .. }), Some(reason)) => {
                last = Some(ended.clone());
                waiting(reason.clone())
            }
            (Some(Current { ended: Some(ended), .. }), None) => terminated(ended.clone()),
            (Some(current), _) => running(current),
            (None, reason) => waiting(reason.clone().unwrap_or(Waiting { reason: pending.to_owned(), message: None })),
        };
        let current = self.current.as_ref();
        let done =
            self.role == Role::Init && current.is_some_and(|c| c.ended.as_ref().is_some_and(|e| e.exit_code == 0));
        ContainerStatus {
            name: self.spec.name.clone(),
            image: self.spec.image.clone().unwrap_or_default(),
            image_id: current.map(|_| image_id(&self.spec)).unwrap_or_default(),
            container_id: current.map(|current| format!("{ID_PREFIX}{}", current.id)),
            ready: self.is_ready() && self.role != Role::Init || done,
            started: Some(current.is_some_and(|current| current.ended.is_none() && current.started)),
            restart_count: i32::try_from(self.restarts).unwrap_or(i32::MAX),
            state: Some(state),
            last_state: Some(last.map(terminated).unwrap_or_default()),
            ..ContainerStatus::default()
        }
    }
}

fn running(current: &Current) -> ContainerState {
    let started_at = current.container.as_ref().map(|container| Time(container.running().started_at));
    ContainerState { running: Some(ContainerStateRunning { started_at }), ..ContainerState::default() }
}

fn terminated(ended: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(ended), ..ContainerState::default() }
}

fn image_id(spec: &ContainerSpec) -> String {
    let image = crate::images::find(spec.image.as_deref().unwrap_or_default());
    image.map(|image| format!("{ID_PREFIX}{}", image.names[0])).unwrap_or_default()
}

/// How container `id` ended, as its status tells it.
pub fn termination(id: &str, ended: &Ended, message: Option<String>) -> ContainerStateTerminated {
    let exit = &ended.exit;
    let reason = match (&exit.start_error, ended.lost, exit.code) {
        (Some(_), _, _) => "StartError",
        (None, true, _) => "ContainerStatusUnknown",
        (None, false, 0) => "Completed",
        (None, false, _) => "Error",
    };
    let lost = || ended.lost.then(|| "The container could not be located when the pod was looked at".to_owned());
    ContainerStateTerminated {
        container_id: Some(format!("{ID_PREFIX}{id}")),
        exit_code: exit.code,
        started_at: Some(Time(exit.started_at)),
        finished_at: Some(Time(exit.finished_at)),
        message: exit.start_error.clone().or(message).or_else(lost),
        reason: Some(reason.to_owned()),
        signal: None,
    }
}

/// The id in what a status shows as container id.
pub fn bare_id(shown: &str) -> &str {
    shown.strip_prefix(ID_PREFIX).unwrap_or(shown)
}
