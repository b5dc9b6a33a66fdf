//! How often snapshots appear.

use std::time::Duration;

use tokio::time::Instant;

/// How long a change waits for those that belong to it: a Service and its EndpointSlice, a rollout's pods.
const GATHER: Duration = Duration::from_millis(2);
/// How far apart snapshots are at least.
const SPACING: Duration = Duration::from_millis(20);
/// How far apart they are while changes do not cease: each then carries many, and costs little more than with one.
const SPACING_MAX: Duration = Duration::from_millis(160);

/// Says when the next snapshot is due: at once after a quiet time, the later the longer changes go on.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    spacing: Duration,
}

impl Pace {
    pub(crate) const fn from(now: Instant) -> Self {
        Self { last: now, spacing: SPACING }
    }

    /// When a change that came now is due.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        (now + GATHER).max(self.last + self.spacing)
    }

    /// Notes that a snapshot appeared.
    pub(crate) fn published(&mut self, now: Instant) {
        // A change that had to wait came while others still did.
        let is_busy = now < self.last + 2 * self.spacing;
        self.spacing = if is_busy { (2 * self.spacing).min(SPACING_MAX) } else { SPACING };
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
        assert_eq!(times[..5], [1_002, 1_022, 1_062, 1_142, 1_302]);
        assert!(times.len() < 17, "{} snapshots in two seconds", times.len());
    }

    #[test]
    fn after_a_burst_a_change_is_as_quick_as_before_it() {
        let times = published((1_000..2_000).chain([3_000, 3_500, 4_000]));
        assert_eq!(times[times.len() - 2..], [3_002, 3_502]);
    }
}
