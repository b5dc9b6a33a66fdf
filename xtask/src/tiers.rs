//! The test tiers: all that this machine can run, and one line for each it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The test target that needs kubectl.
const KUBECTL_TEST: &str = "kubectl";

/// Runs every tier and passes `filter` on to the test binaries.
pub fn test(filter: &[String]) -> Result<()> {
    let kubectl = find_kubectl();
    let mut failed = Vec::new();
    let mut run = |name: &str, arguments: &[&str]| -> Result<()> {
        println!("== {name}");
        let status = Command::new("cargo")
            .args(["test", "--locked", "--no-fail-fast"])
            .args(arguments)
            .args(if filter.is_empty() { &[][..] } else { &["--"] })
            .args(filter)
            .status()
            .context("cannot run cargo test")?;
        if !status.success() {
            failed.push(name.to_owned());
        }
        Ok(())
    };
    run("unit, scenario, net and sandbox tiers", &["--workspace"])?;
    match &kubectl {
        Some(path) => {
            println!("kubectl: {}", path.display());
            run("kubectl tier", &["--package", "fairway", "--features", "kubectl-tests", "--test", KUBECTL_TEST])?;
        }
        None => println!("left out: the kubectl tier, because there is no kubectl on the PATH"),
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

fn find_kubectl() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("kubectl")).find(|path| Path::is_file(path))
}
