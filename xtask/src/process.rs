//! Running other programs.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it printed; its error text is in the error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let ended = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    text_of(&ended, &shown)
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// Runs a program to its end with `input` as its standard input.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let shown = shown(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("cannot run {shown}"))?;
    let mut entrance = child.stdin.take().context("no standard input")?;
    let ended = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read to the end has its own reasons, and tells them.
            let _ = entrance.write_all(input);
        });
        child.wait_with_output()
    })?;
    text_of(&ended, &shown)
}

/// Runs a program whose output the user is to see.
pub fn show(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Where a program is.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let listed = std::env::var_os("PATH").unwrap_or_default();
    // Administrators' programs and network plugins are not on every user's path.
    let elsewhere = ["/usr/sbin".into(), "/sbin".into(), "/usr/lib/cni".into()];
    let folders = std::env::split_paths(&listed).chain(elsewhere);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn text_of(ended: &Output, shown: &str) -> Result<String> {
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&ended.stderr);
    let told = if told.trim().is_empty() { String::from_utf8_lossy(&ended.stdout) } else { told };
    let lines: Vec<&str> = told.trim().lines().collect();
    bail!("{shown}: {}: {}", ended.status, lines[lines.len().saturating_sub(8)..].join("\n"))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
