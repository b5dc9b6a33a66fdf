//! The commands.

mod add;
mod check;
mod teardown;

use datapath::route::Rtnetlink;
use serde_json::Value;

use crate::config::{AddressSource, Config, Position};
use crate::environment::{Serving, Undoing};
use crate::ipam::Store;
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
            status(&state, config).map(|()| Answer::Nothing)
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

/// Whether an `ADD` would find addresses and somewhere to write it down.
fn status(state: &StateDirectory, config: &Config) -> Result<(), CniError> {
    let reached = Rtnetlink::open().map(drop).map_err(CniError::from);
    let addresses = match &config.position {
        Position::Main(AddressSource::Own(pools)) => Store::new(state).probe(pools).map_err(CniError::from),
        // Its own words and code say best what is wrong with it.
        Position::Main(AddressSource::Plugin(plugin)) => return reached.and(plugin.forward("STATUS")),
        Position::Chained => state.lock().map(drop).map_err(CniError::from),
    };
    reached.and(addresses).map_err(|error| CniError::NotReady { why: crate::error::chain(&error) })
}

fn require(asked: Version, command: &'static str, since: Version) -> Result<(), CniError> {
    if asked >= since { Ok(()) } else { Err(CniError::CommandTooNew { command, since, asked }) }
}
