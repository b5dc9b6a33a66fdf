//! Persistent volumes and claims.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{items, text, text_or};
use super::{Column, Printer, age, name};

const ACCESS_MODES: Column = Column::text("Access Modes", "How nodes may mount it.");
const VOLUME_MODE: Column = Column::text("VolumeMode", "Whether it is a file system or a block device.").wide();
const CLASS: Column = Column::text("StorageClass", "The class of storage.");
const ATTRIBUTES_CLASS: Column = Column::text("VolumeAttributesClass", "The class of attributes.");

pub(crate) const VOLUME: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Capacity", "How much it holds."),
        ACCESS_MODES,
        Column::text("Reclaim Policy", "What becomes of it when it is released."),
        Column::text("Status", "Whether it is free, claimed or released."),
        Column::text("Claim", "The claim it is bound to."),
        CLASS,
        ATTRIBUTES_CLASS,
        Column::text("Reason", "Why it is in that status."),
        Column::AGE,
        VOLUME_MODE,
    ],
    cells: volume,
};

pub(crate) const CLAIM: Printer = Printer {
    columns: &[
        Column::NAME,
        Column::text("Status", "Whether the claim is bound."),
        Column::text("Volume", "The volume it is bound to."),
        Column::text("Capacity", "How much that holds."),
        ACCESS_MODES,
        CLASS,
        ATTRIBUTES_CLASS,
        Column::AGE,
        VOLUME_MODE,
    ],
    cells: claim,
};

fn volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &volume["spec"];
    let claim = &spec["claimRef"];
    let bound_to = if claim.is_object() {
        format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
    } else {
        String::new()
    };
    vec![
        name(volume),
        json!(text_or(&spec["capacity"]["storage"], "0")),
        json!(access_modes(&spec["accessModes"])),
        json!(text(&spec["persistentVolumeReclaimPolicy"])),
        json!(phase(volume)),
        json!(bound_to),
        json!(text(&spec["storageClassName"])),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        json!(text(&volume["status"]["reason"])),
        age(volume, now),
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

fn claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let volume = text(&spec["volumeName"]);
    let bound = !volume.is_empty();
    vec![
        name(claim),
        json!(phase(claim)),
        json!(volume),
        json!(if bound { text_or(&status["capacity"]["storage"], "0") } else { "" }),
        json!(if bound { access_modes(&status["accessModes"]) } else { String::new() }),
        json!(text(&spec["storageClassName"])),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        age(claim, now),
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_string() { "Terminating" } else { text(&object["status"]["phase"]) }
}

fn access_modes(modes: &Value) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let listed = short.iter().filter(|(mode, _)| items(modes).iter().any(|listed| listed == mode));
    listed.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_shows_its_volume_once_it_is_bound() {
        let waiting =
            json!({"metadata": {"name": "c"}, "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}});
        assert_eq!(
            json!(claim(&waiting, Timestamp::UNIX_EPOCH)),
            json!(["c", "Pending", "", "", "", "", "<unset>", "<unknown>", "Filesystem"])
        );
        let mut bound = waiting;
        bound["spec"]["volumeName"] = json!("v");
        bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]});
        assert_eq!(json!(claim(&bound, Timestamp::UNIX_EPOCH)[1..5]), json!(["Bound", "v", "1Gi", "RWO,RWX"]));
    }
}
