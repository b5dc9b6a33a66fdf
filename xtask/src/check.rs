//! Everything that is checked without running the program.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{directions, purity, sizes, source};

/// Runs every check; all of them, so that one run shows all that is wrong.
pub fn check() -> Result<()> {
    let mut wrong = Vec::new();
    let steps: [(&str, &[&str]); 3] = [
        ("formatting", &["fmt", "--all", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ("docs", &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]),
    ];
    for (name, arguments) in steps {
        println!("== {name}");
        if let Err(error) = cargo(arguments) {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    wrong.extend(find_breaches()?);
    conclude(&wrong)
}

/// Runs the checks that need no compiler.
pub fn rules() -> Result<()> {
    conclude(&find_breaches()?)
}

fn find_breaches() -> Result<Vec<String>> {
    println!("== directions and licences");
    let mut wrong = directions::breaches(&directions::read_deny()?, &directions::read_metadata()?);
    println!("== await, unsafe, purity, names");
    wrong.extend(source::tracked()?.iter().flat_map(purity::breaches));
    println!("== sizes");
    wrong.extend(sizes::report()?);
    Ok(wrong)
}

fn conclude(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() {
        println!("all checks passed");
        return Ok(());
    }
    for line in wrong {
        eprintln!("wrong: {line}");
    }
    bail!("{} to mend", wrong.len())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}
