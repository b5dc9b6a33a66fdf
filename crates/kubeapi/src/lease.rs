//! Leading by a Lease: of several processes one acts.
//!
//! As client-go does it, so that `kubectl get lease` means what people know: whoever writes the Lease leads until it
//! has not been renewed for its duration. No two clocks are compared: a candidate measures by its own how long the
//! Lease has stood still.

use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

/// How long things take in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease that stands still is respected.
    duration: Duration,
}

impl Timing {
    /// An election in which a leader that fell silent is replaced after `duration`; whole seconds, as the Lease keeps
    /// no parts of one.
    pub const fn new(duration: Duration) -> Self {
        Self { duration }
    }

    /// After this time without a renewal a leader stops, before anybody else begins.
    fn renew_deadline(self) -> Duration {
        self.duration * 2 / 3
    }

    /// The pause between tries. A request takes no longer than this either: one sent before the deadline has arrived
    /// or failed before the Lease runs out.
    fn retry_period(self) -> Duration {
        self.duration / 7
    }
}

/// Somebody who may lead.
#[derive(Debug)]
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// The Lease as it was when it last changed, and when that was seen.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// A candidate for the Lease `name`, who is called `identity` in it; no two candidates may be called the same.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String, timing: Timing) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.into(), identity, timing, seen: None }
    }

    /// Waits until it leads.
    pub async fn wait_to_lead(&mut self) {
        loop {
            match self.try_to_lead().await {
                Ok(true) => return info!(lease = self.name, identity = self.identity, "leading"),
                Ok(false) => {}
                Err(error) => warn!(%error, cause = ?error.source(), lease = self.name, "cannot ask who leads"),
            }
            sleep(self.timing.retry_period()).await;
        }
    }

    /// Renews the Lease as long as that works; ends when it does not lead any more, and nothing may be done as the
    /// leader from then on.
    pub async fn keep_leading(&mut self) {
        let mut renewed = Instant::now();
        loop {
            let asked = Instant::now();
            tokio::select! {
                () = sleep_until(renewed + self.timing.renew_deadline()) => {
                    return warn!(lease = self.name, "cannot renew the lease; not leading any more");
                }
                outcome = self.try_to_lead() => match outcome {
                    Ok(true) => renewed = asked,
                    Ok(false) => return warn!(lease = self.name, "somebody else leads"),
                    Err(error) => {
                        debug!(%error, cause = ?error.source(), lease = self.name, "cannot renew the lease; trying again");
                    }
                },
            }
            sleep_until((asked + self.timing.retry_period()).min(renewed + self.timing.renew_deadline())).await;
        }
    }

    /// Gives the Lease back, so that another need not wait until it runs out. Call it when the work has ended.
    pub async fn resign(&mut self) {
        if let Err(error) = self.try_to_resign().await {
            debug!(%error, cause = ?error.source(), lease = self.name, "cannot give the lease back; it will run out");
        }
    }

    async fn try_to_lead(&mut self) -> Result<bool, LeaseError> {
        let limit = self.timing.retry_period();
        timeout(limit, self.claim_lease()).await.map_err(|_| LeaseError::Slow { limit })?
    }

    async fn claim_lease(&mut self) -> Result<bool, LeaseError> {
        let found = self.leases.get_opt(&self.name).await.map_err(LeaseError::read)?;
        let current = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let stands_still = current.is_some_and(|spec| self.stands_still(spec));
        let claim = Claim { identity: &self.identity, duration: self.timing.duration, now: Timestamp::now() };
        match claim.on(current, stands_still) {
            Some(spec) => self.write(found.map(|lease| lease.metadata), spec).await,
            None => Ok(false),
        }
    }

    /// Whether the Lease has not changed for as long as it says it is to be respected.
    fn stands_still(&mut self, spec: &LeaseSpec) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == spec => {
                let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                since.elapsed() > seconds.map_or(self.timing.duration, Duration::from_secs)
            }
            _ => {
                self.seen = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    /// Writes the Lease unless somebody else did since it was read; whether it was written.
    async fn write(&self, metadata: Option<ObjectMeta>, spec: LeaseSpec) -> Result<bool, LeaseError> {
        let written = match metadata {
            Some(metadata) => {
                let lease = Lease { metadata, spec: Some(spec) };
                self.leases.replace(&self.name, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(LeaseError::Write(Box::new(error))),
        }
    }

    async fn try_to_resign(&self) -> Result<(), LeaseError> {
        let limit = self.timing.retry_period();
        let resigning = async {
            // A renewal that was given up on its way may arrive in between.
            while !self.give_back().await? {}
            Ok(())
        };
        timeout(limit, resigning).await.map_err(|_| LeaseError::Slow { limit })?
    }

    /// Whether the Lease is not ours any more.
    async fn give_back(&self) -> Result<bool, LeaseError> {
        let Some(lease) = self.leases.get_opt(&self.name).await.map_err(LeaseError::read)? else { return Ok(true) };
        let held = lease.spec.filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let Some(spec) = held else { return Ok(true) };
        let now = Some(MicroTime(Timestamp::now()));
        let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), renew_time: now, ..spec };
        self.write(Some(lease.metadata), spec).await
    }
}

