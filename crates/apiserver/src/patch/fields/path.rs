//! Paths and their elements.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One step into an object. The order is that of Kubernetes, so that texts list the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::patch) enum PathElement {
    /// A member of an object.
    Field(String),
    /// The element of a list whose fields have these values; the values are JSON text.
    Keys(BTreeMap<String, String>),
    /// The element of a set that has this value, as JSON text.
    Value(String),
    /// The element of a list at this place. Kubernetes can write these, and no list type here makes them.
    Index(u64),
}

/// A path from the root of an object, printed as Kubernetes does: `.spec.ports[port=80,protocol="TCP"].name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::patch) struct Path(pub Vec<PathElement>);

impl PathElement {
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// The key of this element in `FieldsV1`.
    pub fn to_v1(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Keys(keys) => {
                let members: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
                format!("k:{{{}}}", members.join(","))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a key of `FieldsV1`; nothing when it is malformed.
    pub fn from_v1(text: &str) -> Option<Self> {
        let (kind, content) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::field(content)),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(content).ok()?;
                Some(Self::Keys(keys.into_iter().map(|(name, value)| (name, value.to_string())).collect()))
            }
            "v" => Some(Self::Value(serde_json::from_str::<Value>(content).ok()?.to_string())),
            "i" => content.parse().ok().map(Self::Index),
            _ => None,
        }
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Keys(keys) => {
                let texts: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", texts.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}
