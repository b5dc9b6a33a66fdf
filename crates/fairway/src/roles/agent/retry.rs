//! Trying again what failed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The pause before the first new try after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// When to try again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    pause: Duration,
    due: Option<Instant>,
}

impl Retry {
    /// Notes that it failed again: the next pause is twice as long.
    pub(super) fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
        self.due = Some(Instant::now() + self.pause);
    }

    /// Ends when it is time; never when nothing failed.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}
