//! The files that are made from the source and committed: `install.yaml` and the Helm chart.

use serde_json::{Map, Value, json};

use crate::settings::Settings;
use crate::source::SOURCES;
use crate::table::{NAMESPACE, SETTINGS, Setting};

/// A file whose content follows from the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its path from the root of the repository.
    pub path: String,
    /// What it holds.
    pub text: String,
}

const CHART: &str = "deploy/helm/fairway";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands at the top of every file where a comment can.
const ORIGIN: &str = "# Made by `cargo xtask bless` from deploy/manifests/ and crates/manifests/src/table.rs.\n";
/// How wide comments are.
const WIDTH: usize = 110;

/// Every file that is made from the source, in a fixed order.
pub fn generated() -> Vec<GeneratedFile> {
    let file = |path: &str, text: String| GeneratedFile { path: path.to_owned(), text };
    let in_chart = |name: &str, text: String| GeneratedFile { path: format!("{CHART}/{name}"), text };
    let mut files = vec![
        file("deploy/install.yaml", install_yaml()),
        in_chart("Chart.yaml", chart_yaml()),
        in_chart("values.yaml", values_yaml()),
        in_chart("values.schema.json", format!("{:#}\n", values_schema())),
    ];
    for source in &SOURCES {
        let text = written(source.text, helm_value, |setting| format!("{{{{ {} }}}}", helm_path(setting)));
        let text = match source.when {
            Some(flag) => format!("{{{{- if .Values.{flag} }}}}\n{text}{{{{- end }}}}\n"),
            None => text,
        };
        files.push(in_chart(&format!("templates/{}", source.name), text));
    }
    files
}

/// The source's text with every setting written into it: `whole` where it is a value, `part` within other text.
fn written(text: &str, whole: impl Fn(&Setting) -> String, part: impl Fn(&Setting) -> String) -> String {
    SETTINGS.iter().fold(text.to_owned(), |text, setting| {
        let placeholder = format!("${{{}}}", setting.name);
        text.replace(&format!("\"{placeholder}\""), &whole(setting))
            .replace(&format!(": {placeholder}\n"), &format!(": {}\n", whole(setting)))
            .replace(&placeholder, &part(setting))
    })
}

fn install_yaml() -> String {
    let settings = Settings::default();
    let whole = |setting: &Setting| settings.value(setting.name).to_string();
    let part = |setting: &Setting| match settings.value(setting.name) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let wanted = SOURCES.iter().filter(|source| source.when.is_none_or(|flag| settings.flag(flag)));
    let parts: Vec<String> = wanted.map(|source| written(source.text, whole, part)).collect();
    format!(
        "{ORIGIN}#\n\
         # Fairway with every setting at its default. `fairway install` finds the right ones for a cluster and applies\n\
         # the same objects; `fairway install --dry-run -o yaml` prints them.\n{}",
        parts.join("---\n")
    )
}

fn helm_path(setting: &Setting) -> String {
    if setting.name == NAMESPACE { ".Release.Namespace".to_owned() } else { format!(".Values.{}", setting.name) }
}

fn helm_value(setting: &Setting) -> String {
    let function = if setting.kind.is_text() { "quote" } else { "toJson" };
    format!("{{{{ {} | {function} }}}}", helm_path(setting))
}

fn chart_yaml() -> String {
    format!(
        "{ORIGIN}apiVersion: v2\n\
         name: fairway\n\
         description: The whole network of a Kubernetes cluster in one program.\n\
         type: application\n\
         version: {VERSION}\n\
         appVersion: \"{VERSION}\"\n\
         kubeVersion: \">=1.30.0-0\"\n\
         keywords: [network, cni, service, dns]\n"
    )
}

fn values_yaml() -> String {
    let mut text =
        format!("{ORIGIN}#\n# Install it into kube-system: helm install fairway deploy/helm/fairway -n kube-system\n");
    let mut open_group = "";
    for setting in in_chart() {
        let (group, name) = split(setting);
        text.push('\n');
        if group != open_group && !group.is_empty() {
            text.push_str(&format!("{group}:\n"));
        }
        open_group = group;
        let indent = if group.is_empty() { "" } else { "  " };
        for line in wrapped(setting.about) {
            text.push_str(&format!("{indent}# {line}\n"));
        }
        text.push_str(&format!("{indent}{name}: {}\n", setting.default));
    }
    text
}

fn values_schema() -> Value {
    let mut properties = Map::new();
    for setting in in_chart() {
        let (group, name) = split(setting);
        let mut schema = setting.kind.schema();
        schema.insert("description".to_owned(), Value::from(setting.about));
        let members = if group.is_empty() { &mut properties } else { members_of(&mut properties, group) };
        members.insert(name.to_owned(), Value::Object(schema));
    }
    // Helm hands these down to every chart.
    properties.insert("global".to_owned(), json!({ "type": "object" }));
    json!({
        "$schema": "https://json-schema.org/draft-07/schema#",
        "title": "Fairway",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

#[expect(clippy::expect_used, reason = "the group was made an object a line before")]
fn members_of<'a>(properties: &'a mut Map<String, Value>, group: &str) -> &'a mut Map<String, Value> {
    let empty = || json!({ "type": "object", "additionalProperties": false, "properties": {} });
    let schema = properties.entry(group).or_insert_with(empty);
    schema["properties"].as_object_mut().expect("a group's properties are an object")
}

fn in_chart() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.name != NAMESPACE)
}

/// The group of a setting, empty for none, and its name there.
fn split(setting: &Setting) -> (&'static str, &'static str) {
    setting.name.split_once('.').unwrap_or(("", setting.name))
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if lines[last].len() + 1 + word.len() <= WIDTH {
            lines[last].push_str(&format!(" {word}"));
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::objects;

    #[test]
    fn the_static_file_holds_the_objects_of_the_default_settings() {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&install_yaml()).unwrap();
        assert_eq!(documents, objects(&Settings::default()));
    }

    #[test]
    fn the_chart_s_values_are_the_default_settings() {
        let values: Value = serde_saphyr::from_str(&values_yaml()).unwrap();
        let mut settings = Settings::default();
        settings.set_values(values.as_object().unwrap()).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn the_chart_s_schema_knows_exactly_the_settings() {
        let schema = values_schema();
        let known = |group: &str, name: &str| match group {
            "" => schema["properties"][name].is_object(),
            group => schema["properties"][group]["properties"][name].is_object(),
        };
        assert!(in_chart().all(|setting| known(split(setting).0, split(setting).1)));
        let members = |value: &Value| value["properties"].as_object().map_or(1, Map::len);
        let groups = schema["properties"].as_object().unwrap().values();
        assert_eq!(groups.map(members).sum::<usize>(), in_chart().count() + 1);
    }

    #[test]
    fn templates_quote_what_is_text_and_leave_no_placeholder() {
        let source = "a: ${logLevel}\nb: \"${image.repository}:${image.tag}\"\nc: ${dns.replicas}\nd: \"${apiPort}\"\n";
        let text = written(source, helm_value, |setting| format!("<{}>", helm_path(setting)));
        let expected = "a: {{ .Values.logLevel | quote }}\nb: \"<.Values.image.repository>:<.Values.image.tag>\"\n\
                        c: {{ .Values.dns.replicas | toJson }}\nd: {{ .Values.apiPort | quote }}\n";
        assert_eq!(text, expected);
        assert!(generated().iter().all(|file| !file.text.contains("${")));
    }
}
