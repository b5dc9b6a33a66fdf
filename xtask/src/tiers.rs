//! The test tiers: all that this machine can run, and one line for each it cannot.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::find_program;

/// A tier that needs a program.
struct Tier {
    name: &'static str,
    /// What must be on the machine.
    program: &'static str,
    /// The Debian package that has it, when installing it is ours to do.
    package: Option<&'static str>,
    /// Whether only root can run it.
    as_root: bool,
    /// The feature that lets the tests in, after its package.
    feature: &'static str,
    /// Their file.
    test: &'static str,
}

const EVERYWHERE: &[&str] = &["--workspace"];

const WITH_PROGRAMS: &[Tier] = &[
    Tier {
        name: "golden",
        program: "nft",
        package: Some("nftables"),
        as_root: false,
        feature: "datapath/golden-tests",
        test: "net_golden",
    },
    Tier {
        name: "interop",
        program: "host-local",
        package: Some("containernetworking-plugins"),
        as_root: false,
        feature: "cni/interop-tests",
        test: "net_interop",
    },
    Tier {
        name: "containerd",
        program: "containerd",
        package: Some("containerd"),
        as_root: true,
        feature: "cni/runtime-tests",
        test: "root_containerd",
    },
    Tier {
        name: "podman",
        program: "podman",
        package: Some("podman"),
        as_root: true,
        feature: "cni/runtime-tests",
        test: "root_podman",
    },
    Tier {
        name: "kubectl",
        program: "kubectl",
        package: None,
        as_root: false,
        feature: "fairway/kubectl-tests",
        test: "kubectl",
    },
    Tier {
        name: "helm",
        program: "helm",
        package: None,
        as_root: false,
        feature: "manifests/helm-tests",
        test: "helm",
    },
];

/// Runs every tier and passes `filter` on to the test binaries.
pub fn test(filter: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    if !run("unit, scenario, net and sandbox", EVERYWHERE, filter)? {
        failed.push("unit, scenario, net and sandbox");
    }
    for tier in WITH_PROGRAMS {
        if tier.as_root && !is_root()? {
            println!("left out: the {} tier, because it takes root", tier.name);
            continue;
        }
        match tier.find_program() {
            Some(path) => {
                println!("{}: {}", tier.program, path.display());
                if !run(tier.name, &tier.arguments(), filter)? {
                    failed.push(tier.name);
                }
            }
            None => println!("left out: the {} tier, because there is no {} on this machine", tier.name, tier.program),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed tiers: {}", failed.join("; "))
}

/// Runs one tier; whether it passed.
fn run(name: &str, arguments: &[&str], filter: &[String]) -> Result<bool> {
    println!("== {name}");
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--no-fail-fast"]).args(arguments);
    if !filter.is_empty() {
        command.arg("--").args(filter);
    }
    Ok(command.status().context("cannot run cargo test")?.success())
}

impl Tier {
    /// Of the whole workspace, so that what is built for the first tier is as it must be for this one.
    fn arguments(&self) -> [&'static str; 5] {
        ["--workspace", "--features", self.feature, "--test", self.test]
    }

    /// Where the program is; one that Debian has is installed first where that can be done without asking.
    fn find_program(&self) -> Option<PathBuf> {
        find_program(self.program).or_else(|| {
            install(self.package?);
            find_program(self.program)
        })
    }
}

/// Whether this process belongs to root.
fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self").context("cannot look at this process")?.uid() == 0)
}

/// Installs a Debian package; without the rights or the tool nothing happens, and the tier is left out with a word.
fn install(package: &str) {
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", package]] {
        let quietly = Command::new("apt-get").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        if !quietly.is_ok_and(|status| status.success()) {
            return;
        }
    }
}
