//! Runs every test with every kubectl and prints one line for each, as cargo's own harness does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use crate::Test;
use crate::kubectl::Kubectl;
use crate::world::World;

pub fn run(families: &[&[Test]]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let tests: Vec<Test> = families.iter().copied().flatten().copied().collect();
    if std::env::args().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = |label: &str, name: &str| {
        let full = format!("{label}::{name}");
        filters.is_empty() || filters.iter().any(|filter| full.contains(filter.as_str()))
    };
    let world = World::start();
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for kubectl in world.kubectls() {
            let mine: Vec<Test> = tests.iter().copied().filter(|(name, _)| wanted(&kubectl.label, name)).collect();
            let failed = &failed;
            let version = thread::Builder::new().name(kubectl.label.clone());
            let work = move || {
                let failures = run_version(kubectl, &mine);
                failed.lock().unwrap().extend(failures);
            };
            version.spawn_scoped(scope, work).unwrap();
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("\n{} failed: {failed:#?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs tests one after the other; returns the names of those that failed.
fn run_version(kubectl: &Kubectl, tests: &[Test]) -> Vec<String> {
    if tests.is_empty() {
        return Vec::new();
    }
    kubectl.make_namespace();
    let mut failed = Vec::new();
    for (name, test) in tests {
        let full = format!("{}::{}", kubectl.label, name.trim_start_matches("kubectl::"));
        let passed = catch_unwind(AssertUnwindSafe(|| test(kubectl))).is_ok();
        println!("test {full} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(full);
        }
    }
    failed
}
