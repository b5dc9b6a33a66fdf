//! Objects as the tables kubectl prints.
//!
//! A [`Table`] carries the columns and cells only; what each row's `object` holds is the caller's choice.

pub(crate) mod access;
pub(crate) mod cluster;
mod duration;
pub(crate) mod network;
pub(crate) mod pod;
mod read;
pub(crate) mod storage;
pub(crate) mod workload;

pub(crate) use duration::since;

use jiff::Timestamp;
use serde_json::{Value, json};

/// The columns of a kind and one row per object, in the order of the objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What the cells of every row are, in order.
    pub columns: &'static [Column],
    /// The cells of each object, as many as there are columns.
    pub rows: Vec<Vec<Value>>,
}

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The heading; kubectl prints it in capitals.
    pub name: &'static str,
    /// The OpenAPI type of the cells.
    pub kind: &'static str,
    /// The OpenAPI format; `name` marks the column that identifies the object.
    pub format: &'static str,
    /// What the column tells.
    pub description: &'static str,
    /// 0 for columns always shown, 1 for those of `-o wide`.
    pub priority: u8,
}

/// How objects of a kind become rows.
#[derive(Debug)]
pub(crate) struct Printer {
    /// The columns.
    pub columns: &'static [Column],
    /// The cells of one object, as many as there are columns.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
}

impl Printer {
    /// Name and age, for kinds without columns of their own.
    pub const PLAIN: Self = Self { columns: &[Column::NAME, Column::AGE], cells: |o, now| vec![name(o), age(o, now)] };

    /// The table of `objects` as seen at `now`.
    pub fn table(&self, objects: &[&Value], now: Timestamp) -> Table {
        Table { columns: self.columns, rows: objects.iter().map(|object| (self.cells)(object, now)).collect() }
    }
}

impl Column {
    /// The column as `columnDefinitions` carries it.
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }

    pub(crate) const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, kind: "string", format: "", description, priority: 0 }
    }

    pub(crate) const fn integer(name: &'static str, description: &'static str) -> Self {
        Self { kind: "integer", ..Self::text(name, description) }
    }

    pub(crate) const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    pub(crate) const NAME: Self = Self {
        format: "name",
        ..Self::text("Name", "Name must be unique within a namespace; it is what the object is addressed by.")
    };
    pub(crate) const AGE: Self = Self::text("Age", "Time since the server created the object.");
}

/// The object's name.
pub(crate) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The time since the object was made.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}
