//! The rules of containers.

use serde_json::json;

use super::volumes::Volumes;
use super::{environment, padded_image, probes, resources, validate_id};
use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::{names, port};

const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
/// What a container started for debugging may not have.
const NOT_FOR_DEBUGGING: [&str; 7] =
    ["ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "resources", "resizePolicy"];

/// What is wrong with the containers of every sort.
pub(super) fn validate_all(spec: &Field<'_>, volumes: &Volumes<'_>) -> Vec<FieldError> {
    let (containers, init_containers) = (spec.get("containers"), spec.get("initContainers"));
    let grace_seconds = spec.get("terminationGracePeriodSeconds").integer();
    let mut errors = Vec::new();
    let mut names_seen = Vec::new();
    errors.extend(containers.is_empty().then(|| containers.required("")));
    for container in containers.items() {
        errors.extend(validate_common(&container, volumes));
        errors.extend(duplicate_name(&container, &mut names_seen));
        errors.extend(probes::validate_lifecycle(&container, grace_seconds));
        errors.extend(probes::validate_probes(&container, grace_seconds));
        errors.extend(validate_restart_policy(&container));
    }
    errors.extend(host_port_conflicts(&containers.items().collect::<Vec<_>>()));
    for container in init_containers.items() {
        errors.extend(validate_common(&container, volumes));
        errors.extend(validate_restart_policy(&container));
        errors.extend(duplicate_name(&container, &mut names_seen));
        // Kubernetes counts the ports of each init container from the first one's path.
        let as_first = container.at(format!("{}[0]", init_containers.path()));
        errors.extend(host_port_conflicts(&[as_first]));
        errors.extend(validate_running_beside(&container, grace_seconds));
    }
    errors.extend(validate_debugging(&spec.get("ephemeralContainers"), volumes, &mut names_seen));
    errors
}

fn duplicate_name<'a>(container: &Field<'a>, seen: &mut Vec<&'a str>) -> Option<FieldError> {
    let name = container.get("name");
    let known = seen.contains(&name.text());
    seen.push(name.text());
    (known && !name.is_empty()).then(|| name.duplicate())
}

/// Only an init container that keeps running can be probed and told to stop.
fn validate_running_beside(container: &Field<'_>, grace_seconds: Option<i64>) -> Vec<FieldError> {
    if container.get("restartPolicy").text() == "Always" {
        let mut errors = probes::validate_lifecycle(container, grace_seconds);
        errors.extend(probes::validate_probes(container, grace_seconds));
        return errors;
    }
    let parts = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"].map(|part| container.get(part));
    let detail = "may not be set for init containers without restartPolicy=Always";
    parts.iter().filter(|part| part.is_set()).map(|part| part.forbidden(detail)).collect()
}

fn validate_debugging<'a>(list: &Field<'a>, volumes: &Volumes<'_>, seen: &mut Vec<&'a str>) -> Vec<FieldError> {
    let others = seen.clone();
    let mut errors = Vec::new();
    for container in list.items() {
        errors.extend(validate_common(&container, volumes));
        errors.extend(padded_image(&container));
        errors.extend(duplicate_name(&container, seen));
        let target = container.get("targetContainerName");
        if !target.is_empty() && !others.contains(&target.text()) {
            errors.push(target.not_found());
        }
        let parts = NOT_FOR_DEBUGGING.iter().map(|part| container.get(part)).filter(|part| !part.is_empty());
        errors.extend(parts.map(|part| part.forbidden("cannot be set for an Ephemeral Container")));
    }
    errors
}

fn validate_common(container: &Field<'_>, volumes: &Volumes<'_>) -> Vec<FieldError> {
    let (name, image) = (container.get("name"), container.get("image"));
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.malformed(names::label));
    }
    errors.extend(image.is_empty().then(|| image.required("")));
    errors.extend(container.get("terminationMessagePolicy").one_of(MESSAGE_POLICIES));
    errors.extend(validate_ports(&container.get("ports")));
    errors.extend(environment::validate_variables(&container.get("env")));
    errors.extend(environment::validate_sources(&container.get("envFrom")));
    errors.extend(validate_mounts(container, volumes));
    errors.extend(validate_devices(container, volumes));
    errors.extend(container.get("imagePullPolicy").one_of(PULL_POLICIES));
    errors.extend(resources::validate(&container.get("resources")));
    errors.extend(validate_security(&container.get("securityContext")));
    errors
}

fn validate_restart_policy(container: &Field<'_>) -> Option<FieldError> {
    let policy = container.get("restartPolicy");
    let known = RESTART_POLICIES.contains(&policy.text());
    (policy.is_set() && !known).then(|| policy.not_supported(RESTART_POLICIES))
}

