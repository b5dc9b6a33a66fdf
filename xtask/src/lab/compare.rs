//! Fairway and the reference stack side by side.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::options::Form;
use super::progress::Progress;
use super::report::{Outcome, Report, Spec};
use super::site::{Shape, Site};
use super::stack::Stack;
use super::suite::{self, Selection};
use super::{down, up};

/// What is compared, in the order of the table's columns.
pub const STACKS: [Stack; 2] = [Stack::Reference, Stack::Fairway];
/// The order in which they run: what is most likely to be wrong is told first.
const ORDER: [Stack; 2] = [Stack::Fairway, Stack::Reference];
/// On so many nodes, where none asks for more.
pub const NODES: usize = 2;
const OUTCOMES: [Outcome; 3] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped];

/// Runs a selection on one stack after the other and prints the table, of whatever came of it; Fairway's image is
/// `archive`, or is made. An error if a stack did not come to the end, or if a spec failed on Fairway.
pub fn run(selection: &Selection, archive: Option<&Path>, form: Form) -> Result<()> {
    for stack in ORDER {
        let (nodes, zones) = selection.nodes();
        let shape = Shape { zones, ..Shape::new(nodes, stack, selection.families())? };
        let done = in_new_lab("compare", &shape, archive, |site| suite::run(site, selection));
        let report = done.unwrap_or_else(|error| faulty(selection, stack, &error));
        report.write(&selection.kept(stack.name())?)?;
    }
    print(selection, form)
}

/// Does something in a lab that is there for nothing else, and takes it down however that went.
pub fn in_new_lab<T>(
    purpose: &str,
    shape: &Shape,
    archive: Option<&Path>,
    act: impl FnOnce(&Site) -> Result<T>,
) -> Result<T> {
    let site = Site::of_name(&format!("{purpose}-{}", shape.stack.name()))?;
    let done = up::up(&site, shape, archive.map(Path::to_owned)).and_then(|()| act(&site));
    let (progress, ended) = (Progress::begin(), down::remove(&site));
    let done = done?;
    ended?.iter().for_each(|line| progress.say(format!("removed     {line}")));
    Ok(done)
}

/// Prints the last results that were kept; an error if they are not as they should be.
pub fn print(selection: &Selection, form: Form) -> Result<()> {
    let read = |stack: Stack| Report::read(&selection.kept(stack.name())?);
    let reports: Vec<Report> = STACKS.into_iter().map(read).collect::<Result<_>>()?;
    match form {
        Form::Table => println!("{}", table(&reports)),
        Form::Json => println!("{:#}", summary(&reports)),
    }
    verdict(&reports)
}

fn faulty(selection: &Selection, stack: Stack, error: &anyhow::Error) -> Report {
    Report {
        suite: selection.name.clone(),
        stack: stack.name().to_owned(),
        seconds: 0,
        conditions: None,
        fault: Some(format!("{error:#}")),
        specs: Vec::new(),
    }
}

fn verdict(reports: &[Report]) -> Result<()> {
    let counts = |report: &&Report| report.fault.is_some() || report.stack == Stack::Fairway.name();
    reports.iter().filter(counts).try_for_each(Report::verdict).context("not as it should be")
}

/// A Markdown table: the counts, then each spec that did not pass everywhere.
fn table(reports: &[Report]) -> String {
    let head: Vec<String> = reports.iter().map(|report| format!("{} on {}", report.suite, report.stack)).collect();
    let mut lines = vec![row("", &head), row("---", &vec!["---".to_owned(); reports.len()])];
    for outcome in OUTCOMES {
        let counts: Vec<String> = reports.iter().map(|report| report.with(outcome).count().to_string()).collect();
        lines.push(row(&outcome.name().to_lowercase(), &counts));
    }
    let times: Vec<String> = reports.iter().map(|report| format!("{} s", report.seconds)).collect();
    lines.push(row("time", &times));
    for name in names(reports) {
        let cells: Vec<String> = reports.iter().map(|report| cell(find(report, name))).collect();
        if cells.iter().any(|cell| cell != Outcome::Passed.name()) {
            lines.push(row(name, &cells));
        }
    }
    lines.extend(reports.iter().flat_map(remarks));
    lines.join("\n")
}

