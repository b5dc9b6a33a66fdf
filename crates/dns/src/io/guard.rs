//! Noticing that forwarded queries come back.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, error};

use super::forwarder::{ForwardError, Forwarder};
use crate::forward::write_question_of;
use crate::wire::{DomainName, Query, QueryName, RecordType};

/// The pause before the question that nobody answered is sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the upstream servers for a name that nobody else asks for. If that question comes in, they ask this server:
/// every query would go round until something breaks.
///
/// CoreDNS ends then, and with it the cluster's own names; here only forwarding ends.
#[derive(Debug)]
pub(super) struct LoopGuard {
    name: DomainName,
    has_loop: AtomicBool,
}

impl LoopGuard {
    /// A guard for the queries of `zone`.
    pub(super) fn new(zone: &DomainName) -> Option<Self> {
        let [a, b] = [0, 1].map(|part: u8| RandomState::new().hash_one(part));
        let name = zone.child(&format!("{b}")).and_then(|name| name.child(&format!("{a}"))).ok()?;
        Some(Self { name, has_loop: AtomicBool::new(false) })
    }

    /// Whether forwarding is known to lead back here.
    pub(super) fn has_loop(&self) -> bool {
        self.has_loop.load(Ordering::Relaxed)
    }

    /// Looks whether a query that came in is the one sent out.
    pub(super) fn note(&self, query: &Query<'_>) {
        if query.qtype == RecordType::HINFO
            && query.name.as_wire() == self.name.as_wire()
            && !self.has_loop.swap(true, Ordering::Relaxed)
        {
            error!(
                "an upstream server asks this server: names outside the cluster are not looked up; point forward, or \
                 the nameserver of its resolv.conf, to a server elsewhere"
            );
        }
    }

    /// Whose name the question is about.
    pub(super) fn name(&self) -> QueryName {
        QueryName::from(&self.name)
    }

    /// Sends the question out until a server answers: one that is down now may lead back here later.
    pub(super) async fn probe(&self, forwarder: &Forwarder) {
        let mut packet = Vec::new();
        loop {
            write_question_of((&self.name, RecordType::HINFO), true, forwarder.identifier(), &mut packet);
            match forwarder.send(&packet, false).await {
                Ok(_) | Err(ForwardError::NoUpstream) => return,
                Err(error) => debug!(%error, "no answer to the question that looks for loops"),
            }
            sleep(PAUSE).await;
        }
    }
}
