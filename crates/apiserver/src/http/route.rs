//! What a path asks for. Pure.

use hyper::Method;

/// Everything the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The list of paths.
    Index,
    Health(Probe),
    Version,
    Metrics,
    OpenApiV2,
    OpenApiIndex,
    /// The OpenAPI document of `api/v1` or `apis/GROUP/VERSION`.
    OpenApiDocument(String),
    TokenKeys,
    TokenIssuer,
    CoreVersions,
    Groups,
    Group(String),
    Resources {
        group: String,
        version: String,
    },
    Target(Target),
}

/// Which of the health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Healthz,
    Livez,
    Readyz,
}

/// A resource, one of its objects, or something below one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// What is to be done with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// What a path asks for; `None` if nothing is served there.
pub(crate) fn parse_path(path: &str) -> Option<Route> {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(match parts.as_slice() {
        [] => Route::Index,
        ["healthz", ..] => Route::Health(Probe::Healthz),
        ["livez", ..] => Route::Health(Probe::Livez),
        ["readyz", ..] => Route::Health(Probe::Readyz),
        ["version"] => Route::Version,
        ["metrics"] => Route::Metrics,
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", group_version @ ..] => Route::OpenApiDocument(group_version.join("/")),
        ["openid", "v1", "jwks"] => Route::TokenKeys,
        [".well-known", "openid-configuration"] => Route::TokenIssuer,
        ["api"] => Route::CoreVersions,
        ["api", version] => Route::Resources { group: String::new(), version: (*version).into() },
        ["api", version, rest @ ..] => Route::Target(parse_target("", version, rest)?),
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).into()),
        ["apis", group, version] => Route::Resources { group: (*group).into(), version: (*version).into() },
        ["apis", group, version, rest @ ..] => Route::Target(parse_target(group, version, rest)?),
        _ => return None,
    })
}

fn parse_target(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let owned = |text: &&str| Some((*text).to_owned());
    let (namespace, rest) = match rest {
        // `namespaces/NAME/status` and `finalize` are below the namespace itself.
        ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (owned(namespace), rest),
        _ => (None, rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (resource, None, None),
        [resource, name] => (resource, owned(name), None),
        [resource, name, subresource] => (resource, owned(name), owned(subresource)),
        _ => return None,
    };
    let (group, version) = (group.to_owned(), version.to_owned());
    Some(Target { group, version, resource: (*resource).to_owned(), namespace, name, subresource })
}

impl Target {
    /// What a method means here; `watching` is whether the query asks for a watch.
    pub fn verb(&self, method: &Method, watching: bool) -> Option<Verb> {
        let named = self.name.is_some();
        Some(match *method {
            Method::GET | Method::HEAD if watching && self.subresource.is_none() => Verb::Watch,
            Method::GET | Method::HEAD if named => Verb::Get,
            Method::GET | Method::HEAD => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT if named => Verb::Update,
            Method::PATCH if named => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return None,
        })
    }
}

impl Verb {
    /// The API's word for it, as discovery lists it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// Percent-decoding; `None` if what comes out is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => (bytes.push(high << 4 | low), rest = &tail[2..]),
            None => (bytes.push(*first), rest = tail),
        };
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        match parse_path(path) {
            Some(Route::Target(target)) => target,
            other => panic!("{path} is {other:?}"),
        }
    }

    fn text(target: &Target) -> String {
        let Target { group, version, resource, namespace, name, subresource } = target;
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
        format!("{group}/{version} {resource} {} {} {}", part(namespace), part(name), part(subresource))
    }

    #[test]
    fn paths_of_objects_name_group_namespace_and_subresource() {
        let cases = [
            ("/api/v1/pods", "/v1 pods - - -"),
            ("/api/v1/namespaces/a/pods/b/log", "/v1 pods a b log"),
            ("/apis/apps/v1/namespaces/a/deployments", "apps/v1 deployments a - -"),
            ("/api/v1/namespaces", "/v1 namespaces - - -"),
            ("/api/v1/namespaces/a", "/v1 namespaces - a -"),
            ("/api/v1/namespaces/a/finalize", "/v1 namespaces - a finalize"),
            ("/api/v1/nodes/n%31/status", "/v1 nodes - n1 status"),
        ];
        for (path, expected) in cases {
            assert_eq!(text(&target(path)), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for path in ["/favicon.ico", "/openapi/v1", "/api/v1/nodes/a/b/c/d", "/api/v1/nodes/%ff"] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_method_means_one_object_or_many() {
        let (one, many) = (target("/api/v1/nodes/a"), target("/api/v1/nodes"));
        assert_eq!(one.verb(&Method::DELETE, false), Some(Verb::Delete));
        assert_eq!(many.verb(&Method::DELETE, false), Some(Verb::DeleteCollection));
        assert_eq!(many.verb(&Method::GET, true), Some(Verb::Watch));
        assert_eq!(many.verb(&Method::PUT, false), None);
    }
}
