//! Tests on bodies that real kubectl sends: 1.31 as JSON and 1.32 as protobuf, recorded by `lab/wire-schema/record`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::protobuf;
use crate::schema::{Gvk, check_types, normalize, unknown_fields};

/// The two bodies of one command.
struct Recorded {
    path: PathBuf,
    json: Value,
    protobuf: Vec<u8>,
}

fn recorded() -> Vec<Recorded> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    let paths: BTreeSet<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let protobuf = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "pb"));
    protobuf
        .map(|path| Recorded {
            json: serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap(),
            protobuf: fs::read(&path).unwrap(),
            path,
        })
        .collect()
}

#[test]
fn protobuf_bodies_decode_to_what_older_kubectl_says_in_json() {
    let recorded = recorded();
    assert!(recorded.len() >= 26, "only {} recorded bodies", recorded.len());
    for Recorded { path, mut json, protobuf: bytes } in recorded {
        let decoded = protobuf::decode(&bytes).unwrap();
        normalize(Gvk::of(&json.clone()).unwrap(), &mut json);
        assert_eq!(decoded, json, "{}", path.display());
    }
}

#[test]
fn nothing_kubectl_sends_is_unknown_or_of_the_wrong_type() {
    for Recorded { path, json, .. } in recorded() {
        let kind = Gvk::of(&json).unwrap();
        assert_eq!(unknown_fields(kind, &json), Vec::<String>::new(), "{}", path.display());
        assert_eq!(check_types(kind, &json), Ok(()), "{}", path.display());
    }
}

#[test]
fn a_body_cut_short_is_refused_or_says_less() {
    /// The envelope ends with two empty fields that mean nothing.
    const EMPTY_TRAILER: usize = 4;
    /// An object that says nothing but its kind cannot say less.
    const KIND_ONLY: usize = 2;
    for Recorded { path, protobuf: bytes, .. } in recorded() {
        let whole = protobuf::decode(&bytes).unwrap();
        if whole.as_object().unwrap().len() == KIND_ONLY {
            continue;
        }
        for length in 0..bytes.len() - EMPTY_TRAILER {
            assert_ne!(protobuf::decode(&bytes[..length]), Ok(whole.clone()), "{} at {length}", path.display());
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_body_never_panics(choice in any::<Index>(), damage in vec((any::<Index>(), any::<u8>()), 1..8)) {
        let recorded = recorded();
        let mut bytes = choice.get(&recorded).protobuf.clone();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let _: Result<Value, _> = protobuf::decode(&bytes);
    }
}
