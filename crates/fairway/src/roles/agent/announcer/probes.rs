//! Looking for machines that have an address already, before it is answered for (RFC 5227, 2.1; RFC 4862, 5.4).
//!
//! A machine that has an address and says nothing is found only by asking, and asking takes time. So only addresses that
//! are new are asked for first: at a failover, or when an agent is started anew, clients are waiting, and what is found
//! later is told as with any other machine that claims an address ([`super::doubles`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use datapath::neighbourhood::message::Neighbour;
use datapath::route::MacAddress;
use model::{NamespacedName, Rejected, RejectedReason, Subject};
use tokio::time::Instant;

use super::Held;
use super::ages::Ages;

/// So many probes in a row must stay without an answer, as in RFC 5227.
const PROBES: u32 = 3;
/// An answer comes by the next one. RFC 5227 takes ten times as long, for links of its time and machines that may be
/// asleep; whoever makes a Service waits for it.
const SPACING: Duration = Duration::from_millis(200);
/// For so long somebody must go on answering: another node of ours may, until it learns that this one was chosen.
const PATIENCE: Duration = Duration::from_secs(3);
/// An address that another machine has is asked for again so much later, and twice as late every time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// At least so often. The Event about it is told again, too, so that it does not run out.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The addresses this node is to answer for and does not answer for yet.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<IpAddr, Probe>);

#[derive(Debug)]
struct Probe {
    services: BTreeSet<NamespacedName>,
    /// Probes without an answer since the last answer or pause.
    unanswered: u32,
    /// When the next step is to be taken.
    due: Instant,
    pause: Duration,
    other: Option<Other>,
}

/// Who answers instead.
#[derive(Debug)]
struct Other {
    since: Instant,
    is_told: bool,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Addresses to send a probe for.
    pub(super) ask: Vec<IpAddr>,
    /// Addresses that nobody has, which can be answered for from now on.
    pub(super) free: Held,
}

impl Probes {
    /// Takes in what this node is to answer for, and returns what of it can be answered for at once: what it answers for
    /// already, and what is not new.
    pub(super) fn follow(&mut self, chosen: Held, held: &Held, ages: &Ages, now: Instant) -> Held {
        self.0.retain(|address, _| chosen.contains_key(address));
        let is_to_wait = |probes: &Self, address: &IpAddr| {
            !held.contains_key(address) && (probes.0.contains_key(address) || ages.is_new(*address, now))
        };
        let mut at_once = Held::new();
        for (address, services) in chosen {
            if is_to_wait(self, &address) {
                self.0.entry(address).or_insert_with(|| Probe::beginning(now)).services = services;
            } else {
                at_once.insert(address, services);
            }
        }
        at_once
    }

    /// The addresses whose answers matter.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.keys().copied().collect()
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|probe| probe.due).min()
    }

    /// What is due.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let mut step = Step::default();
        for (address, probe) in self.0.extract_if(.., |_, probe| probe.unanswered == PROBES && probe.due <= now) {
            step.free.insert(address, probe.services);
        }
        for (address, probe) in self.0.iter_mut().filter(|(_, probe)| probe.due <= now) {
            step.ask.push(*address);
            probe.unanswered += 1;
            probe.due = now + SPACING;
        }
        step
    }

    /// Takes in that another machine says that it has an address; what is to be told of it. None of these addresses.
    pub(super) fn take(&mut self, claim: &Neighbour, now: Instant) -> Option<Vec<Rejected>> {
        let probe = self.0.get_mut(&claim.address)?;
        // What comes during a pause changes nothing: at its end everybody is asked again.
        if probe.unanswered == 0 {
            return Some(Vec::new());
        }
        probe.unanswered = 0;
        let other = probe.other.get_or_insert(Other { since: now, is_told: false });
        if !other.is_told && now < other.since + PATIENCE {
            return Some(Vec::new());
        }
        other.is_told = true;
        probe.due = now + probe.pause;
        probe.pause = (probe.pause * 2).min(LONGEST_PAUSE);
        Some(probe.services.iter().map(|service| rejected(service, claim.address, claim.mac)).collect())
    }

    /// How many addresses are not answered for since another machine has them.
    pub(super) fn count_taken(&self) -> i64 {
        let is_taken = |probe: &&Probe| probe.other.as_ref().is_some_and(|other| other.is_told);
        i64::try_from(self.0.values().filter(is_taken).count()).unwrap_or(i64::MAX)
    }
}

impl Probe {
    const fn beginning(now: Instant) -> Self {
        Self { services: BTreeSet::new(), unanswered: 0, due: now, pause: FIRST_PAUSE, other: None }
    }
}

