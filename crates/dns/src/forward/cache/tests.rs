use hickory_proto::op::{Message, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType as Type};

use super::*;
use crate::config::ServeStale;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn reply(code: ResponseCode, answers: &[u32], soa: Option<(u32, u32)>) -> Vec<u8> {
    let mut message = Message::response(7, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(Question::query(name("example.com."), Type::A));
    for &ttl in answers {
        message.add_answer(Record::from_rdata(name("example.com."), ttl, RData::A(A([192, 0, 2, 1].into()))));
    }
    if let Some((ttl, minimum)) = soa {
        let soa = SOA::new(name("ns.example.com."), name("root.example.com."), 1, 2, 3, 4, minimum);
        message.add_authority(Record::from_rdata(name("example.com."), ttl, RData::SOA(soa)));
    }
    message.to_vec().unwrap()
}

/// The packet of a query for `nNUMBER.example.com.`
fn packet(number: usize) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(name(&format!("n{number}.example.com.")), Type::A));
    message.to_vec().unwrap()
}

fn config() -> CacheConfig {
    let mut config = CacheConfig::default();
    config.success.most = Duration::from_secs(30);
    config
}

const GOOD: ResponseCode = ResponseCode::NoError;

#[test]
fn replies_are_kept_as_long_as_their_records_and_the_configuration_allow() {
    let seconds = |reply: Vec<u8>| lifetime_of(&reply, &config()).map(|(kind, lifetime)| (kind, lifetime.as_secs()));
    assert_eq!(seconds(reply(GOOD, &[20, 10], None)), Some((Kind::Success, 10)));
    assert_eq!(seconds(reply(GOOD, &[3600], None)), Some((Kind::Success, 30)));
    assert_eq!(seconds(reply(GOOD, &[0], None)), Some((Kind::Success, 5)), "the least that is configured");
    assert_eq!(seconds(reply(ResponseCode::NXDomain, &[], Some((20, 8)))), Some((Kind::Denial, 8)));
    assert_eq!(seconds(reply(GOOD, &[], Some((9, 100)))), Some((Kind::Denial, 9)));
    assert_eq!(seconds(reply(ResponseCode::NXDomain, &[], None)), None, "no SOA, no limit");
    assert_eq!(seconds(reply(ResponseCode::ServFail, &[], None)), Some((Kind::Denial, 5)));
    assert_eq!(seconds(reply(ResponseCode::Refused, &[], None)), None);
}

#[test]
fn records_grow_old_and_then_disappear() {
    let (cache, packet, start) = (Cache::new(config()), packet(1), Instant::now());
    let query = Query::parse(&packet).unwrap();
    cache.insert(&query, &reply(GOOD, &[20], None), start);
    let mut out = Vec::new();
    assert_eq!(cache.read(&query, start + Duration::from_secs(5), &mut out), Kept::Fresh);
    assert_eq!(Message::from_vec(&out).unwrap().answers[0].ttl, 15);
    assert_eq!(cache.read(&query, start + Duration::from_secs(20), &mut out), Kept::Nothing);
}

#[test]
fn what_is_too_old_is_given_and_renewed_once_if_so_configured() {
    let stale = ServeStale { longest: Duration::from_secs(60), mode: StaleMode::Immediate };
    let cache = Cache::new(CacheConfig { serve_stale: Some(stale), ..config() });
    let (packet, start, mut out) = (packet(1), Instant::now(), Vec::new());
    let query = Query::parse(&packet).unwrap();
    cache.insert(&query, &reply(GOOD, &[20], None), start);
    let later = start + Duration::from_secs(30);
    assert_eq!(cache.read(&query, later, &mut out), Kept::Renew);
    assert_eq!(Message::from_vec(&out).unwrap().answers[0].ttl, 0);
    assert_eq!(cache.read(&query, later, &mut out), Kept::Fresh, "somebody is at it");
    assert_eq!(cache.read(&query, start + Duration::from_secs(90), &mut out), Kept::Nothing);
}

#[test]
fn what_is_too_old_waits_for_a_failure_if_so_configured() {
    let stale = ServeStale { longest: Duration::from_secs(60), mode: StaleMode::Verify };
    let cache = Cache::new(CacheConfig { serve_stale: Some(stale), ..config() });
    let (packet, start, mut out) = (packet(1), Instant::now(), Vec::new());
    let query = Query::parse(&packet).unwrap();
    cache.insert(&query, &reply(GOOD, &[20], None), start);
    let later = start + Duration::from_secs(30);
    assert_eq!(cache.read(&query, later, &mut out), Kept::Nothing);
    assert!(cache.read_stale(&query, later, &mut out));
    assert!(!cache.read_stale(&query, start + Duration::from_secs(90), &mut out));
}

