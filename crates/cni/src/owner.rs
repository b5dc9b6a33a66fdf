//! Whose an address and a link are: one interface of one container.

use model::Name;
use serde::{Deserialize, Serialize};

/// An attachment: an interface of a container. The specification's key for it within a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The container's (for Kubernetes: the pod sandbox's) identifier.
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    /// The interface inside.
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

impl Owner {
    /// The container, as one names it where nobody knows the pod.
    pub(crate) fn container_in_words(&self) -> Name {
        format!("container {}", self.container).into()
    }

    /// The name of the link's end on the host: the same for the same owner, 15 bytes.
    pub(crate) fn host_link(&self) -> String {
        format!("{}{:012x}", compile::guard::POD_LINKS, self.hash())
    }

    /// The name of the link through which what the container sends takes a detour to be shaped.
    pub(crate) fn shaping_link(&self) -> String {
        format!("{}b{:012x}", datapath::OWNER.link_prefix, self.hash())
    }

    /// 48 bits.
    fn hash(&self) -> u64 {
        let text = [self.container.as_bytes(), b"\0", self.interface.as_bytes()].concat();
        model::fnv1a(&text) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_link_has_a_stable_name_that_fits() {
        let owner = |container: &str| Owner { container: container.into(), interface: "eth0".into() };
        assert_eq!(owner("a").host_link(), owner("a").host_link());
        assert_ne!(owner("a").host_link(), owner("b").host_link());
        assert_eq!(owner(&"f".repeat(64)).host_link().len(), 15);
        assert!(owner("a").host_link().starts_with(datapath::OWNER.link_prefix));
        assert_ne!(owner("a").host_link(), owner("a").shaping_link());
    }
}
