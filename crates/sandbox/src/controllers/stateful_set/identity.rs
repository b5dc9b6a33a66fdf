//! What makes a pod of a StatefulSet itself: its ordinal, and all that follows from it.

use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec},
    core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume},
};

use super::plan::Revision;
use crate::controllers::{history::REVISION_LABEL, kind::Kind, pod::from_template};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in a pod's name; none if the name is not one the set would give.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    (ordinal.to_string() == digits).then_some(ordinal)
}

/// The pod of an ordinal.
pub(super) fn ordinal_pod(set: &StatefulSet, spec: &StatefulSetSpec, revision: &Revision, ordinal: i32) -> Pod {
    let name = format!("{}-{ordinal}", set.name());
    let mut pod = from_template(&revision.template, set.namespace(), set.controller_reference());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    labels.insert(REVISION_LABEL.to_owned(), revision.name.clone());
    let body = pod.spec.get_or_insert_default();
    body.hostname = Some(name.clone());
    body.subdomain.clone_from(&spec.service_name);
    claim_volumes(body, spec, &name);
    pod
}

/// Volumes of the set's claim templates take the place of those of the same name.
fn claim_volumes(body: &mut PodSpec, spec: &StatefulSetSpec, pod: &str) {
    for claim in spec.volume_claim_templates.iter().flatten() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        let volumes = body.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != name);
        let source = PersistentVolumeClaimVolumeSource { claim_name: format!("{name}-{pod}"), read_only: None };
        volumes.push(Volume { name, persistent_volume_claim: Some(source), ..Volume::default() });
    }
}
