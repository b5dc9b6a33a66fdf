//! How soon a write that failed is made again.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use kubeapi::WriteError;
use model::Subject;
use tokio::time::Instant;
use tracing::{debug, warn};

/// The pause after the first failure, and the longest: each is twice as long as the one before it.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Objects that could not be written the last time, each with a pause of its own: one that is refused for good costs little
/// and keeps no other from being written.
#[derive(Debug, Default)]
pub(super) struct Backoff(BTreeMap<Subject, Failure>);

#[derive(Debug)]
struct Failure {
    said: String,
    pause: Duration,
    due: Instant,
}

impl Backoff {
    /// Notes that a write to an object failed. It is told where it is another failure than the last time.
    pub(super) fn failed(&mut self, object: Subject, error: &WriteError, now: Instant) {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        if self.note(object, format!("{error}: {cause}"), now) {
            warn!(%error, cause, "trying again");
        } else {
            debug!(%error, cause, "trying again");
        }
    }

    /// Notes a failure, and whether another one than the last time.
    fn note(&mut self, object: Subject, said: String, now: Instant) -> bool {
        let known = self.0.get(&object);
        let is_news = known.is_none_or(|known| known.said != said);
        let pause = known.map_or(PAUSE.0, |known| (known.pause * 2).min(PAUSE.1));
        self.0.insert(object, Failure { said, pause, due: now + pause });
        is_news
    }

    /// Notes that a write to an object was made.
    pub(super) fn succeeded(&mut self, object: &Subject) {
        self.0.remove(object);
    }

    /// Forgets objects that there are no more.
    pub(super) fn retain(&mut self, exists: impl Fn(&Subject) -> bool) {
        self.0.retain(|object, _| exists(object));
    }

    /// When an object may be written again; nothing for one that did not fail.
    pub(super) fn due(&self, object: &Subject) -> Option<Instant> {
        self.0.get(object).map(|failure| failure.due)
    }

    /// When the next of those that had to wait at `now` may be written.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|failure| failure.due).filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use model::Name;

    use super::*;

    fn node(name: &str) -> Subject {
        Subject::node(&Name::from(name))
    }

    #[test]
    fn pauses_grow_up_to_a_minute_and_begin_anew_after_a_success() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let mut pause = || {
            backoff.note(node("a"), "no".into(), start);
            (backoff.due(&node("a")).unwrap() - start).as_secs()
        };
        assert_eq!([(); 8].map(|()| pause()), [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.succeeded(&node("a"));
        backoff.note(node("a"), "no".into(), start);
        assert_eq!((backoff.due(&node("a")), backoff.due(&node("b"))), (Some(start + PAUSE.0), None));
        assert_eq!(backoff.next(start), Some(start + PAUSE.0));
        assert_eq!(backoff.next(start + PAUSE.0), None, "it is written at that time");
    }

    #[test]
    fn the_same_failure_is_told_once_for_each_object() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut is_told = |name, said: &str| backoff.note(node(name), said.into(), now);
        let told = [("a", "no"), ("a", "no"), ("b", "no"), ("a", "slow"), ("a", "no")];
        assert_eq!(told.map(|(name, said)| is_told(name, said)), [true, false, true, true, true]);
    }
}
