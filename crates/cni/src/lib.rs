//! The CNI plugin and its IPAM: a routed veth pair per pod, addresses from files.
//!
//! One call is one process: [`run`] reads the environment and standard input, does one command of the CNI
//! specification 1.1, and answers on standard output. There is no daemon behind it: `DEL` works whatever else is down.

mod attachments;
mod bandwidth;
mod command;
mod config;
mod delegate;
mod environment;
mod error;
mod flannel;
mod forwarding;
mod host_ports;
mod ipam;
mod made;
mod owner;
mod removal;
mod repair;
mod result;
mod runtime_config;
mod state;
mod upkeep;
mod version;
mod wiring;

use std::collections::BTreeMap;
use std::io::{Read, Write};

pub use config::STATE_DIR;
pub use error::CniError;
pub use forwarding::{allow_forwarding, is_allowed as is_forwarding_allowed};
pub use host_ports::{recorded_at, recorded_host_ports, restore_host_ports};
pub use ipam::{IpamError, RangeUse};
pub use repair::{Damage, Repaired, Repairs, damages};
pub use state::StateError;
pub use upkeep::{Allocation, RELEASE_INTERVAL, Released, allocations, release_dead, usage};
pub use version::Version;

use command::Answer;
use environment::Request;
use removal::Removal;

/// Does the command the variables name and returns the process's exit code: 0, or 1 with the specification's error
/// object on `stdout`.
///
/// `variables` is the process's environment, of which those of the specification are looked at.
pub fn run(variables: impl IntoIterator<Item = (String, String)>, stdin: &mut dyn Read, stdout: &mut dyn Write) -> u8 {
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let mut version = Version::NEWEST;
    let outcome = answer(&variables, stdin, &mut version);
    let (code, text) = match outcome {
        Ok(Answer::Nothing) => return 0,
        Ok(Answer::Object(object)) => (0, object.to_string()),
        Err(error) => (1, error.object(version).to_string()),
    };
    // A runtime that closed the pipe learns of the failure from the exit code.
    match writeln!(stdout, "{text}") {
        Ok(()) => code,
        Err(_) => 1,
    }
}

fn answer(
    variables: &BTreeMap<String, String>,
    stdin: &mut dyn Read,
    version: &mut Version,
) -> Result<Answer, CniError> {
    let mut input = Vec::new();
    stdin.read_to_end(&mut input).map_err(|source| CniError::ReadInput { source })?;
    match Request::parse(variables)? {
        Request::Version => version::answer(&input),
        Request::Undo(undoing) => command::undo(&undoing, &Removal::parse(&input, variables, version)?),
        Request::Serve(serving) => command::serve(&serving, &config::parse(&input, variables, version)?),
    }
}
