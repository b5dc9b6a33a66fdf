//! Server-side apply, and the record of who owns which fields.
//!
//! The rules are those of <https://kubernetes.io/docs/reference/using-api/server-side-apply/>: whoever applies a
//! configuration owns the fields it sets; a field that another manager owns is changed only by force; a field that its
//! last applier no longer applies goes, unless someone else owns it. Ordinary writes own what they change.

mod check;
mod compare;
mod conflict;
mod last_applied;
mod managers;
mod merge;
mod place;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::patch::fields::{FieldSet, PathElement};
use crate::schema::{self, Kind};
use check::check_configuration;
use compare::{Comparison, fields_of};
pub use conflict::ApplyError;
use managers::{Manager, Managers, Operation, Owned, ownable, time_text};
use merge::{merge, with_named_fields, without};
use place::Place;

/// The manager of fields that were there before anyone was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager: `fieldManager` of the request, or the client's name.
    pub manager: &'a str,
    /// The subresource that is written to, if it is one.
    pub subresource: Option<&'a str>,
    /// The time of the write; whole seconds are recorded.
    pub now: Timestamp,
}

/// Applies a configuration to the live object, or makes the object if there is none.
///
/// The live object must be [normal](schema::normalize), and the result is; it has the new `managedFields`. Applying the same configuration again gives the same object, times
/// included. Defaults are not filled in: do that with the result.
pub fn apply_patch<'a>(
    kind: impl Into<Kind<'a>>,
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    let kind = kind.into();
    let root = Place::root(kind);
    check_configuration(kind, applied)?;
    let empty = Value::Object(Map::new());
    let live_object = live.unwrap_or(&empty);
    let mut managers = Managers::of(live_object).unwrap_or_default();
    if live.is_some() && managers.0.is_empty() {
        let first = Writer { manager: BEFORE_FIRST_APPLY, subresource: None, ..*writer };
        record_update(kind, &mut managers, &Change { old: &empty, new: live_object }, &first);
    }

    let applier = Manager {
        operation: Operation::Apply,
        name: writer.manager.to_owned(),
        api_version: String::new(),
        subresource: writer.subresource.map(str::to_owned),
    };
    let fields = owned_through(writer.subresource, &ownable(&fields_of(root, applied)));
    let last = managers.0.remove(&applier);
    let mine =
        Owned { fields, api_version: kind.gvk.api_version(), time: last.as_ref().and_then(|owned| owned.time.clone()) };
    managers.0.insert(applier.clone(), mine.clone());

    let merged = merge(root, live_object, applied);
    let mut object = prune(root, &merged, &managers, last.as_ref());
    schema::normalize(kind, &mut object);
    let comparison = Comparison::between(root, live_object, &object).filtered(ownable);
    let inherited = last_applied::inherited(kind, live_object, writer.manager);
    settle(&mut managers, &applier, &comparison, if force { Takeover::All } else { Takeover::Only(&inherited) })?;

    last_applied::refresh(&mut object, applied, writer.manager);
    let unchanged = comparison.is_same() && last.is_some_and(|last| last.fields == mine.fields);
    if let Some(owned) = managers.0.get_mut(&applier).filter(|_| !unchanged) {
        owned.time = Some(time_text(writer.now));
    }
    managers.write_to(&mut object);
    Ok(object)
}

/// Records an ordinary write, a create, update or patch, in the `managedFields` of the new object.
///
/// Call it with defaults filled in, before anything that the server itself decides. What the client sent as
/// `managedFields` counts if it is well formed; a list of one empty entry clears the record.
pub fn track_update<'a>(kind: impl Into<Kind<'a>>, old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let kind = kind.into();
    let empty = Value::Object(Map::new());
    let mut managers = if resets(new) {
        Managers::default()
    } else {
        let sent = Managers::of(new).filter(|managers| !managers.0.is_empty());
        sent.or_else(|| Managers::of(old?)).unwrap_or_default()
    };
    let is_recorded = old.is_none() || !managers.0.is_empty();
    if is_recorded {
        record_update(kind, &mut managers, &Change { old: old.unwrap_or(&empty), new }, writer);
        managers.cap();
    }
    managers.write_to(new);
}

/// An object before and after a write.
struct Change<'a> {
    old: &'a Value,
    new: &'a Value,
}

fn record_update(kind: Kind<'_>, managers: &mut Managers, change: &Change<'_>, writer: &Writer<'_>) {
    let visible = |fields: &FieldSet| owned_through(writer.subresource, &ownable(fields));
    let comparison = Comparison::between(Place::root(kind), change.old, change.new).filtered(visible);
    let taken = comparison.added.union(&comparison.modified);
    managers.disown(&taken.union(&comparison.removed));
    if !taken.is_empty() {
        let manager = Manager {
            operation: Operation::Update,
            name: writer.manager.to_owned(),
            api_version: kind.gvk.api_version(),
            subresource: writer.subresource.map(str::to_owned),
        };
        let fields = managers.0.get(&manager).map_or(taken.clone(), |owned| owned.fields.union(&taken));
        let owned = Owned { fields, api_version: kind.gvk.api_version(), time: Some(time_text(writer.now)) };
        managers.0.insert(manager, owned);
    }
    managers.drop_empty();
}

/// Which fields of other managers may be taken from them.
#[derive(Clone, Copy)]
enum Takeover<'a> {
    All,
    Only(&'a FieldSet),
}

/// Takes changed fields from other managers, or refuses.
fn settle(
    managers: &mut Managers,
    applier: &Manager,
    change: &Comparison,
    takeover: Takeover<'_>,
) -> Result<(), ApplyError> {
    let changed = change.modified.union(&change.added);
    let disputed = match takeover {
        Takeover::All => FieldSet::default(),
        Takeover::Only(fields) => changed.difference(fields),
    };
    let others = || managers.0.iter().filter(|(manager, _)| *manager != applier);
    let conflicts: BTreeMap<Manager, FieldSet> = others()
        .map(|(manager, owned)| (manager.clone(), owned.fields.intersection(&disputed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !conflicts.is_empty() {
        return Err(ApplyError::conflicts(&conflicts));
    }
    let lost = changed.union(&change.removed);
    for (_, owned) in managers.0.iter_mut().filter(|(manager, _)| *manager != applier) {
        owned.fields = owned.fields.difference(&lost);
    }
    managers.drop_empty();
    Ok(())
}

/// Takes out what the applier applied last time, does not apply now, and nobody else owns.
fn prune(root: Place, merged: &Value, managers: &Managers, last: Option<&Owned>) -> Value {
    let Some(last) = last.filter(|last| !last.fields.is_empty()) else { return merged.clone() };
    let named = |fields: &FieldSet| with_named_fields(root, fields);
    let last = named(&last.fields);
    let all = named(&fields_of(root, merged));
    let left = named(&fields_of(root, &without(root, merged, &last)));
    let unowned = all.difference(&left.union(&named(&managers.all_fields())));
    let left = named(&fields_of(root, &without(root, merged, &unowned)));
    without(root, merged, &all.difference(&left).intersection(&last))
}

/// The part of a set that a write to this subresource can own: `status` through the subresource of that name, and
/// everything else through the others.
fn owned_through(subresource: Option<&str>, fields: &FieldSet) -> FieldSet {
    let status = PathElement::field("status");
    match subresource {
        Some("status") => fields.starting_with(|element| *element != PathElement::field("spec")),
        _ => fields.starting_with(|element| *element != status),
    }
}

/// Whether the client asks for the record to be cleared: one entry with nothing in it.
fn resets(object: &Value) -> bool {
    match object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::Object(entry)]) => entry.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
