//! Requests for objects, understood and answered: what stands between HTTP and the store.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::admission::Admission;
use crate::auth::{Identity, Tokens};
use crate::catalog::Catalog;
use crate::error::{ApiError, GroupKind, GroupResource};
use crate::http::negotiate::Form;
use crate::http::query::Query;
use crate::http::route::{Target, Verb};
use crate::kinds::{Resource, Subresource};
use crate::render::{IncludeObject, Renderer, to_bytes};
use crate::schema::{Gvk, Kind};
use crate::store::{Compacted, Key, Object, Snapshot, Store, WriteMode};
use crate::verbs::watch::Watch;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything that answering requests needs; shared by all connections.
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub tokens: Tokens,
    pub admission: Arc<Admission>,
    pub catalog: Catalog,
    pub clock: Clock,
}

/// One request for objects.
pub(crate) struct Call {
    pub verb: Verb,
    pub resource: &'static Resource,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<&'static Subresource>,
    pub query: Query,
    pub form: Form,
    pub identity: Identity,
    /// The client's program, up to the slash: who owns the fields it writes, unless it says otherwise.
    pub agent: String,
    pub content_type: Option<String>,
    pub body: Bytes,
}

/// The answer to a request that succeeded.
pub(crate) struct Reply {
    pub code: u16,
    pub body: ReplyBody,
    /// Hints for people, sent as `Warning` headers.
    pub warnings: Vec<String>,
}

/// What an answer carries.
pub(crate) enum ReplyBody {
    Json(Bytes),
    Watch(Box<Watch>),
}

impl Reply {
    pub fn json(code: u16, body: Bytes) -> Self {
        Self { code, body: ReplyBody::Json(body), warnings: Vec::new() }
    }

    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

impl Api {
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Answers a request.
    pub async fn answer(&self, call: &Call) -> Result<Reply, ApiError> {
        if let Some(reply) = self.review(call) {
            return reply;
        }
        match (call.subresource.map(|sub| sub.name), call.verb) {
            (Some("scale"), _) => self.scale(call).await,
            (Some("binding"), _) => self.bind(call).await,
            (Some("eviction"), _) => self.evict(call).await,
            (Some("token"), _) => self.issue_token(call).await,
            (_, Verb::Get) => self.get(call),
            (_, Verb::List) => self.list(call),
            (_, Verb::Watch) => self.watch(call),
            (_, Verb::Create) => self.create(call).await,
            (_, Verb::Update) => self.update(call).await,
            (_, Verb::Patch) => self.patch(call).await,
            (_, Verb::Delete) => self.delete(call).await,
            (_, Verb::DeleteCollection) => self.delete_collection(call).await,
        }
    }
}

impl Call {
    /// The resource and subresource that a target means, if the verb is offered there.
    pub fn resolve(
        api: &Api,
        target: &Target,
        verb: Verb,
    ) -> Result<(&'static Resource, Option<&'static Subresource>), ApiError> {
        let resource = api
            .catalog
            .resource(&api.store, &target.group, &target.version, &target.resource)
            .ok_or(ApiError::NoSuchResource)?;
        let not_allowed = || ApiError::MethodNotAllowed { resource: Some(group_resource(resource)) };
        let misplaced = match (&target.namespace, &target.name) {
            (Some(_), _) => !resource.namespaced,
            (None, Some(_)) => resource.namespaced,
            (None, None) => false,
        };
        if misplaced {
            return Err(ApiError::NoSuchResource);
        }
        let subresource = match &target.subresource {
            None => None,
            Some(name) => Some(resource.subresource(name).ok_or(ApiError::NoSuchResource)?),
        };
        let verbs = subresource.map_or(resource.verbs, |sub| sub.verbs);
        let creates_nowhere = verb == Verb::Create
            && match (&subresource, &target.name) {
                (None, None) => resource.namespaced && target.namespace.is_none(),
                (None, Some(_)) => true,
                (Some(_), _) => false,
            };
        if !verbs.contains(&verb.name()) || creates_nowhere {
            return Err(not_allowed());
        }
        Ok((resource, subresource))
    }

    pub fn group_resource(&self) -> GroupResource {
        group_resource(self.resource)
    }

    /// The object that the call is about.
    pub fn object(&self, store: &Store) -> Result<Arc<Object>, ApiError> {
        let name = self.name.clone().ok_or(ApiError::NoSuchResource)?;
        let namespace = self.namespace.clone().unwrap_or_default();
        let key = Key { resource: storage_of(self.resource), namespace, name: name.clone() };
        let found = store.get(&key).ok_or_else(|| ApiError::NotFound { resource: self.group_resource(), name })?;
        Ok(shaped(self.resource, found))
    }

    /// The objects of the collection that the call is about, as they are now.
    pub fn objects(&self, store: &Store) -> Snapshot {
        self.shaped(store.list(&storage_of(self.resource), self.namespace.as_deref()))
    }

    /// The objects as they were at a revision.
    pub fn objects_at(&self, store: &Store, revision: u64) -> Result<Snapshot, Compacted> {
        let snapshot = store.list_at(&storage_of(self.resource), self.namespace.as_deref(), revision)?;
        Ok(self.shaped(snapshot))
    }

    fn shaped(&self, snapshot: Snapshot) -> Snapshot {
        let objects = snapshot.objects.into_iter().map(|object| shaped(self.resource, object)).collect();
        Snapshot { objects, ..snapshot }
    }

    /// The kind of the body, which for some subresources is not the kind of the object.
    pub fn body_kind(&self) -> Kind<'static> {
        match self.subresource {
            Some(sub) if sub.kind != self.resource.kind => Gvk::new(sub.group, sub.version, sub.kind).into(),
            _ => self.resource.schema(),
        }
    }

    pub fn renderer(&self) -> Renderer {
        let include = IncludeObject::parse(self.query.text("includeObject"));
        Renderer { resource: self.resource, form: self.form, include }
    }

    pub fn reply(&self, code: u16, object: &Object, now: Timestamp) -> Reply {
        Reply::json(code, self.renderer().object(object, now))
    }
}

/// The resource as errors name it.
pub(crate) fn group_resource(resource: &Resource) -> GroupResource {
    GroupResource::of(resource.group, resource.plural)
}

/// The kind as errors name it.
pub(crate) fn group_kind(resource: &Resource) -> GroupKind {
    GroupKind::of(resource.group, resource.kind)
}

/// Where objects of a resource are stored.
pub(crate) fn storage_of(resource: &'static Resource) -> GroupResource {
    group_resource(resource.stored_as())
}

/// A stored object in the shape of the resource it is asked for as.
pub(crate) fn shaped(resource: &'static Resource, object: Arc<Object>) -> Arc<Object> {
    if resource.is_shape_of(&object.value) {
        return object;
    }
    let mut value = object.value.clone();
    resource.from_stored(&mut value);
    Arc::new(Object { revision: object.revision, json: to_bytes(&value), value })
}

/// The way a write is run for these options.
pub(crate) fn write_mode(dry_run: bool) -> WriteMode {
    if dry_run { WriteMode::DryRun } else { WriteMode::Persist }
}
