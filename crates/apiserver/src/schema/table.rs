//! The table of the API's types, read from `types.json`.
//!
//! A [`Message`] is one struct of the API, a [`Field`] one of its fields. Reading goes by [`Type`]: what may stand at
//! one place of an object. Of kinds that are not in the table,
//! such as custom resources, only the metadata is known.

mod load;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::Gvk;
use super::structure::Structure;

/// The file the table is read from.
pub(super) const SOURCE: &str = include_str!("types.json");

static TABLE: LazyLock<Table> = LazyLock::new(load::table);

pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const KINDS_OF_ALL_GROUPS: [&str; 2] = ["DeleteOptions", "Status"];

/// All messages and which of them are kinds.
pub(crate) struct Table {
    /// `apps/v1/Deployment` to the index of its message.
    kinds: HashMap<String, usize>,
    messages: Vec<Message>,
}

/// One struct of the API.
#[derive(Debug)]
pub(crate) struct Message {
    /// As in OpenAPI documents: `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// The kinds this is the message of, as `apps/v1/Deployment`; mostly none.
    pub kinds: Vec<String>,
    /// Server-side apply replaces it as a whole.
    pub atomic: bool,
    /// The fields as the protobuf message has them; inlined structs are one field.
    pub fields: Vec<Field>,
    /// The fields as the JSON object has them: name to message and place, through inlined structs.
    by_name: HashMap<String, (usize, usize)>,
    by_number: HashMap<u32, usize>,
}

/// One field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    /// The JSON name; empty for an inlined struct.
    pub name: String,
    /// The protobuf number; 0 if the field is not part of the protobuf message.
    pub number: u32,
    /// What it holds, or what each of its elements is.
    pub element: Element,
    pub shape: Shape,
    /// A Go pointer: being absent differs from being zero.
    pub pointer: bool,
    /// Go prints it even when it is zero.
    pub always: bool,
    /// Go's name for the type, where error messages show it.
    pub go: String,
    /// How strategic merge treats it.
    pub strategy: Strategy,
    /// The field of a list's elements that tells them apart in a strategic merge patch.
    pub merge_key: Option<String>,
    /// How server-side apply treats a list.
    pub list: ListType,
    /// The fields that tell the elements of a [`ListType::Map`] apart.
    pub keys: Vec<String>,
    /// Server-side apply replaces the map or struct as a whole.
    pub atomic: bool,
    /// What an absent field means, as part of a list key.
    pub default: Option<Value>,
}

/// One value or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    List,
    Map,
}

/// What a field holds, or what each element of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Scalar(Scalar),
    /// The index of a message.
    Message(usize),
}

/// What is no struct, list or map in JSON, or has a JSON form of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    /// Base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON.
    Raw,
    /// A named list of strings, such as `ExtraValue`.
    Strings,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

/// The `patchStrategy` of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

/// The `listType` of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map,
}

