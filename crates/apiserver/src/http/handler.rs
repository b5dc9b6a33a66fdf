//! One request: who asks, for what, and the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use tokio_util::sync::CancellationToken;

use super::authenticate::{Peer, identify};
use super::impersonate::acting_identity;
use super::negotiate::{DiscoveryForm, DiscoveryVersion, Form, discovery_form_of, form_of};
use super::query::Query;
use super::quota::{Limits, Load, Quotas};
use super::respond::{self, Answer};
use super::route::{Probe, Route, Target, Verb, parse_path};
use crate::api::{Api, Call};
use crate::auth::Identity;
use crate::auth::rbac::{Access, Action, ResourceAction};
use crate::discovery::{Aggregated, Document};
use crate::error::ApiError;
use crate::kinds::{Resource, Subresource};
use crate::metrics::{self, Metrics, Operation};
use crate::schema;
use crate::streams::{self, NodeDialer};
use crate::verbs::is_namespace;

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_V2_BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers the requests of all connections.
pub(crate) struct Handler {
    pub api: Api,
    pub version: Document,
    pub nodes: Arc<dyn NodeDialer>,
    pub quotas: Quotas,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    /// Ends watches and streams.
    pub stop: CancellationToken,
}

/// What a request wants done with which resource.
struct Asked<'a> {
    target: &'a Target,
    verb: Verb,
    resource: &'static Resource,
    subresource: Option<&'static Subresource>,
    query: Query,
}

impl Asked<'_> {
    /// The request as roles speak of it.
    fn action(&self) -> Action<'_> {
        let name = self.target.name.as_deref().unwrap_or_default();
        // What is done to a namespace is done in it.
        let own_namespace = if is_namespace(self.resource) { name } else { "" };
        Action::Resource(ResourceAction {
            verb: self.verb.name(),
            group: self.resource.group,
            resource: self.resource.plural,
            subresource: self.subresource.map_or("", |sub| sub.name),
            namespace: self.target.namespace.as_deref().unwrap_or(own_namespace),
            name,
        })
    }
}

impl Handler {
    pub async fn handle(&self, peer: &Peer, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.answer(peer, request).await.unwrap_or_else(|error| {
            if error.code() >= 500 {
                tracing::error!(%method, path, %error, "request failed");
            }
            respond::error(&error)
        });
        tracing::debug!(%method, path, status = answer.status().as_u16(), "request");
        answer
    }

    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Result<Answer, ApiError> {
        let route = parse_path(request.uri().path()).ok_or(ApiError::NoSuchResource)?;
        let identity = identify(&self.api, peer, request.headers())?;
        let headers = request.headers();
        match route {
            Route::Health(probe) => Ok(self.health(probe, request.uri().query())),
            Route::Version => Ok(respond::document(&self.version, JSON, headers)),
            route => {
                let identity = acting_identity(&self.api, identity.ok_or(ApiError::Unauthorized)?, headers)?;
                match route {
                    Route::Target(target) => self.answer_target(&target, identity, request).await,
                    route => {
                        let action = Action::Path { verb: "get", path: request.uri().path() };
                        Access::of(&self.api.store).check(&identity, action)?;
                        self.answer_document(&route, headers)
                    }
                }
            }
        }
    }

    fn health(&self, probe: Probe, query: Option<&str>) -> Answer {
        let name = match probe {
            Probe::Healthz => "healthz",
            Probe::Livez => "livez",
            Probe::Readyz => "readyz",
        };
        let verbose = Query::parse(query).flag("verbose").unwrap_or(false);
        match (verbose, self.stop.is_cancelled() && probe == Probe::Readyz) {
            (_, true) => respond::text(500, "[-]shutdown failed: the server is stopping\n"),
            (true, false) => respond::text(200, format!("[+]ping ok\n[+]store ok\n{name} check passed\n")),
            (false, false) => respond::text(200, "ok"),
        }
    }

    fn answer_document(&self, route: &Route, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let plain = |document: Option<&Document>| match document {
            Some(document) => Ok(respond::document(document, JSON, headers)),
            None => Err(ApiError::NoSuchResource),
        };
        let served = self.api.catalog.served(&self.api.store);
        let offer = &served.discovery;
        match route {
            Route::Index => plain(Some(&offer.paths)),
            Route::OpenApiV2 => Ok(openapi_v2(headers)),
            Route::OpenApiIndex => plain(Some(&served.openapi_index)),
            Route::OpenApiDocument(path) => match served.openapi.get(path) {
                Some(custom) => plain(Some(custom)),
                None => plain(schema::openapi_document(path).map(Document::of_text).as_ref()),
            },
            Route::Metrics => Ok(respond::plain(200, metrics::MEDIA_TYPE, self.metrics.render())),
            Route::TokenKeys => {
                Ok(respond::document(&Document::new(&self.api.tokens.key_set()), "application/jwk-set+json", headers))
            }
            Route::TokenIssuer => plain(Some(&Document::new(&self.api.tokens.issuer_metadata()))),
            Route::CoreVersions => discovery(&offer.core_versions, &offer.aggregated_core, headers),
            Route::Groups => discovery(&offer.groups, &offer.aggregated_groups, headers),
            Route::Group(group) => plain(offer.group.get(group)),
            Route::Resources { group, version } => plain(offer.resources.get(&(group.clone(), version.clone()))),
            Route::Health(_) | Route::Version | Route::Target(_) => Err(ApiError::NoSuchResource),
        }
    }

