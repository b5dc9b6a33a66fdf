//! What this process takes of the machine, under the names every Prometheus client has (`process_*`).

use std::fs;
use std::sync::LazyLock;
use std::time::SystemTime;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// When [`register`] was first called, in seconds since 1970.
static STARTED: LazyLock<f64> = LazyLock::new(|| {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_secs_f64()
});

/// Asks the kernel at every scrape.
#[derive(Debug)]
struct ProcessMetrics;

/// Makes them visible in `registry`; the first call is to be made as the process starts, which it takes for that moment.
pub fn register(registry: &mut Registry) {
    LazyLock::force(&STARTED);
    registry.register_collector(Box::new(ProcessMetrics));
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let help = "Processor time this process took, its own and the kernel's for it";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let gauges = [
            ("process_resident_memory_bytes", "Memory it has in the machine's", bytes_of(&status, "VmRSS:")),
            ("process_virtual_memory_bytes", "Addresses it has memory at", bytes_of(&status, "VmSize:")),
            ("process_open_fds", "Files and sockets it has open", open_files()),
            ("process_max_fds", "How many it may have open", max_files()),
            ("process_start_time_seconds", "When it started, in seconds since 1970", Some(*STARTED)),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> Option<f64> {
    const MICROSECONDS: f64 = 1e6;
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some((usage.user_time() + usage.system_time()).num_microseconds() as f64 / MICROSECONDS)
}

/// A field of /proc/self/status, which counts in kibibytes.
fn bytes_of(status: &str, field: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes as f64 * 1024.0)
}

fn open_files() -> Option<f64> {
    // The directory itself is open while it is read.
    fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64)
}

fn max_files() -> Option<f64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _hard)| soft as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_on_a_page_made_now() -> String {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("process_start_time_seconds "));
        line.unwrap().to_owned()
    }

    #[test]
    fn a_page_that_comes_later_tells_the_same_start() {
        assert_eq!(start_on_a_page_made_now(), start_on_a_page_made_now());
    }
}
