//! Any bytes are a Kubernetes protobuf body or an error, and what was decoded is in normal form.
//!
//! Seeds: `cargo fuzz run protobuf_decode crates/apiserver/tests/bodies`.
#![no_main]

use apiserver::protobuf;
use apiserver::schema::{Gvk, normalize};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = protobuf::decode(bytes) else { return };
    let mut again = object.clone();
    normalize(Gvk::of(&object).expect("what was decoded says what it is"), &mut again);
    assert_eq!(again, object);
});