/// Why a Lease could not be claimed or given back; another try may help.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("cannot read the lease")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot write the lease")]
    Write(#[source] Box<kube::Error>),
    #[error("the API server has not answered for {limit:?}")]
    Slow { limit: Duration },
}

impl LeaseError {
    fn read(error: kube::Error) -> Self {
        Self::Read(Box::new(error))
    }
}

/// What a candidate wants.
struct Claim<'a> {
    identity: &'a str,
    duration: Duration,
    now: Timestamp,
}

impl Claim<'_> {
    /// What to write into the Lease in order to lead; nothing while it is another's.
    fn on(&self, current: Option<&LeaseSpec>, stands_still: bool) -> Option<LeaseSpec> {
        let holder = current.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty());
        let is_ours = holder == Some(self.identity);
        if holder.is_some() && !is_ours && !stands_still {
            return None;
        }
        let now = Some(MicroTime(self.now));
        let renewed = LeaseSpec {
            holder_identity: Some(self.identity.to_owned()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            renew_time: now.clone(),
            ..current.cloned().unwrap_or_default()
        };
        if is_ours {
            return Some(renewed);
        }
        let transitions = current.map(|spec| spec.lease_transitions.unwrap_or(0) + 1);
        Some(LeaseSpec { acquire_time: now, lease_transitions: transitions.or(Some(0)), ..renewed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim(identity: &str, second: i64) -> Claim<'_> {
        Claim { identity, duration: DURATION, now: at(second) }
    }

    fn held_by(identity: &str, acquired: i64, renewed: i64, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(identity.into()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(at(acquired))),
            renew_time: Some(MicroTime(at(renewed))),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_nobody_holds_is_taken() {
        assert_eq!(claim("a", 1).on(None, false), Some(held_by("a", 1, 1, 0)));
        let given_back = LeaseSpec { holder_identity: None, ..held_by("b", 1, 2, 3) };
        assert_eq!(claim("a", 5).on(Some(&given_back), false), Some(held_by("a", 5, 5, 4)));
    }

    #[test]
    fn another_ones_lease_is_respected_until_it_stands_still() {
        let lease = held_by("b", 1, 2, 3);
        assert_eq!(claim("a", 900).on(Some(&lease), false), None, "clocks are not compared");
        assert_eq!(claim("a", 3).on(Some(&lease), true), Some(held_by("a", 3, 3, 4)));
    }

    #[test]
    fn the_holder_renews() {
        let lease = held_by("a", 1, 2, 3);
        assert_eq!(claim("a", 7).on(Some(&lease), true), Some(held_by("a", 1, 7, 3)));
    }

    #[test]
    fn a_leader_stops_before_another_begins_even_if_its_last_request_is_late() {
        let timing = Timing::new(DURATION);
        assert!(timing.renew_deadline() + timing.retry_period() < DURATION);
    }
}
