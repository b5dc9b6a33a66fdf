//! From a container in a pod's specification to what the shim runs.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, VolumeMount};
use serde_json::Value;

use crate::images::{self, Image};
use crate::node::environment::{Environment, is_variable_name, service_variables};
use crate::node::fields::{NodeSide, field_value, resource_value};
use crate::node::objects::DataKind;
use crate::node::volumes::Volumes;
use crate::rootfs::{Bind, Purpose};
use crate::shim::{ContainerSpec, Namespaces, Stdin};

use super::Context;

/// What a container gets from its pod.
pub struct FromPod<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its name as its kernel reports it.
    pub host_name: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its volumes.
    pub volumes: &'a Volumes,
    /// The files of its `/etc` that all containers share: where to show them, and where they are.
    pub shared_files: &'a [(&'static str, PathBuf)],
}

/// Where one container keeps what is its own.
pub struct OwnPlaces {
    /// Its log.
    pub log: PathBuf,
    /// The file it may leave a last message in.
    pub last_words: PathBuf,
    /// A directory for what its image has of its own.
    pub image_data: PathBuf,
}

/// A container cannot be composed: one word and the details, as its status shows them.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self(message)
    }
}

/// What the shim runs for `container`, whose image is `image`.
pub async fn compose(
    context: &Context,
    from_pod: &FromPod<'_>,
    (container, image): (&Container, &'static Image),
    own: &OwnPlaces,
) -> Result<ContainerSpec, Refusal> {
    let services = context.services.list();
    let spec = from_pod.pod.spec.as_ref();
    let namespace = from_pod.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = spec.and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let linked = service_variables(services.iter().map(AsRef::as_ref), namespace, links);
    let environment = compose_environment(context, from_pod, container, &linked).await?;
    let expand =
        |words: &[String]| -> Vec<String> { words.iter().map(|word| environment.expand(word, &linked)).collect() };
    let arguments = arguments_of(container, image, &expand);
    let binds = compose_binds(from_pod, container, image, own, |text| environment.expand(text, &linked))?;
    let security = container.security_context.as_ref();
    let privileged = security.and_then(|security| security.privileged).unwrap_or_default();
    let capabilities = security.and_then(|security| security.capabilities.clone()).unwrap_or_default();
    let stdin = match (container.stdin.unwrap_or_default(), container.stdin_once.unwrap_or_default()) {
        (false, _) => Stdin::Closed,
        (true, true) => Stdin::Once,
        (true, false) => Stdin::Open,
    };
    Ok(ContainerSpec {
        arguments,
        environment: complete_environment(environment, from_pod, container, linked),
        working_directory: container.working_dir.as_deref().filter(|path| !path.is_empty()).unwrap_or("/").into(),
        terminal: container.tty.unwrap_or_default(),
        stdin,
        namespaces: from_pod.namespaces.clone(),
        purpose: if privileged { Purpose::PrivilegedContainer } else { Purpose::Container },
        capabilities: (capabilities.add.unwrap_or_default(), capabilities.drop.unwrap_or_default()),
        binds,
        links: image.links.iter().map(|(path, name)| (path.into(), (*name).to_owned())).collect(),
        node_name: context.config.name.clone(),
        stop_signal: image.stop_signal,
        log: own.log.clone(),
    })
}

/// The program and its arguments: the container's, the image's where the container names none.
fn arguments_of(container: &Container, image: &Image, expand: &dyn Fn(&[String]) -> Vec<String>) -> Vec<String> {
    let given = |words: &Option<Vec<String>>| words.as_deref().filter(|words| !words.is_empty()).map(expand);
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let (command, arguments) = (given(&container.command), given(&container.args));
    let mut all = command.clone().unwrap_or_else(|| owned(image.entrypoint));
    all.extend(match (command, arguments) {
        (_, Some(arguments)) => arguments,
        (Some(_), None) => Vec::new(),
        (None, None) => owned(image.arguments),
    });
    all
}

/// The variables the pod asks for, in its order.
async fn compose_environment(
    context: &Context,
    from_pod: &FromPod<'_>,
    container: &Container,
    linked: &HashMap<String, String>,
) -> Result<Environment, Refusal> {
    let mut environment = Environment::default();
    for source in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => (DataKind::ConfigMap, &reference.name, reference.optional),
            (None, Some(reference)) => (DataKind::Secret, &reference.name, reference.optional),
            (None, None) => continue,
        };
        let Some(object) = find(context, from_pod.pod, kind, name, optional.unwrap_or_default()).await? else {
            continue;
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (key, value) in texts_of(kind, &object) {
            let name = format!("{prefix}{key}");
            if is_variable_name(&name) {
                environment.set(&name, value);
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(context, from_pod, container, variable, &environment, linked).await? {
            environment.set(&variable.name, value);
        }
    }
    Ok(environment)
}

#[expect(clippy::too_many_arguments, reason = "the variable and the five things its value may come from")]
async fn value_of(
    context: &Context,
    from_pod: &FromPod<'_>,
    container: &Container,
    variable: &EnvVar,
    environment: &Environment,
    linked: &HashMap<String, String>,
) -> Result<Option<String>, Refusal> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(environment.expand(variable.value.as_deref().unwrap_or_default(), linked)));
    };
    if let Some(field) = &source.field_ref {
        let node = NodeSide { host_addresses: &context.config.addresses, pod_addresses: from_pod.addresses };
        return Ok(Some(field_value(from_pod.pod, &field.field_path, node)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        let named = resource.container_name.as_deref().unwrap_or(&container.name);
        let mut containers = from_pod.pod.spec.iter().flat_map(|spec| &spec.containers);
        let asked = containers.find(|other| other.name == named).unwrap_or(container);
        return Ok(Some(resource_value(asked, resource, context.machine.capacity)?));
    }
    key_value(context, from_pod.pod, source).await
}

/// The value of a key of a ConfigMap or Secret; `None` if it is not there and need not be.
async fn key_value(context: &Context, pod: &Pod, source: &EnvVarSource) -> Result<Option<String>, Refusal> {
    let (kind, name, key, optional) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(reference), _) => (DataKind::ConfigMap, &reference.name, &reference.key, reference.optional),
        (None, Some(reference)) => (DataKind::Secret, &reference.name, &reference.key, reference.optional),
        (None, None) => return Ok(None),
    };
    let optional = optional.unwrap_or_default();
    let Some(object) = find(context, pod, kind, name, optional).await? else { return Ok(None) };
    match texts_of(kind, &object).remove(key) {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let noun = if kind == DataKind::ConfigMap { "ConfigMap" } else { "Secret" };
            Err(Refusal(format!("couldn't find key {key} in {noun} {namespace}/{name}")))
        }
    }
}