fn rejected(service: &NamespacedName, address: IpAddr, mac: MacAddress) -> Rejected {
    Rejected {
        object: Subject::service(service),
        field: "status.loadBalancer.ingress".into(),
        why: format!(
            "{mac} has {address} already, and no node answers for it until that machine does not; take the address away \
             from that machine or out of its LoadBalancerPool"
        ),
        reason: RejectedReason::DuplicateAddress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "10.0.0.7";

    fn address() -> IpAddr {
        ADDRESS.parse().unwrap()
    }

    fn chosen() -> Held {
        Held::from([(address(), BTreeSet::from([NamespacedName::new("shop", "web")]))])
    }

    fn claim() -> Neighbour {
        Neighbour { mac: MacAddress([2, 0, 0, 0, 0, 9]), address: address() }
    }

    /// Of an address that no snapshot has had yet.
    fn begun(now: Instant) -> Probes {
        let mut probes = Probes::default();
        assert_eq!(probes.follow(chosen(), &Held::new(), &Ages::default(), now), Held::new());
        probes
    }

    /// Steps when they are due, each probe answered or not, until an address is free, a claim is told or `end`; says when.
    fn run(probes: &mut Probes, is_answered: bool, end: Instant) -> (Instant, Held, Vec<Rejected>) {
        loop {
            let now = probes.next().unwrap_or(end).min(end);
            let step = probes.step(now);
            let told = match is_answered && !step.ask.is_empty() {
                true => probes.take(&claim(), now).unwrap(),
                false => Vec::new(),
            };
            if now == end || !step.free.is_empty() || !told.is_empty() {
                return (now, step.free, told);
            }
        }
    }

    #[test]
    fn an_address_is_answered_for_once_three_probes_stayed_without_an_answer() {
        let start = Instant::now();
        let mut probes = begun(start);
        let asked: Vec<usize> = (0..3).map(|index| probes.step(start + SPACING * index).ask.len()).collect();
        assert_eq!(asked, [1, 1, 1]);
        assert_eq!(probes.step(start + SPACING * 3 - Duration::from_millis(1)), Step::default());
        assert_eq!(probes.step(start + SPACING * 3), Step { ask: vec![], free: chosen() });
        assert_eq!(probes.next(), None);
    }

    #[test]
    fn what_is_answered_for_and_what_is_not_new_waits_for_nothing() {
        let (mut probes, start) = (Probes::default(), Instant::now());
        assert_eq!(probes.follow(chosen(), &chosen(), &Ages::default(), start), chosen());
        let mut ages = Ages::default();
        let mut cluster = model::Cluster::default();
        let service = serde_json::json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{ "port": 80, "nodePort": 30080 }] },
            "status": { "loadBalancer": { "ingress": [{ "ip": ADDRESS }] }, "conditions": [{ "status": "True",
                "type": model::from_kube::ALLOCATED_CONDITION, "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        });
        let service = model::from_kube::service(&serde_json::from_value(service).unwrap()).fact.unwrap();
        cluster.services.insert(service.name.clone(), service.into());
        ages.take(&cluster, start);
        assert_eq!(probes.follow(chosen(), &Held::new(), &ages, start), chosen());
        assert_eq!(probes.next(), None);
    }

    #[test]
    fn an_address_that_another_machine_has_is_told_and_tried_again_ever_more_rarely() {
        let start = Instant::now();
        let mut probes = begun(start);
        let (told_at, free, told) = run(&mut probes, true, start + PATIENCE * 2);
        assert_eq!((told_at, free), (start + PATIENCE, Held::new()));
        assert_eq!(
            told[0].to_string(),
            "Service shop/web: status.loadBalancer.ingress: 02:00:00:00:00:09 has 10.0.0.7 already, and no node answers for \
             it until that machine does not; take the address away from that machine or out of its LoadBalancerPool"
        );
        assert_eq!(probes.count_taken(), 1);
        assert_eq!(probes.take(&claim(), told_at), Some(Vec::new()), "it may say so unasked");
        let mut at = told_at;
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            let (again, free, told_again) = run(&mut probes, true, at + LONGEST_PAUSE * 2);
            assert_eq!((again, free, &told_again), (at + Duration::from_secs(pause), Held::new(), &told));
            at = again;
        }
        let (free_at, free, _) = run(&mut probes, false, at + LONGEST_PAUSE * 2);
        assert_eq!((free_at, free), (at + LONGEST_PAUSE + SPACING * 3, chosen()), "the machine has let go of it");
        assert_eq!(probes.count_taken(), 0);
    }

    #[test]
    fn a_node_of_ours_that_answers_until_it_learns_better_is_no_other_machine() {
        let start = Instant::now();
        let mut probes = begun(start);
        run(&mut probes, true, start + PATIENCE / 2);
        let (at, free, told) = run(&mut probes, false, start + PATIENCE * 2);
        assert_eq!((free, told), (chosen(), Vec::new()));
        assert!(at < start + PATIENCE, "it is taken over as soon as the other one stops");
    }

    #[test]
    fn an_address_that_is_anothers_to_answer_for_is_not_asked_for_any_more() {
        let start = Instant::now();
        let mut probes = begun(start);
        probes.follow(Held::new(), &Held::new(), &Ages::default(), start);
        assert_eq!((probes.next(), probes.take(&claim(), start)), (None, None));
    }
}
