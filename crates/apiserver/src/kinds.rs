//! The kinds that are served: names, defaults, validation, selectable fields, allocation.
//!
//! Everything here is a pure function over JSON objects. Time and randomness are arguments.

mod access;
mod address;
pub mod alloc;
mod config;
pub(crate) mod custom;
pub(crate) mod definition;
mod difference;
mod endpoint_slice;
mod endpoints;
mod event;
mod field;
mod fill;
mod ingress;
mod metadata;
pub(crate) mod names;
mod namespace;
mod network_policy;
mod node;
mod percent;
mod pod;
mod policy;
mod port;
mod prepare;
mod quantity;
mod registry;
mod selectable;
mod selector;
mod service;
mod storage;
mod workload;

use jiff::Timestamp;
use serde_json::Value;

pub use registry::RESOURCES;

use crate::error::FieldError;
use crate::schema::{Gvk, Kind};
use crate::table::{Printer, Table};
use custom::Custom;
use field::Field;
use fill::Object;
use names::NameRule;
use selectable::Selectable;

/// The group that serves core events in another shape.
const EVENTS_GROUP: &str = "events.k8s.io";

/// One kind of object the server stores, with everything a client can find out about it.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group, as in `v1`.
    pub version: &'static str,
    /// Kind as written in manifests, as in `Pod`.
    pub kind: &'static str,
    /// Plural as written in paths, as in `pods`.
    pub plural: &'static str,
    /// Singular as kubectl accepts it, as in `pod`.
    pub singular: &'static str,
    /// Abbreviations kubectl accepts, as in `po`.
    pub short_names: &'static [&'static str],
    /// Whether objects of this kind live in a namespace.
    pub namespaced: bool,
    /// Groups of kinds this one belongs to (`kubectl get all`).
    pub categories: &'static [&'static str],
    /// What may be done with objects of this kind, in alphabetical order.
    pub verbs: &'static [&'static str],
    /// Paths below an object.
    pub subresources: &'static [Subresource],
    /// What only the server itself needs to know.
    pub(crate) rules: &'static Rules,
    /// Set for kinds that a CustomResourceDefinition made.
    pub(crate) custom: Option<&'static Custom>,
}

/// A path below an object, as in `pods/NAME/log`.
#[derive(Debug)]
pub struct Subresource {
    /// Last part of the path.
    pub name: &'static str,
    /// Group of the object exchanged there.
    pub group: &'static str,
    /// Version of the object exchanged there.
    pub version: &'static str,
    /// Kind of the object exchanged there.
    pub kind: &'static str,
    /// What may be done there, in alphabetical order.
    pub verbs: &'static [&'static str],
}

/// How one kind differs from what all kinds have in common.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What names must look like.
    pub name: NameRule,
    /// Which changes `metadata.generation` counts.
    pub generation: Generation,
    /// Fills in what the author left out.
    pub default: fn(&mut Object),
    /// The status of a new object; `None` keeps what the author wrote.
    pub initial_status: fn(&Object) -> Option<Value>,
    /// What else becomes of a new object.
    pub prepare_create: fn(&mut Object),
    /// Adjusts a change from the second to the first, made through the given subresource, where one field decides over
    /// others.
    pub settle_update: fn(&mut Object, &Object, Option<&str>),
    /// What is wrong with an object (the first), metadata aside. The second is what is stored, or nothing for a new one.
    pub validate: fn(&Field<'_>, &Field<'_>) -> Vec<FieldError>,
    /// What is wrong with an object (the first) whose status alone was written.
    pub validate_status: fn(&Field<'_>, &Field<'_>) -> Vec<FieldError>,
    /// Fields a field selector may ask for, besides name and namespace.
    pub selectable: &'static [Selectable],
    /// Columns and cells.
    pub printer: Printer,
}

impl Rules {
    /// A kind that is stored as it comes.
    pub const PLAIN: Self = Self {
        name: names::subdomain_name,
        generation: Generation::Absent,
        default: |_| {},
        initial_status: |_| None,
        prepare_create: |_| {},
        settle_update: |_, _, _| {},
        validate: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        selectable: &[],
        printer: Printer::PLAIN,
    };
}

/// Which changes of an object its `metadata.generation` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// None: the kind has no generation.
    Absent,
    /// Everything but metadata and status.
    Content,
    /// Content and annotations.
    ContentAndAnnotations,
    /// Content and labels.
    ContentAndLabels,
}

