//! Persistent volumes and claims, which are stored for others to act on.

use serde_json::json;

use super::Rules;
use super::fill::Fill;
use crate::table;

pub(super) static VOLUME: Rules = Rules {
    default: |volume| {
        let spec = volume.object("spec");
        spec.fill_text("persistentVolumeReclaimPolicy", "Retain");
        spec.fill_text("volumeMode", "Filesystem");
        if let Some(path) = spec.object_if_set("hostPath") {
            path.fill("type", "");
        }
    },
    initial_status: |_| Some(json!({"phase": "Pending"})),
    printer: table::storage::VOLUME,
    ..Rules::PLAIN
};

pub(super) static CLAIM: Rules = Rules {
    default: |claim| claim.object("spec").fill_text("volumeMode", "Filesystem"),
    initial_status: |_| Some(json!({"phase": "Pending"})),
    printer: table::storage::CLAIM,
    ..Rules::PLAIN
};
