//! What the query of a request asks for. Pure.

use super::route::decode;
use crate::error::{ApiError, FieldError, GroupKind};

/// The parameters of a query, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Query(Vec<(String, String)>);

/// Which objects a list or watch is about, and from when.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: Option<u64>,
    pub resource_version_match: Option<VersionMatch>,
    pub limit: Option<usize>,
    pub continue_token: Option<String>,
    pub timeout_seconds: Option<u32>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

/// How `resourceVersion` binds a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// How a write is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: Option<String>,
    pub field_validation: FieldValidation,
    /// Take fields from other managers (server-side apply).
    pub force: bool,
}

/// What happens to fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl Query {
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = |text: &str| decode(&text.replace('+', " ")).unwrap_or_default();
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        )
    }

    /// The first value of a parameter that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A switch: absent, or on unless it says off.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(!matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let invalid = || ApiError::bad_request(format!("query parameter {name}={text:?} is not a number in range"));
        text.parse().map(Some).map_err(|_| invalid())
    }

    pub fn watching(&self) -> bool {
        self.flag("watch").unwrap_or(false)
    }

    pub fn list_options(&self) -> Result<ListOptions, ApiError> {
        let text = |name| self.text(name).unwrap_or_default().to_owned();
        let resource_version_match = match self.text("resourceVersionMatch") {
            None => None,
            Some("Exact") => Some(VersionMatch::Exact),
            Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
            Some(other) => {
                let supported = ["Exact", "NotOlderThan"];
                return Err(invalid_options(FieldError::not_supported("resourceVersionMatch", other, &supported)));
            }
        };
        let options = ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            resource_version: self.resource_version()?,
            resource_version_match,
            // A limit of nothing means no limit.
            limit: self.number("limit")?.filter(|limit| *limit > 0),
            continue_token: self.text("continue").map(str::to_owned),
            timeout_seconds: self.number("timeoutSeconds")?,
            allow_bookmarks: self.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: self.flag("sendInitialEvents"),
        };
        match options.broken_rule(self.watching()) {
            Some(error) => Err(invalid_options(error)),
            None => Ok(options),
        }
    }

    fn resource_version(&self) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text("resourceVersion") else { return Ok(None) };
        let error = || invalid_options(FieldError::invalid("resourceVersion", text, "must be a decimal number"));
        text.parse().map(Some).map_err(|_| error())
    }

    pub fn write_options(&self) -> Result<WriteOptions, ApiError> {
        let field_validation = match self.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["Ignore", "Strict", "Warn"];
                return Err(invalid_options(FieldError::not_supported("fieldValidation", other, &supported)));
            }
        };
        Ok(WriteOptions {
            dry_run: self.dry_run()?,
            field_manager: self.text("fieldManager").map(str::to_owned),
            field_validation,
            force: self.flag("force").unwrap_or(false),
        })
    }

    pub fn dry_run(&self) -> Result<bool, ApiError> {
        match self.text("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(invalid_options(FieldError::not_supported("dryRun", other, &["All"]))),
        }
    }
}

impl ListOptions {
    fn broken_rule(&self, watching: bool) -> Option<FieldError> {
        let field = "resourceVersionMatch";
        let forbid = |field, detail| Some(FieldError::forbidden(field, detail));
        match (watching, self.send_initial_events, self.resource_version_match) {
            (true, Some(_), matching) if matching != Some(VersionMatch::NotOlderThan) => {
                forbid(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
            }
            (true, None, Some(_)) => {
                forbid(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            }
            (false, Some(_), _) => forbid("sendInitialEvents", "sendInitialEvents is forbidden for list"),
            (false, None, Some(_)) if self.resource_version.is_none() => {
                forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
            }
            (false, None, Some(VersionMatch::Exact)) if self.resource_version == Some(0) => {
                forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
            }
            (false, None, Some(_)) if self.continue_token.is_some() => {
                forbid(field, "resourceVersionMatch is forbidden when continue is provided")
            }
            _ => None,
        }
    }
}

fn invalid_options(error: FieldError) -> ApiError {
    let kind = GroupKind::of("meta.k8s.io", "ListOptions");
    ApiError::Invalid { kind, name: String::new(), errors: vec![error] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions, ApiError> {
        Query::parse(Some(query)).list_options()
    }

    #[test]
    fn what_kubectl_asks_of_a_list_is_understood() {
        let options = list("limit=500&labelSelector=app%3Dweb%2Ctier+in+%28a%2Cb%29&resourceVersion=0").unwrap();
        assert_eq!(
            options,
            ListOptions {
                label_selector: "app=web,tier in (a,b)".into(),
                resource_version: Some(0),
                limit: Some(500),
                ..ListOptions::default()
            }
        );
    }

    #[test]
    fn initial_events_need_a_version_match() {
        let error = list("watch=1&sendInitialEvents=true").unwrap_err();
        assert_eq!(error.code(), 422);
        assert_eq!(
            error.to_string(),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
             sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        );
        assert!(list("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan").is_ok());
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for query in ["resourceVersion=abc", "limit=x", "resourceVersionMatch=Newest", "resourceVersionMatch=Exact"] {
            assert!(list(query).is_err(), "{query}");
        }
        assert!(Query::parse(Some("dryRun=Some")).write_options().is_err());
        assert!(Query::parse(Some("fieldValidation=Loud")).write_options().is_err());
    }

    #[test]
    fn a_switch_is_on_unless_it_says_off() {
        let query = Query::parse(Some("a&b=false&c=true&d=0"));
        assert_eq!(
            ["a", "b", "c", "d", "e"].map(|name| query.flag(name)),
            [Some(true), Some(false), Some(true), Some(false), None]
        );
    }
}
