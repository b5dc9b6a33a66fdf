//! Why no node takes a pod, in the words people search for.

use std::{collections::BTreeMap, fmt};

/// Why one node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It is cordoned.
    Unschedulable,
    /// It has a taint the pod does not tolerate.
    Taint { key: String, value: String },
    /// The pod wants other nodes.
    Affinity,
    /// A host port is taken.
    Ports,
    /// It has as many pods as it may have.
    Full,
}

/// Why none of the nodes takes a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    nodes: usize,
    reasons: BTreeMap<Reason, usize>,
}

impl Unfit {
    pub(super) fn of(nodes: usize) -> Self {
        Self { nodes, reasons: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, reason: Reason) {
        *self.reasons.entry(reason).or_default() += 1;
    }

    #[cfg(test)]
    pub(super) fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.keys()
    }
}

impl Reason {
    /// Whether removing other pods from the node could help.
    fn is_crowding(&self) -> bool {
        matches!(self, Self::Ports | Self::Full)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::Full => f.write_str("Too many pods"),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let nodes = self.nodes;
        let reasons: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let crowded: usize =
            self.reasons.iter().filter(|(reason, _)| reason.is_crowding()).map(|(_, count)| count).sum();
        let hopeless = nodes - crowded;
        let mut preemption = Vec::new();
        if crowded > 0 {
            preemption.push(format!("{crowded} No preemption victims found for incoming pod"));
        }
        if hopeless > 0 {
            preemption.push(format!("{hopeless} Preemption is not helpful for scheduling"));
        }
        write!(f, "0/{nodes} nodes are available: {}.", sorted(reasons))?;
        write!(f, " preemption: 0/{nodes} nodes are available: {}.", sorted(preemption))
    }
}

fn sorted(mut reasons: Vec<String>) -> String {
    reasons.sort();
    reasons.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_sorted_as_text() {
        let mut unfit = Unfit::of(4);
        let taint = || Reason::Taint { key: "node-role.kubernetes.io/control-plane".into(), value: String::new() };
        [Reason::Full, Reason::Affinity, Reason::Affinity, taint()].into_iter().for_each(|reason| unfit.add(reason));
        assert_eq!(
            unfit.to_string(),
            "0/4 nodes are available: 1 Too many pods, \
             1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, \
             2 node(s) didn't match Pod's node affinity/selector. \
             preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, \
             3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_cluster_without_nodes_has_a_sentence_of_its_own() {
        assert_eq!(Unfit::of(0).to_string(), "no nodes available to schedule pods");
    }
}
