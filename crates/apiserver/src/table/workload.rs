//! Kinds that keep pods running.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::network::selector;
use super::read::{NONE, count, items, labels, text};
use super::{Column, Printer, age, name};
use crate::select::LabelSelector;

const CONTAINERS: Column = Column::text("Containers", "The names of the template's containers.").wide();
const IMAGES: Column = Column::text("Images", "The images of the template's containers.").wide();
const SELECTOR: Column = Column::text("Selector", "The labels of the pods that are kept.").wide();
const DESIRED: Column = Column::integer("Desired", "How many pods are wanted.");
const CURRENT: Column = Column::integer("Current", "How many pods there are.");
const READY: Column = Column::integer("Ready", "How many pods are ready.");
const READY_OF_WANTED: Column = Column::text("Ready", "How many of the wanted pods are ready.");

pub(crate) const DEPLOYMENT: Printer = Printer {
    columns: &[
        Column::NAME,
        READY_OF_WANTED,
        Column::text("Up-to-date", "How many pods are of the newest template."),
        Column::text("Available", "How many pods have been ready for long enough."),
        Column::AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: deployment,
};

pub(crate) const REPLICA_SET: Printer = Printer {
    columns: &[Column::NAME, DESIRED, CURRENT, READY, Column::AGE, CONTAINERS, IMAGES, SELECTOR],
    cells: |set, now| replicas(set, &selector(&set["spec"]["selector"]), now),
};

pub(crate) const REPLICATION_CONTROLLER: Printer = Printer {
    columns: REPLICA_SET.columns,
    cells: |controller, now| replicas(controller, &labels(&controller["spec"]["selector"]), now),
};

pub(crate) const DAEMON_SET: Printer = Printer {
    columns: &[
        Column::NAME,
        DESIRED,
        CURRENT,
        READY,
        Column::integer("Up-to-date", "How many nodes run a pod of the newest template."),
        Column::integer("Available", "How many nodes run a pod that has been ready for long enough."),
        Column::text("Node Selector", "The labels of the nodes that run a pod."),
        Column::AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: daemon_set,
};

pub(crate) const STATEFUL_SET: Printer = Printer {
    columns: &[Column::NAME, READY_OF_WANTED, Column::AGE, CONTAINERS, IMAGES],
    cells: |set, now| {
        let [names, images] = containers(set);
        vec![name(set), ready_of_wanted(set), age(set, now), names, images]
    },
};

pub(crate) const CONTROLLER_REVISION: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Controller", "The object the revision is of."),
        Column::text("Revision", "The revision's number."),
        Column::AGE,
    ],
    cells: |revision, now| {
        vec![name(revision), json!(controller(revision)), revision["revision"].clone(), age(revision, now)]
    },
};

fn deployment(deployment: &Value, now: Timestamp) -> Vec<Value> {
    let status = &deployment["status"];
    let [names, images] = containers(deployment);
    vec![
        name(deployment),
        ready_of_wanted(deployment),
        json!(count(&status["updatedReplicas"])),
        json!(count(&status["availableReplicas"])),
        age(deployment, now),
        names,
        images,
        json!(LabelSelector::from_object(&deployment["spec"]["selector"]).to_string()),
    ]
}

fn replicas(set: &Value, selector: &str, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(set);
    vec![
        name(set),
        json!(count(&spec["replicas"])),
        json!(count(&status["replicas"])),
        json!(count(&status["readyReplicas"])),
        age(set, now),
        names,
        images,
        json!(selector),
    ]
}

fn daemon_set(set: &Value, now: Timestamp) -> Vec<Value> {
    let counted = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(set)];
    cells.extend(counted.map(|counted| json!(count(&set["status"][counted]))));
    cells.push(json!(labels(&set["spec"]["template"]["spec"]["nodeSelector"])));
    cells.push(age(set, now));
    cells.extend(containers(set));
    cells.push(json!(selector(&set["spec"]["selector"])));
    cells
}

fn ready_of_wanted(set: &Value) -> Value {
    json!(format!("{}/{}", count(&set["status"]["readyReplicas"]), count(&set["spec"]["replicas"])))
}

/// The names and the images of the template's containers.
fn containers(set: &Value) -> [Value; 2] {
    let containers = items(&set["spec"]["template"]["spec"]["containers"]);
    ["name", "image"].map(|part| {
        let parts: Vec<&str> = containers.iter().map(|container| text(&container[part])).collect();
        json!(parts.join(","))
    })
}

fn controller(object: &Value) -> String {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else { return NONE.to_owned() };
    let kind = match text(&owner["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{}.{group}", text(&owner["kind"])),
        None => text(&owner["kind"]).to_owned(),
    };
    format!("{}/{}", kind.to_lowercase(), text(&owner["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}], "nodeSelector": {"disk": "ssd"}}})
    }

    fn cells(printer: &Printer, spec: &Value, status: &Value) -> Vec<Value> {
        let object = json!({"metadata": {"name": "web"}, "spec": spec, "status": status});
        (printer.cells)(&object, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_deployment_shows_how_far_it_has_rolled() {
        let spec = json!({"replicas": 3, "template": template(), "selector": {"matchLabels": {"app": "web"}}});
        let status = json!({"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
        assert_eq!(
            json!(cells(&DEPLOYMENT, &spec, &status)),
            json!(["web", "2/3", 1, 2, "<unknown>", "a,b", "x:1,y", "app=web"])
        );
    }

    #[test]
    fn a_daemon_set_counts_nodes() {
        let spec = json!({"template": template(), "selector": {}});
        let status = json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1});
        assert_eq!(
            json!(cells(&DAEMON_SET, &spec, &status)),
            json!(["web", 3, 2, 1, 0, 0, "disk=ssd", "<unknown>", "a,b", "x:1,y", "<none>"])
        );
    }

    #[test]
    fn a_stateful_set_shows_ready_of_wanted() {
        let spec = json!({"replicas": 2, "template": template()});
        assert_eq!(json!(cells(&STATEFUL_SET, &spec, &json!({}))), json!(["web", "0/2", "<unknown>", "a,b", "x:1,y"]));
    }

    #[test]
    fn a_revision_names_whose_it_is() {
        let revision = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "controller": true},
        ]}});
        assert_eq!(controller(&revision), "daemonset.apps/agent");
        assert_eq!(controller(&json!({})), "<none>");
    }
}
