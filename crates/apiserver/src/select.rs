//! Label and field selectors: what a request or a controller wants to see.

mod field;
mod label;
mod parser;

pub use field::{FieldSelector, FieldSelectorError, FieldTerm};
pub use label::{LabelSelector, Operator, Requirement};
pub use parser::LabelSelectorError;
