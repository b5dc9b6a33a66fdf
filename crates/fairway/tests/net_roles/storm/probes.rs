//! Clients that never rest.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Served from the first change to the last.
const ALWAYS: &str = "10.96.0.50:80";
/// Has never an endpoint.
const NEVER: &str = "10.96.0.51:80";

/// Leaves the machine time for what is tested.
const BETWEEN_PROBES: Duration = Duration::from_millis(1);

/// Asks two Services over and over: one that must always answer, one that never must.
pub struct Probes {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    faults: thread::JoinHandle<Vec<String>>,
}

impl Probes {
    pub fn start() -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&asked));
        let faults = thread::spawn(move || {
            let mut faults = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(1, Ordering::Relaxed);
                faults.extend(ask(ALWAYS).err().map(|error| format!("{ALWAYS}: {error}")));
                faults.extend(ask(NEVER).ok().map(|answer| format!("{NEVER} answered {answer:?}")));
                thread::park_timeout(BETWEEN_PROBES);
            }
            faults
        });
        Self { stop, asked, faults }
    }

    pub fn end(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let faults = self.faults.join().unwrap();
        (self.asked.load(Ordering::Relaxed), faults)
    }
}

pub fn ask(service: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service.parse().unwrap(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}
