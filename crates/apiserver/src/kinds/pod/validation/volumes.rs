//! The rules of volumes.

use super::environment::{validate_field_reference, validate_resource_reference};
use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::names;

/// Everything a volume can be of, in the order in which Kubernetes looks: of several the first one counts.
const SOURCES: [&str; 29] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "projected",
    "storageos",
    "csi",
    "ephemeral",
];
/// Fields of the pod that files can hold.
const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MAX_FILE_MODE: i64 = 0o777;
const LEAST_TOKEN_SECONDS: i64 = 600;
const MOST_TOKEN_SECONDS: i64 = 1 << 32;

/// The volumes that containers can mount.
pub(super) struct Volumes<'a> {
    /// Name, and whether it is a claim on storage.
    usable: Vec<(&'a str, bool)>,
}

impl<'a> Volumes<'a> {
    /// The volumes without fault, and the faults of the others. `claims` replace volumes of the same name.
    pub fn validate(volumes: &Field<'a>, claims: &[&'a str]) -> (Self, Vec<FieldError>) {
        let mut usable: Vec<(&'a str, bool)> = claims.iter().map(|name| (*name, true)).collect();
        let mut errors = Vec::new();
        let others = volumes.items().filter(|volume| !claims.contains(&volume.get("name").text()));
        for volume in others {
            let name = volume.get("name");
            let mut wrong = validate_source(&volume);
            if name.is_empty() {
                wrong.push(name.required(""));
            } else {
                wrong.extend(name.malformed(names::label));
            }
            if usable.iter().any(|(known, _)| *known == name.text()) {
                wrong.push(name.duplicate());
            }
            if wrong.is_empty() {
                let claims = ["persistentVolumeClaim", "ephemeral"].iter().any(|source| volume.get(source).is_set());
                usable.push((name.text(), claims));
            }
            errors.extend(wrong);
        }
        (Self { usable }, errors)
    }

    /// Whether there is such a volume.
    pub fn contains(&self, name: &str) -> bool {
        self.usable.iter().any(|(known, _)| *known == name)
    }

    /// Whether that volume is a claim on storage.
    pub fn is_claim(&self, name: &str) -> bool {
        self.usable.iter().any(|(known, claim)| *known == name && *claim)
    }
}

fn validate_source(volume: &Field<'_>) -> Vec<FieldError> {
    let mut given = SOURCES.iter().chain(&["image"]).map(|name| (*name, volume.get(name))).filter(|(_, s)| s.is_set());
    let Some((name, source)) = given.next() else { return vec![volume.required("must specify a volume type")] };
    let mut errors = match name {
        "hostPath" => validate_host_path(&source),
        "secret" => validate_keys(&source, &source.get("secretName")),
        "configMap" => validate_keys(&source, &source.get("name")),
        "persistentVolumeClaim" => {
            let claim = source.get("claimName");
            claim.is_empty().then(|| claim.required("")).into_iter().collect()
        }
        "downwardAPI" => {
            let mut errors: Vec<FieldError> = validate_mode(&source.get("defaultMode")).into_iter().collect();
            errors.extend(source.get("items").items().flat_map(|file| validate_file(&file.at(source.path()))));
            errors
        }
        "projected" => validate_projected(&source),
        _ => Vec::new(),
    };
    errors.extend(given.map(|(_, other)| other.forbidden("may not specify more than 1 volume type")));
    errors
}

fn validate_host_path(source: &Field<'_>) -> Vec<FieldError> {
    let (path, kind) = (source.get("path"), source.get("type"));
    if path.is_empty() {
        return vec![path.required("")];
    }
    let mut errors: Vec<FieldError> = climbs_up(&path).into_iter().collect();
    errors.extend((!HOST_PATH_TYPES.contains(&kind.text())).then(|| kind.not_supported(HOST_PATH_TYPES)));
    errors
}

/// A ConfigMap or Secret, all of it or some of its keys.
fn validate_keys(source: &Field<'_>, name: &Field<'_>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = name.is_empty().then(|| name.required("")).into_iter().collect();
    errors.extend(validate_mode(&source.get("defaultMode")));
    errors.extend(source.get("items").items().flat_map(|item| validate_key(&item)));
    errors
}

fn validate_key(item: &Field<'_>) -> Vec<FieldError> {
    let (key, path) = (item.get("key"), item.get("path"));
    let mut errors: Vec<FieldError> = key.is_empty().then(|| key.required("")).into_iter().collect();
    errors.extend(path.is_empty().then(|| path.required("")));
    errors.extend(validate_own_path(&path));
    errors.extend(validate_mode(&item.get("mode")));
    errors
}

