//! Remembering what upstream servers answered.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::is_conclusive;
use super::lifetime::{Kind, age_records, give_records, lifetime_of};
use crate::config::{CacheConfig, Prefetch, ServeStale, StaleMode, is_within};
use crate::wire::{Query, RecordType};

/// How many tables share the answers, so that readers do not wait for each other.
const SHARDS: usize = 16;
/// What clients may keep an answer that is too old.
const STALE_TTL: u32 = 0;

/// What makes two queries have the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: Box<[u8]>,
    asked: Asked,
}

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    qtype: RecordType,
    checking_disabled: bool,
    /// Whether the client speaks EDNS, and wants DNSSEC records.
    edns: Option<bool>,
}

impl Asked {
    fn of(query: &Query<'_>) -> Self {
        Self {
            qtype: query.qtype,
            checking_disabled: query.checking_disabled,
            edns: query.edns.map(|edns| edns.dnssec_ok),
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    reply: Box<[u8]>,
    since: Instant,
    until: Instant,
    /// How often it was asked for without a long pause, and when the last time.
    hits: u32,
    last_hit: Instant,
    /// When somebody set out to renew it.
    renewing: Option<Instant>,
}

/// What a cache knows about a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing that may be given.
    Nothing,
    /// The reply is in the buffer.
    Fresh,
    /// The reply is in the buffer, and it is time to fetch a new one.
    Renew,
}

/// Answers by query, as many as it was made for.
#[derive(Debug)]
pub struct Cache {
    config: CacheConfig,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// Some of the answers, those with records and those without apart: neither can push the other out.
#[derive(Debug)]
struct Shard {
    success: Generations,
    denial: Generations,
}

impl Shard {
    fn kind(&mut self, kind: Kind) -> &mut Generations {
        if kind == Kind::Success { &mut self.success } else { &mut self.denial }
    }
}

impl Cache {
    /// An empty cache.
    pub fn new(config: CacheConfig) -> Self {
        let shard = || {
            Mutex::new(Shard {
                success: Generations::of(config.success.capacity.div_ceil(SHARDS)),
                denial: Generations::of(config.denial.capacity.div_ceil(SHARDS)),
            })
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new(), config }
    }

    /// Whether the answer to a query may be kept.
    pub fn takes(&self, query: &Query<'_>) -> bool {
        query.recursion_desired && is_within(&query.name, &self.config.zones)
    }

    /// Copies the reply to a query into `out`, its records aged, if it may be given.
    pub fn read(&self, query: &Query<'_>, now: Instant, out: &mut Vec<u8>) -> Kept {
        self.read_entry(query, now, out, |entry| self.standing(entry, now))
    }

    /// Copies a reply that is too old into `out`, after no new one could be had; says whether there is one.
    pub fn read_stale(&self, query: &Query<'_>, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(stale) = self.config.serve_stale else { return false };
        let usable = |entry: &mut Entry| if now < entry.until_stale(stale) { Kept::Fresh } else { Kept::Nothing };
        self.read_entry(query, now, out, usable) != Kept::Nothing
    }

    fn read_entry(
        &self,
        query: &Query<'_>,
        now: Instant,
        out: &mut Vec<u8>,
        standing: impl Fn(&mut Entry) -> Kept,
    ) -> Kept {
        let (hash, asked) = self.hash(query);
        let mut shard = self.shard(hash);
        for kind in [Kind::Success, Kind::Denial] {
            let Some(entry) =
                shard.kind(kind).find(hash, |key| key.asked == asked && *key.name == *query.name.as_wire())
            else {
                continue;
            };
            let kept = standing(entry);
            if kept != Kept::Nothing {
                out.clear();
                out.extend_from_slice(&entry.reply);
                self.set_ages(entry, now, out);
                return kept;
            }
        }
        Kept::Nothing
    }

    fn set_ages(&self, entry: &Entry, now: Instant, out: &mut [u8]) {
        if now >= entry.until {
            give_records(out, STALE_TTL);
        } else if !self.config.keep_ttl {
            age_records(out, now.saturating_duration_since(entry.since).as_secs() as u32);
        }
    }

