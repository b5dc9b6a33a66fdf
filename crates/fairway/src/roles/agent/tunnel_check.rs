//! Finding out whether this node's hardware computes the checksums of what the tunnel carries, as it says it does.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use compile::plan::Checksums;
use datapath::{ChecksumProbe, probe_checksums};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long an answer from another node may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often it is tried while no other node answers.
const RETRY: Duration = Duration::from_secs(30);
/// How many nodes are asked at a time: one that answers is enough, as the fault is with what this node sends.
const ASKED_AT_ONCE: usize = 3;

/// The ends of the tunnel, by addresses that only lead through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TunnelEnds {
    /// This node's.
    pub(super) own: BTreeSet<IpAddr>,
    /// Other nodes'.
    pub(super) others: BTreeSet<IpAddr>,
}

/// Asks other nodes until one has answered, and tells when the kernel must compute checksums.
pub(super) async fn run(
    mut ends: watch::Receiver<TunnelEnds>,
    verdict: watch::Sender<Checksums>,
    cancel: CancellationToken,
) {
    let mut retry = interval(RETRY);
    loop {
        let asked = ends.borrow_and_update().clone();
        let judged = spawn_blocking(move || judge(&asked, |own, other| probe_checksums(own, other, PATIENCE)));
        match judged.await {
            Ok(Some(Checksums::Offloaded)) => return debug!("what the tunnel carries arrives"),
            Ok(Some(Checksums::Computed)) => {
                warn!(
                    "the tunnel's packets arrive only with checksums the kernel computed: \
                     the hardware leaves out those it promises; not using it for them any more"
                );
                verdict.send_replace(Checksums::Computed);
                return;
            }
            Ok(None) => {}
            Err(error) => return info!(%error, "cannot find out whether the tunnel's checksums arrive"),
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = ends.changed() => if changed.is_err() { return },
            _ = retry.tick() => {}
        }
    }
}

/// Who must compute checksums; nothing while no other node answers.
fn judge(ends: &TunnelEnds, probe: impl Fn(IpAddr, IpAddr) -> io::Result<ChecksumProbe>) -> Option<Checksums> {
    let own_for = |other: &IpAddr| ends.own.iter().find(|own| own.is_ipv4() == other.is_ipv4()).copied();
    let pairs = ends.others.iter().filter_map(|other| Some((own_for(other)?, *other)));
    pairs.take(ASKED_AT_ONCE).find_map(|(own, other)| match probe(own, other) {
        Ok(ChecksumProbe::Fine) => Some(Checksums::Offloaded),
        Ok(ChecksumProbe::Faulty) => Some(Checksums::Computed),
        Ok(ChecksumProbe::Silent) => None,
        Err(error) => {
            debug!(%error, %other, "cannot ask the other end of the tunnel");
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(others: &[&str]) -> TunnelEnds {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        TunnelEnds { own: parse(&["10.244.1.0", "fd00:1::"]), others: parse(others) }
    }

    #[test]
    fn the_first_node_that_answers_decides_and_is_asked_from_the_same_family() {
        let answer = |own: IpAddr, other: IpAddr| match (own.to_string().as_str(), other.to_string().as_str()) {
            ("10.244.1.0", "10.244.2.0") => Ok(ChecksumProbe::Silent),
            ("10.244.1.0", "10.244.3.0") => Err(io::ErrorKind::NetworkUnreachable.into()),
            ("fd00:1::", "fd00:2::") => Ok(ChecksumProbe::Faulty),
            _ => Ok(ChecksumProbe::Fine),
        };
        assert_eq!(judge(&ends(&["10.244.2.0", "10.244.3.0", "fd00:2::"]), answer), Some(Checksums::Computed));
        assert_eq!(judge(&ends(&["10.244.2.0", "10.244.4.0"]), answer), Some(Checksums::Offloaded));
    }

    #[test]
    fn silence_decides_nothing_and_only_a_few_nodes_are_asked() {
        let silent = |_, _| Ok(ChecksumProbe::Silent);
        assert_eq!(judge(&ends(&["10.244.2.0"]), silent), None);
        assert_eq!(judge(&ends(&[]), silent), None);
        let asked = std::cell::Cell::new(0);
        let many = ["10.244.2.0", "10.244.3.0", "10.244.4.0", "10.244.5.0", "10.244.6.0"];
        judge(&ends(&many), |_, _| {
            asked.set(asked.get() + 1);
            Ok(ChecksumProbe::Silent)
        });
        assert_eq!(asked.get(), ASKED_AT_ONCE);
    }
}
