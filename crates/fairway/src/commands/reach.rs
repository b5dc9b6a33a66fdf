//! How a sandbox is reached from this machine's own network: directly where a link may be made, else by forwarding.

use sandbox::machine::{HostConnection, HostLink, HostLinkError, Record, StateDir, connect_host};

use crate::apply::comma_separated;

/// What became of the way from this machine into a sandbox.
#[derive(Debug)]
pub enum Reach {
    /// None was wanted.
    Isolated,
    /// It was tried; ranges may be left out, even all of them.
    Tried(HostConnection),
    /// There is no link.
    NoLink(HostLinkError),
}

impl Reach {
    /// Joins this machine's network with that of a sandbox.
    pub fn connect(state: &StateDir, record: &Record) -> Self {
        connect_host(state, record).map_or_else(Self::NoLink, Self::Tried)
    }

    /// The link, if there is one.
    pub const fn link(&self) -> Option<&HostLink> {
        match self {
            Self::Tried(connection) => connection.link.as_ref(),
            Self::Isolated | Self::NoLink(_) => None,
        }
    }

    /// What a user should know of it, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.link() {
            Some(HostLink { name, ranges }) => {
                lines.push(format!(
                    "✓ from here     directly: nodes, node ports, EXTERNAL-IPs of {} (link {name})",
                    comma_separated(ranges)
                ));
            }
            None => lines.push("✓ from here     Services by: fairway service NAME".to_owned()),
        }
        let because = |reason: String| format!("              not directly: {reason}");
        match self {
            Self::Tried(connection) => {
                lines.extend(connection.left_out.iter().map(|reason| because(chain(reason))));
            }
            Self::NoLink(reason) => lines.push(because(chain(reason))),
            Self::Isolated => {}
        }
        lines
    }
}

/// An error and its causes as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
