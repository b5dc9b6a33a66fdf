//! `additionalPrinterColumns`: what `kubectl get` shows of custom objects.

use jiff::Timestamp;
use serde_json::Value;

use super::super::fill::Object;
use super::JsonPath;
use crate::table::{self, Column, since};

/// How the cell of one column is read from an object.
#[derive(Debug)]
pub(super) enum Cell {
    Name,
    Age,
    Value { path: JsonPath, kind: CellKind },
}

/// What a column says its cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    Text,
    Number,
    Boolean,
    Date,
}

/// The columns a version declares, and how their cells are read; name and age if it declares none.
pub(super) fn columns_of(declared: &Value) -> (Vec<Column>, Vec<Cell>) {
    let mut columns = vec![(Column::NAME, Cell::Name)];
    let declared = declared.as_array().map(Vec::as_slice).unwrap_or_default();
    columns.extend(declared.iter().filter_map(Value::as_object).filter_map(column_of));
    if declared.is_empty() {
        columns.push((Column::AGE, Cell::Age));
    }
    columns.into_iter().unzip()
}

fn column_of(declared: &Object) -> Option<(Column, Cell)> {
    let text = |name: &str| super::leaked(declared.get(name).unwrap_or(&Value::Null));
    let path = JsonPath::parse(text("jsonPath")).ok()?;
    let kind = match text("type") {
        "integer" | "number" => CellKind::Number,
        "boolean" => CellKind::Boolean,
        "date" => CellKind::Date,
        _ => CellKind::Text,
    };
    let priority = declared.get("priority").and_then(Value::as_u64).and_then(|number| u8::try_from(number).ok());
    let column = Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: text("description"),
        priority: priority.unwrap_or(0),
    };
    Some((column, Cell::Value { path, kind }))
}

impl Cell {
    pub fn of(&self, object: &Value, now: Timestamp) -> Value {
        let (path, kind) = match self {
            Self::Name => return table::name(object),
            Self::Age => return table::age(object, now),
            Self::Value { path, kind } => (path, kind),
        };
        let found = path.all(object);
        match (kind, found.as_slice()) {
            (_, []) => Value::Null,
            (CellKind::Text, values) => values.iter().map(|value| text_of(value)).collect::<Vec<_>>().join(" ").into(),
            (CellKind::Number, [value, ..]) => Some(*value).filter(|value| value.is_number()).cloned().into(),
            (CellKind::Boolean, [value, ..]) => Some(*value).filter(|value| value.is_boolean()).cloned().into(),
            (CellKind::Date, [value, ..]) => since(value, now).into(),
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_what_the_paths_lead_to() {
        let declared = json!([
            { "name": "Free", "type": "integer", "jsonPath": ".status.free" },
            { "name": "Ranges", "type": "string", "jsonPath": ".spec.ranges[*]", "priority": 1 },
            { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
            { "name": "Missing", "type": "string", "jsonPath": ".status.nothing" },
        ]);
        let object = json!({
            "metadata": { "name": "a", "creationTimestamp": "1970-01-01T00:00:00Z" },
            "spec": { "ranges": ["x", "y"] }, "status": { "free": 7 },
        });
        let (columns, cells) = columns_of(&declared);
        let headings: Vec<(&str, u8)> = columns.iter().map(|column| (column.name, column.priority)).collect();
        assert_eq!(headings, [("Name", 0), ("Free", 0), ("Ranges", 1), ("Age", 0), ("Missing", 0)]);
        let now = Timestamp::from_second(90).unwrap();
        let row: Vec<Value> = cells.iter().map(|cell| cell.of(&object, now)).collect();
        assert_eq!(row, [json!("a"), json!(7), json!("x y"), json!("90s"), Value::Null]);
    }

    #[test]
    fn without_columns_there_are_name_and_age() {
        let (columns, _) = columns_of(&Value::Null);
        assert_eq!(columns, [Column::NAME, Column::AGE]);
    }
}
