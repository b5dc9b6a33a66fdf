//! Many objects, in pages of one and the same revision.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::api::{Api, Call, Reply};
use crate::error::ApiError;
use crate::http::query::{ListOptions, VersionMatch};
use crate::kinds::Resource;
use crate::render::ListMeta;
use crate::select::{FieldSelector, LabelSelector};
use crate::store::{Compacted, Object, Snapshot};

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You \
    can start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Which objects a client wants to see.
#[derive(Debug)]
pub(crate) struct Filter {
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

/// Where the next page of a list begins, and at which revision; without one, wherever the cluster is by then.
#[derive(Debug, PartialEq)]
struct Continue {
    revision: Option<u64>,
    /// Namespace and name of the last object given out.
    after: (String, String),
}

impl Filter {
    pub fn of(call: &Call, options: &ListOptions) -> Result<Self, ApiError> {
        let labels =
            LabelSelector::parse(&options.label_selector).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let refuse = |error: crate::select::FieldSelectorError| ApiError::bad_request(error.to_string());
        let fields = FieldSelector::parse(&options.field_selector).map_err(refuse)?;
        fields.check(call.resource).map_err(refuse)?;
        let (namespace, name) = (call.namespace.clone(), call.name.clone());
        Ok(Self { resource: call.resource, namespace, name, labels, fields })
    }

    pub fn matches(&self, object: &Value) -> bool {
        let metadata = |field: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| object["metadata"][field].as_str() == Some(wanted))
        };
        metadata("namespace", &self.namespace)
            && metadata("name", &self.name)
            && self.labels.matches(object)
            && self.fields.matches(self.resource, object)
    }

    fn selects_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.terms().is_empty()
    }
}

impl Api {
    pub(crate) fn list(&self, call: &Call) -> Result<Reply, ApiError> {
        let options = call.query.list_options()?;
        let filter = Filter::of(call, &options)?;
        let from = options.continue_token.as_deref().map(Continue::parse).transpose()?;
        let snapshot = self.snapshot(call, &options, from.as_ref())?;
        let start = from.as_ref().map_or(0, |from| snapshot.objects.partition_point(|o| name_of(o) <= from.key()));
        let mut matching = snapshot.objects[start..].iter().filter(|object| filter.matches(&object.value));
        let page: Vec<&Object> = match options.limit {
            Some(limit) => matching.by_ref().take(limit).map(AsRef::as_ref).collect(),
            None => matching.by_ref().map(AsRef::as_ref).collect(),
        };
        let remaining = matching.count();
        let continue_token = page.last().filter(|_| remaining > 0).map(|last| {
            let (namespace, name) = name_of(last);
            Continue { revision: Some(snapshot.revision), after: (namespace.into(), name.into()) }.to_token()
        });
        // With a selector, what remains is not counted, as in Kubernetes.
        let remaining = continue_token.as_ref().and_then(|_| filter.selects_everything().then_some(remaining));
        let meta = ListMeta { resource_version: snapshot.revision, continue_token, remaining };
        Ok(Reply::json(200, call.renderer().list(page, &meta, self.now())))
    }

    /// The objects at the revision the options bind the list to.
    fn snapshot(&self, call: &Call, options: &ListOptions, from: Option<&Continue>) -> Result<Snapshot, ApiError> {
        if let Some(from) = from {
            let Some(revision) = from.revision else { return Ok(call.objects(&self.store)) };
            return call.objects_at(&self.store, revision).map_err(|_| from.expired());
        }
        let asked = options.resource_version.unwrap_or(0);
        self.require_revision(asked)?;
        let exact = match options.resource_version_match {
            Some(VersionMatch::Exact) => true,
            Some(VersionMatch::NotOlderThan) => false,
            // The rule from before there was a match: a limit pins the revision.
            None => options.limit.is_some() && asked > 0,
        };
        if exact {
            return call.objects_at(&self.store, asked).map_err(expired);
        }
        Ok(call.objects(&self.store))
    }

    /// Refuses a revision from the future.
    pub(super) fn require_revision(&self, asked: u64) -> Result<(), ApiError> {
        let current = self.store.revision();
        if asked > current { Err(ApiError::ResourceVersionTooLarge { asked, current }) } else { Ok(()) }
    }
}

/// The refusal of a revision that has been compacted.
pub(super) fn expired(compacted: Compacted) -> ApiError {
    ApiError::Expired { message: compacted.to_string(), continue_token: None }
}

fn name_of(object: &Object) -> (&str, &str) {
    let text = |field: &str| object.value["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

impl Continue {
    fn key(&self) -> (&str, &str) {
        (&self.after.0, &self.after.1)
    }

    fn to_token(&self) -> String {
        let (namespace, name) = &self.after;
        let token = json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": [namespace, name] });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn parse(token: &str) -> Result<Self, ApiError> {
        let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|text| {
            let token: Value = serde_json::from_slice(&text).ok()?;
            let part = |index: usize| token["start"][index].as_str().map(str::to_owned);
            Some(Self { revision: token["rv"].as_u64(), after: (part(0)?, part(1)?) })
        });
        parsed.ok_or_else(|| ApiError::bad_request("continue key is not valid: it is not one this server gave out"))
    }

    fn expired(&self) -> ApiError {
        let unpinned = Self { revision: None, after: self.after.clone() };
        ApiError::Expired { message: CONTINUE_EXPIRED.into(), continue_token: Some(unpinned.to_token()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_says_where_and_when() {
        for revision in [Some(7), None] {
            let token = Continue { revision, after: ("a".into(), "b".into()) };
            assert_eq!(Continue::parse(&token.to_token()), Ok(token));
        }
        for foreign in ["", "%%", "e30"] {
            assert_eq!(Continue::parse(foreign).unwrap_err().code(), 400);
        }
    }
}
