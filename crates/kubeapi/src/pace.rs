//! How often snapshots appear.

use std::time::Duration;

use tokio::time::Instant;

/// How long a change waits for those that belong to it: a Service and its EndpointSlice, a rollout's pods.
const GATHER: Duration = Duration::from_millis(2);
/// How far apart snapshots are at least.
const SPACING: Duration = Duration::from_millis(20);
/// While changes do not cease snapshots get rarer, as each then carries many and costs little more than with one: this part
/// of the time that changes have gone on lies between two. So the last change of a short burst waits for a short time only.
const PART: u32 = 8;
/// How far apart they are at most.
const SPACING_MAX: Duration = Duration::from_millis(160);

/// Says when the next snapshot is due: at once after a quiet time, the later the longer changes go on.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    /// When the first snapshot of this burst appeared.
    burst: Instant,
    spacing: Duration,
}

impl Pace {
    pub(crate) const fn from(now: Instant) -> Self {
        Self { last: now, burst: now, spacing: SPACING }
    }

    /// When a change that came now is due.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        (now + GATHER).max(self.last + self.spacing)
    }

    /// Notes that a snapshot appeared.
    pub(crate) fn published(&mut self, now: Instant) {
        // A change that had to wait came while others still did.
        let is_busy = now < self.last + 2 * self.spacing;
        if !is_busy {
            self.burst = now;
        }
        self.spacing = ((now - self.burst) / PART).clamp(SPACING, SPACING_MAX);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each change gets into a snapshot, in milliseconds, for changes at these.
    fn published(changes: impl IntoIterator<Item = u32>) -> Vec<u128> {
        let start = Instant::now();
        let (mut pace, mut due, mut published) = (Pace::from(start), None, Vec::new());
        for change in changes {
            let now = start + change * MS;
            if let Some(at) = due.take_if(|at| *at <= now) {
                pace.published(at);
                published.push((at - start).as_millis());
            }
            due.get_or_insert_with(|| pace.due(now));
        }
        published
    }

    #[test]
    fn a_change_after_a_quiet_time_waits_for_its_companions_only() {
        assert_eq!(published([1_000, 1_001, 3_000, 9_000]), [1_002, 3_002]);
    }

    #[test]
    fn a_burst_is_seen_at_once_and_then_seldom() {
        let times = published(1_000..3_000);
        assert_eq!(times[..5], [1_002, 1_022, 1_042, 1_062, 1_082]);
        assert_eq!(times[times.len() - 1] - times[times.len() - 2], SPACING_MAX.as_millis());
        assert!(times.len() < 32, "{} snapshots in two seconds", times.len());
    }

    #[test]
    fn the_last_change_of_a_burst_waits_an_eighth_of_its_length_at_most() {
        for length in [100, 300, 1_000] {
            let end = 1_000 + length;
            // What comes a second later shows what was still due.
            let times = published((1_000..=end).chain([end + 1_000, end + 2_000]));
            let in_force = times[times.len() - 2];
            let waited = in_force - u128::from(end);
            assert!(waited <= u128::from(length / 8).max(SPACING.as_millis()), "{waited} ms after {length} ms");
        }
    }

    #[test]
    fn after_a_burst_a_change_is_as_quick_as_before_it() {
        let times = published((1_000..2_000).chain([3_000, 3_500, 4_000]));
        assert_eq!(times[times.len() - 2..], [3_002, 3_502]);
    }
}
