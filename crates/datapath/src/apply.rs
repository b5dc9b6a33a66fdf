//! Makes a namespace's kernel hold what is wanted, writing only what differs.

mod affinity;
mod audit;
mod routes;
mod tunnels;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::plan::affinity::Affine;
use compile::plan::{self, Hop, Tunnel};
use compile::ruleset::{Operation, Ruleset};
use compile::{Plan, diff};
use ipnet::IpNet;

use crate::NetlinkError;
use crate::nft::{NftError, Table};
use crate::route::{RouteError, RouteFilter, Rtnetlink};
use crate::tunnel;
pub use audit::Drift;
use audit::Seen;
use routes::{RouteChanges, RouteMap};
use tunnels::HeldTunnel;

/// Kept in step with a sequence of wanted states.
///
/// What the kernel holds is remembered after each success, so that the next step costs what changed. It is listed only
/// the first time, after a failure, and when [`Datapath::audit`] found that it is not as remembered.
#[derive(Debug)]
pub struct Datapath {
    table: Table,
    links: Rtnetlink,
    committed: Option<Committed>,
    seen: Seen,
    /// How many audits still look for what packets remembered while endpoints left.
    looks_at_memory: u8,
    /// Ranges no route leads to, by the next hops that are on none of the links, as they were last found.
    unreachable: BTreeMap<IpNet, IpAddr>,
    /// Ranges that were left to routes of others, as they were last found.
    led_by_others: BTreeSet<IpNet>,
}

#[derive(Clone, Debug)]
struct Committed {
    ruleset: Ruleset,
    /// Whether the table holds what is not ours as well: it is to be replaced whole, by the transaction that brings the next
    /// ruleset, so that no packet comes between them.
    has_foreign: bool,
    routes: RouteMap,
    tunnel: HeldTunnel,
    /// By what clients' memories were last put right; none when they were not.
    affine: Option<Affine>,
}

/// What a namespace should hold.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The content of our nf_tables table.
    pub ruleset: &'a Ruleset,
    /// Routes for pod addresses. Those to each of this node's own pods belong to the CNI plugin and are left alone.
    pub routes: &'a [plan::Route],
    /// The tunnel some of them lead through.
    pub tunnel: Option<&'a Tunnel>,
    /// The frontends whose clients stay with their endpoint; without it, what is remembered of clients is left alone.
    pub affine: Option<&'a Affine>,
}

impl<'a> From<&'a Plan> for Wanted<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self { ruleset: plan.ruleset(), routes: plan.routes(), tunnel: plan.tunnel(), affine: Some(plan.affine()) }
    }
}

/// What was written to reach a wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes of the nf_tables table.
    pub operations: usize,
    /// Transactions they took; see [`crate::nft::Applied::transactions`].
    pub transactions: usize,
    /// Bytes sent to nf_tables.
    pub bytes: usize,
    /// Routes set or replaced.
    pub routes_set: usize,
    /// Routes deleted.
    pub routes_deleted: usize,
    /// Routes that could not be set or deleted, and the tunnel if it could not be set up. Each was logged, the rest is in
    /// force, and the next [`Datapath::apply`] tries them again.
    pub routes_failed: usize,
    /// Changes of the tunnel's device and of what it knows of other nodes.
    pub tunnel_changes: usize,
    /// Whether the kernel's content was listed, as at start and after a failure.
    pub listed: bool,
}

impl Outcome {
    /// Whether the kernel held everything already.
    pub fn wrote_nothing(&self) -> bool {
        self.transactions == 0 && self.routes_set == 0 && self.routes_deleted == 0 && self.tunnel_changes == 0
    }
}

/// What became of a planned route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// The kernel holds it.
    Held,
    /// No link leads to its next hop, but a route of somebody else's leads to its destination.
    LedByOthers,
    /// No link leads to its next hop, and no other route to its destination.
    Unreachable,
    /// The kernel refused it, or the tunnel it leads through, or no link leads to its next hop and the routes of others
    /// could not be listed. That was logged.
    Failed,
}

