//! Remembering what upstream servers answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{is_truncated, reply_code};
use crate::wire::{Query, RecordType, Records};

/// Answers are kept for at most this long whatever their records allow: names move more often than people plan.
const MAX_AGE: Duration = Duration::from_secs(30);
const NO_ERROR: u8 = 0;
const NX_DOMAIN: u8 = 3;

/// What makes two queries have the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    name: Box<[u8]>,
    qtype: RecordType,
    checking_disabled: bool,
    /// Whether the client speaks EDNS, and wants DNSSEC records.
    edns: Option<bool>,
}

impl CacheKey {
    /// The key of a query; nothing when its answer is not to be kept.
    pub fn of(query: &Query<'_>) -> Option<Self> {
        let is_shared = query.is_internet() && query.recursion_desired;
        is_shared.then(|| Self {
            name: query.name.as_wire().into(),
            qtype: query.qtype,
            checking_disabled: query.checking_disabled,
            edns: query.edns.map(|edns| edns.dnssec_ok),
        })
    }
}

#[derive(Clone, Debug)]
struct Entry {
    reply: Arc<[u8]>,
    since: Instant,
    until: Instant,
}

/// Answers by query, as many as it was made for.
///
/// Two generations: answers come into the young one; when that has half the entries it becomes the old one, and what
/// was old and not asked for again is forgotten. So it stays within bounds at constant cost.
#[derive(Debug)]
pub struct Cache {
    young: HashMap<CacheKey, Entry>,
    old: HashMap<CacheKey, Entry>,
    generation: usize,
}

impl Cache {
    /// A cache of `entries` answers; of none when it is zero.
    pub fn new(entries: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: entries / 2 }
    }

    /// Copies the reply to a query into `out`, its records aged; says whether there was one.
    pub fn read(&mut self, key: &CacheKey, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(entry) = self.find(key).filter(|entry| now < entry.until) else {
            return false;
        };
        out.clear();
        out.extend_from_slice(&entry.reply);
        let age = now.saturating_duration_since(entry.since).as_secs() as u32;
        age_records(out, age);
        true
    }

    /// Keeps a reply if it may be kept.
    pub fn insert(&mut self, key: CacheKey, reply: &[u8], now: Instant) {
        if let Some(lifetime) = lifetime(reply) {
            self.put(key, Entry { reply: reply.into(), since: now, until: now + lifetime });
        }
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&mut self, key: &CacheKey) -> Option<Entry> {
        if let Some(entry) = self.young.get(key) {
            return Some(entry.clone());
        }
        let (key, entry) = self.old.remove_entry(key)?;
        self.put(key, entry.clone());
        Some(entry)
    }

    fn put(&mut self, key: CacheKey, entry: Entry) {
        if self.generation == 0 {
            return;
        }
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

/// How long a reply may be kept, if at all: no longer than each of its records, and for a negative answer no longer
/// than the zone's SOA says (RFC 2308 section 5).
fn lifetime(reply: &[u8]) -> Option<Duration> {
    let code = reply_code(reply);
    if is_truncated(reply) || (code != NO_ERROR && code != NX_DOMAIN) {
        return None;
    }
    let mut least = u32::MAX;
    let (mut has_answer, mut has_soa) = (false, false);
    for record in Records::of(reply).ok()? {
        let record = record.ok()?;
        if record.rtype == RecordType::OPT {
            continue;
        }
        least = least.min(record.ttl);
        has_answer |= record.section == 1;
        if record.section == 2 && record.rtype == RecordType::SOA {
            has_soa = true;
            let minimum = reply.get(record.data..record.end)?.last_chunk::<4>()?;
            least = least.min(u32::from_be_bytes(*minimum));
        }
    }
    let is_positive = has_answer && code == NO_ERROR;
    let seconds = Duration::from_secs(u64::from(least)).min(MAX_AGE);
    ((is_positive || has_soa) && !seconds.is_zero()).then_some(seconds)
}

fn age_records(reply: &mut [u8], age: u32) {
    let places: Vec<_> = Records::of(reply)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|record| record.rtype != RecordType::OPT)
        .map(|record| (record.ttl_at, record.ttl))
        .collect();
    for (place, ttl) in places {
        reply[place..place + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, OpCode, Query as Question, ResponseCode};
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RData, Record, RecordType as Type};

    use super::*;

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

    fn key(number: usize) -> CacheKey {
        let name = number.to_be_bytes().into();
        CacheKey { name, qtype: RecordType::A, checking_disabled: false, edns: None }
    }

    #[test]
    fn replies_are_kept_as_long_as_their_records_allow() {
        let seconds = |reply: Vec<u8>| lifetime(&reply).map(|lifetime| lifetime.as_secs());
        assert_eq!(seconds(reply(ResponseCode::NoError, &[20, 10], None)), Some(10));
        assert_eq!(seconds(reply(ResponseCode::NoError, &[3600], None)), Some(30));
        assert_eq!(seconds(reply(ResponseCode::NXDomain, &[], Some((20, 8)))), Some(8));
        assert_eq!(seconds(reply(ResponseCode::NoError, &[], Some((9, 100)))), Some(9));
        assert_eq!(seconds(reply(ResponseCode::NoError, &[0], None)), None);
        assert_eq!(seconds(reply(ResponseCode::NXDomain, &[], None)), None, "no SOA, no limit");
        assert_eq!(seconds(reply(ResponseCode::ServFail, &[], None)), None);
    }

    #[test]
    fn records_grow_old_and_then_disappear() {
        let mut cache = Cache::new(10);
        let start = Instant::now();
        cache.insert(key(1), &reply(ResponseCode::NoError, &[20], None), start);
        let mut out = Vec::new();
        assert!(cache.read(&key(1), start + Duration::from_secs(5), &mut out));
        assert_eq!(Message::from_vec(&out).unwrap().answers[0].ttl, 15);
        assert!(!cache.read(&key(1), start + Duration::from_secs(20), &mut out));
    }

    #[test]
    fn the_cache_stays_within_its_bounds_and_keeps_what_is_asked_for() {
        let mut cache = Cache::new(20);
        let (start, reply) = (Instant::now(), reply(ResponseCode::NoError, &[20], None));
        let mut out = Vec::new();
        cache.insert(key(0), &reply, start);
        for number in 1..200 {
            cache.insert(key(number), &reply, start);
            assert!(cache.read(&key(0), start, &mut out), "after {number}");
            assert!(cache.len() <= 20, "{}", cache.len());
        }
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let mut cache = Cache::new(0);
        cache.insert(key(0), &reply(ResponseCode::NoError, &[20], None), Instant::now());
        assert!(cache.is_empty());
    }
}