fn validate_ports(ports: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names_seen = Vec::new();
    for entry in ports.items() {
        let (name, inner, outer) = (entry.get("name"), entry.get("containerPort"), entry.get("hostPort"));
        let malformed: Vec<FieldError> =
            if name.is_empty() { Vec::new() } else { name.malformed(names::port_name).collect() };
        if malformed.is_empty() && !name.is_empty() {
            errors.extend(names_seen.contains(&name.text()).then(|| name.duplicate()));
            names_seen.push(name.text());
        }
        errors.extend(malformed);
        match inner.integer() {
            None | Some(0) => errors.push(inner.required("")),
            Some(_) => errors.extend(port::validate_number(&inner)),
        }
        if outer.integer().is_some_and(|number| number != 0) {
            errors.extend(port::validate_number(&outer));
        }
        errors.extend(port::validate_protocol(&entry.get("protocol")));
    }
    errors
}

fn host_port_conflicts(containers: &[Field<'_>]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for entry in containers.iter().flat_map(|container| container.get("ports").items()) {
        let Some(number) = entry.get("hostPort").integer().filter(|&number| number != 0) else { continue };
        let key = format!("{}/{}/{number}", entry.get("protocol").text(), entry.get("hostIP").text());
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(entry.get("hostPort").path(), json!(key)));
        }
        seen.push(key);
    }
    errors
}

fn validate_mounts(container: &Field<'_>, volumes: &Volumes<'_>) -> Vec<FieldError> {
    let mounts = container.get("volumeMounts");
    let mut errors = Vec::new();
    let mut paths_seen = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        errors.extend(name.is_empty().then(|| name.required("")));
        errors.extend((!volumes.contains(name.text())).then(|| name.not_found()));
        errors.extend(path.is_empty().then(|| path.required("")));
        errors.extend(paths_seen.contains(&path.text()).then(|| path.invalid("must be unique")));
        paths_seen.push(path.text());
        let devices = container.get("volumeDevices");
        errors.extend(used_otherwise(&name, &path, &devices, "devicePath", "volumeDevices"));
        errors.extend(validate_part(&mounts, &mount));
        errors.extend(validate_propagation(container, &mount));
    }
    errors
}

/// The part of a volume that is mounted. Kubernetes leaves the index out of these paths.
fn validate_part(mounts: &Field<'_>, mount: &Field<'_>) -> Vec<FieldError> {
    let part = mount.get("subPath").at(format!("{}.subPath", mounts.path()));
    let pattern = mount.get("subPathExpr");
    let mut errors = Vec::new();
    if !part.is_empty() {
        errors.extend(super::volumes::validate_relative(&part));
    }
    if !pattern.is_empty() {
        if !part.is_empty() {
            errors.push(pattern.invalid("subPathExpr and subPath are mutually exclusive"));
        }
        errors.extend(super::volumes::validate_relative(&pattern.at(format!("{}.subPathExpr", mounts.path()))));
    }
    errors
}

fn validate_propagation(container: &Field<'_>, mount: &Field<'_>) -> Vec<FieldError> {
    let mounts = container.get("volumeMounts");
    let propagation = mount.get("mountPropagation").at(format!("{}.mountPropagation", mounts.path()));
    if !propagation.is_set() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if !PROPAGATIONS.contains(&propagation.text()) {
        errors.push(propagation.not_supported(PROPAGATIONS));
    }
    if propagation.text() == "Bidirectional" && !container.get("securityContext").get("privileged").truth() {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(propagation.forbidden(detail));
    }
    errors
}

fn validate_devices(container: &Field<'_>, volumes: &Volumes<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        errors.extend(name.is_empty().then(|| name.required("")));
        if !volumes.contains(name.text()) {
            errors.push(name.not_found());
        } else if !volumes.is_claim(name.text()) {
            errors.push(
                name.invalid("can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"),
            );
        }
        errors.extend(path.is_empty().then(|| path.required("")));
        errors.extend(used_otherwise(&name, &path, &container.get("volumeMounts"), "mountPath", "volumeMounts"));
    }
    errors
}

/// A volume is either mounted or a device, and so is a path.
fn used_otherwise(
    name: &Field<'_>,
    path: &Field<'_>,
    others: &Field<'_>,
    path_there: &str,
    list: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if others.items().any(|other| other.get("name").text() == name.text()) {
        errors.push(FieldError::invalid(name.path(), name.text(), format!("must not already exist in {list}")));
    }
    if others.items().any(|other| other.get(path_there).text() == path.text()) {
        let detail = format!("must not already exist as a path in {list}");
        errors.push(FieldError::invalid(path.path(), path.text(), detail));
    }
    errors
}

fn validate_security(security: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(validate_id(&security.get("runAsUser")));
    errors.extend(validate_id(&security.get("runAsGroup")));
    let escalation = security.get("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.truth() && security.get("privileged").truth() {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(security.invalid(detail));
    }
    errors
}
