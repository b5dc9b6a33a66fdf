//! A pod's status, computed from its containers: phase and conditions as the kubelet reports them.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::Outcome;
use super::roles::Role;

/// What a status is computed from, besides the object itself.
#[derive(Debug, Clone)]
pub struct StatusFacts {
    /// The node's addresses.
    pub host_addresses: Vec<IpAddr>,
    /// The pod's addresses, once it has some.
    pub addresses: Vec<IpAddr>,
    /// Its network is there.
    pub sandbox_ready: bool,
    /// When this node accepted it.
    pub accepted_at: Timestamp,
    /// Its containers.
    pub containers: Vec<(Role, ContainerStatus)>,
    /// It has ended for good.
    pub outcome: Option<Outcome>,
    /// Why it was ended, if it did not end by itself: a word and a sentence.
    pub verdict: Option<(String, String)>,
}

/// The status of `pod` at `now`. Conditions of others stay as they are.
pub fn plan_status(pod: &Pod, facts: &StatusFacts, now: Timestamp) -> PodStatus {
    let of = |wanted: fn(Role) -> bool| -> Vec<ContainerStatus> {
        facts.containers.iter().filter(|(role, _)| wanted(*role)).map(|(_, status)| status.clone()).collect()
    };
    let (init, main) = (of(|role| role != Role::Main), of(|role| role == Role::Main));
    let phase = phase_of(facts);
    let (reason, message) = facts.verdict.clone().unzip();
    let ip = |address: &IpAddr| address.to_string();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        observed_generation: pod.metadata.generation,
        conditions: Some(conditions_of(pod, facts, phase, now)),
        host_ip: facts.host_addresses.first().map(ip),
        host_ips: Some(facts.host_addresses.iter().map(|address| HostIP { ip: ip(address) }).collect()),
        pod_ip: facts.addresses.first().map(ip),
        pod_ips: (!facts.addresses.is_empty()).then(|| facts.addresses.iter().map(|a| PodIP { ip: ip(a) }).collect()),
        start_time: Some(Time(facts.accepted_at)),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        ..PodStatus::default()
    }
}

fn phase_of(facts: &StatusFacts) -> &'static str {
    match facts.outcome {
        Some(Outcome::Succeeded) => return "Succeeded",
        Some(Outcome::Failed) => return "Failed",
        None => {}
    }
    let state = |status: &ContainerStatus| status.state.clone().unwrap_or_default();
    let has_run = |status: &ContainerStatus| {
        state(status).running.is_some()
            || state(status).terminated.is_some()
            || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    };
    let mut mains = facts.containers.iter().filter(|(role, _)| *role == Role::Main).peekable();
    if mains.peek().is_some() && mains.all(|(_, status)| has_run(status)) { "Running" } else { "Pending" }
}

fn conditions_of(pod: &Pod, facts: &StatusFacts, phase: &str, now: Timestamp) -> Vec<PodCondition> {
    let over = matches!(phase, "Succeeded" | "Failed");
    let all_ready = unready_containers(facts);
    let ready_verdict = match (phase, all_ready.is_empty()) {
        ("Succeeded", _) => Verdict::no("PodCompleted", None),
        ("Failed", _) => Verdict::no("PodFailed", None),
        (_, true) => Verdict::YES,
        (_, false) => Verdict::no(
            "ContainersNotReady",
            Some(format!("containers with unready status: [{}]", all_ready.join(" "))),
        ),
    };
    let gates = failed_gates(pod);
    let pod_ready = if gates.is_empty() || ready_verdict.status != "True" {
        ready_verdict.clone()
    } else {
        Verdict::no("ReadinessGatesNotReady", Some(gates.join(", ")))
    };
    let mut initialized = initialized_verdict(facts);
    if over && phase == "Succeeded" {
        initialized = Verdict { status: "True", reason: Some("PodCompleted"), message: None };
    }
    let own = [
        ("PodReadyToStartContainers", if facts.sandbox_ready { Verdict::YES } else { Verdict::NO }),
        ("Initialized", initialized),
        ("Ready", pod_ready),
        ("ContainersReady", ready_verdict),
        ("PodScheduled", Verdict::YES),
    ];
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut conditions: Vec<PodCondition> =
        own.into_iter().map(|(kind, verdict)| condition(pod, known, kind, verdict, now)).collect();
    let foreign = known.iter().filter(|condition| !own_kind(&condition.type_));
    conditions.extend(foreign.cloned());
    conditions
}

fn own_kind(kind: &str) -> bool {
    matches!(kind, "PodReadyToStartContainers" | "Initialized" | "Ready" | "ContainersReady" | "PodScheduled")
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const YES: Self = Self { status: "True", reason: None, message: None };
    const NO: Self = Self { status: "False", reason: None, message: None };

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { status: "False", reason: Some(reason), message }
    }
}

/// Names of the containers that keep the pod from being ready.
fn unready_containers(facts: &StatusFacts) -> Vec<String> {
    let counts = |(role, _): &&(Role, ContainerStatus)| *role != Role::Init;
    facts.containers.iter().filter(counts).filter(|(_, status)| !status.ready).map(|(_, s)| s.name.clone()).collect()
}

