//! What to do next for a pod: a pure decision over what its containers are doing.

use jiff::Timestamp;

use super::roles::Role;

/// What a pod does with containers that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start them again.
    Always,
    /// Start them again if they failed.
    OnFailure,
    /// Leave them.
    Never,
}

impl RestartPolicy {
    /// The policy a pod names; the default for what it does not name.
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nothing yet.
    Fresh,
    /// It runs; `started` once its startup probe, if any, has succeeded.
    Running {
        /// Whether it counts as started.
        started: bool,
    },
    /// It has been asked to end.
    Stopping,
    /// It has ended.
    Ended {
        /// Its exit code.
        code: i32,
    },
}

/// A container as the decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerView {
    /// Its part.
    pub role: Role,
    /// What it is doing.
    pub life: Life,
    /// It must not be started earlier.
    pub not_before: Option<Timestamp>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Start these, in this order.
    pub start: Vec<usize>,
    /// These will be started later.
    pub postponed: Vec<usize>,
    /// Ask these to end.
    pub stop: Vec<usize>,
    /// Decide again at this time, even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Nothing of the pod runs or will run again: whether all went well.
    pub over: Option<Outcome>,
}

/// How a pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All containers that count ended with 0.
    Succeeded,
    /// One did not.
    Failed,
}

impl Plan {
    fn start_or_postpone(&mut self, index: usize, container: &ContainerView, now: Timestamp) {
        match container.not_before.filter(|&time| time > now) {
            None => self.start.push(index),
            Some(time) => {
                self.postponed.push(index);
                self.wake_at = Some(self.wake_at.map_or(time, |earlier| earlier.min(time)));
            }
        }
    }
}

/// What to do for a pod that shall run.
pub fn plan_run(containers: &[ContainerView], policy: RestartPolicy, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    match plan_init(containers, policy, now, &mut plan) {
        Init::Failed => return plan_end(containers, Some(Outcome::Failed)),
        Init::Incomplete => return plan,
        Init::Complete => {}
    }
    let mains = || containers.iter().enumerate().filter(|(_, container)| container.role == Role::Main);
    let mut going = false;
    let mut failed = false;
    for (index, container) in mains() {
        match container.life {
            Life::Fresh => plan.start_or_postpone(index, container, now),
            Life::Ended { code } if policy.restarts(code) => plan.start_or_postpone(index, container, now),
            Life::Ended { code } => {
                failed |= code != 0;
                continue;
            }
            Life::Running { .. } | Life::Stopping => {}
        }
        going = true;
    }
    if going {
        return plan;
    }
    plan_end(containers, Some(if failed { Outcome::Failed } else { Outcome::Succeeded }))
}

enum Init {
    Complete,
    Incomplete,
    Failed,
}

fn plan_init(containers: &[ContainerView], policy: RestartPolicy, now: Timestamp, plan: &mut Plan) -> Init {
    let mut state = Init::Complete;
    for (index, container) in containers.iter().enumerate() {
        let go_on = match (container.role, container.life) {
            (Role::Main, _)
            | (Role::Init, Life::Ended { code: 0 })
            | (Role::Sidecar, Life::Running { started: true }) => true,
            (Role::Sidecar, Life::Fresh | Life::Ended { .. }) | (Role::Init, Life::Fresh) => {
                plan.start_or_postpone(index, container, now);
                false
            }
            (Role::Init, Life::Ended { .. }) if policy == RestartPolicy::Never => return Init::Failed,
            (Role::Init, Life::Ended { .. }) => {
                plan.start_or_postpone(index, container, now);
                false
            }
            (Role::Init | Role::Sidecar, Life::Running { .. } | Life::Stopping) => false,
        };
        // A sidecar that has ended is started again at any time, and holds up nobody who already runs.
        let main_runs = containers.iter().any(|other| other.role == Role::Main && other.life != Life::Fresh);
        let optional = container.role == Role::Sidecar && main_runs;
        if !go_on && !optional {
            state = Init::Incomplete;
            break;
        }
    }
    state
}

/// What to do for a pod that shall end: first what it is for, then its sidecars, last started first.
///
/// `outcome` is what [`Plan::over`] says once nothing runs.
pub fn plan_end(containers: &[ContainerView], outcome: Option<Outcome>) -> Plan {
    let runs = |life: Life| matches!(life, Life::Running { .. } | Life::Stopping);
    let running = |role: fn(Role) -> bool| {
        let mine = move |(_, container): &(usize, &ContainerView)| role(container.role) && runs(container.life);
        containers.iter().enumerate().filter(mine)
    };
    let mut plan = Plan::default();
    let to_stop = |(index, container): (usize, &ContainerView)| (container.life != Life::Stopping).then_some(index);
    if running(|role| role != Role::Sidecar).next().is_some() {
        plan.stop = running(|role| role != Role::Sidecar).filter_map(to_stop).collect();
    } else if let Some(last) = running(|role| role == Role::Sidecar).next_back() {
        plan.stop = to_stop(last).into_iter().collect();
    } else {
        plan.over = Some(outcome.unwrap_or_else(|| outcome_of(containers)));
    }
    plan
}

