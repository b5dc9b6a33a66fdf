//! Any reply of another DNS server is remembered and passed on, or refused.
#![no_main]

use std::time::Instant;

use dns::forward::{Cache, CacheKey, fit_to_client, is_reply_to};
use dns::wire::Query;
use libfuzzer_sys::fuzz_target;

/// Asks for the address of `a.`, recursion desired.
const SENT: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

fuzz_target!(|bytes: &[u8]| {
    let mut reply = [&SENT[..2], bytes].concat();
    if !is_reply_to(SENT, &reply) {
        return;
    }
    let query = Query::parse(SENT).expect("a query");
    let (mut cache, key, now) = (Cache::new(2), CacheKey::of(&query).expect("to be kept"), Instant::now());
    cache.insert(key.clone(), &reply, now);
    let mut out = Vec::new();
    if cache.read(&key, now, &mut out) {
        assert_eq!(out, reply);
    }
    fit_to_client(&mut reply, &query, 512);
    assert!(reply.len() <= 512);
});
