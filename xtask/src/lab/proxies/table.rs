//! What was measured, as a table.

use std::fmt::Write as _;

use super::Sized;
use super::round::Round;
use crate::lab::statistics::percentile;

/// A line of the table: what it says, and its value for a turn.
type Row = (&'static str, fn(&Round) -> f64);

const ROWS: [Row; 9] = [
    ("cold sync, ms", |round| round.cold_ms),
    ("CPU of a cold sync, ms", |round| round.cold_cpu_ms),
    ("one change applied to answered, p50, ms", |round| percentile(&round.change_ms, 50)),
    ("CPU of a change, ms", |round| round.change_cpu_ms),
    ("connection accepted, p50, us", |round| round.connect_p50_us),
    ("connection accepted, p99, us", |round| round.connect_p99_us),
    ("connections not accepted, of 2 000", |round| round.connect_failed as f64),
    ("memory, MiB", |round| round.memory_mib),
    ("CPU at rest, ms per s", |round| round.rest_cpu_ms),
];

/// A Markdown table: the median of all turns, and between which values they were.
pub fn table(sizes: &[Sized]) -> String {
    let mut text = "| Services | | kube-proxy | fairway | ratio |\n|---|---|---|---|---|".to_owned();
    for size in sizes {
        for (name, value) in ROWS {
            let [theirs, ours] = [&size.reference, &size.fairway].map(|rounds| Spread::of(rounds, value));
            let ratio = Some(ours.median / theirs.median).filter(|ratio| ratio.is_finite());
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            // Writing into a String cannot fail.
            let _ = write!(text, "\n| {} | {name} | {theirs} | {ours} | {ratio} |", size.services);
        }
    }
    text
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(rounds: &[Round], value: fn(&Round) -> f64) -> Self {
        let values: Vec<f64> = rounds.iter().map(value).collect();
        Self { least: percentile(&values, 0), median: percentile(&values, 50), most: percentile(&values, 100) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.1} ({:.1} to {:.1})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cold_ms: f64) -> Round {
        Round {
            cold_ms,
            cold_cpu_ms: 1.0,
            change_ms: vec![1.0],
            change_cpu_ms: 1.0,
            connect_p50_us: 1.0,
            connect_p99_us: 1.0,
            connect_failed: 0,
            memory_mib: 1.0,
            rest_cpu_ms: 1.0,
        }
    }

    #[test]
    fn a_line_has_medians_what_they_lie_between_and_their_ratio() {
        let reference = [30.0, 10.0, 20.0].map(round).into();
        let text = table(&[Sized { services: 7, reference, fairway: vec![round(5.0)] }]);
        let expected = "| 7 | cold sync, ms | 20.0 (10.0 to 30.0) | 5.0 (5.0 to 5.0) | 0.25 |";
        assert_eq!(text.lines().nth(2), Some(expected));
    }
}
