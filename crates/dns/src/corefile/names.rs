//! The directives CoreDNS knows, and how Fairway stands to them.

/// How Fairway stands to a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does what CoreDNS does.
    Built,
    /// It has no meaning here: Fairway does by itself what the directive would ask for.
    Meaningless,
    /// CoreDNS has it, Fairway has not.
    NotBuilt,
}

const BUILT: &[&str] = &[
    "bind",
    "bufsize",
    "cache",
    "errors",
    "forward",
    "health",
    "hosts",
    "kubernetes",
    "loadbalance",
    "log",
    "loop",
    "prometheus",
    "ready",
    "reload",
];

/// `multisocket`: there is a socket for every core anyway. `debug` and `cancel` are about CoreDNS's own inside, and
/// every answer here is as `any` and `minimal` would have it or smaller.
const MEANINGLESS: &[&str] = &["any", "cancel", "debug", "multisocket"];

const NOT_BUILT: &[&str] = &[
    "acl",
    "auto",
    "autopath",
    "azure",
    "chaos",
    "clouddns",
    "dns64",
    "dnssec",
    "dnstap",
    "erratic",
    "etcd",
    "file",
    "geoip",
    "grpc",
    "grpc_server",
    "header",
    "https",
    "https3",
    "k8s_external",
    "local",
    "metadata",
    "minimal",
    "nomad",
    "nsid",
    "on",
    "pprof",
    "proxyproto",
    "quic",
    "rewrite",
    "root",
    "route53",
    "secondary",
    "shed",
    "sign",
    "template",
    "timeouts",
    "tls",
    "trace",
    "transfer",
    "tsig",
    "view",
    "whoami",
];

/// How Fairway stands to the directive called `name`; nothing when nobody knows it.
pub(crate) fn standing(name: &str) -> Option<Standing> {
    [(BUILT, Standing::Built), (MEANINGLESS, Standing::Meaningless), (NOT_BUILT, Standing::NotBuilt)]
        .into_iter()
        .find_map(|(names, standing)| names.contains(&name).then_some(standing))
}

/// The directive whose name is nearest to `name`, if any is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let far = (name.len() / 3).max(1);
    let known = [BUILT, MEANINGLESS, NOT_BUILT].into_iter().flatten();
    known
        .map(|&known| (edits_between(name, known), known))
        .filter(|&(edits, _)| edits <= far)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be put in, left out or replaced to make `b` of `a`.
fn edits_between(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_directive_is_recognised() {
        assert_eq!(nearest("kubernets"), Some("kubernetes"));
        assert_eq!(nearest("foward"), Some("forward"));
        assert_eq!(nearest("error"), Some("errors"));
        assert_eq!(nearest("proxy_pass"), None);
    }
}
