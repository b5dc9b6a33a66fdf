//! The formats of names, keys and values, and what Kubernetes says when one is broken.
//!
//! Each function returns what is wrong with a text, one sentence per broken rule, and nothing if it is well formed.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_LENGTH: usize = 63;
const SUBDOMAIN_LENGTH: usize = 253;
const PORT_NAME_LENGTH: usize = 15;

/// Whether a text is a whole name or the beginning of one (`generateName`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamePart {
    /// All of the name.
    Whole,
    /// What a random suffix is appended to.
    Prefix,
}

/// A format: what is wrong with a text.
pub(crate) type Format = fn(&str) -> Vec<String>;

/// A rule for the names of a kind.
pub(crate) type NameRule = fn(&str, NamePart) -> Vec<String>;

/// Most kinds: a lowercase DNS subdomain.
pub(crate) fn subdomain_name(name: &str, part: NamePart) -> Vec<String> {
    subdomain(&complete(name, part))
}

/// Kinds whose names become one DNS label: namespaces, workloads with one name per pod.
pub(crate) fn label_name(name: &str, part: NamePart) -> Vec<String> {
    label(&complete(name, part))
}

/// Kinds whose names only have to fit into a path: roles and their bindings.
pub(crate) fn path_segment_name(name: &str, part: NamePart) -> Vec<String> {
    if part == NamePart::Whole && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|bad| name.contains(**bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

/// A prefix that ends in a dash is judged as if something followed it.
fn complete(name: &str, part: NamePart) -> String {
    match name.strip_suffix('-') {
        Some(rest) if part == NamePart::Prefix && !rest.is_empty() => {
            let mut kept = rest.to_owned();
            kept.pop();
            kept + "a"
        }
        _ => name.to_owned(),
    }
}

/// A lowercase RFC 1123 label.
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut wrong = too_long_characters(text, LABEL_LENGTH);
    if !is_label(text) {
        wrong.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                        and must start and end with an alphanumeric character";
            with_regex(rule, LABEL, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// A lowercase RFC 1123 subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut wrong = too_long_characters(text, SUBDOMAIN_LENGTH);
    if !is_subdomain(text) {
        wrong.push(subdomain_shape());
    }
    wrong
}

/// A lowercase subdomain whose labels may hold underscores, as DNS search paths have them.
pub(crate) fn subdomain_with_underscores(text: &str) -> Vec<String> {
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut wrong = too_long_characters(text, SUBDOMAIN_LENGTH);
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-' || c == '_')
    };
    if !text.split('.').all(is_label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                    and must start and end with an alphanumeric character";
        wrong.push(with_regex(rule, &format!(r"{LABEL}(\.{LABEL})*"), &["example.com"]));
    }
    wrong
}

/// A subdomain under a wildcard: `*.example.com`.
pub(crate) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut wrong = too_long_characters(text, SUBDOMAIN_LENGTH);
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        wrong.push(with_regex(rule, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    wrong
}

/// A label or annotation key: `app`, `example.com/app`.
pub(crate) fn label_key(text: &str) -> Vec<String> {
    let rule = "must consist of alphanumeric characters, '-', '_' or '.', \
                and must start and end with an alphanumeric character";
    let shape = with_regex(rule, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            wrong.extend(label_key_prefix(prefix));
            name
        }
        _ => {
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {shape} {optional}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LENGTH {
        wrong.push(format!("name part {}", too_many_bytes(LABEL_LENGTH)));
    }
    if !is_label_key_name(name) {
        wrong.push(format!("name part {shape}"));
    }
    wrong
}

fn label_key_prefix(prefix: &str) -> Vec<String> {
    if prefix.is_empty() {
        return vec!["prefix part must be non-empty".to_owned()];
    }
    let mut wrong = Vec::new();
    if prefix.len() > SUBDOMAIN_LENGTH {
        wrong.push(format!("prefix part {}", too_many_bytes(SUBDOMAIN_LENGTH)));
    }
    if !is_subdomain(prefix) {
        wrong.push(format!("prefix part {}", subdomain_shape()));
    }
    wrong
}

/// The value of a label: empty, or shaped like the name part of a key.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_LENGTH {
        wrong.push(too_many_bytes(LABEL_LENGTH));
    }
    if !text.is_empty() && !is_label_key_name(text) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character";
        wrong.push(with_regex(rule, &format!("({LABEL_KEY})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// The name of a port (RFC 6335): short, lower case, with a letter.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut wrong = too_long_characters(text, PORT_NAME_LENGTH);
    let allowed = |b: u8| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit();
    if text.is_empty() || !text.bytes().all(allowed) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// The key of a ConfigMap or Secret, which may become a file name.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut wrong = too_long_characters(text, SUBDOMAIN_LENGTH);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(allowed) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(with_regex(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    wrong.extend(climbs_up(text));
    wrong
}

/// The name of an environment variable.
pub(crate) fn variable_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        return Vec::new();
    }
    let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    vec![rule.to_owned()]
}

/// The name of an HTTP header.
pub(crate) fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()) {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![with_regex(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A percentage: digits and a percent sign.
pub(crate) fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![with_regex(rule, "[0-9]+%", &["1%", "93%"])]
}

fn climbs_up(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label_key_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last())
}

fn subdomain_shape() -> String {
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                and must start and end with an alphanumeric character";
    with_regex(rule, SUBDOMAIN, &["example.com"])
}

/// The rule, examples, and the regular expression, as Kubernetes joins them.
fn with_regex(rule: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn too_long_characters(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit { vec![format!("must be no more than {limit} characters")] } else { Vec::new() }
}

fn too_many_bytes(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
        '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
        validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
        and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
        validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

    #[test]
    fn well_formed_texts_are_accepted() {
        assert!(["a", "a-b", "1.2", "a.b-c.d0"].iter().all(|t| subdomain(t).is_empty()));
        assert!(["a", "0", "a--b"].iter().all(|t| label(t).is_empty()));
        assert!(["a", "_tcp.a_b", "1"].iter().all(|t| subdomain_with_underscores(t).is_empty()));
        assert!(["*.a", "*.a.b"].iter().all(|t| wildcard_subdomain(t).is_empty()));
        assert!(["App", "a.b/c_D.e", "1"].iter().all(|t| label_key(t).is_empty()));
        assert!(["", "A", "v1.2_3-x"].iter().all(|t| label_value(t).is_empty()));
        assert!(["http", "p-1", "1a"].iter().all(|t| port_name(t).is_empty()));
        assert!(["a", ".a", "A_b-c.d"].iter().all(|t| config_key(t).is_empty()));
        assert!(["PATH", "my.name", "1 2"].iter().all(|t| variable_name(t).is_empty()));
        assert!(["0%", "100%"].iter().all(|t| percent(t).is_empty()));
    }

    #[test]
    fn subdomains_say_their_regex() {
        for text in ["", "A", "-a", "a-", "a..b", ".a", "a_b"] {
            assert_eq!(subdomain(text), [SUBDOMAIN_TEXT], "{text:?}");
        }
        assert_eq!(subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
    }

    #[test]
    fn labels_say_when_only_the_dots_are_wrong() {
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(label("A"), [LABEL_TEXT]);
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }

    #[test]
    fn label_keys_name_the_part_that_is_wrong() {
        let name = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
            alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
            '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        assert_eq!(label_key("a b"), [format!("name part {name}")]);
        assert_eq!(label_key(""), ["name part must be non-empty".to_owned(), format!("name part {name}")]);
        assert_eq!(label_key("/a"), ["prefix part must be non-empty"]);
        assert_eq!(label_key("A/a"), [format!("prefix part {SUBDOMAIN_TEXT}")]);
        let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        assert_eq!(label_key("a/b/c"), [format!("a valid label key {name} {optional}")]);
        assert_eq!(label_key(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
    }

    #[test]
    fn port_names_list_every_broken_rule() {
        assert_eq!(
            port_name("-Http--"),
            [
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "must not contain consecutive hyphens",
                "must not begin or end with a hyphen",
            ]
        );
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("a234567890123456"), ["must be no more than 15 characters"]);
    }

    #[test]
    fn config_keys_may_not_climb_directories() {
        assert_eq!(config_key("."), ["must not be '.'"]);
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
    }

    #[test]
    fn a_prefix_may_end_in_a_dash_and_a_name_may_not() {
        assert!(subdomain_name("web-", NamePart::Prefix).is_empty());
        assert_eq!(subdomain_name("web-", NamePart::Whole), [SUBDOMAIN_TEXT]);
        assert_eq!(label_name("web.", NamePart::Prefix), [LABEL_TEXT]);
    }

    #[test]
    fn path_segments_may_hold_colons_but_no_slashes() {
        assert!(path_segment_name("system:node", NamePart::Whole).is_empty());
        assert_eq!(path_segment_name("a/b%", NamePart::Whole), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(path_segment_name("..", NamePart::Whole), ["may not be '..'"]);
        assert!(path_segment_name("..", NamePart::Prefix).is_empty());
    }
}
