//! What this machine's kernel holds of a Service.

use std::collections::BTreeMap;

use compile::ruleset::{Element, Set};
use datapath::nft::Table;
use model::Name;
use serde_json::{Value, json};

/// The elements a Service should have in the kernel, each with whether it is there.
pub(super) struct KernelReport {
    pub(super) elements: Vec<(Name, String, bool)>,
}

impl KernelReport {
    pub(super) fn to_json(&self) -> Value {
        let element =
            |(set, text, held): &(Name, String, bool)| json!({ "set": set.as_str(), "element": text, "held": held });
        Value::Array(self.elements.iter().map(element).collect())
    }
}

/// Looks for the elements; nothing where there is no table of ours or no right to see it.
pub(super) fn compare(wanted: &BTreeMap<Name, (Set, Vec<Element>)>) -> Option<KernelReport> {
    let mut table = Table::open().ok()?;
    let mut elements = Vec::new();
    for (name, (set, wanted)) in wanted {
        let held = table.read_set(name, &set.spec).ok()??;
        elements.extend(
            wanted
                .iter()
                .map(|element| (name.clone(), element.to_string(), held.get(&element.key) == Some(&element.data))),
        );
    }
    Some(KernelReport { elements })
}