/// How a pod ended whose containers have all ended or never run.
fn outcome_of(containers: &[ContainerView]) -> Outcome {
    let counts = |container: &&ContainerView| container.role != Role::Sidecar;
    let fine = |container: &ContainerView| container.life == Life::Ended { code: 0 };
    if containers.iter().filter(counts).all(fine) { Outcome::Succeeded } else { Outcome::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Life = Life::Running { started: true };
    const DONE: Life = Life::Ended { code: 0 };
    const BROKEN: Life = Life::Ended { code: 1 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn views(containers: &[(Role, Life)]) -> Vec<ContainerView> {
        containers.iter().map(|&(role, life)| ContainerView { role, life, not_before: None }).collect()
    }

    fn run(containers: &[(Role, Life)], policy: RestartPolicy) -> Plan {
        plan_run(&views(containers), policy, at(0))
    }

    fn starts(indexes: &[usize]) -> Plan {
        Plan { start: indexes.to_vec(), ..Plan::default() }
    }

    #[test]
    fn init_containers_run_one_after_the_other_before_all_main_ones() {
        use Role::{Init, Main};
        let policy = RestartPolicy::Always;
        let pod = |a, b| [(Init, a), (Init, b), (Main, Life::Fresh), (Main, Life::Fresh)];
        assert_eq!(run(&pod(Life::Fresh, Life::Fresh), policy), starts(&[0]));
        assert_eq!(run(&pod(RUNNING, Life::Fresh), policy), starts(&[]));
        assert_eq!(run(&pod(DONE, Life::Fresh), policy), starts(&[1]));
        assert_eq!(run(&pod(DONE, BROKEN), policy), starts(&[1]));
        assert_eq!(run(&pod(DONE, DONE), policy), starts(&[2, 3]));
        let failed = Plan { over: Some(Outcome::Failed), ..Plan::default() };
        assert_eq!(run(&pod(DONE, BROKEN), RestartPolicy::Never), failed);
    }

    #[test]
    fn a_sidecar_must_have_started_before_the_next_and_is_always_restarted() {
        use Role::{Main, Sidecar};
        let policy = RestartPolicy::Never;
        assert_eq!(run(&[(Sidecar, Life::Fresh), (Main, Life::Fresh)], policy), starts(&[0]));
        assert_eq!(run(&[(Sidecar, Life::Running { started: false }), (Main, Life::Fresh)], policy), starts(&[]));
        assert_eq!(run(&[(Sidecar, RUNNING), (Main, Life::Fresh)], policy), starts(&[1]));
        assert_eq!(run(&[(Sidecar, DONE), (Main, RUNNING)], policy), starts(&[0]));
    }

    #[test]
    fn sidecars_end_after_what_they_serve_and_do_not_count() {
        use Role::{Main, Sidecar};
        let stop = |index| Plan { stop: vec![index], ..Plan::default() };
        let pod = |side, main| [(Sidecar, side), (Sidecar, side), (Main, main)];
        assert_eq!(run(&pod(RUNNING, DONE), RestartPolicy::Never), stop(1));
        assert_eq!(plan_end(&views(&pod(RUNNING, RUNNING)), None), stop(2));
        let over = Plan { over: Some(Outcome::Succeeded), ..Plan::default() };
        assert_eq!(plan_end(&views(&pod(BROKEN, DONE)), None), over);
    }

    #[test]
    fn the_restart_policy_decides_who_is_started_again_and_how_the_pod_ends() {
        use Role::Main;
        let over = |outcome| Plan { over: Some(outcome), ..Plan::default() };
        assert_eq!(run(&[(Main, DONE)], RestartPolicy::Always), starts(&[0]));
        assert_eq!(run(&[(Main, BROKEN), (Main, DONE)], RestartPolicy::OnFailure), starts(&[0]));
        assert_eq!(run(&[(Main, BROKEN), (Main, RUNNING)], RestartPolicy::Never), starts(&[]));
        assert_eq!(run(&[(Main, BROKEN), (Main, DONE)], RestartPolicy::Never), over(Outcome::Failed));
        assert_eq!(run(&[(Main, DONE), (Main, DONE)], RestartPolicy::OnFailure), over(Outcome::Succeeded));
    }

    #[test]
    fn a_container_in_back_off_is_postponed_and_wakes_the_decision() {
        let view = ContainerView { role: Role::Main, life: BROKEN, not_before: Some(at(10)) };
        let plan = plan_run(&[view], RestartPolicy::Always, at(3));
        assert_eq!(plan, Plan { postponed: vec![0], wake_at: Some(at(10)), ..Plan::default() });
        assert_eq!(plan_run(&[view], RestartPolicy::Always, at(10)), starts(&[0]));
    }
}