/// A file that says something of the pod.
fn validate_file(file: &Field<'_>) -> Vec<FieldError> {
    let (path, field, resource) = (file.get("path"), file.get("fieldRef"), file.get("resourceFieldRef"));
    let mut errors: Vec<FieldError> = path.is_empty().then(|| path.required("")).into_iter().collect();
    errors.extend(validate_own_path(&path));
    match (field.is_set(), resource.is_set()) {
        (true, both) => {
            errors.extend(validate_field_reference(&field, FILE_FIELDS));
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.extend(both.then(|| FieldError::invalid(file.path(), "resource", detail)));
        }
        (false, true) if resource.get("containerName").is_empty() => {
            errors.push(resource.get("containerName").required(""));
        }
        (false, true) => errors.extend(validate_resource_reference(&resource)),
        (false, false) => errors.push(file.required("one of fieldRef and resourceFieldRef is required")),
    }
    errors.extend(validate_mode(&file.get("mode")));
    errors
}

fn validate_projected(projected: &Field<'_>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = validate_mode(&projected.get("defaultMode")).into_iter().collect();
    let mut paths = Vec::new();
    for source in projected.get("sources").items() {
        let parts = ["secret", "configMap", "downwardAPI", "serviceAccountToken"].map(|name| source.get(name));
        let [secret, map, fields, token] = &parts;
        for object in [secret, map].into_iter().filter(|object| object.is_set()) {
            let name = object.get("name");
            errors.extend(name.is_empty().then(|| name.required("")));
            for item in object.get("items").items() {
                errors.extend(validate_key(&item));
                errors.extend(taken_path(projected, &item.get("path"), name.text(), &mut paths));
            }
        }
        for file in fields.get("items").items() {
            errors.extend(validate_file(&file.at(fields.path())));
            let path = file.get("path");
            errors.extend(taken_path(projected, &path, path.text(), &mut paths));
        }
        if token.is_set() {
            errors.extend(validate_token(projected, token));
        }
        if parts.iter().filter(|part| part.is_set()).count() > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
    errors
}

fn taken_path<'a>(
    projected: &Field<'_>,
    path: &Field<'a>,
    shown: &str,
    taken: &mut Vec<&'a str>,
) -> Option<FieldError> {
    let conflict = !path.is_empty() && taken.contains(&path.text());
    taken.push(path.text());
    conflict.then(|| FieldError::invalid(projected.path(), shown, "conflicting duplicate paths"))
}

fn validate_token(projected: &Field<'_>, token: &Field<'_>) -> Vec<FieldError> {
    let (lifetime, path) = (token.get("expirationSeconds"), token.get("path").at(format!("{}.path", projected.path())));
    let mut errors = Vec::new();
    let seconds = lifetime.integer().unwrap_or(0);
    if seconds < LEAST_TOKEN_SECONDS {
        errors.push(lifetime.invalid("may not specify a duration less than 10 minutes"));
    }
    if seconds > MOST_TOKEN_SECONDS {
        errors.push(lifetime.invalid("may not specify a duration larger than 2^32 seconds"));
    }
    if path.is_empty() {
        errors.push(path.required(""));
    } else {
        errors.extend(validate_own_path(&path));
    }
    errors
}

fn validate_mode(mode: &Field<'_>) -> Option<FieldError> {
    let wrong = mode.integer().is_some_and(|mode| !(0..=MAX_FILE_MODE).contains(&mode));
    wrong.then(|| mode.invalid("must be a number between 0 and 0777 (octal), both inclusive"))
}

/// A path below a volume, which may not lead out of it.
pub(super) fn validate_relative(path: &Field<'_>) -> Vec<FieldError> {
    let absolute = path.text().starts_with('/');
    let mut errors: Vec<FieldError> = absolute.then(|| path.invalid("must be a relative path")).into_iter().collect();
    errors.extend(climbs_up(path));
    errors
}

/// A path below a volume that is not one of those the node keeps for itself.
fn validate_own_path(path: &Field<'_>) -> Vec<FieldError> {
    let mut errors = validate_relative(path);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        errors.push(path.invalid("must not start with '..'"));
    }
    errors
}

fn climbs_up(path: &Field<'_>) -> Option<FieldError> {
    path.text().split('/').any(|part| part == "..").then(|| path.invalid("must not contain '..'"))
}