async fn find(
    context: &Context,
    pod: &Pod,
    kind: DataKind,
    name: &str,
    optional: bool,
) -> Result<Option<std::sync::Arc<Value>>, Refusal> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match context.objects.follow(kind, namespace, name).get().await {
        None if !optional => Err(Refusal(format!("{} {name:?} not found", kind.name()))),
        found => Ok(found),
    }
}

/// The entries of a ConfigMap or Secret that are text.
fn texts_of(kind: DataKind, object: &Value) -> HashMap<String, String> {
    use base64::Engine;
    let decode = |text: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        String::from_utf8(bytes).ok()
    };
    let entries = object["data"].as_object().into_iter().flatten();
    let text = |(key, value): (&String, &Value)| {
        let text = value.as_str()?;
        let text = if kind == DataKind::Secret { decode(text)? } else { text.to_owned() };
        Some((key.clone(), text))
    };
    entries.filter_map(text).collect()
}

/// Adds what the container runtime and the cluster provide to what the pod asks for.
fn complete_environment(
    mut environment: Environment,
    from_pod: &FromPod<'_>,
    container: &Container,
    linked: HashMap<String, String>,
) -> Vec<(String, String)> {
    environment.set_default("PATH", images::PATH);
    environment.set_default("HOSTNAME", from_pod.host_name);
    environment.set_default("HOME", "/root");
    if container.tty.unwrap_or_default() {
        environment.set_default("TERM", "xterm");
    }
    let mut linked: Vec<_> = linked.into_iter().collect();
    linked.sort();
    for (name, value) in linked {
        environment.set_default(&name, value);
    }
    environment.into_variables()
}

