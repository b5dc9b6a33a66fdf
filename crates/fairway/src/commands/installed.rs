//! The objects of an installation, as the cluster has them.

use kubeapi::{ObjectError, ObjectName, Objects};
use serde_json::Value;

/// The kinds of objects an installation has, in the order in which they go: what runs first, what it may do last.
const KINDS: [(&str, &str); 10] = [
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("v1", "Pod"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("v1", "ServiceAccount"),
    // With the Leases that agents left when they ended.
    ("v1", "Namespace"),
];
/// How many of them run something.
const RUNNING: usize = 3;

/// What carries the label of Fairway's parts and belongs to nothing else, in the order in which it is to go.
#[derive(Debug, Default)]
pub struct Installed {
    /// Workloads, and pods of their own.
    pub running: Vec<ObjectName>,
    /// What the workloads need.
    pub rest: Vec<ObjectName>,
}

/// Reads all of it.
pub async fn read_installed(objects: &Objects) -> Result<Installed, ObjectError> {
    let (label, part) = manifests::PART_OF;
    let labels = format!("{label}={part}");
    let mut found = Installed::default();
    for (index, kind) in KINDS.into_iter().enumerate() {
        let listed = objects.list(kind, None, &labels).await?;
        // Pods of a workload go with it.
        let on_their_own = listed.iter().filter(|object| object["metadata"]["ownerReferences"].is_null());
        // Whoever marked the namespace Fairway runs in has more in it than Fairway.
        let is_ours = |name: &ObjectName| name.kind != "Namespace" || name.name == manifests::PRESENCE_NAMESPACE;
        let names = on_their_own.map(ObjectName::of).filter(is_ours);
        if index < RUNNING { found.running.extend(names) } else { found.rest.extend(names) }
    }
    Ok(found)
}

impl Installed {
    /// What an installation of the objects `wanted` has no use for: earlier settings wanted it. Pods are nobody's wish:
    /// they end by themselves. Definitions of kinds stay, or what users made of these kinds would go with them.
    pub fn not_among(self, wanted: &[Value]) -> Vec<ObjectName> {
        let wanted: Vec<ObjectName> = wanted.iter().map(ObjectName::of).collect();
        let mut stale = [self.running, self.rest].concat();
        let is_kept = |name: &ObjectName| matches!(name.kind.as_str(), "Pod" | "CustomResourceDefinition");
        stale.retain(|name| !is_kept(name) && !wanted.contains(name));
        stale
    }
}

#[cfg(test)]
mod tests {
    use manifests::Settings;

    use super::*;

    #[test]
    fn what_a_setting_turned_off_is_stale_and_nothing_else() {
        let mut settings = Settings::default();
        let all = manifests::objects(&settings);
        let (running, rest) = all.iter().map(ObjectName::of).partition(|name| name.api_version == "apps/v1");
        let installed = || Installed { running: Vec::clone(&running), rest: Vec::clone(&rest) };
        assert_eq!(installed().not_among(&all), []);
        settings.set("controller.enabled", false).unwrap();
        let stale = installed().not_among(&manifests::objects(&settings));
        assert_eq!(
            stale.first().map(ToString::to_string).as_deref(),
            Some("Deployment kube-system/fairway-controller")
        );
        assert!(stale.iter().all(|name| name.name == "fairway-controller"), "{stale:?}");
    }
}