fn initialized_verdict(facts: &StatusFacts) -> Verdict {
    let incomplete = |(role, status): &&(Role, ContainerStatus)| match role {
        Role::Init => !status.ready,
        Role::Sidecar => status.started != Some(true),
        Role::Main => false,
    };
    let names: Vec<&str> = facts.containers.iter().filter(incomplete).map(|(_, status)| status.name.as_str()).collect();
    let main_has_run =
        facts.containers.iter().any(|(role, status)| *role == Role::Main && status.container_id.is_some());
    if names.is_empty() || main_has_run {
        Verdict::YES
    } else {
        Verdict::no(
            "ContainersNotInitialized",
            Some(format!("containers with incomplete status: [{}]", names.join(" "))),
        )
    }
}

/// What is wrong with the pod's readiness gates.
fn failed_gates(pod: &Pod) -> Vec<String> {
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let complaint = |kind: &str| match known.iter().find(|condition| condition.type_ == kind) {
        None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
        Some(condition) if condition.status != "True" => {
            Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status))
        }
        Some(_) => None,
    };
    gates.iter().filter_map(|gate| complaint(&gate.condition_type)).collect()
}

/// A condition that keeps its time as long as its status does not change.
fn condition(pod: &Pod, known: &[PodCondition], kind: &str, verdict: Verdict, now: Timestamp) -> PodCondition {
    let before = known.iter().find(|condition| condition.type_ == kind && condition.status == verdict.status);
    let since = before.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
    PodCondition {
        type_: kind.to_owned(),
        status: verdict.status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-21T16:00:00Z";

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"containers": [{"name": "web"}]},
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T15:00:00Z"},
                {"type": "example.test/gate", "status": "True"},
            ]},
        }))
        .unwrap()
    }

    fn container(name: &str, state: &Value, ready: bool) -> ContainerStatus {
        let state =
            json!({"name": name, "image": "i", "imageID": "", "restartCount": 0, "ready": ready, "state": state});
        serde_json::from_value(state).unwrap()
    }

    fn facts(containers: Vec<(Role, ContainerStatus)>) -> StatusFacts {
        StatusFacts {
            host_addresses: vec!["10.89.0.1".parse().unwrap()],
            addresses: vec!["10.244.1.5".parse().unwrap()],
            sandbox_ready: true,
            accepted_at: NOW.parse().unwrap(),
            containers,
            outcome: None,
            verdict: None,
        }
    }

    fn summary(status: &PodStatus) -> String {
        let conditions = status.conditions.iter().flatten();
        let lines = conditions.map(|c| {
            format!("{}={}{}", c.type_, c.status, c.reason.as_ref().map(|r| format!("({r})")).unwrap_or_default())
        });
        format!("{} {}", status.phase.as_deref().unwrap_or_default(), lines.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_pod_is_pending_running_and_ready_in_turn() {
        let plan = |status| plan_status(&pod(), &facts(vec![(Role::Main, status)]), NOW.parse().unwrap());
        let waiting = container("web", &json!({"waiting": {"reason": "ContainerCreating"}}), false);
        assert_eq!(
            summary(&plan(waiting)),
            "Pending PodReadyToStartContainers=True Initialized=True Ready=False(ContainersNotReady) \
             ContainersReady=False(ContainersNotReady) PodScheduled=True example.test/gate=True"
        );
        let running = container("web", &json!({"running": {}}), true);
        let status = plan(running);
        assert_eq!(
            summary(&status),
            "Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True \
             example.test/gate=True"
        );
        assert_eq!((status.pod_ip.as_deref(), status.host_ip.as_deref()), (Some("10.244.1.5"), Some("10.89.0.1")));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let running = container("web", &json!({"running": {}}), true);
        let status = plan_status(&pod(), &facts(vec![(Role::Main, running)]), NOW.parse().unwrap());
        let time = |kind: &str| {
            let condition = status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap();
            condition.last_transition_time.as_ref().unwrap().0.to_string()
        };
        assert_eq!((time("PodScheduled").as_str(), time("Ready").as_str()), ("2026-11-21T15:00:00Z", NOW));
    }

    #[test]
    fn an_init_container_that_runs_keeps_the_pod_uninitialized() {
        let init = container("setup", &json!({"running": {}}), false);
        let main = container("web", &json!({"waiting": {"reason": "PodInitializing"}}), false);
        let status = plan_status(&pod(), &facts(vec![(Role::Init, init), (Role::Main, main)]), NOW.parse().unwrap());
        assert!(summary(&status).contains("Initialized=False(ContainersNotInitialized)"), "{}", summary(&status));
        assert_eq!(status.init_container_statuses.map(|statuses| statuses.len()), Some(1));
    }

    #[test]
    fn a_pod_that_succeeded_is_completed_and_not_ready() {
        let done = container("web", &json!({"terminated": {"exitCode": 0}}), false);
        let mut facts = facts(vec![(Role::Main, done)]);
        (facts.outcome, facts.sandbox_ready) = (Some(Outcome::Succeeded), false);
        let status = plan_status(&pod(), &facts, NOW.parse().unwrap());
        assert!(
            summary(&status).starts_with(
                "Succeeded PodReadyToStartContainers=False Initialized=True(PodCompleted) Ready=False(PodCompleted) \
                 ContainersReady=False(PodCompleted)"
            ),
            "{}",
            summary(&status)
        );
    }
}