/// What stands below the table.
fn remarks(report: &Report) -> Vec<String> {
    let remark = |text: String| format!("\n{} on {}: {text}", report.suite, report.stack);
    let fault = report.fault.iter().map(|fault| format!("ended early: {fault}"));
    report.conditions.iter().map(ToString::to_string).chain(fault).map(remark).collect()
}

fn summary(reports: &[Report]) -> Value {
    let count = |report: &Report, outcome| report.with(outcome).count();
    let stacks = reports.iter().map(|report| {
        json!({
            "stack": report.stack,
            "passed": count(report, Outcome::Passed),
            "failed": count(report, Outcome::Failed),
            "skipped": count(report, Outcome::Skipped),
            "seconds": report.seconds,
            "conditions": report.conditions,
            "fault": report.fault,
            "specs": report.specs,
        })
    });
    json!({ "suite": reports.first().map(|report| &report.suite), "stacks": stacks.collect::<Vec<_>>() })
}

fn names(reports: &[Report]) -> BTreeSet<&str> {
    reports.iter().flat_map(|report| &report.specs).map(|spec| &*spec.name).collect()
}

fn find<'a>(report: &'a Report, name: &str) -> Option<&'a Spec> {
    report.specs.iter().find(|spec| spec.name == name)
}

fn cell(spec: Option<&Spec>) -> String {
    spec.map_or("not run", |spec| spec.outcome.name()).to_owned()
}

fn row(name: &str, cells: &[String]) -> String {
    format!("| {name} | {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stack: &str, specs: &[(&str, Outcome)], fault: Option<&str>) -> Report {
        let spec = |(name, outcome): &(&str, Outcome)| Spec { name: (*name).into(), outcome: *outcome, seconds: 1.0 };
        Report {
            suite: "dns".into(),
            stack: stack.into(),
            seconds: 9,
            conditions: None,
            fault: fault.map(str::to_owned),
            specs: specs.iter().map(spec).collect(),
        }
    }

    #[test]
    fn what_passed_everywhere_is_only_counted() {
        let reports = [
            report("reference", &[("a", Outcome::Passed), ("b", Outcome::Failed)], None),
            report("fairway", &[("a", Outcome::Passed)], None),
        ];
        let expected = "\
|  | dns on reference | dns on fairway |
| --- | --- | --- |
| passed | 1 | 1 |
| failed | 1 | 0 |
| skipped | 0 | 0 |
| time | 9 s | 9 s |
| b | FAILED | not run |";
        assert_eq!(table(&reports), expected);
    }

    #[test]
    fn a_half_that_ended_early_is_in_the_table_and_makes_it_an_error() {
        let reports = [report("reference", &[], Some("no etcd")), report("fairway", &[("a", Outcome::Passed)], None)];
        assert!(table(&reports).ends_with("| a | not run | passed |\n\ndns on reference: ended early: no etcd"));
        assert!(verdict(&reports).is_err());
    }

    #[test]
    fn only_fairway_s_failures_make_it_an_error() {
        let (good, bad) = ([("a", Outcome::Passed)], [("a", Outcome::Failed)]);
        verdict(&[report("reference", &bad, None), report("fairway", &good, None)]).unwrap();
        verdict(&[report("reference", &good, None), report("fairway", &bad, None)]).unwrap_err();
    }

    #[test]
    fn programs_get_counts_and_specs() {
        let told = summary(&[report("fairway", &[("a", Outcome::Failed)], None)]);
        assert_eq!((&told["stacks"][0]["failed"], &told["stacks"][0]["specs"][0]["name"]), (&json!(1), &json!("a")));
    }
}
