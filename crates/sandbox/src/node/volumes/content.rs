//! What ConfigMap, Secret, downward API and projected volumes contain.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::select_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use serde_json::{Value, json};

use super::VolumeMaker;
use super::atomic::{Content, File};
use crate::node::fields::{NodeSide, field_value, resource_value};
use crate::node::objects::{DataKind, Followed};

/// What files get when nothing says otherwise.
const DEFAULT_MODE: i32 = 0o644;

/// How long a token lives when nothing says otherwise.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// Renders volumes, and knows when to do it again.
pub struct Renderer {
    maker: VolumeMaker,
    followed: Vec<Followed>,
    tokens: HashMap<TokenKey, Token>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    audience: String,
    seconds: i64,
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Timestamp,
}

/// A reference to a ConfigMap or Secret, with the keys to show.
struct Reference<'a> {
    kind: DataKind,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: bool,
    mode: i32,
}

impl Renderer {
    /// A renderer that has rendered nothing yet.
    pub fn new(maker: &VolumeMaker) -> Self {
        Self { maker: maker.clone(), followed: Vec::new(), tokens: HashMap::new() }
    }

    /// Goes on using tokens that need no renewal yet.
    pub fn keep_tokens_of(&mut self, earlier: &Self) {
        let now = Timestamp::now();
        let valid = earlier.tokens.iter().filter(|(_, token)| token.renew_at > now);
        self.tokens = valid.map(|(key, token)| (key.clone(), token.clone())).collect();
    }

    /// Waits until something rendered may have changed.
    pub async fn changed(&mut self) {
        let renew_at = self.tokens.values().map(|token| token.renew_at).min();
        let renewal = async {
            match renew_at {
                Some(at) => tokio::time::sleep(until(at)).await,
                None => std::future::pending().await,
            }
        };
        let sources: Vec<_> = self.followed.iter_mut().map(|followed| followed.changed().boxed()).collect();
        if sources.is_empty() {
            return renewal.await;
        }
        tokio::select! {
            () = renewal => {}
            _ = select_all(sources) => {}
        }
    }

    /// The content of `volume`, or `None` if it is not of a kind that has one. The error is for the user.
    pub async fn render(&mut self, pod: &Pod, volume: &Volume) -> Result<Option<Content>, String> {
        if let Some(source) = &volume.config_map {
            let reference = Reference {
                kind: DataKind::ConfigMap,
                name: &source.name,
                items: source.items.as_deref(),
                optional: source.optional.unwrap_or_default(),
                mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            };
            return self.data(pod, reference).await.map(Some);
        }
        if let Some(source) = &volume.secret {
            let reference = Reference {
                kind: DataKind::Secret,
                name: source.secret_name.as_deref().unwrap_or_default(),
                items: source.items.as_deref(),
                optional: source.optional.unwrap_or_default(),
                mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            };
            return self.data(pod, reference).await.map(Some);
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return self.downward(pod, items, source.default_mode.unwrap_or(DEFAULT_MODE)).map(Some);
        }
        match &volume.projected {
            Some(source) => self.projected(pod, source).await.map(Some),
            None => Ok(None),
        }
    }

    async fn projected(&mut self, pod: &Pod, source: &ProjectedVolumeSource) -> Result<Content, String> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let mut content = Content::new();
        for part in source.sources.as_deref().unwrap_or_default() {
            content.extend(self.projection(pod, part, mode).await?);
        }
        Ok(content)
    }

    async fn projection(&mut self, pod: &Pod, part: &VolumeProjection, mode: i32) -> Result<Content, String> {
        if let Some(source) = &part.config_map {
            let (name, items) = (source.name.as_str(), source.items.as_deref());
            let optional = source.optional.unwrap_or_default();
            return self.data(pod, Reference { kind: DataKind::ConfigMap, name, items, optional, mode }).await;
        }
        if let Some(source) = &part.secret {
            let (name, items) = (source.name.as_str(), source.items.as_deref());
            let optional = source.optional.unwrap_or_default();
            return self.data(pod, Reference { kind: DataKind::Secret, name, items, optional, mode }).await;
        }
        if let Some(source) = &part.downward_api {
            return self.downward(pod, source.items.as_deref().unwrap_or_default(), mode);
        }
        match &part.service_account_token {
            Some(source) => self.token(pod, source, mode).await,
            None => Err("a projected volume of a kind a sandbox does not have".to_owned()),
        }
    }

    async fn data(&mut self, pod: &Pod, reference: Reference<'_>) -> Result<Content, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut followed = self.maker.objects.follow(reference.kind, namespace, reference.name);
        let object = followed.get().await;
        self.followed.push(followed);
        match object {
            Some(object) => pick(&entries_of(reference.kind, &object), &reference),
            None if reference.optional => Ok(Content::new()),
            None => Err(format!("{} {:?} not found", reference.kind.name(), reference.name)),
        }
    }

    fn downward(&self, pod: &Pod, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Content, String> {
        // Volumes never show what the node adds: the API allows only the object's own fields in them.
        let node = NodeSide { host_addresses: &[], pod_addresses: &[] };
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let mut content = Content::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => field_value(pod, &field.field_path, node)?,
                (None, Some(resource)) => {
                    let name = resource.container_name.as_deref().unwrap_or_default();
                    let container = containers.iter().find(|container| container.name == name);
                    let container = container.ok_or_else(|| format!("container {name} not found"))?;
                    resource_value(container, resource, self.maker.capacity)?
                }
                (None, None) => return Err(format!("{}: neither a field nor a resource", item.path)),
            };
            content.insert(PathBuf::from(&item.path), file(text.into_bytes(), item.mode.unwrap_or(mode)));
        }
        Ok(content)
    }

    async fn token(&mut self, pod: &Pod, source: &ServiceAccountTokenProjection, mode: i32) -> Result<Content, String> {
        let key = TokenKey {
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS),
        };
        let text = match self.tokens.get(&key) {
            Some(token) => token.text.clone(),
            None => {
                let token = self.request_token(pod, &key).await?;
                self.tokens.entry(key).or_insert(token).text.clone()
            }
        };
        Ok(Content::from([(PathBuf::from(&source.path), file(text.into_bytes(), mode))]))
    }

    async fn request_token(&self, pod: &Pod, key: &TokenKey) -> Result<Token, String> {
        let metadata = &pod.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let audiences: Vec<&str> =
            Some(key.audience.as_str()).filter(|audience| !audience.is_empty()).into_iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": key.seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": metadata.name, "uid": metadata.uid},
            },
        });
        let answer = self.maker.client.create_token(namespace, account, &request).await;
        let answer = answer.map_err(|error| format!("failed to fetch token: {error}"))?;
        let text = answer["status"]["token"].as_str().ok_or("failed to fetch token: the answer has none")?;
        let now = Timestamp::now();
        let expires: Option<Timestamp> =
            answer["status"]["expirationTimestamp"].as_str().and_then(|text| text.parse().ok());
        let lives = expires.map_or(key.seconds, |expires| expires.duration_since(now).as_secs());
        Ok(Token { text: text.to_owned(), renew_at: renewal_time(now, lives) })
    }
}

