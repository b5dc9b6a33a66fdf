//! The files of `deploy/manifests/`.

/// One file of objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Its name, the same in the chart.
    pub(crate) name: &'static str,
    /// Objects in YAML, with `${SETTING}` in them.
    pub(crate) text: &'static str,
    /// The flag without which they are left out.
    pub(crate) when: Option<&'static str>,
}

/// Every file, in the order in which the objects are applied: the DNS servers before the Service that leads to them, so
/// that a Service taken over never has less behind it than before.
pub(crate) const SOURCES: [Source; 6] = [
    Source {
        name: "load-balancer-pool.yaml",
        text: include_str!("../../../deploy/manifests/load-balancer-pool.yaml"),
        when: Some("controller.enabled"),
    },
    Source { name: "agent.yaml", text: include_str!("../../../deploy/manifests/agent.yaml"), when: None },
    Source {
        name: "controller.yaml",
        text: include_str!("../../../deploy/manifests/controller.yaml"),
        when: Some("controller.enabled"),
    },
    Source {
        name: "dns-corefile.yaml",
        text: include_str!("../../../deploy/manifests/dns-corefile.yaml"),
        when: Some("dns.corefile"),
    },
    Source { name: "dns.yaml", text: include_str!("../../../deploy/manifests/dns.yaml"), when: Some("dns.enabled") },
    Source {
        name: "dns-service.yaml",
        text: include_str!("../../../deploy/manifests/dns-service.yaml"),
        when: Some("dns.service"),
    },
];

/// The pod that clears one node, not part of an installation.
pub(crate) const CLEANUP: &str = include_str!("../../../deploy/manifests/cleanup.yaml");
