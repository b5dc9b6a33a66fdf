//! What a container has to say at its end, where Kubernetes reads it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The file that becomes `status.containerStatuses[].state.terminated.message`.
const PLACE: &str = "/dev/termination-log";

/// Leaves the message; outside a container there is no such place.
pub(super) fn leave(message: &str) -> Result<()> {
    if !Path::new(PLACE).exists() {
        return Ok(());
    }
    fs::write(PLACE, message).context("cannot write the termination message")
}
