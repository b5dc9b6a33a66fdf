//! One rule of a role: which verbs on which resources or paths. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, ResourceAction};

const ANY: &str = "*";

/// A rule, as the API writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// The rules of a role's `rules`; what is not a rule allows nothing.
    pub fn read_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().filter_map(|rule| Self::deserialize(rule).ok()).collect()
    }

    /// The rules that leave nothing out.
    pub fn everything() -> [Self; 2] {
        let any = || vec![ANY.to_owned()];
        [
            Self { verbs: any(), api_groups: any(), resources: any(), ..Self::default() },
            Self { verbs: any(), non_resource_urls: any(), ..Self::default() },
        ]
    }

    pub fn allows(&self, action: Action<'_>) -> bool {
        match action {
            Action::Resource(action) => self.allows_resource(&action),
            Action::Path { verb, path } => has(&self.verbs, verb) && self.reaches(path),
        }
    }

    fn allows_resource(&self, action: &ResourceAction<'_>) -> bool {
        has(&self.verbs, action.verb)
            && has(&self.api_groups, action.group)
            && self.names_resource(action.resource, action.subresource)
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == action.name))
    }

    /// Whether `resources` has `pods/log`, `*`, or (for any resource's log) `*/log`.
    fn names_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|named| match named.split_once('/') {
            None => named == ANY || (subresource.is_empty() && named == resource),
            Some((ANY, sub)) => !subresource.is_empty() && sub == subresource,
            Some((of, sub)) => of == resource && sub == subresource,
        })
    }

    /// Whether a path is one of the rule's, of which the last character may be a star.
    fn reaches(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|url| match url.strip_suffix(ANY) {
            Some(start) => path.starts_with(start),
            None => url == path,
        })
    }

    /// Everything this rule allows, one thing at a time: rules with one entry in each list.
    pub fn parts(&self) -> Vec<Self> {
        let names: Vec<Vec<String>> = match self.resource_names.as_slice() {
            [] => vec![Vec::new()],
            names => names.iter().map(|name| vec![name.clone()]).collect(),
        };
        let mut parts = Vec::new();
        for verb in &self.verbs {
            let of_verb = || Self { verbs: vec![verb.clone()], ..Self::default() };
            parts.extend(
                self.non_resource_urls.iter().map(|url| Self { non_resource_urls: vec![url.clone()], ..of_verb() }),
            );
            for (group, resource) in self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r))) {
                parts.extend(names.iter().map(|names| Self {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: names.clone(),
                    ..of_verb()
                }));
            }
        }
        parts
    }

    /// Whether this rule allows all that a rule of one part allows.
    pub fn covers(&self, part: &Self) -> bool {
        let all = |ours: &[String], theirs: &[String]| theirs.iter().all(|text| has(ours, text));
        let names = self.resource_names.is_empty()
            || (!part.resource_names.is_empty() && all(&self.resource_names, &part.resource_names));
        all(&self.verbs, &part.verbs)
            && all(&self.api_groups, &part.api_groups)
            && part.resources.iter().all(|named| self.covers_resource(named))
            && part.non_resource_urls.iter().all(|url| self.covers_url(url))
            && names
    }

    fn covers_resource(&self, named: &str) -> bool {
        let sub = named.split_once('/').map(|(_, sub)| format!("{ANY}/{sub}"));
        self.resources.iter().any(|ours| ours == ANY || ours == named || sub.as_ref() == Some(ours))
    }

    fn covers_url(&self, url: &str) -> bool {
        self.non_resource_urls.iter().any(|ours| match ours.strip_suffix(ANY) {
            Some(start) => url.starts_with(start),
            None => ours == url,
        })
    }
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|entry| entry == ANY || entry == text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: &Value) -> Rule {
        Rule::deserialize(value).unwrap()
    }

    fn on<'a>(verb: &'a str, resource: &'a str, name: &'a str) -> Action<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Action::Resource(ResourceAction { verb, group: "", resource, subresource, namespace: "", name })
    }

    #[test]
    fn a_rule_allows_its_verbs_on_its_resources_and_nothing_below_them() {
        let pods = rule(&json!({ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"] }));
        assert!(pods.allows(on("get", "pods", "a")) && pods.allows(on("get", "pods/log", "a")));
        assert!(!pods.allows(on("delete", "pods", "a")) && !pods.allows(on("get", "pods/exec", "a")));
        assert!(!pods.allows(on("get", "secrets", "a")));
        assert!(!pods.allows(Action::Path { verb: "get", path: "/metrics" }));
    }

    #[test]
    fn stars_stand_for_every_verb_group_resource_and_the_end_of_a_path() {
        let [resources, paths] = Rule::everything();
        assert!(resources.allows(on("escalate", "pods/exec", "")));
        assert!(paths.allows(Action::Path { verb: "get", path: "/metrics" }));
        let scale = rule(&json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"] }));
        assert!(scale.allows(on("patch", "deployments/scale", "a")) && !scale.allows(on("patch", "deployments", "a")));
        let start = rule(&json!({ "verbs": ["get"], "nonResourceURLs": ["/api/*", "/version"] }));
        assert!(start.allows(Action::Path { verb: "get", path: "/api/v1" }));
        assert!(!start.allows(Action::Path { verb: "get", path: "/version/x" }));
    }

    #[test]
    fn a_rule_with_names_is_for_those_objects_and_no_collection() {
        let one = rule(&json!({
            "verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"],
        }));
        assert!(one.allows(on("get", "configmaps", "a")));
        assert!(!one.allows(on("get", "configmaps", "b")) && !one.allows(on("list", "configmaps", "")));
    }

    #[test]
    fn a_rule_covers_what_it_allows_and_no_more() {
        let wide = rule(&json!({ "verbs": ["*"], "apiGroups": ["", "apps"], "resources": ["*"] }));
        let narrow = rule(&json!({
            "verbs": ["get", "list"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a", "b"],
        }));
        assert_eq!(narrow.parts().len(), 4);
        assert!(narrow.parts().iter().all(|part| wide.covers(part)));
        assert!(!wide.parts().iter().any(|part| narrow.covers(part)));
        let unnamed = Rule { resource_names: Vec::new(), ..narrow.clone() };
        assert!(!unnamed.parts().iter().any(|part| narrow.covers(part)), "a rule for two objects is not one for all");
    }
}
