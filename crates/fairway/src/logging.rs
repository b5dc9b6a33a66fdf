//! Logs: text with fields on standard error, at the level `FAIRWAY_LOG` asks for.

use tracing_subscriber::EnvFilter;

/// Starts logging at `info` unless `FAIRWAY_LOG` says otherwise (`debug`, `apiserver=trace,info`, ...).
pub fn start() {
    let filter = EnvFilter::try_from_env("FAIRWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // A second start, in tests, keeps the first.
    let _ = logger.try_init();
}
