//! What a prober counted (`lab/probe`).

use serde::Deserialize;

/// A machine that has no time for one process has none for its neighbours, for about so long.
const STARVED_MS: u64 = 1000;

/// How a server was to be reached.
#[derive(Debug, Deserialize)]
pub struct Count {
    /// Requests.
    pub sent: usize,
    /// Those without an answer in time.
    pub lost: usize,
    /// The first of these.
    pub losses: Vec<Loss>,
}

/// A request without an answer.
#[derive(Debug, Deserialize)]
pub struct Loss {
    /// When it was sent, in milliseconds since 1970.
    at: u64,
    /// What became of it; for people.
    #[expect(dead_code, reason = "printed with the first loss")]
    why: String,
}

impl Count {
    /// How many were lost while a prober that uses no network lost none.
    pub fn lost_beyond(&self, control: &Self) -> usize {
        let starved = |loss: &&Loss| control.losses.iter().any(|other| other.at.abs_diff(loss.at) <= STARVED_MS);
        self.lost - self.losses.iter().filter(starved).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(times: &[u64]) -> Count {
        let losses = times.iter().map(|at| Loss { at: *at, why: "timeout".into() }).collect();
        Count { sent: 10_000, lost: times.len(), losses }
    }

    #[test]
    fn what_a_starved_machine_lost_is_not_the_networks_fault() {
        assert_eq!(count(&[5_000, 5_900, 9_000]).lost_beyond(&count(&[5_500])), 1);
    }

    #[test]
    fn losses_that_were_not_told_one_by_one_count() {
        let mut many = count(&[5_000]);
        many.lost = 7;
        assert_eq!(many.lost_beyond(&count(&[5_000])), 6);
        assert_eq!(many.lost_beyond(&count(&[])), 7);
    }
}
