//! The scheduler and the controllers of a sandbox.

use anyhow::Result;
use sandbox::controllers::{self, Config};
use sandbox::machine::RoleArgs;

/// Runs them until told to end.
pub fn run(args: &RoleArgs) -> Result<()> {
    let config = Config { socket: args.state().api_socket() };
    super::until_told(|cancel| async {
        controllers::run(config, cancel).await;
        Ok(())
    })
}