/// What may stand at one place of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    Scalar(Scalar),
    Message(&'static Message),
    List(&'static Field),
    Map(&'static Field),
    /// Nothing is known: any JSON.
    Open,
    /// An object of a kind that is not in the table: only its metadata is known.
    Resource,
    /// A place in an object of a kind that a CustomResourceDefinition made.
    Custom(&'static Structure),
}

impl Message {
    /// The message behind a kind. Kinds that every group version has, such as `DeleteOptions`, are found in each.
    pub fn of_kind(gvk: Gvk<'_>) -> Option<&'static Self> {
        let exact = TABLE.kinds.get(&format!("{}/{}", gvk.api_version(), gvk.kind));
        let shared = || KINDS_OF_ALL_GROUPS.contains(&gvk.kind).then(|| TABLE.kinds.get(&format!("v1/{}", gvk.kind)));
        TABLE.messages.get(*exact.or_else(|| shared().flatten())?)
    }

    /// A message by its OpenAPI name.
    pub fn named(name: &str) -> Option<&'static Self> {
        let index = TABLE.messages.binary_search_by(|message| message.name.as_str().cmp(name)).ok()?;
        TABLE.messages.get(index)
    }

    /// The field of this JSON name, also of inlined structs.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let (message, field) = *self.by_name.get(name)?;
        TABLE.messages.get(message)?.fields.get(field)
    }

    /// The field of this protobuf number.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        self.fields.get(*self.by_number.get(&number)?)
    }

    /// The name without the package: `Pod`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

impl Field {
    /// What stands in the field.
    pub fn holds(&'static self) -> Type {
        match self.shape {
            Shape::List => Type::List(self),
            Shape::Map => Type::Map(self),
            Shape::Single => self.element.holds(),
        }
    }

    /// Whether this is a struct whose fields stand in its owner's JSON object.
    pub fn is_inline(&self) -> bool {
        self.name.is_empty()
    }
}

impl Element {
    /// What stands there.
    pub fn holds(self) -> Type {
        match self {
            Self::Scalar(Scalar::Raw) => Type::Open,
            Self::Scalar(scalar) => Type::Scalar(scalar),
            Self::Message(index) => TABLE.messages.get(index).map_or(Type::Open, Type::Message),
        }
    }
}

impl Type {
    /// The type of a kind; [`Type::Resource`] when the table does not have it.
    pub fn of_kind(gvk: Gvk<'_>) -> Self {
        Message::of_kind(gvk).map_or(Self::Resource, Self::Message)
    }

    /// What stands under a key of an object of this type; `None` when a struct has no such field.
    pub fn member(self, key: &str) -> Option<Self> {
        match self {
            Self::Message(message) => message.field(key).map(Field::holds),
            Self::Map(field) => Some(field.element.holds()),
            Self::Custom(structure) => structure.member(key),
            Self::Resource if key == "metadata" => Message::named(OBJECT_META).map(Self::Message),
            Self::Resource | Self::List(_) | Self::Scalar(_) | Self::Open => Some(Self::Open),
        }
    }

    /// What the elements of a list of this type are.
    pub fn item(self) -> Self {
        match self {
            Self::List(field) => field.element.holds(),
            Self::Custom(structure) => structure.item(),
            _ => Self::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(api_version: &str, kind: &str) -> &'static Message {
        Message::of_kind(Gvk::parse(api_version, kind)).unwrap()
    }

    #[test]
    fn fields_know_their_merge_rules() {
        let spec = Message::named("io.k8s.api.core.v1.PodSpec").unwrap();
        let volumes = spec.field("volumes").unwrap();
        assert_eq!(volumes.strategy, Strategy { merge: true, replace: false, retain_keys: true });
        assert_eq!(volumes.merge_key.as_deref(), Some("name"));
        let ports = Message::named("io.k8s.api.core.v1.ServiceSpec").unwrap().field("ports").unwrap();
        assert_eq!(
            (ports.list, ports.keys.as_slice()),
            (ListType::Map, ["port".to_owned(), "protocol".into()].as_slice())
        );
    }

    #[test]
    fn inlined_structs_are_seen_through() {
        let volume = Message::named("io.k8s.api.core.v1.Volume").unwrap();
        assert!(volume.field("configMap").is_some());
        assert!(volume.numbered(2).unwrap().is_inline());
    }

    #[test]
    fn every_kind_has_metadata_or_is_known_to_have_none() {
        let without: Vec<&String> = TABLE
            .kinds
            .iter()
            .filter(|(_, index)| TABLE.messages[**index].field("metadata").is_none())
            .map(|(kind, _)| kind)
            .filter(|kind| !kind.ends_with("Options"))
            .collect();
        let mut without: Vec<&str> = without.into_iter().map(String::as_str).collect();
        without.sort_unstable();
        assert_eq!(without, ["apiextensions.k8s.io/v1/ConversionReview", "v1/SerializedReference"]);
    }

    #[test]
    fn types_follow_a_path() {
        let deployment = Type::Message(message("apps/v1", "Deployment"));
        let containers =
            ["spec", "template", "spec", "containers"].iter().try_fold(deployment, |at, key| at.member(key)).unwrap();
        assert!(matches!(containers.item(), Type::Message(container) if container.short_name() == "Container"));
        assert!(deployment.member("spek").is_none());
    }
}