    async fn answer_target(
        &self,
        target: &Target,
        identity: Identity,
        request: Request<Incoming>,
    ) -> Result<Answer, ApiError> {
        let query = Query::parse(request.uri().query());
        let verb =
            target.verb(request.method(), query.watching()).ok_or(ApiError::MethodNotAllowed { resource: None })?;
        let (resource, subresource) = Call::resolve(&self.api, target, verb)?;
        let operation = Operation {
            verb: verb.name(),
            group: resource.group,
            version: resource.version,
            resource: resource.plural,
            subresource: subresource.map_or("", |sub| sub.name),
        };
        let started = Instant::now();
        let asked = Asked { target, verb, resource, subresource, query };
        let result = self.answer_resource(asked, identity, request).await;
        let code = result.as_ref().map_or_else(ApiError::code, |answer| answer.status().as_u16());
        self.metrics.answered(operation, code, started.elapsed());
        result
    }

    async fn answer_resource(
        &self,
        asked: Asked<'_>,
        identity: Identity,
        request: Request<Incoming>,
    ) -> Result<Answer, ApiError> {
        Access::of(&self.api.store).check(&identity, asked.action())?;
        let Asked { target, verb, resource, subresource, query } = asked;
        let load = if verb == Verb::Watch { Load::Watch } else { Load::Request };
        if let Some(stream) = subresource.and_then(|sub| streams::Stream::named(sub.name)) {
            let permit = self.quotas.admit(&identity.user, Load::Watch)?;
            return streams::proxy(self, stream, target, request, permit).await;
        }
        let permit = self.quotas.admit(&identity.user, load)?;
        let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let form = if verb == Verb::Delete { Form::Object } else { form_of(header(ACCEPT))? };
        let agent = header(USER_AGENT).unwrap_or_default().split('/').next().unwrap_or_default();
        let agent = if agent.is_empty() { "unknown" } else { agent }.to_owned();
        let content_type = header(CONTENT_TYPE).map(str::to_owned);
        let body = match *request.method() {
            Method::GET | Method::HEAD => Bytes::new(),
            _ => self.read_body(request.into_body()).await?,
        };
        let (namespace, name) = (target.namespace.clone(), target.name.clone());
        let call =
            Call { verb, resource, namespace, name, subresource, query, form, identity, agent, content_type, body };
        let reply = self.api.answer(&call).await?;
        Ok(respond::reply(reply, permit, &self.stop))
    }

    async fn read_body(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let limit_bytes = self.limits.body_bytes;
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit_bytes).collect());
        match read.await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit_bytes }),
            Ok(Err(error)) => Err(ApiError::bad_request(format!("the body of the request could not be read: {error}"))),
            Err(_) => Err(ApiError::bad_request("the body of the request did not arrive in time")),
        }
    }
}

/// The OpenAPI v2 document; it is asked for in protobuf and, by people, in JSON.
fn openapi_v2(headers: &HeaderMap) -> Answer {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (text, media_type) = if accept.contains(schema::OPENAPI_V2_PROTOBUF_ASKED) {
        (schema::OPENAPI_V2_PROTOBUF, schema::OPENAPI_V2_PROTOBUF_TYPE)
    } else {
        (schema::OPENAPI_V2_JSON, JSON)
    };
    respond::document(&Document::of_text(text), media_type, headers)
}

fn discovery(legacy: &Document, aggregated: &Aggregated, headers: &HeaderMap) -> Result<Answer, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let (document, media_type) = match discovery_form_of(accept)? {
        DiscoveryForm::Legacy => (legacy, JSON),
        DiscoveryForm::Aggregated(version) => {
            let media_type = match version {
                DiscoveryVersion::V2 => AGGREGATED_V2,
                DiscoveryVersion::V2Beta1 => AGGREGATED_V2_BETA1,
            };
            (aggregated.in_version(version), media_type)
        }
    };
    Ok(respond::document(document, media_type, headers))
}
