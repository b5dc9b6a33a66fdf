//! Objects that are decoded each by itself, so that one that makes no sense does not hide the others.
//!
//! A list is one text: one Service whose port is `"80"` in place of `80` makes the whole of it unreadable.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use kube::runtime::watcher::{self, Event};
use model::from_kube::Admitted;
use model::{Name, Rejected, RejectedReason, Subject};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

use crate::kinds::Kind;

/// An object, or what there is of it.
#[expect(clippy::large_enum_variant, reason = "nearly all are whole")]
#[derive(Clone, Debug)]
pub(crate) enum Decoded<K> {
    /// All of it.
    Whole(K),
    /// Its metadata, and why the rest cannot be read.
    Malformed { metadata: ObjectMeta, why: String },
}

impl<K> Decoded<K> {
    /// The same event with its object in here.
    pub(crate) fn event(event: Event<K>) -> Event<Self> {
        match event {
            Event::Apply(object) => Event::Apply(Self::Whole(object)),
            Event::Delete(object) => Event::Delete(Self::Whole(object)),
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(Self::Whole(object)),
            Event::InitDone => Event::InitDone,
        }
    }
}

impl<K: Kind> Decoded<K> {
    /// What a fact is made of, or the refusal of an object that cannot be read.
    pub(crate) fn admit<T>(&self, admit: impl FnOnce(&K) -> Admitted<T>) -> Admitted<T> {
        match self {
            Self::Whole(object) => admit(object),
            Self::Malformed { metadata, why } => {
                let name = |text: Option<&str>| text.map(Name::from);
                let object = Subject {
                    kind: K::OBJECT_KIND,
                    namespace: name(metadata.namespace.as_deref()),
                    name: name(metadata.name.as_deref()).unwrap_or_else(|| "(unnamed)".into()),
                };
                let why = format!("cannot be read ({why}); it must be as the API's schema says");
                let rejected = Rejected { object, field: "object".into(), why, reason: RejectedReason::Refused };
                Admitted { fact: None, rejected: vec![rejected] }
            }
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let why = match K::deserialize(&object) {
            Ok(whole) => return Ok(Self::Whole(whole)),
            Err(error) => error.to_string(),
        };
        let metadata = ObjectMeta::deserialize(object.get("metadata").unwrap_or(&Value::Null));
        let metadata = metadata.map_err(|error| D::Error::custom(format!("cannot read metadata: {error}")))?;
        Ok(Self::Malformed { metadata, why })
    }
}

impl<K: Resource> Resource for Decoded<K> {
    const API_VERSION: &'static str = K::API_VERSION;
    const GROUP: &'static str = K::GROUP;
    const KIND: &'static str = K::KIND;
    const VERSION: &'static str = K::VERSION;
    const URL_PATH_SEGMENT: &'static str = K::URL_PATH_SEGMENT;
    type Scope = K::Scope;
}

impl<K: Metadata<Ty = ObjectMeta>> Metadata for Decoded<K> {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Whole(object) => object.metadata(),
            Self::Malformed { metadata, .. } => metadata,
        }
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Whole(object) => object.metadata_mut(),
            Self::Malformed { metadata, .. } => metadata,
        }
    }
}

/// Whether a watch failed because an object, or a list of them, could not be read.
pub(crate) const fn is_undecodable(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::SerdeError(_))
            | watcher::Error::WatchStartFailed(kube::Error::SerdeError(_))
            | watcher::Error::WatchFailed(kube::Error::SerdeError(_))
    )
}
