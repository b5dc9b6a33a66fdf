//! What the node's attachments need beside calls of the plugin: what pods had that are gone without a word is taken back
//! every now and then, and the table's host ports are put right when it may be new.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use tracing::{info, warn};

/// What of it was done, and what is to be.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// When what dead pods had was taken back last.
    released: Option<Instant>,
    /// Whether the table was listed, so that it may be new, and its host ports have not been put right since.
    owes_host_ports: bool,
}

impl Upkeep {
    /// Does what there is to do after the table was brought in step; `listed` tells whether that took a listing. What fails
    /// is done with the next call, whether or not that one took a listing.
    pub(super) fn catch_up(&mut self, cni_state_dir: &Path, listed: bool, now: Instant) -> Result<()> {
        if listed {
            self.owes_host_ports = true;
            self.release_dead(cni_state_dir, now);
        }
        if self.owes_host_ports {
            let restored = cni::restore_host_ports(cni_state_dir);
            restored.context("cannot restore the ports of the node that lead to pods")?;
            self.owes_host_ports = false;
        }
        Ok(())
    }

    /// Takes back what dead pods had, unless that was done of late.
    pub(super) fn release_dead_if_due(&mut self, cni_state_dir: &Path, now: Instant) {
        if self.released.is_none_or(|last| now.duration_since(last) >= cni::RELEASE_INTERVAL) {
            self.release_dead(cni_state_dir, now);
        }
    }

    fn release_dead(&mut self, cni_state_dir: &Path, now: Instant) {
        self.released = Some(now);
        let (released, failures) = match cni::release_dead(cni_state_dir) {
            Ok(released) => (released.addresses, released.failures),
            Err(error) => (Vec::new(), vec![error]),
        };
        if !released.is_empty() {
            info!(?released, "addresses of pods that went without a word are free again");
        }
        for error in failures {
            let error = anyhow::Error::from(error).context("cannot release what a dead pod had");
            warn!(error = format!("{error:#}"), "trying again in a few minutes");
        }
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

    /// Writes down that a port of the node leads to a pod.
    fn map_port(state_dir: &Path) {
        let port = json!({ "hostPort": 80, "protocol": "tcp", "endpoint": "10.244.1.6:8080" });
        let owner = json!({ "containerID": "alive", "ifname": "eth0" });
        let record = json!({ "owner": owner, "network": "fairway", "netns": "/run/netns/alive", "hostPorts": [port] });
        fs::create_dir_all(state_dir.join("attachments")).unwrap();
        fs::write(state_dir.join("attachments/alive:eth0"), record.to_string()).unwrap();
    }

    fn missing(state_dir: &Path) -> usize {
        let wanted = cni::recorded_host_ports(state_dir).unwrap();
        assert_eq!(wanted.len(), 1);
        datapath::HostPorts::open().unwrap().missing(&wanted).unwrap().len()
    }

    #[test]
    fn host_ports_are_restored_though_what_a_dead_pod_had_cannot_be_released() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            bury(root.path());
            // Where the address of the dead pod is to go when it is released.
            fs::create_dir_all(root.path().join("released/10.244.1.5")).unwrap();
            map_port(root.path());
            Upkeep::default().catch_up(root.path(), true, Instant::now()).unwrap();
            assert!(root.path().join("addresses/10.244.1.5").exists(), "it was released");
            assert_eq!(missing(root.path()), 0);
        });
    }

    #[test]
    fn host_ports_are_restored_after_a_failure_though_the_table_was_not_listed_again() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            map_port(root.path());
            let mut upkeep = Upkeep::default();
            let lock = root.path().join("lock");
            fs::create_dir(&lock).unwrap();
            upkeep.catch_up(root.path(), true, Instant::now()).unwrap_err();
            fs::remove_dir(&lock).unwrap();
            assert_eq!(missing(root.path()), 1);
            upkeep.catch_up(root.path(), false, Instant::now()).unwrap();
            assert_eq!(missing(root.path()), 0);
        });
    }

    #[test]
    fn what_dead_pods_had_is_taken_back_every_few_minutes() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            let (mut upkeep, start) = (Upkeep::default(), Instant::now());
            let mut is_freed_after = |passed: Duration| {
                bury(root.path());
                upkeep.release_dead_if_due(root.path(), start + passed);
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
