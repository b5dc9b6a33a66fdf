//! The table of what was measured.

use std::fmt::Write as _;
use std::time::Duration;

use super::Shape;
use super::apart::Outcome;
use super::case::CHANGES;

/// A line of the table: what it shows of a case, and what it says beside it.
struct Line<'a> {
    what: &'a str,
    of: &'a dyn Fn(&Outcome) -> Option<Duration>,
    note: &'a dyn Fn(&Outcome) -> String,
}

impl Line<'_> {
    fn shown(&self, of_size: &[Outcome]) -> String {
        let mut text = format!("  {:<36}", self.what);
        let base = of_size.first().and_then(self.of);
        for outcome in of_size {
            let took = (self.of)(outcome);
            let shown = took.map_or("-".to_owned(), |took| format!("{}{}", ms(took), (self.note)(outcome)));
            let _ = write!(text, " {shown:>25}");
            if outcome.shape != Shape::Flat {
                let ratio = base.zip(took).map(|(base, took)| took.as_secs_f64() / base.as_secs_f64());
                let _ = write!(text, " {:>7}", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}")));
            }
        }
        text.push('\n');
        text
    }
}

/// A line for everything that was measured at one size; the first case is Fairway's, the others have their ratio to it.
/// Connections are set beside those of the same shape at the smallest size of all, which is what `x` means.
pub fn table(endpoints: u32, of_size: &[Outcome], all: &[Outcome]) -> String {
    let services = of_size.first().map(|outcome| outcome.services).unwrap_or_default();
    let mut text = format!("{:<38}", format!("{services} Services of {endpoints} endpoints"));
    // Writing into a String cannot fail, here and below.
    for outcome in of_size {
        let _ = write!(text, " {:>25}", outcome.shape.title());
        text.push_str(if outcome.shape == Shape::Flat { "" } else { "   ratio" });
    }
    text.push('\n');
    let quiet: &dyn Fn(&Outcome) -> String = &|_| String::new();
    let mut line = |what: &str, of: &dyn Fn(&Outcome) -> Option<Duration>, note: &dyn Fn(&Outcome) -> String| {
        text.push_str(&Line { what, of, note }.shown(of_size));
    };
    line("cold sync", &|outcome| Some(outcome.measured.cold.wall), quiet);
    line("  of which on the CPU", &|outcome| Some(outcome.measured.cold.cpu), quiet);
    line("restart with the right state", &|outcome| Some(outcome.measured.restart?.wall), &|outcome| {
        let wrote = if outcome.measured.restart_wrote { ", WROTE" } else { ", wrote nothing" };
        outcome.measured.restart.map(|_| wrote.to_owned()).unwrap_or_default()
    });
    for (index, what) in CHANGES.iter().enumerate() {
        let series = |outcome: &Outcome| outcome.measured.changes.get(index).cloned().unwrap_or_default();
        line(what, &|outcome| Some(series(outcome).median()), &|outcome| {
            format!(" (most {})", ms(series(outcome).percentile(100)))
        });
    }
    for percent in [50, 99] {
        let what = format!("connection answered, p{percent} (x least)");
        let took = |outcome: &Outcome| outcome.connects.percentile(percent);
        line(&what, &|outcome| Some(took(outcome)), &|outcome| {
            let smallest = all.iter().filter(|other| other.shape == outcome.shape).min_by_key(|other| other.services);
            let base = smallest.map(took).unwrap_or_default();
            format!(" (x {:.2})", took(outcome).as_secs_f64() / base.as_secs_f64())
        });
    }
    text.push_str(&memory(of_size));
    text
}

fn memory(of_size: &[Outcome]) -> String {
    let mut text = format!("  {:<36}", "peak memory");
    for outcome in of_size {
        let _ = write!(text, " {:>25}", format!("{} MiB", outcome.measured.peak_kib / 1024));
        text.push_str(if outcome.shape == Shape::Flat { "" } else { "        " });
    }
    text + "\n"
}

fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ..1.0 => format!("{:.1} us", ms * 1000.0),
        ..100.0 => format!("{ms:.2} ms"),
        _ => format!("{ms:.0} ms"),
    }
}
