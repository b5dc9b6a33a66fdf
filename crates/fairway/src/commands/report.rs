//! Progress for people: one line a step, with the time it took.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Prints steps as they are done, on standard error, so that standard output stays for results.
#[derive(Debug)]
pub struct Report {
    begun: Instant,
    last: Instant,
    colour: bool,
}

impl Report {
    /// A report whose clock starts now.
    pub fn begin() -> Self {
        let now = Instant::now();
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { begun: now, last: now, colour }
    }

    /// A step is done.
    pub fn step(&mut self, text: &str) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let mark = if self.colour { "\x1b[32m✓\x1b[0m" } else { "✓" };
        self.line(&format!(" {mark} {text:<70} {:>6} ms", took.as_millis()));
    }

    /// Something to know that is no step.
    pub fn line(&self, text: &str) {
        // A closed terminal must not end the work.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Seconds since the report began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}