    /// Whether an entry may be given now, and is to be renewed.
    fn standing(&self, entry: &mut Entry, now: Instant) -> Kept {
        let has_gone = now >= entry.until;
        let is_usable = match self.config.serve_stale {
            Some(stale) if stale.mode == StaleMode::Immediate => now < entry.until_stale(stale),
            _ => !has_gone,
        };
        if !is_usable {
            return Kept::Nothing;
        }
        let is_due = has_gone || self.config.prefetch.is_some_and(|prefetch| entry.is_due(prefetch, now));
        let is_renewed = entry.renewing.is_some_and(|since| now < since + Duration::from_secs(5));
        if is_due && !is_renewed {
            entry.renewing = Some(now);
            return Kept::Renew;
        }
        Kept::Fresh
    }

    /// Keeps a reply if it may be kept.
    pub fn insert(&self, query: &Query<'_>, reply: &[u8], now: Instant) {
        let Some((kind, lifetime)) = lifetime_of(reply, &self.config) else { return };
        let of_kind = if kind == Kind::Success { &self.config.success } else { &self.config.denial };
        if is_within(&query.name, &of_kind.disabled) {
            return;
        }
        let (hash, asked) = self.hash(query);
        let mut reply: Box<[u8]> = reply.into();
        super::lifetime::cap_records(&mut reply, lifetime.as_secs() as u32);
        let key = Key { name: query.name.as_wire().into(), asked };
        let entry = Entry { key, reply, since: now, until: now + lifetime, hits: 0, last_hit: now, renewing: None };
        let mut shard = self.shard(hash);
        if entry.is_failure() && self.has_better(&mut shard, (hash, &entry.key), now) {
            return;
        }
        let other = if kind == Kind::Success { Kind::Denial } else { Kind::Success };
        shard.kind(other).remove(hash);
        shard.kind(kind).put(hash, entry);
    }

    /// Whether there is an answer that may still be given, if only while the servers fail: a failure must not take its
    /// place (RFC 8767 section 4).
    fn has_better(&self, shard: &mut Shard, (hash, key): (u64, &Key), now: Instant) -> bool {
        [Kind::Success, Kind::Denial].into_iter().any(|kind| {
            let entry = shard.kind(kind).find(hash, |other| other == key).filter(|entry| !entry.is_failure());
            entry.is_some_and(|entry| {
                now < self.config.serve_stale.map_or(entry.until, |stale| entry.until_stale(stale))
            })
        })
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.success.len() + shard.denial.len()
        };
        self.shards.iter().map(count).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, query: &Query<'_>) -> (u64, Asked) {
        let asked = Asked::of(query);
        (self.hasher.hash_one((query.name.as_wire(), asked)), asked)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // A panic elsewhere leaves a cache that is at worst out of date.
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_failure(&self) -> bool {
        !is_conclusive(&self.reply)
    }

    /// Until when it may be given although it is too old; failures may not.
    fn until_stale(&self, stale: ServeStale) -> Instant {
        if self.is_failure() { self.until } else { self.until + stale.longest }
    }

    /// Counts a hit; says whether the entry is asked for often and nearly too old.
    fn is_due(&mut self, prefetch: Prefetch, now: Instant) -> bool {
        let paused = now.saturating_duration_since(self.last_hit) > prefetch.pause;
        self.hits = if paused { 1 } else { self.hits.saturating_add(1) };
        self.last_hit = now;
        let left = self.until.saturating_duration_since(now);
        let whole = self.until.saturating_duration_since(self.since);
        self.hits >= prefetch.hits && left * 100 <= whole * prefetch.percent
    }
}

/// Answers in two generations: they come into the young one; when that has half the entries it becomes the old one, and
/// what was old and not asked for again is forgotten. So it stays within bounds at constant cost.
#[derive(Debug)]
struct Generations {
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
    generation: usize,
}

impl Generations {
    fn of(entries: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: entries.div_ceil(2) }
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn find(&mut self, hash: u64, is_it: impl Fn(&Key) -> bool) -> Option<&mut Entry> {
        if !self.young.contains_key(&hash) {
            let entry = self.old.remove(&hash)?;
            self.put(hash, entry);
        }
        self.young.get_mut(&hash).filter(|entry| is_it(&entry.key))
    }

    fn put(&mut self, hash: u64, entry: Entry) {
        if self.generation == 0 {
            return;
        }
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&hash);
        self.young.insert(hash, entry);
    }

    fn remove(&mut self, hash: u64) {
        self.young.remove(&hash);
        self.old.remove(&hash);
    }
}

#[cfg(test)]
mod tests;
