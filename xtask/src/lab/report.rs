//! What the suite says, as results.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::conditions::Conditions;

/// How a spec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed, panicked or ran out of time.
    Failed,
    /// It found that it does not apply to this cluster.
    Skipped,
}

/// One spec that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Its full name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
}

/// The results of one run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was run.
    pub suite: String,
    /// On which stack.
    pub stack: String,
    /// How long all of it took.
    pub seconds: u64,
    /// Under which conditions; earlier labs did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// What kept it from its end: specs may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The specs, in the order they ended.
    pub specs: Vec<Spec>,
}

/// What has been read of the suite's output.
#[derive(Default)]
pub struct Transcript {
    /// How many specs there will be.
    expected: usize,
    /// The specs that have ended.
    pub specs: Vec<Spec>,
    current: String,
    after_delimiter: bool,
}

impl Outcome {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

impl Report {
    /// Specs that ended so.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Spec> {
        self.specs.iter().filter(move |spec| spec.outcome == outcome)
    }

    /// An error if it did not come to its end or a spec failed.
    pub fn verdict(&self) -> Result<()> {
        let failed = self.with(Outcome::Failed).count();
        match &self.fault {
            Some(fault) => bail!("{} on {}: {fault}", self.suite, self.stack),
            None if failed > 0 => bail!("{} on {}: {failed} specs failed", self.suite, self.stack),
            None => Ok(()),
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads one that was written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no report", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [passed, failed, skipped] =
            [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.with(outcome).count());
        for spec in self.with(Outcome::Failed).chain(self.with(Outcome::Skipped)) {
            writeln!(out, "{:7} {:6.1} s  {}", spec.outcome.name(), spec.seconds, spec.name)?;
        }
        let (suite, stack, ran) = (&self.suite, &self.stack, passed + failed);
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        write!(out, "{suite} on {stack}: {passed} of {ran} passed, {failed} failed, {skipped} skipped, ")?;
        write!(out, "in {minutes} min {seconds} s")
    }
}

impl Transcript {
    /// Takes the next line; the spec that ended with it.
    pub fn read_line(&mut self, line: &str) -> Option<&Spec> {
        let begins = std::mem::replace(&mut self.after_delimiter, line.starts_with("----------"));
        if let Some(count) = expected(line) {
            self.expected = count;
        } else if begins {
            without_labels(line.trim()).clone_into(&mut self.current);
        }
        let (outcome, seconds) = conclusion(line)?;
        self.specs.push(Spec { name: self.current.clone(), outcome, seconds });
        self.specs.last()
    }

    /// How far it is.
    pub fn count(&self) -> String {
        format!("{:>3}/{}", self.specs.len(), self.expected)
    }
}

/// The name of a spec as it is written: the suite appends the labels it has in brackets.
fn without_labels(line: &str) -> &str {
    match line.rsplit_once(" [") {
        Some((name, labels)) if labels.starts_with("sig-") => name,
        _ => line,
    }
}

fn expected(line: &str) -> Option<usize> {
    line.strip_prefix("Will run ")?.split(' ').next()?.parse().ok()
}

/// `• [1.2 seconds]`, `• [FAILED] [1.2 seconds]`, `S [SKIPPED] [1.2 seconds]`.
fn conclusion(line: &str) -> Option<(Outcome, f64)> {
    let (outcome, rest) = match line.strip_prefix("S [SKIPPED] ") {
        Some(rest) => (Outcome::Skipped, rest),
        None => match line.strip_prefix("• ")? {
            rest if rest.ends_with("seconds]") && rest.matches('[').count() == 1 => (Outcome::Passed, rest),
            rest => (Outcome::Failed, rest),
        },
    };
    let time = rest.rsplit('[').next()?.strip_suffix(" seconds]")?;
    Some((outcome, time.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Will run 3 of 7000 specs
------------------------------
[sig-network] DNS resolves [Conformance] [sig-network, Conformance]
/a/dns.go:1
  STEP: look - dns.go:2
• [1.500 seconds]
------------------------------
[sig-network] Services serve
• [FAILED] [12.000 seconds]
[sig-network] Services [It] serve
------------------------------
[sig-network] Proxy waits
S [SKIPPED] [0.100 seconds]
------------------------------
[SynchronizedAfterSuite] PASSED [0.001 seconds]
";

    #[test]
    fn each_spec_is_told_when_it_ends() {
        let mut transcript = Transcript::default();
        let ended: Vec<Spec> = OUTPUT.lines().filter_map(|line| transcript.read_line(line).cloned()).collect();
        let spec = |name: &str, outcome, seconds| Spec { name: name.into(), outcome, seconds };
        assert_eq!(
            ended,
            [
                spec("[sig-network] DNS resolves [Conformance]", Outcome::Passed, 1.5),
                spec("[sig-network] Services serve", Outcome::Failed, 12.0),
                spec("[sig-network] Proxy waits", Outcome::Skipped, 0.1),
            ]
        );
        assert_eq!(transcript.count(), "  3/3");
    }

    #[test]
    fn a_spec_that_timed_out_has_failed() {
        assert_eq!(conclusion("• [TIMEDOUT] [3.000 seconds]"), Some((Outcome::Failed, 3.0)));
    }

    #[test]
    fn a_report_names_what_failed_and_counts() {
        let spec = |name: &str, outcome| Spec { name: name.into(), outcome, seconds: 1.0 };
        let specs = vec![spec("a", Outcome::Passed), spec("b", Outcome::Failed)];
        let report =
            Report { suite: "s".into(), stack: "reference".into(), seconds: 61, conditions: None, fault: None, specs };
        let text = "FAILED     1.0 s  b\ns on reference: 1 of 2 passed, 1 failed, 0 skipped, in 1 min 1 s";
        assert_eq!(report.to_string(), text);
    }
}
