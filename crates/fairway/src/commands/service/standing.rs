//! What becomes of an endpoint once the Service's policies are looked at too.

use std::fmt;

use compile::plan::{Backend, BackendState, PolicySide};
use model::TrafficPolicy;

/// What becomes of an endpoint under the Service's policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What becomes of it in the whole cluster; no policy keeps anything on this node, or that makes no difference.
    Chosen(BackendState),
    /// It gets connections because it is on this node, though it would not in the whole cluster.
    Here(BackendState),
    /// It gets connections of these clients alone; what becomes of it in the whole cluster.
    Only(PolicySide, BackendState),
    /// It gets none because it is on another node.
    Elsewhere(Policies),
}

/// The policies that are Local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policies {
    Internal,
    Both,
}

/// A Service's policies; the external one where it has addresses for clients outside the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyPair {
    pub(super) internal: TrafficPolicy,
    pub(super) external: Option<TrafficPolicy>,
}

impl Standing {
    pub(super) fn of(backend: &Backend, policies: PolicyPair) -> Self {
        let state = backend.state;
        // Names and those that nobody is to serve know no policies.
        if matches!(state, BackendState::Named | BackendState::Delegated | BackendState::OtherFamily) {
            return Self::Chosen(state);
        }
        let serves = |policy| match policy {
            TrafficPolicy::Cluster => state.serves(),
            TrafficPolicy::Local => backend.serves_locally,
        };
        match (serves(policies.internal), policies.external.map(serves)) {
            (true, None | Some(true)) if state.serves() => Self::Chosen(state),
            (true, None | Some(true)) => Self::Here(state),
            (true, Some(false)) => Self::Only(PolicySide::Internal, state),
            (false, Some(true)) => Self::Only(PolicySide::External, state),
            (false, None) if state.serves() => Self::Elsewhere(Policies::Internal),
            (false, Some(false)) if state.serves() => Self::Elsewhere(Policies::Both),
            (false, None | Some(false)) => Self::Chosen(state),
        }
    }

    /// Whether it gets any connections.
    pub(super) const fn serves(self) -> bool {
        match self {
            Self::Chosen(state) => state.serves(),
            Self::Here(_) | Self::Only(..) => true,
            Self::Elsewhere(_) => false,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(state) => state.fmt(f),
            Self::Here(state) => write!(f, "serves as it is on this node (policy Local); of the whole cluster {state}"),
            Self::Only(PolicySide::Internal, state) if state.serves() => {
                f.write_str("serves, but no clients from outside: it is not on this node (externalTrafficPolicy Local)")
            }
            Self::Only(PolicySide::External, state) if state.serves() => f.write_str(
                "serves, but no clients of the cluster IP: it is not on this node (internalTrafficPolicy Local)",
            ),
            Self::Only(PolicySide::Internal, state) => {
                write!(f, "serves clients of the cluster IP alone (internalTrafficPolicy Local); of others {state}")
            }
            Self::Only(PolicySide::External, state) => {
                write!(f, "serves clients from outside alone (externalTrafficPolicy Local); of others {state}")
            }
            Self::Elsewhere(Policies::Internal) => {
                f.write_str("left out: it is not on this node (internalTrafficPolicy Local)")
            }
            Self::Elsewhere(Policies::Both) => {
                f.write_str("left out: it is not on this node (both policies are Local)")
            }
        }
    }
}
