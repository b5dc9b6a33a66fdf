//! Commands that the node itself runs in a container: probes and hooks.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::shim::{Carrier, Place};

use super::container::this_program;

/// How much of a command's output is kept.
const OUTPUT_BYTES: u64 = 10 << 10;

/// The exit code of a command that was killed.
const KILLED: i32 = 137;

/// What became of a command that ran to its end or to its time limit.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended with this code, after this output.
    Ended(i32, String),
    /// It could not be started.
    NotStarted(String),
    /// It took too long, and was killed.
    TimedOut,
}

/// Runs `command` in the container at `place` to its end, both output streams collected, for at most `limit`.
pub async fn run(place: &Place, command: &[String], limit: Duration) -> Outcome {
    let mut carrier = Carrier::new(&this_program(), place, None, command);
    carrier.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = tokio::time::timeout(limit, run_to_end(&mut carrier.command)).await;
    match (outcome, carrier.refusal()) {
        (Err(_), _) => Outcome::TimedOut,
        (Ok(Err(error)), _) => Outcome::NotStarted(error.to_string()),
        (Ok(Ok(_)), Some(why)) => Outcome::NotStarted(why),
        (Ok(Ok((code, output))), None) => Outcome::Ended(code, output),
    }
}

async fn run_to_end(carrier: &mut Command) -> std::io::Result<(i32, String)> {
    let mut child = carrier.spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(collect(out), collect(err), child.wait());
    Ok((status?.code().unwrap_or(KILLED), out + &err))
}

async fn collect(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What could be read is better than nothing; the rest is read too, so that the command can go on.
    let _ = (&mut stream).take(OUTPUT_BYTES).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
