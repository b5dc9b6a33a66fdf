//! Chores of the project: `cargo xtask check | rules | test | sizes | bless | image | lab`.

mod bless;
mod check;
mod directions;
mod image;
mod lab;
mod process;
mod purity;
mod sizes;
mod source;
mod tiers;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  check   formatting, lints, directions between crates, licences, await and unsafe only where allowed, sizes, docs
  rules   the part of check that needs no compiler: directions, licences, await and unsafe, sizes
  test    every test tier this machine can run; says in one line which it leaves out
  sizes   the table of file and function sizes alone
  bless   writes the files that are made from others: deploy/install.yaml and the Helm chart
  image   the container image as an archive: [--profile release|dev] [--output FILE] [--tag NAME]...
  lab     a real Kubernetes on this machine; `cargo xtask lab help` says more

`cargo xtask test -- FILTER` passes FILTER on to the test binaries.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        Some("check") => check::check(),
        Some("rules") => check::rules(),
        Some("test") if words.get(1).is_none_or(|word| word == "--") => tiers::test(words.get(2..).unwrap_or_default()),
        Some("sizes") => sizes::report().map(|_| ()),
        Some("bless") => bless::bless(),
        Some("image") => image::make(&words[1..]),
        Some("lab") => lab::run(words.get(1..).unwrap_or_default()),
        _ if words.iter().any(|word| ["help", "--help", "-h"].contains(&word.as_str())) => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
