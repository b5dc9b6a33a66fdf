//! How server-side apply treats what stands at one place of an object.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::patch::fields::PathElement;
use crate::schema::Kind;
use crate::schema::structure::List;
use crate::schema::table::{Element, Field, ListType, Scalar, Shape, Type};

static EMPTY_OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static EMPTY_LIST: LazyLock<Value> = LazyLock::new(|| Value::Array(Vec::new()));

/// A place in an object: what may stand there and who may own parts of it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    holds: Type,
    /// Owned and replaced as a whole.
    atomic: bool,
}

/// What can be owned at a place.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// The value as a whole.
    Leaf,
    /// Each member of an object.
    Members,
    /// Each element of a list.
    Items(Identity),
}

/// What tells the elements of a list apart.
#[derive(Clone, Copy)]
pub(super) enum Identity {
    /// Their value.
    Value,
    /// The values of some of their fields.
    Keys(&'static Field),
    /// The same in a custom kind.
    CustomKeys(&'static List),
}

impl Place {
    /// The object itself.
    pub fn root(kind: Kind<'_>) -> Self {
        Self { holds: kind.root, atomic: false }
    }

    /// The place of a member. Members that no type declares are taken as they come.
    pub fn member(self, key: &str) -> Self {
        let holds = self.holds.member(key).unwrap_or(Type::Open);
        let atomic = self.field(key).is_some_and(|field| {
            field.shape == Shape::Single && (field.atomic || field.element == Element::Scalar(Scalar::Raw))
        });
        Self { holds, atomic }
    }

    /// The place of a list's elements.
    pub fn item(self) -> Self {
        Self { holds: self.holds.item(), atomic: false }
    }

    /// What can be owned of this value.
    pub fn rule(self, value: &Value) -> Rule {
        match self.holds {
            _ if self.atomic => Rule::Leaf,
            Type::Message(message) if !message.atomic && value.is_object() => Rule::Members,
            Type::Map(field) if !field.atomic && value.is_object() => Rule::Members,
            Type::List(field) if value.is_array() => match field.list {
                ListType::Atomic => Rule::Leaf,
                ListType::Set => Rule::Items(Identity::Value),
                ListType::Map => Rule::Items(Identity::Keys(field)),
            },
            Type::Custom(structure) if value.is_object() && !structure.atomic => Rule::Members,
            Type::Custom(structure) if value.is_array() => match structure.list.merge {
                ListType::Atomic => Rule::Leaf,
                ListType::Set => Rule::Items(Identity::Value),
                ListType::Map => Rule::Items(Identity::CustomKeys(&structure.list)),
            },
            Type::Open | Type::Resource if value.is_object() => Rule::Members,
            _ => Rule::Leaf,
        }
    }

    /// Whether a struct stands here and has no such member.
    pub fn lacks(self, key: &str) -> bool {
        match self.holds {
            Type::Message(message) => message.field(key).is_none(),
            Type::Custom(structure) => structure.member(key).is_none(),
            _ => false,
        }
    }

    /// Whether the type declares this member by name, as a struct does and a map does not.
    pub fn declares(self, key: &str) -> bool {
        match self.holds {
            Type::Custom(structure) => structure.declares(key),
            _ => self.field(key).is_some(),
        }
    }

    /// What Go has for a struct, list or map that is absent from JSON, if it always has one: then its coming and going
    /// means nothing.
    pub fn always_has(self, key: &str) -> Option<&'static Value> {
        let field = self.field(key).filter(|field| !field.pointer)?;
        match (field.shape, field.element) {
            (Shape::Single, Element::Message(_)) => Some(&EMPTY_OBJECT),
            (Shape::Map, _) if field.always => Some(&EMPTY_OBJECT),
            (Shape::List, _) if field.always => Some(&EMPTY_LIST),
            _ => None,
        }
    }

    fn field(self, key: &str) -> Option<&'static Field> {
        match self.holds {
            Type::Message(message) => message.field(key),
            _ => None,
        }
    }
}

impl Identity {
    /// The path element of a list's element. A key field that is absent has its default.
    pub fn of(self, item: &Value) -> PathElement {
        match self {
            Self::Value => PathElement::Value(item.to_string()),
            Self::Keys(list) => keys_of(item, &list.keys, |name| default_of(list, name)),
            Self::CustomKeys(list) => keys_of(item, &list.keys, |name| list.defaults.get(name)),
        }
    }
}

fn keys_of(item: &Value, keys: &[String], default: impl Fn(&str) -> Option<&'static Value>) -> PathElement {
    let key_of = |name: &String| {
        let given = item.get(name).filter(|value| !value.is_null());
        Some((name.clone(), given.or_else(|| default(name))?.to_string()))
    };
    PathElement::Keys(keys.iter().filter_map(key_of).collect())
}

fn default_of(list: &'static Field, name: &str) -> Option<&'static Value> {
    match list.element.holds() {
        Type::Message(message) => message.field(name)?.default.as_ref(),
        _ => None,
    }
}
