//! Paths and queries of requests.

use std::fmt::Write as _;

use super::Gvr;

/// The path and query of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    path: String,
    query: String,
}

impl Address {
    /// All objects of a kind, in one namespace or (with `""`) everywhere.
    pub(super) fn collection(gvr: &Gvr, namespace: &str) -> Self {
        let mut path = gvr.root();
        if gvr.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            encode_into(&mut path, namespace);
        }
        path.push('/');
        path.push_str(gvr.plural);
        Self { path, query: String::new() }
    }

    /// One object.
    pub(super) fn object(gvr: &Gvr, namespace: &str, name: &str) -> Self {
        let mut address = Self::collection(gvr, namespace);
        address.path.push('/');
        encode_into(&mut address.path, name);
        address
    }

    /// A part of the object, as in `status`.
    pub(super) fn subresource(mut self, subresource: &str) -> Self {
        self.path.push('/');
        self.path.push_str(subresource);
        self
    }

    /// With one more query parameter.
    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(key);
        self.query.push('=');
        encode_into(&mut self.query, value);
        self
    }

    /// With more query parameters.
    pub(super) fn queries(self, parameters: Vec<(&'static str, String)>) -> Self {
        parameters.into_iter().fold(self, |address, (key, value)| address.query(key, &value))
    }

    /// Path and query as a request line carries them.
    pub(super) fn to_uri(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// The path alone, for messages.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NODES, PODS};
    use super::*;

    #[test]
    fn namespaced_object_has_its_namespace_in_the_path() {
        let address = Address::object(&PODS, "shop", "web-1").subresource("status");
        assert_eq!(address.to_uri(), "/api/v1/namespaces/shop/pods/web-1/status");
    }

    #[test]
    fn cluster_wide_kind_ignores_the_namespace() {
        assert_eq!(Address::object(&NODES, "shop", "node1").to_uri(), "/api/v1/nodes/node1");
    }

    #[test]
    fn selector_is_percent_encoded() {
        let address = Address::collection(&PODS, "").query("labelSelector", "a in (b,c)").query("limit", "5");
        assert_eq!(address.to_uri(), "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&limit=5");
    }
}
