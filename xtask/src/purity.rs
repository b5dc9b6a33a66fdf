//! What may stand where: `await` at the edges, `unsafe` in one crate, no I/O in the pure ones, no shapeless names.

use std::path::Path;

use crate::source::Source;

/// Crates that compute and never act.
const PURE: [&str; 2] = ["model", "compile"];
/// What a pure crate never says.
const IMPURE: [&str; 16] = [
    "async",
    "await",
    "unsafe",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "File",
    "fs",
    "process",
    "Instant",
    "SystemTime",
    "thread",
    "tracing",
    "println",
    "eprintln",
];
/// Where `await` may stand: crates that are all I/O, and the `io` rooms of those that are not.
const ASYNC: [&str; 6] =
    ["crates/kubeapi/", "crates/apiserver/", "crates/sandbox/", "crates/fairway/", "crates/dns/src/io", "bench/"];
/// Rooms in those crates that compute and never wait.
const SYNC: [&str; 7] = [
    "crates/apiserver/src/schema",
    "crates/apiserver/src/patch",
    "crates/apiserver/src/protobuf",
    "crates/apiserver/src/kinds",
    "crates/apiserver/src/table",
    "crates/apiserver/src/select",
    "crates/sandbox/src/machine",
];
/// The only crate that may be unsafe.
const UNSAFE: &str = "crates/datapath/";
/// Names that fit everything and so find nothing.
const SHAPELESS: [&str; 7] = ["util", "utils", "common", "helpers", "misc", "types", "core"];

/// Every breach in `source`, each with its place.
pub fn breaches(source: &Source) -> Vec<String> {
    let path = source.path.to_string_lossy();
    let mut found = Vec::new();
    let mut report = |word: &str, why: &str| {
        let places = source.words(word).into_iter().map(|at| format!("{path}:{}: `{word}` {why}", source.line_of(at)));
        found.extend(places);
    };
    if !source.is_test_file() {
        if pure_crate(&path) {
            IMPURE.iter().for_each(|word| report(word, "in a pure crate"));
        }
        if !may_await(&path) {
            report("await", "outside the rooms that do I/O");
        }
        if !path.starts_with(UNSAFE) {
            report("unsafe", "outside datapath");
        }
    }
    found.extend(shapeless_name(&source.path));
    found
}

fn pure_crate(path: &str) -> bool {
    PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/src")))
}

fn may_await(path: &str) -> bool {
    ASYNC.iter().any(|room| path.starts_with(room)) && !SYNC.iter().any(|room| path.starts_with(room))
}

fn shapeless_name(path: &Path) -> Option<String> {
    let stems = path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
    let bad = stems.into_iter().find(|stem| SHAPELESS.contains(stem))?;
    Some(format!("{}: {bad:?} names nothing; say what is in it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_in(path: &str, text: &str) -> Vec<String> {
        breaches(&Source::new(path.into(), text))
    }

    #[test]
    fn io_in_a_pure_crate_is_reported_with_its_line() {
        let found = breaches_in("crates/model/src/a.rs", "\nuse std::fs;\n");
        assert_eq!(found, ["crates/model/src/a.rs:2: `fs` in a pure crate"]);
    }

    #[test]
    fn await_is_allowed_at_the_edge_and_nowhere_else() {
        assert_eq!(breaches_in("crates/dns/src/io/udp.rs", "x.await"), [""; 0]);
        assert_eq!(breaches_in("crates/dns/src/zone.rs", "x.await").len(), 1);
        assert_eq!(breaches_in("crates/apiserver/src/patch/json.rs", "x.await").len(), 1);
    }

    #[test]
    fn unsafe_belongs_to_the_datapath() {
        assert_eq!(breaches_in("crates/datapath/src/a.rs", "unsafe { f() }"), [""; 0]);
        assert_eq!(breaches_in("crates/sandbox/src/a.rs", "unsafe { f() }").len(), 1);
    }

    #[test]
    fn a_shapeless_module_name_is_reported() {
        assert_eq!(breaches_in("crates/dns/src/utils.rs", "").len(), 1);
    }
}
