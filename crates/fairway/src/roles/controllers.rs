//! The controllers of a sandbox.

use anyhow::Result;
use sandbox::machine::RoleArgs;

/// Serves until told to end.
pub fn run(_args: &RoleArgs) -> Result<()> {
    loop {
        std::thread::park();
    }
}