impl Resource {
    /// The `apiVersion` of objects of this kind, as in `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind of a list of such objects, as in `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether `verb` is offered on objects of this kind.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Makes what a client sent to be created what the server will store: defaults filled in, the status reset where a
    /// subresource owns it, the first generation.
    ///
    /// Name generation, uid, times and revisions are the caller's.
    pub fn prepare_create(&self, object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            prepare::create(self, object);
        }
    }

    /// Makes what a client sent in place of `old` what the server will store: defaults filled in, kept what the path
    /// written to (`subresource`) may not change, the generation counted.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        if let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) {
            prepare::update(self, new, old, subresource);
        }
    }

    /// Fills in what the author of an object left out.
    pub fn default_object(&self, object: &mut Value) {
        if let Some(custom) = self.custom {
            custom.structure.fill_defaults(object);
        } else if let Some(object) = object.as_object_mut() {
            (self.rules.default)(object);
        }
    }

    /// Every rule a new object breaks. Name and namespace must have been filled in.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let root = Field::root(object);
        let mut errors = metadata::validate_create(&root.get("metadata"), self.namespaced, self.rules.name);
        errors.extend((self.rules.validate)(&root, &Field::nothing()));
        errors.extend(self.check_structure(object));
        errors
    }

    /// Every rule a change breaks. `new` must have gone through [`prepare_update`](Self::prepare_update).
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
        let (new_root, old_root) = (Field::root(new), Field::root(old));
        let mut errors = metadata::validate_update(&new_root.get("metadata"), &old_root.get("metadata"));
        let rules = if subresource == Some("status") { self.rules.validate_status } else { self.rules.validate };
        errors.extend(rules(&new_root, &old_root));
        errors.extend(self.check_structure(new));
        errors
    }

    /// What is not as the schema of a custom kind says.
    fn check_structure(&self, object: &Value) -> Vec<FieldError> {
        self.custom.map(|custom| custom.structure.check(object, "")).unwrap_or_default()
    }

    /// What the author of a stored object should know and would not see.
    pub(crate) fn warnings(&self, object: &Value) -> Vec<String> {
        match self.custom {
            Some(custom) => custom.deprecation.iter().cloned().collect(),
            None if definition::is_definition(self.group, self.plural) => definition::warnings(object),
            None => Vec::new(),
        }
    }

    /// The kind, and what its objects look like.
    pub(crate) fn schema(&self) -> Kind<'static> {
        let gvk = Gvk::new(self.group, self.version, self.kind);
        self.custom.map_or_else(|| gvk.into(), |custom| Kind::custom(gvk, &custom.structure))
    }

    /// The kind whose objects are stored for this one: itself, but for kinds that are another's second shape.
    ///
    /// Objects go through [`to_stored`](Self::to_stored) before they are stored, after everything else, and through
    /// [`from_stored`](Self::from_stored) before anything else when they are read.
    pub fn stored_as(&'static self) -> &'static Self {
        if self.group == EVENTS_GROUP { resource("", "v1", self.plural).unwrap_or(self) } else { self }
    }

    /// Gives an object of this kind the shape of the kind it is stored as.
    pub fn to_stored(&self, object: &mut Value) {
        if let Some(object) = object.as_object_mut().filter(|_| self.group == EVENTS_GROUP) {
            event::to_core(object);
        }
        if let Some(custom) = self.custom {
            object["apiVersion"] = format!("{}/{}", self.group, custom.storage_version).into();
        }
    }

    /// Whether a stored object has the shape of this kind already.
    pub(crate) fn is_shape_of(&'static self, stored: &Value) -> bool {
        match self.custom {
            Some(_) => stored["apiVersion"] == *self.api_version(),
            None => std::ptr::eq(self.stored_as(), self),
        }
    }

    /// Gives a stored object the shape of this kind.
    pub fn from_stored(&self, object: &mut Value) {
        if let Some(object) = object.as_object_mut().filter(|_| self.group == EVENTS_GROUP) {
            event::from_core(object);
        }
        if self.custom.is_some() {
            object["apiVersion"] = self.api_version().into();
        }
    }

    /// The value of a field that field selectors may ask for; `None` if they may not ask for `path`.
    pub fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        selectable::value(self, object, path)
    }

    /// Why a field selector may not ask for `path`, in Kubernetes' words; `None` if it may.
    pub fn field_selector_error(&self, path: &str) -> Option<String> {
        selectable::refusal(self, path)
    }

    /// The table kubectl prints, one row per object, with ages as of `now`.
    pub fn table(&self, objects: &[&Value], now: Timestamp) -> Table {
        let Some(custom) = self.custom else { return self.rules.printer.table(objects, now) };
        Table { columns: custom.columns(), rows: objects.iter().map(|object| custom.cells(object, now)).collect() }
    }
}

/// The kind served under `/apis/GROUP/VERSION/PLURAL`.
pub fn resource(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// The kind of objects with this `apiVersion` and `kind`.
pub fn resource_of_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    RESOURCES.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}