/// The code of what is given now, and of what is given when the servers fail.
fn codes(cache: &Cache, query: &Query<'_>, now: Instant) -> [Option<ResponseCode>; 2] {
    let (mut out, mut stale) = (Vec::new(), Vec::new());
    let given = [cache.read(query, now, &mut out) != Kept::Nothing, cache.read_stale(query, now, &mut stale)];
    let code =
        |(given, reply): (bool, &Vec<u8>)| given.then(|| Message::from_vec(reply).unwrap().metadata.response_code);
    [code((given[0], &out)), code((given[1], &stale))]
}

#[test]
fn a_failure_is_kept_only_where_there_is_nothing_better() {
    let stale = Some(ServeStale { longest: Duration::from_secs(60), mode: StaleMode::Verify });
    let (packet, start) = (packet(1), Instant::now());
    let query = Query::parse(&packet).unwrap();
    let failure = Some(ResponseCode::ServFail);
    for (serve_stale, second, expected) in [
        (None, 10, [Some(GOOD), None]),
        (None, 30, [failure, None]),
        (stale, 30, [None, Some(GOOD)]),
        (stale, 90, [failure, failure]),
    ] {
        let cache = Cache::new(CacheConfig { serve_stale, ..config() });
        let then = start + Duration::from_secs(second);
        cache.insert(&query, &reply(GOOD, &[20], None), start);
        cache.insert(&query, &reply(ResponseCode::ServFail, &[], None), then);
        assert_eq!(codes(&cache, &query, then), expected, "{serve_stale:?} at {second}");
    }
}

#[test]
fn a_failure_is_never_given_too_old() {
    let (packet, start) = (packet(1), Instant::now());
    let query = Query::parse(&packet).unwrap();
    for mode in [StaleMode::Immediate, StaleMode::Verify] {
        let stale = ServeStale { longest: Duration::from_secs(60), mode };
        let cache = Cache::new(CacheConfig { serve_stale: Some(stale), ..config() });
        cache.insert(&query, &reply(ResponseCode::ServFail, &[], None), start);
        assert_eq!(codes(&cache, &query, start + Duration::from_secs(6)), [None, None], "{mode:?}");
    }
}

#[test]
fn what_is_asked_for_often_is_renewed_before_it_is_too_old() {
    let prefetch = Prefetch { hits: 3, pause: Duration::from_secs(60), percent: 50 };
    let cache = Cache::new(CacheConfig { prefetch: Some(prefetch), ..config() });
    let (packet, start, mut out) = (packet(1), Instant::now(), Vec::new());
    let query = Query::parse(&packet).unwrap();
    cache.insert(&query, &reply(GOOD, &[20], None), start);
    let read = |second: u64, out: &mut Vec<u8>| cache.read(&query, start + Duration::from_secs(second), out);
    assert_eq!([read(1, &mut out), read(2, &mut out), read(3, &mut out)], [Kept::Fresh; 3], "most of its time is left");
    assert_eq!([read(12, &mut out), read(13, &mut out)], [Kept::Renew, Kept::Fresh]);
}

#[test]
fn zones_can_be_left_out() {
    let mut config = config();
    config.success.disabled.push(crate::wire::DomainName::parse("example.com").unwrap());
    let cache = Cache::new(config);
    let packet = packet(1);
    let query = Query::parse(&packet).unwrap();
    cache.insert(&query, &reply(GOOD, &[20], None), Instant::now());
    assert!(cache.is_empty());
    cache.insert(&query, &reply(ResponseCode::NXDomain, &[], Some((20, 20))), Instant::now());
    assert_eq!(cache.len(), 1);
}

#[test]
fn the_cache_stays_within_its_bounds_and_keeps_what_is_asked_for() {
    let mut config = config();
    config.success.capacity = 320;
    let (cache, start, reply) = (Cache::new(config), Instant::now(), reply(GOOD, &[20], None));
    let (first, mut out) = (packet(0), Vec::new());
    let first = Query::parse(&first).unwrap();
    cache.insert(&first, &reply, start);
    for number in 1..2000 {
        let packet = packet(number);
        cache.insert(&Query::parse(&packet).unwrap(), &reply, start);
        assert_eq!(cache.read(&first, start, &mut out), Kept::Fresh, "after {number}");
        assert!(cache.len() <= 320, "{}", cache.len());
    }
}

#[test]
fn a_cache_of_nothing_keeps_nothing() {
    let mut config = config();
    config.success.capacity = 0;
    let (cache, packet) = (Cache::new(config), packet(0));
    cache.insert(&Query::parse(&packet).unwrap(), &reply(GOOD, &[20], None), Instant::now());
    assert!(cache.is_empty());
}
