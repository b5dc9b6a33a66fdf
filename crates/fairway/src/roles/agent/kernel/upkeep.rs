//! Taking back, every now and then, what pods had that are gone without a word.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use tracing::{info, warn};

/// When that was done last.
#[derive(Debug, Default)]
pub(super) struct Upkeep(Option<Instant>);

impl Upkeep {
    /// Does it.
    pub(super) fn release_dead(&mut self, cni_state_dir: &Path, now: Instant) -> Result<()> {
        self.0 = Some(now);
        let released = cni::release_dead(cni_state_dir).context("cannot release what dead pods had")?;
        if !released.addresses.is_empty() {
            info!(released = ?released.addresses, "addresses of pods that went without a word are free again");
        }
        for error in released.failures {
            let error = anyhow::Error::from(error).context("cannot release what a dead pod had");
            warn!(error = format!("{error:#}"), "trying again in a few minutes");
        }
        Ok(())
    }

    /// Does it unless it was done of late.
    pub(super) fn release_dead_if_due(&mut self, cni_state_dir: &Path, now: Instant) -> Result<()> {
        if self.0.is_some_and(|last| now.duration_since(last) < cni::RELEASE_INTERVAL) {
            return Ok(());
        }
        self.release_dead(cni_state_dir, now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use datapath::testing::isolated;
    use serde_json::json;

    use super::*;

    /// Writes down an attachment that nobody has any more, as the plugin does.
    fn bury(state_dir: &Path) {
        let owner = json!({ "containerID": "dead", "ifname": "eth0" });
        let record = json!({ "owner": owner, "network": "fairway", "netns": "/run/netns/dead" });
        for (folder, name, content) in [("addresses", "10.244.1.5", &owner), ("attachments", "dead:eth0", &record)] {
            fs::create_dir_all(state_dir.join(folder)).unwrap();
            let path = state_dir.join(folder).join(name);
            fs::write(&path, content.to_string()).unwrap();
            let long_ago = SystemTime::now() - Duration::from_secs(3600);
            File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        }
    }

    #[test]
    fn what_dead_pods_had_is_taken_back_every_few_minutes() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            let (mut upkeep, start) = (Upkeep::default(), Instant::now());
            let mut is_freed_after = |passed: Duration| {
                bury(root.path());
                upkeep.release_dead_if_due(root.path(), start + passed).unwrap();
                !root.path().join("addresses/10.244.1.5").exists()
            };
            let soon = Duration::from_secs(2);
            assert!(is_freed_after(Duration::ZERO), "at the start");
            assert!(!is_freed_after(soon), "again at once");
            assert!(is_freed_after(cni::RELEASE_INTERVAL));
            assert!(!is_freed_after(cni::RELEASE_INTERVAL + soon), "again at once");
        });
    }
}
