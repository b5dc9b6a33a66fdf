//! Pods as kubectl users know them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{NONE, count, items, text, text_or};
use super::{Column, Printer, age, duration, name};

pub(crate) const POD: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Ready", "How many of the pod's containers are ready for traffic."),
        Column::text("Status", "What the pod is doing, in one word."),
        Column::text("Restarts", "How often the pod's containers were restarted, and when last."),
        Column::AGE,
        Column::text("IP", "The pod's primary address.").wide(),
        Column::text("Node", "The node the pod was scheduled to.").wide(),
        Column::text("Nominated Node", "The node that others are being moved from to make room.").wide(),
        Column::text("Readiness Gates", "How many of the pod's extra conditions for readiness are met.").wide(),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = Summary::of(pod);
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.containers)),
        json!(summary.status),
        json!(summary.restarts.describe(now)),
        age(pod, now),
        json!(text_or(&status["podIPs"][0]["ip"], NONE)),
        json!(text_or(&spec["nodeName"], NONE)),
        json!(text_or(&status["nominatedNodeName"], NONE)),
        json!(readiness_gates(pod)),
    ]
}

/// What the cells of a pod say together.
struct Summary {
    status: String,
    ready: usize,
    containers: usize,
    restarts: Restarts,
}

/// How often containers were restarted, and when the last one ended before it was.
#[derive(Default)]
struct Restarts {
    total: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.total += count(&container["restartCount"]);
        let ended = duration::parse(&container["lastState"]["terminated"]["finishedAt"]);
        self.last = self.last.max(ended);
    }

    fn describe(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.total != 0 => {
                format!("{} ({} ago)", self.total, duration::human(now.as_second() - last.as_second()))
            }
            _ => self.total.to_string(),
        }
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let sidecars: Vec<&str> =
            items(&pod["spec"]["initContainers"]).iter().filter(|c| is_sidecar(c)).map(|c| text(&c["name"])).collect();
        let mut summary = Self {
            status: phase(pod),
            ready: 0,
            containers: items(&pod["spec"]["containers"]).len() + sidecars.len(),
            restarts: Restarts::default(),
        };
        let initializing = summary.add_init_containers(pod, &sidecars);
        if !initializing || has_condition(pod, "Initialized") {
            summary.add_containers(pod, &sidecars);
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            summary.mark_deleted(&pod["status"]);
        }
        summary
    }

    /// Returns whether the pod is still at its init containers.
    fn add_init_containers(&mut self, pod: &Value, sidecars: &[&str]) -> bool {
        let all = items(&pod["spec"]["initContainers"]).len();
        for (index, container) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            self.restarts.add(container);
            let ended = &container["state"]["terminated"];
            let waiting = text(&container["state"]["waiting"]["reason"]);
            let is_sidecar = sidecars.contains(&text(&container["name"]));
            if ended.is_object() && count(&ended["exitCode"]) == 0 {
                continue;
            }
            if is_sidecar && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            self.status = if ended.is_object() {
                format!("Init:{}", ending(ended))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{all}")
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, pod: &Value, sidecars: &[&str]) {
        self.restarts = Restarts::default();
        let init_containers = items(&pod["status"]["initContainerStatuses"]).iter();
        for container in init_containers.filter(|container| sidecars.contains(&text(&container["name"]))) {
            self.restarts.add(container);
        }
        let (mut any_running, mut failure) = (false, None);
        // From last to first, so that the first container has the last word.
        for container in items(&pod["status"]["containerStatuses"]).iter().rev() {
            self.restarts.add(container);
            let state = &container["state"];
            let waiting = text(&state["waiting"]["reason"]);
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if state["terminated"].is_object() {
                self.status = ending(&state["terminated"]);
                if count(&state["terminated"]["exitCode"]) != 0 {
                    failure = Some(self.status.clone());
                }
            } else if container["ready"] == true && state["running"].is_object() {
                any_running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" {
            self.status = match failure {
                _ if any_running && has_condition(pod, "Ready") => "Running".to_owned(),
                Some(failure) => failure,
                None if any_running => "NotReady".to_owned(),
                None => "Completed".to_owned(),
            };
        }
    }

    fn mark_deleted(&mut self, status: &Value) {
        if text(&status["reason"]) == "NodeLost" {
            self.status = "Unknown".to_owned();
        } else if !matches!(text(&status["phase"]), "Succeeded" | "Failed") {
            self.status = "Terminating".to_owned();
        }
    }
}

fn phase(pod: &Value) -> String {
    const GATED: &str = "SchedulingGated";
    let status = &pod["status"];
    let gated = items(&status["conditions"])
        .iter()
        .any(|condition| text(&condition["type"]) == "PodScheduled" && text(&condition["reason"]) == GATED);
    if gated { GATED.to_owned() } else { text_or(&status["reason"], text(&status["phase"])).to_owned() }
}

/// Why a container ended: the reason given, the signal or the exit code.
fn ending(ended: &Value) -> String {
    match (text(&ended["reason"]), count(&ended["signal"])) {
        ("", 0) => format!("ExitCode:{}", count(&ended["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// An init container that keeps running beside the others.
fn is_sidecar(container: &Value) -> bool {
    text(&container["restartPolicy"]) == "Always"
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let found = items(&pod["status"]["conditions"]).iter().find(|condition| text(&condition["type"]) == kind);
    found.is_some_and(|condition| text(&condition["status"]) == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let met = gates.iter().filter(|gate| has_condition(pod, text(&gate["conditionType"]))).count();
    format!("{met}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().expect("a time")
    }

    /// Ready, status and restarts of a pod with containers `a` and `b`.
    fn shown(status: &Value) -> [String; 3] {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": status,
        });
        shown_pod(&pod)
    }

    fn shown_pod(pod: &Value) -> [String; 3] {
        let cells = cells(pod, now());
        [1, 2, 3].map(|index| text(&cells[index]).to_owned())
    }

    fn running() -> Value {
        json!({"ready": true, "restartCount": 0, "state": {"running": {}}})
    }

    #[test]
    fn a_pod_begins_pending() {
        assert_eq!(shown(&json!({"phase": "Pending"})), ["0/2", "Pending", "0"]);
        let starting = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let status = json!({"phase": "Pending", "containerStatuses": [starting, starting]});
        assert_eq!(shown(&status), ["0/2", "ContainerCreating", "0"]);
    }

    #[test]
    fn a_running_pod_counts_its_ready_containers() {
        let status = json!({"phase": "Running", "containerStatuses": [running(), {"state": {"running": {}}}]});
        assert_eq!(shown(&status), ["1/2", "Running", "0"]);
    }

    #[test]
    fn a_crash_loop_says_when_it_crashed_last() {
        let crashing = json!({
            "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:55:00Z"}},
        });
        let status = json!({"phase": "Running", "containerStatuses": [running(), crashing]});
        assert_eq!(shown(&status), ["1/2", "CrashLoopBackOff", "3 (5m ago)"]);
    }

    #[test]
    fn a_container_that_ended_says_how() {
        let ended = |ended: Value| json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]});
        assert_eq!(shown(&ended(json!({"exitCode": 0, "reason": "Completed"})))[1], "Completed");
        assert_eq!(shown(&ended(json!({"exitCode": 1, "reason": "Error"})))[1], "Error");
        assert_eq!(shown(&ended(json!({"exitCode": 7})))[1], "ExitCode:7");
        assert_eq!(shown(&ended(json!({"exitCode": 137, "signal": 9})))[1], "Signal:9");
    }

    #[test]
    fn one_completed_container_does_not_complete_the_pod() {
        let completed = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let mut status = json!({"phase": "Running", "containerStatuses": [completed, running()]});
        assert_eq!(shown(&status)[1], "NotReady");
        status["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(shown(&status)[1], "Running");
    }

    #[test]
    fn init_containers_are_counted_off() {
        let pod = |statuses: Value| {
            json!({
                "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]},
                "status": {"phase": "Pending", "initContainerStatuses": statuses},
            })
        };
        let done = json!({"state": {"terminated": {"exitCode": 0}}});
        assert_eq!(shown_pod(&pod(json!([{"state": {"waiting": {"reason": "PodInitializing"}}}])))[1], "Init:0/2");
        assert_eq!(shown_pod(&pod(json!([done, {"state": {"running": {}}}])))[1], "Init:1/2");
        assert_eq!(
            shown_pod(&pod(json!([{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}])))[1],
            "Init:Error"
        );
        assert_eq!(shown_pod(&pod(json!([{"state": {"terminated": {"exitCode": 3}}}])))[1], "Init:ExitCode:3");
        let crashing = json!([{"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        assert_eq!(shown_pod(&pod(crashing)), ["0/1", "Init:CrashLoopBackOff", "2"]);
    }

    #[test]
    fn a_sidecar_counts_like_a_container() {
        let pod = json!({
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            "status": {
                "phase": "Running", "containerStatuses": [running()],
                "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
            },
        });
        assert_eq!(shown_pod(&pod), ["2/2", "Running", "1"]);
    }

    #[test]
    fn a_deleted_pod_is_terminating_until_it_has_ended() {
        let deleted = |status: Value| {
            let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": status});
            shown_pod(&pod)[1].clone()
        };
        assert_eq!(deleted(json!({"phase": "Running"})), "Terminating");
        assert_eq!(deleted(json!({"phase": "Failed"})), "Failed");
        assert_eq!(deleted(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
    }

    #[test]
    fn gates_and_evictions_show_as_the_status() {
        assert_eq!(shown(&json!({"phase": "Failed", "reason": "Evicted"}))[1], "Evicted");
        let gated = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
        assert_eq!(shown(&gated)[1], "SchedulingGated");
    }

    #[test]
    fn wide_columns_say_where_the_pod_is() {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:57:00Z"},
            "spec": {"nodeName": "node1", "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
            "status": {"podIPs": [{"ip": "10.244.1.2"}], "conditions": [{"type": "x", "status": "True"}]},
        });
        assert_eq!(
            cells(&pod, now())[4..],
            [json!("3m"), json!("10.244.1.2"), json!("node1"), json!("<none>"), json!("1/2")]
        );
    }
}
