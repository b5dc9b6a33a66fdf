//! The table of what was measured, and the same for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Measured;
use super::load::{Run, Test};

/// Ratios of a path to the first one, and what it came to.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// The median of the path's rates.
    per_second: f64,
    /// The median of its rounds' ratios, by time.
    ratio: f64,
    /// The same, by processor time.
    cpu_ratio: f64,
}

/// A line for every path: its rates, and their ratios to those of the first.
pub fn table(all: &[Measured]) -> String {
    let mut text = format!("{:<32}", "rate  ratio (by CPU time)");
    // Writing into a String cannot fail, here and below.
    for test in Test::ALL {
        let _ = write!(text, "{:>28}", test.name());
    }
    for measured in all {
        let _ = write!(text, "\n{:<32}", measured.path.name);
        for (test, index) in Test::ALL.into_iter().zip(0..) {
            let Figures { per_second, ratio, cpu_ratio } = figures(&all[0].runs[index], &measured.runs[index]);
            let rate = rate(test, per_second);
            let _ = write!(text, "{rate:>14} {ratio:>5.2} ({cpu_ratio:>4.2})");
        }
    }
    let rounds = all[0].runs[0].len();
    let _ = writeln!(text, "\nmedians of {rounds} rounds in turns; ratios to the first line");
    text
}

/// The figures of every path, in transactions or bytes a second.
pub fn json(all: &[Measured]) -> Value {
    let of_path = |measured: &Measured| {
        let of_test = |(test, index): (Test, usize)| {
            let Figures { per_second, ratio, cpu_ratio } = figures(&all[0].runs[index], &measured.runs[index]);
            let spread: Vec<f64> = measured.runs[index].iter().map(|run| run.per_second).collect();
            let figures = json!({ "perSecond": per_second, "ratio": ratio, "cpuRatio": cpu_ratio, "rounds": spread });
            (test.name().to_owned(), figures)
        };
        let tests: serde_json::Map<String, Value> = Test::ALL.into_iter().zip(0..).map(of_test).collect();
        json!({ "path": measured.path.name, "tests": tests })
    };
    all.iter().map(of_path).collect()
}

fn figures(base: &[Run], runs: &[Run]) -> Figures {
    let ratios = |of: fn(&Run) -> f64| median(base.iter().zip(runs).map(|(base, run)| of(run) / of(base)).collect());
    Figures {
        per_second: median(runs.iter().map(|run| run.per_second).collect()),
        ratio: ratios(|run| run.per_second),
        cpu_ratio: ratios(|run| run.per_cpu_second),
    }
}

fn rate(test: Test, per_second: f64) -> String {
    match test {
        Test::Stream => format!("{:.1} Gbit/s", per_second * 8.0 / 1e9),
        Test::TcpRr | Test::TcpCrr | Test::UdpRr => format!("{per_second:.0}/s"),
    }
}

/// The value in the middle; not a number without values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians() {
        let runs = |rates: [f64; 3]| rates.map(|rate| Run { per_second: rate, per_cpu_second: 2.0 * rate });
        // A slow moment of the machine met both in the second round.
        let figures = figures(&runs([100.0, 10.0, 120.0]), &runs([90.0, 9.0, 60.0]));
        assert_eq!((figures.per_second, figures.ratio, figures.cpu_ratio), (60.0, 0.9, 0.9));
    }
}
