//! Finding out whether this node's hardware computes the checksums of what the tunnel carries, as it says it does.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use compile::plan::Checksums;
use datapath::{ChecksumProbe, probe_checksums};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long an answer from another node may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often it is tried while no other node answers.
const RETRY: Duration = Duration::from_secs(30);
/// How often it is asked again after all was well: links and their hardware may change under a node.
const AGAIN: Duration = Duration::from_secs(3600);
/// How many ends are asked at a time, the next ones each time: some may be silent for good.
const ASKED_AT_ONCE: usize = 3;
/// How many answers must miss a packet before the hardware is blamed: one may be lost on its way.
const FAULTS_BELIEVED: usize = 2;

/// The ends of the tunnel, by addresses that only lead through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TunnelEnds {
    /// This node's.
    pub(super) own: BTreeSet<IpAddr>,
    /// Other nodes'.
    pub(super) others: BTreeSet<IpAddr>,
}

/// Asks other nodes now and then, and tells when the kernel must compute checksums. That is for good: without the hardware
/// at work there is nothing to ask about.
pub(super) async fn run(
    mut ends: watch::Receiver<TunnelEnds>,
    verdict: watch::Sender<Checksums>,
    cancel: CancellationToken,
) {
    let mut turn = 0;
    loop {
        let asked = ends.borrow_and_update().in_turn(turn);
        turn += ASKED_AT_ONCE;
        let judged = spawn_blocking(move || judge(&asked, |own, other| probe_checksums(own, other, PATIENCE)));
        let pause = match judged.await {
            Ok(Some(Checksums::Offloaded)) => {
                debug!("what the tunnel carries arrives");
                AGAIN
            }
            Ok(Some(Checksums::Computed)) => {
                warn!(
                    "the tunnel's packets arrive only with checksums the kernel computed: \
                     the hardware leaves out those it promises; not using it for them any more"
                );
                verdict.send_replace(Checksums::Computed);
                return;
            }
            Ok(None) => RETRY,
            Err(error) => return info!(%error, "cannot find out whether the tunnel's checksums arrive"),
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = ends.changed(), if pause == RETRY => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

impl TunnelEnds {
    /// The pairs of an own and another end that are to be asked, beginning with that of the number `turn`.
    fn in_turn(&self, turn: usize) -> Vec<(IpAddr, IpAddr)> {
        let own_for = |other: &IpAddr| self.own.iter().find(|own| own.is_ipv4() == other.is_ipv4()).copied();
        let pairs: Vec<_> = self.others.iter().filter_map(|other| Some((own_for(other)?, *other))).collect();
        let count = pairs.len();
        pairs.into_iter().cycle().skip(turn.checked_rem(count).unwrap_or(0)).take(ASKED_AT_ONCE.min(count)).collect()
    }
}

/// Who must compute checksums; nothing while no other node answers. An end that misses a packet is asked once more, after
/// the others.
fn judge(asked: &[(IpAddr, IpAddr)], probe: impl Fn(IpAddr, IpAddr) -> io::Result<ChecksumProbe>) -> Option<Checksums> {
    let answer = |(own, other): (IpAddr, IpAddr)| {
        probe(own, other).unwrap_or_else(|error| {
            debug!(%error, %other, "cannot ask the other end of the tunnel");
            ChecksumProbe::Silent
        })
    };
    let mut missing = Vec::new();
    for pair in asked.iter().copied() {
        match answer(pair) {
            ChecksumProbe::Fine => return Some(Checksums::Offloaded),
            ChecksumProbe::Faulty => missing.push(pair),
            ChecksumProbe::Silent => {}
        }
    }
    if missing.len() < FAULTS_BELIEVED {
        missing.extend(missing.first().copied().filter(|pair| answer(*pair) == ChecksumProbe::Faulty));
    }
    (missing.len() >= FAULTS_BELIEVED).then_some(Checksums::Computed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ends(others: &[&str]) -> TunnelEnds {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        TunnelEnds { own: parse(&["10.244.1.0", "fd00:1::"]), others: parse(others) }
    }

    /// What is decided when the other ends answer like this, each time they are asked.
    fn judged(others: &[&str], answers: &[(&str, &[ChecksumProbe])]) -> Option<Checksums> {
        let asked = std::cell::RefCell::new(BTreeMap::<IpAddr, usize>::new());
        judge(&ends(others).in_turn(0), |own, other| {
            assert_eq!(own.is_ipv4(), other.is_ipv4());
            let mut asked = asked.borrow_mut();
            let times = asked.entry(other).or_default();
            *times += 1;
            let (_, answers) = answers.iter().find(|(end, _)| end.parse() == Ok(other)).unwrap();
            answers.get(*times - 1).copied().ok_or_else(|| io::ErrorKind::NetworkUnreachable.into())
        })
    }

    #[test]
    fn two_answers_that_miss_a_packet_are_believed_and_one_that_misses_none() {
        use ChecksumProbe::{Faulty, Fine, Silent};
        let (one, two, six) = ("10.244.2.0", "10.244.3.0", "fd00:2::");
        assert_eq!(judged(&[one, two], &[(one, &[Faulty]), (two, &[Faulty])]), Some(Checksums::Computed));
        assert_eq!(judged(&[one, six], &[(one, &[Faulty]), (six, &[Fine])]), Some(Checksums::Offloaded));
        assert_eq!(judged(&[one], &[(one, &[Faulty, Faulty])]), Some(Checksums::Computed));
        assert_eq!(judged(&[one], &[(one, &[Faulty, Fine])]), None, "it was lost by chance");
        assert_eq!(judged(&[one, two], &[(one, &[]), (two, &[Silent])]), None);
        assert_eq!(judged(&[], &[]), None);
    }

    #[test]
    fn the_ends_are_asked_in_turn_a_few_at_a_time() {
        let many = ends(&["10.244.2.0", "10.244.3.0", "10.244.4.0", "10.244.5.0", "fd00:2::"]);
        let asked = |turn| -> Vec<String> { many.in_turn(turn).iter().map(|(_, other)| other.to_string()).collect() };
        assert_eq!(asked(0), ["10.244.2.0", "10.244.3.0", "10.244.4.0"]);
        assert_eq!(asked(ASKED_AT_ONCE), ["10.244.5.0", "fd00:2::", "10.244.2.0"]);
        assert_eq!(ends(&["10.244.2.0"]).in_turn(7).len(), 1);
        assert_eq!(ends(&[]).in_turn(7), []);
    }
}