fn compose_binds(
    from_pod: &FromPod<'_>,
    container: &Container,
    image: &Image,
    own: &OwnPlaces,
    expand: impl Fn(&str) -> String,
) -> Result<Vec<Bind>, Refusal> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let taken = |path: &str| mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == path);
    let mut binds = Vec::new();
    for mount in mounts {
        binds.push(volume_bind(from_pod, mount, &expand)?);
    }
    for (target, source) in from_pod.shared_files.iter().filter(|(target, _)| !taken(target)) {
        binds.push(Bind::writable(source, target));
    }
    let write = |what: std::io::Result<()>, path: &Path| {
        what.map_err(|error| Refusal(format!("cannot make {}: {error}", path.display())))
    };
    for directory in image.directories.iter().filter(|directory| !taken(directory)) {
        let source = own.image_data.join(directory.trim_start_matches('/').replace('/', "-"));
        write(fs::create_dir_all(&source), &source)?;
        binds.push(Bind::writable(source, *directory));
    }
    let words = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if words.starts_with('/') && !taken(words) {
        write(fs::write(&own.last_words, b""), &own.last_words)?;
        binds.push(Bind::writable(&own.last_words, words));
    }
    Ok(binds)
}

fn volume_bind(from_pod: &FromPod<'_>, mount: &VolumeMount, expand: impl Fn(&str) -> String) -> Result<Bind, Refusal> {
    let place = from_pod.volumes.place(&mount.name);
    let mut source = place.ok_or_else(|| format!("volume {:?} is not defined in the pod", mount.name))?.to_path_buf();
    let sub_path = mount.sub_path_expr.as_deref().map(expand).or_else(|| mount.sub_path.clone()).unwrap_or_default();
    if !sub_path.is_empty() {
        let inside = Path::new(&sub_path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Refusal(format!("subPath {sub_path:?} must stay inside of volume {:?}", mount.name)));
        }
        source = source.join(sub_path);
        if !source.exists() {
            fs::create_dir_all(&source).map_err(|error| format!("failed to create subPath directory: {error}"))?;
        }
    }
    let made_of_objects = from_pod.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
        let objects = volume.config_map.is_some() || volume.secret.is_some();
        volume.name == mount.name && (objects || volume.downward_api.is_some() || volume.projected.is_some())
    });
    let read_only = made_of_objects || mount.read_only.unwrap_or_default();
    Ok(Bind { source, target: mount.mount_path.clone().into(), read_only })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(image: &str, container: Value) -> Vec<String> {
        let container: Container = serde_json::from_value(container).unwrap();
        arguments_of(&container, images::find(image).unwrap(), &<[String]>::to_vec)
    }

    #[test]
    fn command_replaces_the_entry_point_and_drops_the_images_arguments() {
        assert_eq!(arguments("agnhost", json!({"name": "c"})), ["/agnhost", "pause"]);
        assert_eq!(arguments("agnhost", json!({"name": "c", "args": ["netexec"]})), ["/agnhost", "netexec"]);
        assert_eq!(arguments("agnhost", json!({"name": "c", "command": ["sh"]})), ["sh"]);
        assert_eq!(
            arguments("agnhost", json!({"name": "c", "command": ["sh"], "args": ["-c", "x"]})),
            ["sh", "-c", "x"]
        );
    }

    #[test]
    fn secrets_are_decoded_and_what_is_no_text_is_left_out() {
        let object = json!({"data": {"password": "czNjcjN0", "binary": "//79"}});
        let texts = texts_of(DataKind::Secret, &object);
        assert_eq!(texts, HashMap::from([("password".to_owned(), "s3cr3t".to_owned())]));
    }
}
