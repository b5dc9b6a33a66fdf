//! `metadata.managedFields`: who owns which fields.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::patch::fields::{FieldSet, PathElement};

/// More managers by `Update` than this are summed up, the oldest first, as Kubernetes does.
const MAX_UPDATE_MANAGERS: usize = 10;
const SUMMED_UP: &str = "ancient-changes";

/// Who owns fields. Appliers are one whatever version they apply; writers are one for each version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub operation: Operation,
    pub name: String,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub fields: FieldSet,
    pub api_version: String,
    /// When the set last changed, as it stands in the object.
    pub time: Option<String>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Managers(pub BTreeMap<Manager, Owned>);

impl Managers {
    /// Reads an object's `managedFields`; nothing when an entry is malformed.
    pub fn of(object: &Value) -> Option<Self> {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        entries.into_iter().flatten().map(read_entry).collect::<Option<_>>().map(Self)
    }

    /// Writes them into an object, in the order of Kubernetes: appliers first, then by time.
    pub fn write_to(&self, object: &mut Value) {
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by_key(|(manager, owned)| (manager.operation, owned.time.clone(), (*manager).clone()));
        let entries: Vec<Value> = entries.into_iter().map(|(manager, owned)| write_entry(manager, owned)).collect();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let Some(metadata) = metadata.as_object_mut() else { return };
        if entries.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(entries));
        }
    }

    /// Removes fields from everyone.
    pub fn disown(&mut self, fields: &FieldSet) {
        for owned in self.0.values_mut() {
            owned.fields = owned.fields.difference(fields);
        }
    }

    /// Forgets managers that own nothing.
    pub fn drop_empty(&mut self) {
        self.0.retain(|_, owned| !owned.fields.is_empty());
    }

    /// All that anyone owns.
    pub fn all_fields(&self) -> FieldSet {
        self.0.values().fold(FieldSet::default(), |all, owned| all.union(&owned.fields))
    }

    /// Sums up the oldest writers when there are too many.
    pub fn cap(&mut self) {
        let mut writers: Vec<(Option<String>, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| (owned.time.clone(), manager.clone()))
            .collect();
        writers.sort();
        let surplus = writers.len().saturating_sub(MAX_UPDATE_MANAGERS);
        if surplus == 0 {
            return;
        }
        for (_, writer) in writers.into_iter().take(surplus + 1) {
            self.sum_up(&writer);
        }
    }

    fn sum_up(&mut self, writer: &Manager) {
        let Some(owned) = self.0.remove(writer) else { return };
        let api_version = writer.api_version.clone();
        let bucket = Manager { name: SUMMED_UP.into(), operation: Operation::Update, api_version, subresource: None };
        let fields = self.0.get(&bucket).map_or(owned.fields.clone(), |old| old.fields.union(&owned.fields));
        self.0.insert(bucket, Owned { fields, ..owned });
    }
}

/// A timestamp as `managedFields` carries it.
pub(super) fn time_text(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The set without what nobody owns: the object's identity and what the server keeps itself.
pub(super) fn ownable(fields: &FieldSet) -> FieldSet {
    const IDENTITY: [&str; 3] = ["apiVersion", "kind", "metadata"];
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut nobodys = FieldSet::default();
    let mut below = FieldSet::default();
    IDENTITY.iter().for_each(|name| nobodys.insert_element(PathElement::field(name)));
    METADATA.iter().for_each(|name| below.insert_element(PathElement::field(name)));
    nobodys.extend_below(PathElement::field("metadata"), &below);
    fields.difference(&nobodys)
}

fn read_entry(entry: &Value) -> Option<(Manager, Owned)> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let operation = match entry.get("operation")?.as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let api_version = text("apiVersion")?;
    let fields = entry.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::from_v1)?;
    let manager = Manager {
        operation,
        name: text("manager").unwrap_or_default(),
        api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
        subresource: text("subresource").filter(|name| !name.is_empty()),
    };
    Some((manager, Owned { fields, api_version, time: text("time") }))
}

fn write_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = json!({
        "manager": manager.name,
        "operation": match manager.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
        "apiVersion": owned.api_version,
    });
    if let Some(time) = &owned.time {
        entry["time"] = json!(time);
    }
    entry["fieldsType"] = json!("FieldsV1");
    entry["fieldsV1"] = owned.fields.to_v1();
    if let Some(subresource) = &manager.subresource {
        entry["subresource"] = json!(subresource);
    }
    entry
}
