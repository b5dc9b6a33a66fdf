//! How long a container that keeps ending waits before it is started again.

use jiff::{SignedDuration, Timestamp};

/// The first wait; it doubles with every restart.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// After so long without a restart the wait begins anew.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The waits of one container, as the kubelet counts them: the first restart is immediate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackOff {
    current: Option<(SignedDuration, Timestamp)>,
}

impl BackOff {
    /// When a container that ended at `finished_at` may start again, and the wait to name; `None` means now.
    pub fn wait_until(&self, finished_at: Timestamp, now: Timestamp) -> Option<(Timestamp, SignedDuration)> {
        let (wait, last) = self.current?;
        if now.duration_since(last) > FORGET_AFTER {
            return None;
        }
        let until = finished_at.saturating_add(wait).unwrap_or(Timestamp::MAX);
        (until > now).then_some((until, wait))
    }

    /// Notes a restart at `now`.
    pub fn note_restart(&mut self, now: Timestamp) {
        let wait = match self.current {
            Some((wait, last)) if now.duration_since(last) <= FORGET_AFTER => (wait * 2).min(LONGEST),
            _ => FIRST,
        };
        self.current = Some((wait, now));
    }
}

/// A wait the way Go prints it, since users know it from there: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(wait: SignedDuration) -> String {
    let seconds = wait.as_secs();
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_and_waits_double_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait =
                back_off.wait_until(now, now).map_or(SignedDuration::ZERO, |(until, _)| until.duration_since(now));
            waits.push(go_duration(wait));
            now += wait;
            back_off.note_restart(now);
        }
        assert_eq!(waits, ["0s", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
    }

    #[test]
    fn ten_quiet_minutes_are_forgiven() {
        let mut back_off = BackOff::default();
        back_off.note_restart(at(0));
        back_off.note_restart(at(10));
        assert!(back_off.wait_until(at(600), at(600)).is_some());
        assert_eq!(back_off.wait_until(at(611), at(611)), None);
        back_off.note_restart(at(611));
        assert_eq!(back_off.wait_until(at(612), at(612)), Some((at(622), FIRST)));
    }
}
