//! Fairway and the reference stack side by side.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::report::{Outcome, Report, Spec};
use super::site::{Shape, Site};
use super::stack::Stack;
use super::suite::{self, Selection};
use super::{down, up};

/// What is compared, in the order of the table's columns.
pub const STACKS: [Stack; 2] = [Stack::Reference, Stack::Fairway];
const NODES: usize = 2;

/// Runs a selection on one stack after the other and prints the table; Fairway's image is `archive`, or is made.
pub fn run(selection: &Selection, archive: Option<&Path>) -> Result<()> {
    for stack in STACKS {
        in_new_lab("compare", stack, archive, |site| suite::run(site, selection))?;
    }
    print(selection)
}

/// Does something in a lab that is there for nothing else, and takes it down however that went.
pub fn in_new_lab<T>(
    purpose: &str,
    stack: Stack,
    archive: Option<&Path>,
    act: impl FnOnce(&Site) -> Result<T>,
) -> Result<T> {
    let site = Site::of_name(&format!("{purpose}-{}", stack.name()))?;
    let shape = Shape::new(NODES, stack)?;
    let done = up::up(&site, shape, archive.map(Path::to_owned)).and_then(|()| act(&site));
    let ended = down::down(&site);
    let done = done?;
    ended.map(|()| done)
}

/// Prints the table of the last results that were kept.
pub fn print(selection: &Selection) -> Result<()> {
    let read = |stack: Stack| Report::read(&suite::report_path(&selection.name, stack.name())?);
    let reports: Vec<Report> = STACKS.into_iter().map(read).collect::<Result<_>>()?;
    println!("{}", table(&reports));
    Ok(())
}

/// A Markdown table: the counts, then each spec that did not pass everywhere.
fn table(reports: &[Report]) -> String {
    let head: Vec<String> = reports.iter().map(|report| format!("{} on {}", report.suite, report.stack)).collect();
    let mut lines = vec![row("", &head), row("---", &vec!["---".to_owned(); reports.len()])];
    for outcome in [Outcome::Passed, Outcome::Failed, Outcome::Skipped] {
        let counts: Vec<String> = reports.iter().map(|report| report.with(outcome).count().to_string()).collect();
        lines.push(row(&outcome.name().to_lowercase(), &counts));
    }
    let times: Vec<String> = reports.iter().map(|report| format!("{} s", report.seconds)).collect();
    lines.push(row("time", &times));
    let names: BTreeSet<&str> = reports.iter().flat_map(|report| &report.specs).map(|spec| &*spec.name).collect();
    for name in names {
        let cells: Vec<String> = reports.iter().map(|report| cell(find(report, name))).collect();
        if cells.iter().any(|cell| cell != Outcome::Passed.name()) {
            lines.push(row(name, &cells));
        }
    }
    lines.join("\n")
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

    #[test]
    fn what_passed_everywhere_is_only_counted() {
        let spec = |name: &str, outcome| Spec { name: name.into(), outcome, seconds: 1.0 };
        let report = |stack: &str, specs| Report { suite: "dns".into(), stack: stack.into(), seconds: 9, specs };
        let reports = [
            report("reference", vec![spec("a", Outcome::Passed), spec("b", Outcome::Failed)]),
            report("fairway", vec![spec("a", Outcome::Passed)]),
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
}
