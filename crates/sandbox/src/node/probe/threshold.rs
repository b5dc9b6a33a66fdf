//! How many answers in a row make a verdict.

/// Counts successes and failures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    success: u32,
    failure: u32,
    successes: u32,
    failures: u32,
}

impl Threshold {
    /// So many successes, or so many failures, in a row make a verdict; less than one counts as one.
    pub fn new(success: i32, failure: i32) -> Self {
        let at_least_one = |count: i32| u32::try_from(count).unwrap_or(1).max(1);
        Self { success: at_least_one(success), failure: at_least_one(failure), successes: 0, failures: 0 }
    }

    /// Notes a success; true if it is a verdict.
    pub fn note_success(&mut self) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        self.successes >= self.success
    }

    /// Notes a failure; true if it is a verdict.
    pub fn note_failure(&mut self) -> bool {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_make_a_verdict() {
        let mut threshold = Threshold::new(2, 3);
        let verdicts = [
            threshold.note_failure(),
            threshold.note_failure(),
            threshold.note_success(),
            threshold.note_failure(),
            threshold.note_failure(),
            threshold.note_failure(),
            threshold.note_failure(),
            threshold.note_success(),
            threshold.note_success(),
        ];
        assert_eq!(verdicts, [false, false, false, false, false, true, true, false, true]);
    }
}
