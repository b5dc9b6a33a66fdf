//! How long replies may be kept, and what their records say meanwhile.

use std::time::Duration;

use super::{is_truncated, reply_code};
use crate::config::CacheConfig;
use crate::wire::{RecordType, Records};

const NO_ERROR: u8 = 0;
const SERV_FAIL: u8 = 2;
const NX_DOMAIN: u8 = 3;

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records.
    Success,
    /// That there are none, or that the server failed.
    Denial,
}

/// Of which kind a reply is and how long it may be kept, if at all: no longer than each of its records, and for a
/// negative answer no longer than the zone's SOA says (RFC 2308 section 5), within what the configuration allows.
pub(super) fn lifetime_of(reply: &[u8], config: &CacheConfig) -> Option<(Kind, Duration)> {
    if is_truncated(reply) {
        return None;
    }
    let (kind, lifetime) = match reply_code(reply) {
        SERV_FAIL => (Kind::Denial, config.servfail),
        code @ (NO_ERROR | NX_DOMAIN) => {
            let records = Summary::of(reply)?;
            let kind = if records.has_answer && code == NO_ERROR { Kind::Success } else { Kind::Denial };
            if kind == Kind::Denial && !records.has_soa {
                return None;
            }
            let bounds = if kind == Kind::Success { &config.success } else { &config.denial };
            let seconds = Duration::from_secs(u64::from(records.least));
            (kind, seconds.max(bounds.least).min(bounds.most))
        }
        _ => return None,
    };
    (!lifetime.is_zero()).then_some((kind, lifetime))
}

struct Summary {
    least: u32,
    has_answer: bool,
    has_soa: bool,
}

impl Summary {
    fn of(reply: &[u8]) -> Option<Self> {
        let mut summary = Self { least: u32::MAX, has_answer: false, has_soa: false };
        for record in Records::of(reply).ok()? {
            let record = record.ok()?;
            if record.rtype == RecordType::OPT {
                continue;
            }
            summary.least = summary.least.min(record.ttl);
            summary.has_answer |= record.section == 1;
            if record.section == 2 && record.rtype == RecordType::SOA {
                summary.has_soa = true;
                let minimum = reply.get(record.data..record.end)?.last_chunk::<4>()?;
                summary.least = summary.least.min(u32::from_be_bytes(*minimum));
            }
        }
        Some(summary)
    }
}

/// Takes the seconds since they came from the time to live of all records.
pub(super) fn age_records(reply: &mut [u8], age: u32) {
    change_records(reply, |ttl| ttl.saturating_sub(age));
}

/// Gives all records this time to live.
pub(super) fn give_records(reply: &mut [u8], ttl: u32) {
    change_records(reply, |_| ttl);
}

/// Lets no record live longer than this.
pub(super) fn cap_records(reply: &mut [u8], most: u32) {
    change_records(reply, |ttl| ttl.min(most));
}

fn change_records(reply: &mut [u8], change: impl Fn(u32) -> u32) {
    let records = Records::of(reply).into_iter().flatten().flatten().filter(|record| record.rtype != RecordType::OPT);
    let places: Vec<_> = records.map(|record| (record.ttl_at, change(record.ttl))).collect();
    for (place, ttl) in places {
        reply[place..place + 4].copy_from_slice(&ttl.to_be_bytes());
    }
}
