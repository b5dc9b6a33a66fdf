//! Probes: is a container started, alive, ready?

mod attempt;
mod threshold;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Probe};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::attempt::attempt;
pub use self::attempt::{HttpTarget, http_get};
use self::threshold::Threshold;
use super::container::Container;

/// The first pause between attempts of a readiness or startup probe that has not succeeded yet.
const EAGER_PAUSE: Duration = Duration::from_millis(50);

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// Has it started? Nothing else is asked before.
    Started,
    /// Is it alive? If not, it is restarted.
    Alive,
    /// Is it ready for traffic?
    Ready,
}

impl Question {
    /// As events name the probe.
    pub fn title(self) -> &'static str {
        match self {
            Self::Started => "Startup",
            Self::Alive => "Liveness",
            Self::Ready => "Readiness",
        }
    }
}

/// Something a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The container, by id.
    pub container: String,
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub answer: Answer,
}

/// An answer to a probe's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, often enough to count.
    Yes,
    /// No, often enough to count.
    No,
    /// One attempt failed, for this reason.
    Failed(String),
}

/// What a running container's probes need.
#[derive(Clone)]
pub struct Probed {
    /// Its id.
    pub id: String,
    /// Its specification.
    pub spec: ContainerSpec,
    /// The container itself.
    pub container: Arc<Container>,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// Where findings go.
    pub findings: mpsc::Sender<Finding>,
}

/// Asks a container's probes until dropped. `started` says that its startup probe has succeeded before.
pub fn probe(probed: Probed, started: bool) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let spec = probed.spec.clone();
        if let (Some(startup), false) = (&spec.startup_probe, started) {
            ask_until_yes(&probed, Question::Started, startup).await;
        }
        let liveness = ask(&probed, Question::Alive, spec.liveness_probe.as_ref());
        let readiness = ask(&probed, Question::Ready, spec.readiness_probe.as_ref());
        tokio::join!(liveness, readiness);
    }))
}

/// Asks until the answer counts. After a no there is nothing more to ask: whoever hears it ends the container.
async fn ask_until_yes(probed: &Probed, question: Question, probe: &Probe) {
    let mut asking = Asking::new(probed, question, probe).await;
    loop {
        match asking.once().await {
            Some(true) => return,
            Some(false) => return std::future::pending().await,
            None => asking.pause().await,
        }
    }
}

/// Asks again and again; in vain once the container is known to be dead.
async fn ask(probed: &Probed, question: Question, probe: Option<&Probe>) {
    let Some(probe) = probe else { return };
    let mut asking = Asking::new(probed, question, probe).await;
    loop {
        if asking.once().await == Some(false) && question == Question::Alive {
            return;
        }
        asking.pause().await;
    }
}

/// One probe and what it has found so far.
struct Asking<'a> {
    probed: &'a Probed,
    question: Question,
    probe: &'a Probe,
    period: Duration,
    threshold: Threshold,
    /// Until the first success, at most for one period: attempts that fail early do not count and are repeated soon,
    /// because a server that needs 80 ms to start should not be unready for a whole period.
    eager: Option<(Instant, Duration)>,
}

impl<'a> Asking<'a> {
    async fn new(probed: &'a Probed, question: Question, probe: &'a Probe) -> Self {
        let period = seconds(probe.period_seconds, 10);
        // Who has just started is alive: asking at once would only report a server that is not listening yet.
        let least = if question == Question::Alive { period } else { Duration::ZERO };
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0).max(least)).await;
        let eager = (question != Question::Alive).then(|| (Instant::now() + period, EAGER_PAUSE));
        let threshold = Threshold::new(probe.success_threshold.unwrap_or(1), probe.failure_threshold.unwrap_or(3));
        Self { probed, question, probe, period, threshold, eager }
    }

    /// Asks once; gives back the answer if it was given often enough to count.
    async fn once(&mut self) -> Option<bool> {
        let limit = seconds(self.probe.timeout_seconds, 1);
        let outcome = attempt(self.probe, self.probed, limit).await;
        let reason = match outcome {
            Ok(()) => {
                self.eager = None;
                let counts = self.threshold.note_success();
                if counts {
                    self.tell(Answer::Yes).await;
                }
                return counts.then_some(true);
            }
            Err(_) if self.is_early() => return None,
            Err(reason) => reason,
        };
        self.tell(Answer::Failed(reason)).await;
        let counts = self.threshold.note_failure();
        if counts {
            self.tell(Answer::No).await;
        }
        counts.then_some(false)
    }

    fn is_early(&self) -> bool {
        self.eager.is_some_and(|(until, _)| Instant::now() < until)
    }

    async fn pause(&mut self) {
        let pause = match &mut self.eager {
            Some((until, pause)) if Instant::now() < *until => {
                let now = *pause;
                *pause *= 2;
                now.min(until.saturating_duration_since(Instant::now()))
            }
            _ => self.period,
        };
        tokio::time::sleep(pause).await;
    }

    async fn tell(&self, answer: Answer) {
        let finding = Finding { container: self.probed.id.clone(), question: self.question, answer };
        // Nobody listens any more when the pod is on its way out.
        let _ = self.probed.findings.send(finding).await;
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|&value| value > 0).unwrap_or(default))
}
