//! Finding a container's image, and the waits of one that is not there.

use jiff::Timestamp;

use super::Context;
use super::slot::{Slot, Waiting};
use crate::controllers::events::Severity::{Normal, Warning};
use crate::images::{self, Image};
use k8s_openapi::api::core::v1::Pod;

/// The image of `slot`. If there is none, the slot waits as it would for a registry, and events say what is possible.
pub fn find_image(context: &Context, pod: &Pod, slot: &mut Slot, now: Timestamp) -> Option<&'static Image> {
    let reference = slot.spec.image.clone().unwrap_or_default();
    if let Some(image) = images::find(&reference) {
        let message = format!("Container image {reference:?} already present on machine");
        context.container_event(pod, slot, Normal, ("Pulled", message));
        return Some(image);
    }
    let advice = images::advice();
    let failure = format!("failed to find image {reference:?}: {advice}");
    if slot.spec.image_pull_policy.as_deref() == Some("Never") {
        let message = format!("Container image {reference:?} is not present with pull policy of Never: {advice}");
        context.container_event(pod, slot, Warning, ("ErrImageNeverPull", message.clone()));
        wait(slot, "ErrImageNeverPull", message, now);
        return None;
    }
    // The first look fails at once; after that the wait itself is what the status shows.
    context.container_event(pod, slot, Normal, ("Pulling", format!("Pulling image {reference:?}")));
    context.container_event(pod, slot, Warning, ("Failed", format!("Failed to pull image {reference:?}: {failure}")));
    context.container_event(pod, slot, Warning, ("Failed", "Error: ErrImagePull".to_owned()));
    wait(slot, "ErrImagePull", failure, now);
    None
}

fn wait(slot: &mut Slot, reason: &str, message: String, now: Timestamp) {
    slot.image_back_off.note_restart(now);
    slot.retry_at = slot.image_back_off.wait_until(now, now).map(|(until, _)| until);
    slot.waiting = Some(Waiting { reason: reason.to_owned(), message: Some(message) });
}

/// Turns the failure to find an image into the wait for the next attempt, as users know it.
pub fn settle_into_back_off(context: &Context, pod: &Pod, slot: &mut Slot) {
    let Some(waiting) = slot.waiting.as_mut().filter(|waiting| waiting.reason == "ErrImagePull") else { return };
    let reference = slot.spec.image.clone().unwrap_or_default();
    let cause = waiting.message.clone().unwrap_or_default();
    waiting.reason = "ImagePullBackOff".to_owned();
    waiting.message = Some(format!("Back-off pulling image {reference:?}: ErrImagePull: {cause}"));
    context.container_event(pod, slot, Normal, ("BackOff", format!("Back-off pulling image {reference:?}")));
    context.container_event(pod, slot, Warning, ("Failed", "Error: ImagePullBackOff".to_owned()));
}
