//! Series of measurements and what is said of them.

use std::time::Duration;

/// Durations of one thing measured several times.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<Duration>);

impl Series {
    /// Adds a measurement.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The measurements, in the order they were made.
    pub fn iter(&self) -> std::slice::Iter<'_, Duration> {
        self.0.iter()
    }

    /// The duration that `percent` of the measurements do not exceed; zero without measurements.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    /// The measurement in the middle.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// Median, smallest and largest, in milliseconds.
    pub fn spread(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let [least, most] = [0, 100].map(|percent| ms(self.percentile(percent)));
        format!("{:.1} ms  ({least:.1} to {most:.1}, {} runs)", ms(self.median()), self.0.len())
    }
}

impl FromIterator<Duration> for Series {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        Self(durations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_that_were_made() {
        let series: Series = (1..=10).map(Duration::from_millis).collect();
        let at = |percent| series.percentile(percent).as_millis();
        assert_eq!([at(0), at(50), at(99), at(100)], [1, 6, 10, 10]);
        assert_eq!(Series::default().median(), Duration::ZERO);
    }
}