/// A wanted state that was not reached. Some of it may be in force; the next [`Datapath::apply`] begins with a listing.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// No connection to the kernel.
    #[error("cannot connect to the namespace's network")]
    Connect(#[from] NetlinkError),
    /// The nf_tables part failed, also after listing what the kernel holds and trying again.
    #[error("cannot bring the nf_tables table to the wanted state")]
    Table(#[source] NftError),
    /// Routes could not be listed, or one could not be set.
    #[error("cannot bring the routes to the wanted state")]
    Routes(#[source] RouteError),
    /// A next hop is not on any of the node's links.
    #[error("cannot route {destination} via {via}: no link of this node leads there directly")]
    Unreachable {
        /// The range.
        destination: IpNet,
        /// The next hop.
        via: IpAddr,
    },
}

impl Datapath {
    /// Connects to the calling thread's namespace, in which it must be used. Reads and changes nothing yet.
    pub fn open() -> Result<Self, DatapathError> {
        let table = Table::open().map_err(DatapathError::Table)?;
        Ok(Self {
            table,
            links: Rtnetlink::open()?,
            committed: None,
            seen: Seen::default(),
            looks_at_memory: 0,
            unreachable: BTreeMap::new(),
            led_by_others: BTreeSet::new(),
        })
    }

    /// Whether the next [`Datapath::apply`] trusts what it remembers; otherwise it begins with a listing.
    pub const fn remembers(&self) -> bool {
        self.committed.is_some()
    }

    /// The ranges that the last [`Datapath::apply`] found no route to, with the next hops that none of the links leads to
    /// directly. Those that somebody else has a route to are not among them.
    pub const fn unreachable(&self) -> &BTreeMap<IpNet, IpAddr> {
        &self.unreachable
    }

    /// What became of a route that the last [`Datapath::apply`] was to set; nothing when that is not known.
    pub fn state_of(&self, route: &plan::Route) -> Option<RouteState> {
        let held = &self.committed.as_ref()?.routes;
        Some(if routes::holds(held, route) {
            RouteState::Held
        } else if self.led_by_others.contains(&route.destination) {
            RouteState::LedByOthers
        } else if self.unreachable.contains_key(&route.destination) {
            RouteState::Unreachable
        } else {
            RouteState::Failed
        })
    }

    /// Makes the namespace hold `wanted` and tells what that took.
    ///
    /// New routes come first and old ones go last, with one nf_tables transaction between them; what the tunnel gains
    /// comes before the routes that need it, what it loses goes after. A route that fails
    /// stops neither the others nor the table: see [`Outcome::routes_failed`]. When the kernel
    /// refuses that transaction, it does not hold what we remember: it is listed and the difference tried once more, and
    /// should that be refused too, the table is replaced whole, in one transaction as well.
    pub fn apply(&mut self, wanted: &Wanted<'_>) -> Result<Outcome, DatapathError> {
        let mut outcome = Outcome::default();
        let mut committed = match self.committed.take() {
            Some(committed) => committed,
            None => self.read(wanted, &mut outcome)?,
        };
        let tunnel = self.extend_tunnel(&mut committed, wanted.tunnel, &mut outcome);
        let routes = RouteChanges::between(&committed.routes, wanted.routes);
        let settable = routes.set.iter().filter(|route| tunnel.is_some() || !matches!(route.hop, Hop::Tunnel(_)));
        outcome.routes_failed += routes.set.len() - settable.clone().count();
        self.set_routes(settable, &mut committed.routes, &mut outcome);
        self.apply_ruleset(&changes_between(&committed, wanted.ruleset), wanted.ruleset, &mut outcome)?;
        (committed.ruleset, committed.has_foreign) = (wanted.ruleset.clone(), false);
        self.keep_memory_right(&mut committed.affine, wanted.affine, &mut outcome);
        self.delete_routes(&routes.gone, &mut committed.routes, &mut outcome)?;
        self.reduce_tunnel(tunnel.as_ref(), &mut committed, wanted.tunnel, &mut outcome);
        self.committed = Some(committed);
        Ok(outcome)
    }

    fn read(&mut self, wanted: &Wanted<'_>, outcome: &mut Outcome) -> Result<Committed, DatapathError> {
        let (ruleset, has_foreign) = self.read_ruleset(wanted.ruleset, outcome)?;
        let device = self.tunnel_device().map_err(DatapathError::Routes)?;
        let held = self.links.routes(RouteFilter::Ours).map_err(DatapathError::Routes)?;
        if device.is_some() {
            // An earlier build did not. What it gave then reads as lacking, and is given anew.
            tunnel::set_addresses_apart();
        }
        let tunnel = tunnel::read(&mut self.links).map_err(DatapathError::Routes)?;
        let routes = routes::held(&held, device);
        Ok(Committed { ruleset, has_foreign, routes, tunnel: HeldTunnel::Known(tunnel), affine: None })
    }

    /// What the table holds, and whether there is something in it that is not ours.
    fn read_ruleset(&mut self, wanted: &Ruleset, outcome: &mut Outcome) -> Result<(Ruleset, bool), DatapathError> {
        outcome.listed = true;
        // Taken before the listing: what others do meanwhile is noticed later.
        let generation = self.table.generation().map_err(DatapathError::Table)?;
        self.seen.listed_at(generation);
        let listing = self.table.read_beside(wanted).map_err(DatapathError::Table)?;
        let Some(listing) = listing else { return Ok((Ruleset::default(), false)) };
        if listing.foreign.is_empty() {
            return Ok((listing.observed.recognise(wanted), false));
        }
        tracing::warn!(parts = ?listing.foreign, "the nf_tables table holds what is not ours; replacing it");
        Ok((Ruleset::default(), true))
    }

    fn apply_ruleset(
        &mut self,
        changes: &[Operation],
        wanted: &Ruleset,
        outcome: &mut Outcome,
    ) -> Result<(), DatapathError> {
        let Err(error) = self.run(changes, outcome) else { return Ok(()) };
        tracing::warn!(%error, cause = ?std::error::Error::source(&error), "nf_tables is not as remembered; listing it");
        let (found, has_foreign) = self.read_ruleset(wanted, outcome)?;
        let changes = if has_foreign { replacement(wanted) } else { diff(&found, wanted) };
        let Err(error) = self.run(&changes, outcome) else { return Ok(()) };
        tracing::warn!(%error, cause = ?std::error::Error::source(&error), "cannot mend the nf_tables table; replacing it");
        self.run(&replacement(wanted), outcome).map_err(DatapathError::Table)
    }

    fn run(&mut self, operations: &[Operation], outcome: &mut Outcome) -> Result<(), NftError> {
        if operations.is_empty() {
            return Ok(());
        }
        let before = self.table.generation()?;
        let applied = self.table.apply(operations)?;
        self.seen.wrote(before, applied.transactions, self.table.generation()?);
        outcome.operations += operations.len();
        outcome.transactions += applied.transactions;
        outcome.bytes += applied.bytes;
        Ok(())
    }
}

fn changes_between(committed: &Committed, wanted: &Ruleset) -> Vec<Operation> {
    if committed.has_foreign { replacement(wanted) } else { diff(&committed.ruleset, wanted) }
}

/// The table as a whole, whatever there is of it.
fn replacement(wanted: &Ruleset) -> Vec<Operation> {
    let mut operations = vec![Operation::AddTable, Operation::DeleteTable];
    operations.extend(diff(&Ruleset::default(), wanted));
    operations
}

fn warn(error: &dyn std::error::Error) {
    tracing::warn!(%error, cause = ?error.source(), "a route could not be brought to the wanted state");
}
