//! Clients that never rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use datapath::Netns;

use super::clients::Probe;
use super::servers::Faults;

/// All that do not wait for silence, together.
const PROBES_PER_SECOND: u32 = 1000;

/// The probes of one place in the network.
pub struct Asker {
    pub place: &'static str,
    pub netns: Arc<Netns>,
    pub probes: Vec<Probe>,
}

/// Asks over and over until its end.
pub struct Probes {
    began: Instant,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What was asked.
pub struct Asked {
    pub times: u32,
    pub per_second: u32,
}

impl Probes {
    /// Begins; every probe is asked as often as every other, but for those that wait for silence.
    pub fn start(askers: Vec<Asker>, faults: &Faults) -> Self {
        let is_swift = |probe: &&Probe| !probe.waits();
        let swift = askers.iter().flat_map(|asker| &asker.probes).filter(is_swift).count();
        let round = Duration::from_secs(1) / PROBES_PER_SECOND * u32::try_from(swift).unwrap();
        let mut probes =
            Self { began: Instant::now(), stop: Arc::default(), asked: Arc::default(), threads: Vec::new() };
        for Asker { place, netns, probes: asked } in askers {
            let (waiting, swift): (Vec<Probe>, Vec<Probe>) = asked.into_iter().partition(Probe::waits);
            let pace = round / u32::try_from(swift.len().max(1)).unwrap();
            for (asked, pace) in [(swift, pace), (waiting, Duration::ZERO)] {
                if !asked.is_empty() {
                    let asker = Asker { place, netns: Arc::clone(&netns), probes: asked };
                    probes.spawn(asker, pace, faults.clone());
                }
            }
        }
        probes
    }

    fn spawn(&mut self, asker: Asker, pace: Duration, faults: Faults) {
        let (stop, count) = (Arc::clone(&self.stop), Arc::clone(&self.asked));
        let Asker { place, netns, mut probes } = asker;
        let mut work = move || {
            let mut due = Instant::now();
            for index in (0..probes.len()).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(fault) = probes[index].ask() {
                    faults.tell(format!("{place}: {fault}"));
                }
                count.fetch_add(1, Ordering::Relaxed);
                due += pace;
                #[expect(clippy::disallowed_methods, reason = "so many questions a second are asked")]
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        self.threads.push(thread::spawn(move || netns.run(&mut work).unwrap()));
    }

    pub fn end(self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.began.elapsed();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let times = self.asked.load(Ordering::Relaxed);
        Asked { times, per_second: (f64::from(times) / elapsed.as_secs_f64()) as u32 }
    }
}
