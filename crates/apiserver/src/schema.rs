//! The schemas of the kinds: OpenAPI documents, unknown fields, merge keys.