/// When a token that lives so long from `now` is to be renewed: after four fifths of its life, as the kubelet does.
fn renewal_time(now: Timestamp, lives_seconds: i64) -> Timestamp {
    now.saturating_add(jiff::SignedDuration::from_secs(lives_seconds.max(0) * 4 / 5)).unwrap_or(Timestamp::MAX)
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

/// The entries of a ConfigMap or Secret.
fn entries_of(kind: DataKind, object: &Arc<Value>) -> HashMap<String, Vec<u8>> {
    let part = |name: &str| object[name].as_object().cloned().unwrap_or_default().into_iter();
    let plain = |(key, value): (String, Value)| value.as_str().map(|text| (key.clone(), text.as_bytes().to_vec()));
    let encoded = |(key, value): (String, Value)| Some((key, STANDARD.decode(value.as_str()?).ok()?));
    match kind {
        DataKind::ConfigMap => part("data").filter_map(plain).chain(part("binaryData").filter_map(encoded)).collect(),
        DataKind::Secret => part("data").filter_map(encoded).collect(),
    }
}

/// The files that show `entries`: those named, or all.
fn pick(entries: &HashMap<String, Vec<u8>>, reference: &Reference<'_>) -> Result<Content, String> {
    let Some(items) = reference.items.filter(|items| !items.is_empty()) else {
        let all = entries.iter().map(|(key, bytes)| (PathBuf::from(key), file(bytes.clone(), reference.mode)));
        return Ok(all.collect());
    };
    let mut content = Content::new();
    for item in items {
        match entries.get(&item.key) {
            Some(bytes) => {
                let mode = item.mode.unwrap_or(reference.mode);
                content.insert(PathBuf::from(&item.path), file(bytes.clone(), mode));
            }
            None if reference.optional => {}
            None => return Err(format!("references non-existent {} key: {}", key_noun(reference.kind), item.key)),
        }
    }
    Ok(content)
}

fn key_noun(kind: DataKind) -> &'static str {
    match kind {
        DataKind::ConfigMap => "config",
        DataKind::Secret => "secret",
    }
}

fn file(bytes: Vec<u8>, mode: i32) -> File {
    File { bytes, mode: mode.cast_unsigned() & 0o777 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> HashMap<String, Vec<u8>> {
        let object = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}});
        entries_of(DataKind::ConfigMap, &Arc::new(object))
    }

    fn reference<'a>(items: Option<&'a [KeyToPath]>, optional: bool) -> Reference<'a> {
        Reference { kind: DataKind::ConfigMap, name: "x", items, optional, mode: 0o644 }
    }

    #[test]
    fn without_items_every_key_is_a_file() {
        let content = pick(&entries(), &reference(None, false)).unwrap();
        assert_eq!(content.len(), 3);
        assert_eq!(content[&PathBuf::from("c")], file(vec![0, 1], 0o644));
    }

    #[test]
    fn items_choose_keys_paths_and_modes_and_a_missing_key_is_an_error_unless_optional() {
        let item = |key: &str| KeyToPath { key: key.into(), path: "sub/f".into(), mode: Some(0o600) };
        let content = pick(&entries(), &reference(Some(&[item("a")]), false)).unwrap();
        assert_eq!(content, Content::from([(PathBuf::from("sub/f"), file(b"1".to_vec(), 0o600))]));
        let error = pick(&entries(), &reference(Some(&[item("z")]), false)).unwrap_err();
        assert_eq!(error, "references non-existent config key: z");
        assert!(pick(&entries(), &reference(Some(&[item("z")]), true)).unwrap().is_empty());
    }

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_its_life() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(renewal_time(now, 3600), Timestamp::from_second(2880).unwrap());
    }
}
