//! How peers write: a program that reads a text.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a peer's program on a text and waits for its end.
pub fn feed(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().with_context(|| {
        format!("cannot start {program}, a peer's way into the kernel; install it or leave that peer out (--peers)")
    })?;
    child.stdin.take().with_context(|| format!("{program} has no input"))?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "{program} refused its input");
    Ok(())
}
