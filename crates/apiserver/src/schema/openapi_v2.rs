//! The OpenAPI v2 document, for clients that refuse to go on without one.
//!
//! kubectl asks for it to check what the server does not know (an unknown kind), and old ones before every apply. They
//! skip what it does not describe and leave it to the server, which checks everything: so it describes nothing.

/// The document as JSON.
pub const OPENAPI_V2_JSON: &str = r#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"v1"},"paths":{}}"#;
/// The same as the `openapi.v2.Document` of protobuf that Go clients ask for; every byte of it is text.
pub const OPENAPI_V2_PROTOBUF: &str = "\n\x032.0\x12\x10\n\nKubernetes\x12\x02v1";
/// The media type by which the latter is asked for.
pub const OPENAPI_V2_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type by which it is answered: the one asked for is none that a client could parse.
pub const OPENAPI_V2_PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a message into its fields, all of which are of known length.
    fn fields(mut message: &[u8]) -> Vec<(u8, &[u8])> {
        let mut fields = Vec::new();
        while let [tag, length, rest @ ..] = message {
            let (content, next) = rest.split_at(usize::from(*length));
            fields.push((tag >> 3, content));
            message = next;
        }
        fields
    }

    #[test]
    fn both_forms_say_the_same() {
        let json: serde_json::Value = serde_json::from_str(OPENAPI_V2_JSON).unwrap();
        let document = fields(OPENAPI_V2_PROTOBUF.as_bytes());
        assert_eq!(document[0], (1, json["swagger"].as_str().unwrap().as_bytes()));
        let info = fields(document[1].1);
        let expected = [(1, json["info"]["title"].as_str()), (2, json["info"]["version"].as_str())];
        assert_eq!(info, expected.map(|(number, text)| (number, text.unwrap().as_bytes())));
        assert_eq!((document.len(), document[1].0), (2, 2));
    }
}
