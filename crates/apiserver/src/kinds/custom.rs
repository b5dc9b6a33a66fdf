//! Kinds that CustomResourceDefinitions make.

mod cells;
mod path;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::registry::{EDIT, SCALE, STORED};
use super::{Generation, Resource, Rules, Subresource};
use crate::schema::structure::{BadPattern, Structure};
use crate::select::LabelSelector;
use crate::table::Column;
use cells::Cell;
pub(crate) use path::JsonPath;

/// The group of CustomResourceDefinitions.
pub(crate) const DEFINITIONS_GROUP: &str = "apiextensions.k8s.io";

/// What all custom kinds have in common.
static RULES: Rules = Rules { generation: Generation::Content, ..Rules::PLAIN };

/// What a custom kind has beyond its names.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The definition's name.
    pub definition: String,
    /// The schema as its author wrote it, for OpenAPI documents.
    pub schema: Value,
    pub structure: Structure,
    /// The version under which objects are stored.
    pub storage_version: String,
    pub scale: Option<ScalePaths>,
    /// The fields that field selectors may ask for.
    pub selectable: Vec<String>,
    /// What clients are warned of when they use this version.
    pub deprecation: Option<String>,
    columns: Vec<Column>,
    cells: Vec<Cell>,
}

/// Where a custom object has what `autoscaling/v1` Scale tells.
#[derive(Debug)]
pub(crate) struct ScalePaths {
    replicas: JsonPath,
    status_replicas: JsonPath,
    selector: Option<JsonPath>,
}

/// The kinds that a definition makes, one for each version it serves.
///
/// A kind lives as long as the program, as built-in ones do, so that everything may refer to it without counting. The
/// same definition is kept once however often it is applied; what a changed one leaves behind is a few kilobytes.
pub(crate) fn kinds_of(definition: &Value) -> Vec<&'static Resource> {
    static KNOWN: LazyLock<Mutex<HashMap<String, &'static [Resource]>>> = LazyLock::new(Mutex::default);
    let text = format!("{} {}", definition["spec"], accepted_names(definition));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(text).or_insert_with(|| Box::leak(make_kinds(definition).into_boxed_slice())).iter().collect()
}

/// The names under which the kind is served: those last found free, whatever was asked for since.
fn accepted_names(definition: &Value) -> &Value {
    let accepted = &definition["status"]["acceptedNames"];
    if accepted["plural"].as_str().is_some_and(|plural| !plural.is_empty()) {
        accepted
    } else {
        &definition["spec"]["names"]
    }
}

fn make_kinds(definition: &Value) -> Vec<Resource> {
    let versions = definition["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let served = versions.iter().filter(|version| version["served"] == true);
    // A schema that does not compile was refused at the door; one that got past it serves no version.
    served.filter_map(|version| make_kind(definition, version).ok()).collect()
}

fn make_kind(definition: &Value, version: &Value) -> Result<Resource, BadPattern> {
    let (spec, names) = (&definition["spec"], accepted_names(definition));
    let group = leaked(&spec["group"]);
    let (name, kind) = (leaked(&version["name"]), leaked(&names["kind"]));
    Ok(Resource {
        group,
        version: name,
        kind,
        plural: leaked(&names["plural"]),
        singular: leaked(&names["singular"]),
        short_names: leaked_list(&names["shortNames"]),
        namespaced: spec["scope"] == "Namespaced",
        categories: leaked_list(&names["categories"]),
        verbs: STORED,
        subresources: subresources(&version["subresources"], (group, name, kind)),
        rules: &RULES,
        custom: Some(Box::leak(Box::new(Custom::read(definition, version)?))),
    })
}

fn subresources(
    declared: &Value,
    (group, version, kind): (&'static str, &'static str, &'static str),
) -> &'static [Subresource] {
    let scale = declared["scale"].is_object().then_some(SCALE);
    let status = Subresource { name: "status", group, version, kind, verbs: EDIT };
    let status = declared["status"].is_object().then_some(status);
    Box::leak(scale.into_iter().chain(status).collect())
}

fn leaked(text: &Value) -> &'static str {
    Box::leak(text.as_str().unwrap_or_default().to_owned().into_boxed_str())
}

fn leaked_list(list: &Value) -> &'static [&'static str] {
    Box::leak(list.as_array().into_iter().flatten().map(leaked).collect())
}

