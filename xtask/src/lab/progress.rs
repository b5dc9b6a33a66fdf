//! What a long command says while it works.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Lines on standard error, each with the time since the beginning: standard output is for results.
#[derive(Clone, Copy)]
pub struct Progress {
    began: Instant,
}

impl Progress {
    /// Begins to count.
    pub fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// Says what is done now.
    pub fn say(&self, what: impl Display) {
        eprintln!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// The time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Asks `probe` again and again until it has an answer; an error of it counts as none, and is told when time is up.
pub fn wait_for<T>(what: impl Display, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => bail!("waited {} s for {what}: {error:#}", limit.as_secs()),
                None => bail!("waited {} s for {what}", limit.as_secs()),
            }
        }
        pause(LOOK_AGAIN);
    }
}

/// Lets time pass between two looks at a condition, or two probes at a given rate.
#[expect(clippy::disallowed_methods, reason = "the poll loops of the lab are made of it")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
