//! Objects, lists and tables as the bytes of an answer. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::http::negotiate::{Form, MetaVersion};
use crate::kinds::Resource;
use crate::store::Object;

/// Renders objects of one resource in the form a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Renderer {
    pub resource: &'static Resource,
    pub form: Form,
    pub include: IncludeObject,
}

/// What the rows of a table carry besides their cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum IncludeObject {
    Nothing,
    #[default]
    Metadata,
    Object,
}

/// Whether a table says what its columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    Defined,
    Known,
}

/// The `metadata` of a list.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct ListMeta {
    pub resource_version: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

impl IncludeObject {
    /// Reads the query parameter `includeObject`.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::Nothing,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

impl Renderer {
    /// One object.
    pub fn object(&self, object: &Object, now: Timestamp) -> Bytes {
        self.one(object, Columns::Defined, now)
    }

    /// One object, as an event of a watch carries it.
    pub fn one(&self, object: &Object, columns: Columns, now: Timestamp) -> Bytes {
        match self.form {
            Form::Object => object.json.clone(),
            Form::Metadata(version) => to_bytes(&partial_metadata(&object.value, version)),
            Form::Table(version) => {
                let meta = json!({ "resourceVersion": object.revision.to_string() });
                to_bytes(&self.table(&[&object.value], &meta, (version, columns), now))
            }
        }
    }

    /// Several objects.
    pub fn list<'a>(&self, objects: impl IntoIterator<Item = &'a Object>, meta: &ListMeta, now: Timestamp) -> Bytes {
        let meta = meta.to_json();
        match self.form {
            Form::Object => {
                let (kind, version) = (self.resource.list_kind(), self.resource.api_version());
                join_list(&kind, &version, &meta, objects.into_iter().map(|object| object.json.clone()))
            }
            Form::Metadata(version) => {
                let items = objects.into_iter().map(|object| to_bytes(&partial_metadata(&object.value, version)));
                join_list("PartialObjectMetadataList", version.api_version(), &meta, items)
            }
            Form::Table(version) => {
                let values: Vec<&Value> = objects.into_iter().map(|object| &object.value).collect();
                to_bytes(&self.table(&values, &meta, (version, Columns::Defined), now))
            }
        }
    }

    /// The object of a bookmark: nothing but a revision, marked if it ends the initial events.
    pub fn bookmark(&self, revision: u64, ends_initial_events: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if ends_initial_events {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, version) = match self.form {
            Form::Object => (self.resource.kind, self.resource.api_version()),
            Form::Metadata(version) => ("PartialObjectMetadata", version.api_version().to_owned()),
            Form::Table(version) => {
                let (kind, version) = ("Table", version.api_version());
                return json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "columnDefinitions": null, "rows": [] });
            }
        };
        json!({ "kind": kind, "apiVersion": version, "metadata": metadata })
    }

    fn table(&self, objects: &[&Value], meta: &Value, form: (MetaVersion, Columns), now: Timestamp) -> Value {
        let (version, columns) = form;
        let table = self.resource.table(objects, now);
        let definitions = match columns {
            Columns::Defined => table.columns.iter().map(crate::table::Column::definition).collect(),
            Columns::Known => Value::Null,
        };
        let rows: Vec<Value> = table
            .rows
            .into_iter()
            .zip(objects)
            .map(|(cells, object)| match self.include {
                IncludeObject::Nothing => json!({ "cells": cells, "object": null }),
                IncludeObject::Metadata => json!({ "cells": cells, "object": partial_metadata(object, version) }),
                IncludeObject::Object => json!({ "cells": cells, "object": object }),
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": version.api_version(), "metadata": meta,
            "columnDefinitions": definitions, "rows": rows,
        })
    }
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut meta = Map::new();
        meta.insert("resourceVersion".into(), json!(self.resource_version.to_string()));
        if let Some(token) = &self.continue_token {
            meta.insert("continue".into(), json!(token));
        }
        if let Some(remaining) = self.remaining {
            meta.insert("remainingItemCount".into(), json!(remaining));
        }
        Value::Object(meta)
    }
}

/// JSON as bytes.
pub(crate) fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn partial_metadata(object: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": object["metadata"],
    })
}

/// A list around items that are JSON text already.
fn join_list(kind: &str, api_version: &str, meta: &Value, items: impl Iterator<Item = Bytes>) -> Bytes {
    let mut text =
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":["#).into_bytes();
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&item);
    }
    text.extend_from_slice(b"]}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn renderer(form: Form) -> Renderer {
        let resource = kinds::resource("", "v1", "configmaps").unwrap();
        Renderer { resource, form, include: IncludeObject::Metadata }
    }

    fn object(name: &str) -> Object {
        let value = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": {} });
        Object { revision: 7, json: to_bytes(&value), value }
    }

    fn parse(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_list_holds_its_objects_in_order() {
        let meta = ListMeta { resource_version: 9, continue_token: Some("t".into()), remaining: Some(3) };
        let (a, b) = (object("a"), object("b"));
        let list = parse(&renderer(Form::Object).list([&a, &b], &meta, Timestamp::UNIX_EPOCH));
        assert_eq!(
            list,
            json!({
                "kind": "ConfigMapList", "apiVersion": "v1",
                "metadata": { "resourceVersion": "9", "continue": "t", "remainingItemCount": 3 },
                "items": [a.value, b.value],
            })
        );
        let empty = parse(&renderer(Form::Object).list([], &ListMeta::default(), Timestamp::UNIX_EPOCH));
        assert_eq!(empty["items"], json!([]));
    }

    #[test]
    fn metadata_only_leaves_the_data_out() {
        let rendered = parse(&renderer(Form::Metadata(MetaVersion::V1)).object(&object("a"), Timestamp::UNIX_EPOCH));
        let expected =
            json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": { "name": "a" } });
        assert_eq!(rendered, expected);
    }

    #[test]
    fn a_table_row_carries_what_was_asked_for() {
        let rows = |include| {
            let renderer = Renderer { include, ..renderer(Form::Table(MetaVersion::V1)) };
            parse(&renderer.object(&object("a"), Timestamp::UNIX_EPOCH))["rows"][0]["object"]["kind"].clone()
        };
        assert_eq!(rows(IncludeObject::Metadata), "PartialObjectMetadata");
        assert_eq!(rows(IncludeObject::Object), "ConfigMap");
        assert_eq!(rows(IncludeObject::Nothing), Value::Null);
    }
}
