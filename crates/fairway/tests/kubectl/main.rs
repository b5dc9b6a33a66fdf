//! Real kubectl, every version the machine has, against one sandbox: each version in a namespace of its own.
//!
//! The versions are those beside the `kubectl` on the PATH (`kubectl.1.31` and so on, from 1.31), or what
//! `FAIRWAY_KUBECTL` names, separated by colons. `FAIRWAY_TEST_KUBECONFIG` names a cluster to use instead of a sandbox.

#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(clippy::disallowed_methods, reason = "waiting for another process is a poll loop")]

#[expect(dead_code, reason = "every test uses its part")]
#[path = "../harness/mod.rs"]
mod harness;

mod apply;
mod change;
mod create;
mod custom;
mod delete;
mod describe;
mod host_port;
mod kubectl;
mod read;
mod refuse;
mod rollout;
mod runner;
mod stream;
mod world;

use std::process::ExitCode;

/// One behaviour, checked with one kubectl.
type Test = (&'static str, fn(&kubectl::Kubectl));

/// Lists functions under their names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
use tests;

fn main() -> ExitCode {
    runner::run(&[
        create::TESTS,
        read::TESTS,
        apply::TESTS,
        rollout::TESTS,
        change::TESTS,
        describe::TESTS,
        stream::TESTS,
        host_port::TESTS,
        custom::TESTS,
        delete::TESTS,
        refuse::TESTS,
    ])
}
