//! Any reply of another DNS server is remembered and passed on, or refused.
#![no_main]

use std::time::Instant;

use dns::config::CacheConfig;
use dns::forward::{Cache, Kept, fit_to_client, is_reply_to};
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
    let (cache, now) = (Cache::new(CacheConfig::default()), Instant::now());
    cache.insert(&query, &reply, now);
    let mut out = Vec::new();
    if cache.read(&query, now, &mut out) != Kept::Nothing {
        assert_eq!(out.len(), reply.len());
    }
    fit_to_client(&mut reply, &query, 512);
    assert!(reply.len() <= 512);
});
