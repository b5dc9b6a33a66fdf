//! The commands.

mod add;
mod check;
mod status;
mod teardown;

use serde_json::Value;

use crate::config::Config;
use crate::environment::{Serving, Undoing};
use crate::removal::Removal;
use crate::state::StateDirectory;
use crate::{CniError, Version};

/// What a command answers when it succeeds.
#[derive(Debug)]
pub(crate) enum Answer {
    Nothing,
    Object(Value),
}

pub(crate) fn serve(request: &Serving, config: &Config) -> Result<Answer, CniError> {
    let state = StateDirectory::open(&config.state_dir);
    match request {
        Serving::Add { target, arguments } => add::add(&state, config, target, arguments).map(Answer::Object),
        Serving::Check { target } => {
            require(config.version, "CHECK", Version::V0_4_0)?;
            check::check(&state, config, target).map(|()| Answer::Nothing)
        }
        Serving::Status => {
            require(config.version, "STATUS", Version::V1_1_0)?;
            status::status(&state, config).map(|()| Answer::Nothing)
        }
    }
}

pub(crate) fn undo(request: &Undoing, removal: &Removal) -> Result<Answer, CniError> {
    let state = StateDirectory::open(&removal.state_dir);
    match request {
        Undoing::Del { owner } => teardown::take_down(&state, removal, owner)?,
        Undoing::Gc => {
            require(removal.version, "GC", Version::V1_1_0)?;
            teardown::collect(&state, removal)?;
        }
    }
    Ok(Answer::Nothing)
}

fn require(asked: Version, command: &'static str, since: Version) -> Result<(), CniError> {
    if asked >= since { Ok(()) } else { Err(CniError::CommandTooNew { command, since, asked }) }
}
