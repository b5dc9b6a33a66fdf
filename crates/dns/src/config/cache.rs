//! `cache`: which answers of other servers are kept, and how long.
//!
//! Answers about the cluster are never kept: they are at hand as they are. So a Service that changes is seen at once,
//! whatever the Corefile says of caching.

use std::time::Duration;

use super::duration::parse_duration;
use super::reading::Reading;
use super::zones::zones_or;
use crate::corefile::{CorefileError, Directive};
use crate::wire::DomainName;

/// CoreDNS's: 256 tables of 39.
const DEFAULT_CAPACITY: usize = 9984;
const MAX_POSITIVE: Duration = Duration::from_secs(3600);
const MAX_NEGATIVE: Duration = Duration::from_secs(1800);
const LEAST: Duration = Duration::from_secs(5);
const DEFAULT_SERVFAIL: Duration = Duration::from_secs(5);
const MAX_SERVFAIL: Duration = Duration::from_secs(300);
const DEFAULT_STALE: Duration = Duration::from_secs(3600);

const OPTIONS: &[&str] = &["success", "denial", "prefetch", "serve_stale", "servfail", "disable", "keepttl"];

/// Which answers of other servers are kept, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheConfig {
    /// Zones whose answers are kept.
    pub zones: Vec<DomainName>,
    /// Answers with records.
    pub success: CacheKind,
    /// Answers that say there is nothing.
    pub denial: CacheKind,
    /// How long a failure is kept.
    pub servfail: Duration,
    /// Whether answers that are too old are given until there are new ones.
    pub serve_stale: Option<ServeStale>,
    /// Whether answers that are asked for often are renewed before they are too old.
    pub prefetch: Option<Prefetch>,
    /// Whether records keep their time to live instead of growing old.
    pub keep_ttl: bool,
}

/// One of the two kinds of answers in a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheKind {
    /// How many are kept.
    pub capacity: usize,
    /// The longest time one is kept.
    pub most: Duration,
    /// The shortest time one is kept.
    pub least: Duration,
    /// Zones whose answers of this kind are not kept.
    pub disabled: Vec<DomainName>,
}

/// Giving answers that are too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeStale {
    /// For how long after they should have gone.
    pub longest: Duration,
    /// When.
    pub mode: StaleMode,
}

/// When an answer that is too old is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleMode {
    /// At once, while a new one is fetched.
    Immediate,
    /// When no new one could be fetched.
    Verify,
}

/// Renewing answers that are asked for often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// How often it must be asked for.
    pub hits: u32,
    /// Without a pause longer than this.
    pub pause: Duration,
    /// From when on: percent of the time it is kept that are left.
    pub percent: u32,
}

impl Default for CacheConfig {
    /// Keeps answers about every zone, as `cache` without anything behind it in the block of `.`.
    fn default() -> Self {
        let kind = |most| CacheKind { capacity: DEFAULT_CAPACITY, most, least: LEAST, disabled: Vec::new() };
        Self {
            zones: vec![DomainName::root()],
            success: kind(MAX_POSITIVE),
            denial: kind(MAX_NEGATIVE),
            servfail: DEFAULT_SERVFAIL,
            serve_stale: None,
            prefetch: None,
            keep_ttl: false,
        }
    }
}

impl Reading<'_> {
    pub(super) fn cache(
        &mut self,
        directive: &Directive,
        block_zones: &[DomainName],
    ) -> Result<CacheConfig, CorefileError> {
        let ttl = directive.arguments.first().and_then(|word| word.parse().ok()).map(Duration::from_secs);
        let zones = zones_or(directive, &directive.arguments[usize::from(ttl.is_some())..], block_zones)?;
        let mut config = CacheConfig { zones, ..CacheConfig::default() };
        for kind in [&mut config.success, &mut config.denial] {
            kind.most = ttl.map_or(kind.most, |ttl| ttl.min(kind.most));
        }
        for option in &directive.body {
            cache_option(directive, option, &mut config)?;
        }
        Ok(config)
    }
}

fn cache_option(directive: &Directive, option: &Directive, config: &mut CacheConfig) -> Result<(), CorefileError> {
    option.has_no_block()?;
    match &*option.name {
        "success" => read_kind(option, &mut config.success)?,
        "denial" => read_kind(option, &mut config.denial)?,
        "keepttl" => config.keep_ttl = option.is_bare()?,
        "prefetch" => config.prefetch = prefetch(option)?,
        "serve_stale" => config.serve_stale = Some(serve_stale(option)?),
        "servfail" => {
            let expected = "a time up to 5m";
            let time = |word: &str| parse_duration(word).filter(|&time| time <= MAX_SERVFAIL);
            config.servfail = option.only_as(time, expected)?;
        }
        "disable" => {
            let expected = "success or denial, and zones if not all are meant";
            option.counts(1..=usize::MAX, expected)?;
            let zones = zones_or(option, &option.arguments[1..], &config.zones)?;
            match &*option.arguments[0] {
                "success" => config.success.disabled.extend(zones),
                "denial" => config.denial.disabled.extend(zones),
                other => return Err(option.refused(other, expected)),
            }
        }
        _ => return Err(directive.no_such(option, OPTIONS)),
    }
    Ok(())
}

fn read_kind(option: &Directive, kind: &mut CacheKind) -> Result<(), CorefileError> {
    const EXPECTED: &str = "how many answers, then the most and the least seconds to keep one";
    option.counts(1..=3, EXPECTED)?;
    kind.capacity = option.number_at(0, EXPECTED)?.unwrap_or(kind.capacity);
    // More than fits a record's time to live is no time that can be added to a clock.
    let seconds = |index, default| {
        let number: Option<u32> = option.number_at(index, EXPECTED)?;
        Ok(number.map_or(default, |number| Duration::from_secs(number.into())))
    };
    kind.most = seconds(1, kind.most)?;
    kind.least = seconds(2, kind.least)?;
    Ok(())
}

fn prefetch(option: &Directive) -> Result<Option<Prefetch>, CorefileError> {
    const EXPECTED: &str = "how often, then a time such as 1m and a share such as 10%";
    option.counts(1..=3, EXPECTED)?;
    let hits = option.number_at(0, EXPECTED)?.unwrap_or(0);
    let word = |index: usize, default: &'static str| option.arguments.get(index).map_or(default, String::as_str);
    let (pause, percent) = (word(1, "1m"), word(2, "10%"));
    let parsed_pause = parse_duration(pause).ok_or_else(|| option.refused(pause, EXPECTED))?;
    let parsed = percent.strip_suffix('%').and_then(|number| number.parse().ok());
    let parsed = parsed.filter(|percent| (10..=90).contains(percent));
    let percent = parsed.ok_or_else(|| option.refused(percent, "a share from 10% to 90%"))?;
    Ok((hits > 0).then_some(Prefetch { hits, pause: parsed_pause, percent }))
}

fn serve_stale(option: &Directive) -> Result<ServeStale, CorefileError> {
    const EXPECTED: &str = "a time such as 1h, then immediate or verify";
    option.counts(0..=2, EXPECTED)?;
    let longest = match option.arguments.first() {
        None => DEFAULT_STALE,
        Some(text) => parse_duration(text).ok_or_else(|| option.refused(text, EXPECTED))?,
    };
    let mode = match option.arguments.get(1).map_or("immediate", |word| &**word) {
        "immediate" => StaleMode::Immediate,
        "verify" => StaleMode::Verify,
        other => return Err(option.refused(other, EXPECTED)),
    };
    Ok(ServeStale { longest, mode })
}