impl Custom {
    fn read(definition: &Value, version: &Value) -> Result<Self, BadPattern> {
        let spec = &definition["spec"];
        let schema = version["schema"]["openAPIV3Schema"].clone();
        let versions = spec["versions"].as_array().into_iter().flatten();
        let storage = versions.into_iter().find(|version| version["storage"] == true).unwrap_or(version);
        let (columns, cells) = cells::columns_of(&version["additionalPrinterColumns"]);
        let fields = version["selectableFields"].as_array().into_iter().flatten();
        let selectable = fields.filter_map(|field| field["jsonPath"].as_str());
        let structure = if spec["preserveUnknownFields"] == true || schema.is_null() {
            Structure::open()
        } else {
            Structure::of_kind(&schema)?
        };
        Ok(Self {
            definition: definition["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            structure,
            schema,
            storage_version: storage["name"].as_str().unwrap_or_default().to_owned(),
            scale: ScalePaths::read(&version["subresources"]["scale"]),
            selectable: selectable.map(|path| path.trim_start_matches('.').to_owned()).collect(),
            deprecation: deprecation_of(spec, version),
            columns,
            cells,
        })
    }

    /// The columns of a table of such objects.
    pub fn columns(&'static self) -> &'static [Column] {
        &self.columns
    }

    /// The cells of one object, as many as there are columns.
    pub fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        self.cells.iter().map(|cell| cell.of(object, now)).collect()
    }
}

fn deprecation_of(spec: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = version["deprecationWarning"].as_str().map(str::to_owned);
    let (group, name, kind) = (text(&spec["group"]), text(&version["name"]), text(&spec["names"]["kind"]));
    said.or_else(|| Some(format!("{group}/{name} {kind} is deprecated")))
}

impl ScalePaths {
    fn read(scale: &Value) -> Option<Self> {
        let path = |name: &str| scale[name].as_str().and_then(|text| JsonPath::parse(text).ok());
        Some(Self {
            replicas: path("specReplicasPath")?,
            status_replicas: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        })
    }

    /// How many replicas are wanted and how many there are, and what selects them.
    pub fn read_from(&self, object: &Value) -> (i64, i64, String) {
        let count = |path: &JsonPath| path.first(object).and_then(Value::as_i64).unwrap_or(0);
        let selector = self.selector.as_ref().and_then(|path| path.first(object)).map(|value| match value {
            Value::String(text) => text.clone(),
            object => LabelSelector::from_object(object).to_string(),
        });
        (count(&self.replicas), count(&self.status_replicas), selector.unwrap_or_default())
    }

    /// Sets how many replicas are wanted.
    pub fn set_replicas(&self, object: &mut Value, replicas: i64) {
        if let Some(place) = self.replicas.make(object) {
            *place = replicas.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Value {
        let mut definition = crate::kinds::definition::tests::definition();
        let spec = &mut definition["spec"];
        spec["scope"] = "Cluster".into();
        spec["names"]["singular"] = "pool".into();
        spec["names"]["shortNames"] = json!(["pl"]);
        spec["versions"][0]["subresources"] = json!({
            "status": {}, "scale": { "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size" },
        });
        let schema = spec["versions"][0]["schema"].clone();
        let old = json!({ "name": "v1beta1", "served": false, "storage": false, "schema": schema });
        spec["versions"].as_array_mut().unwrap().push(old);
        definition
    }

    #[test]
    fn each_served_version_is_a_kind() {
        let kinds = kinds_of(&definition());
        let [kind] = kinds.as_slice() else { panic!("{kinds:?}") };
        assert_eq!((kind.api_version().as_str(), kind.kind, kind.namespaced), ("example.com/v1", "Pool", false));
        assert_eq!(kind.short_names, ["pl"]);
        assert_eq!(kind.subresources.iter().map(|sub| sub.name).collect::<Vec<_>>(), ["scale", "status"]);
    }

    #[test]
    fn the_same_definition_makes_the_same_kinds() {
        assert!(std::ptr::eq(kinds_of(&definition())[0], kinds_of(&definition())[0]));
    }

    #[test]
    fn a_kind_is_served_under_the_names_that_were_accepted() {
        let mut definition = definition();
        definition["status"]["acceptedNames"] = definition["spec"]["names"].clone();
        definition["spec"]["names"]["shortNames"] = json!(["taken"]);
        assert_eq!(kinds_of(&definition)[0].short_names, ["pl"]);
        definition["status"]["acceptedNames"] = definition["spec"]["names"].clone();
        assert_eq!(kinds_of(&definition)[0].short_names, ["taken"]);
    }

    #[test]
    fn a_scale_is_read_and_written_where_the_definition_says() {
        let scale = kinds_of(&definition())[0].custom.unwrap().scale.as_ref().unwrap();
        let mut object = json!({ "status": { "size": 2 } });
        scale.set_replicas(&mut object, 3);
        assert_eq!(object, json!({ "status": { "size": 2 }, "spec": { "size": 3 } }));
        assert_eq!(scale.read_from(&object), (3, 2, String::new()));
    }
}
