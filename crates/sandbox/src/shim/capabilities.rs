//! What a container's root user may do to the kernel.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_capabilities,
};

use crate::rootfs::Purpose;

use super::spec::ContainerSpec;

/// What container runtimes leave to a container that asks for nothing.
const USUAL: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The highest capability any kernel has had so far is far below it.
const HIGHEST: u32 = 63;

/// The capabilities the container of `spec` keeps.
fn kept(spec: &ContainerSpec) -> CapabilitySet {
    if spec.purpose != Purpose::Container {
        return CapabilitySet::from_bits_retain(u64::MAX);
    }
    let (added, dropped) = &spec.capabilities;
    let set = |names: &[String]| -> CapabilitySet { names.iter().filter_map(|name| named(name)).collect() };
    (USUAL - set(dropped)) | set(added)
}

/// The capability a manifest calls `name`: `NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`.
fn named(name: &str) -> Option<CapabilitySet> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" { Some(CapabilitySet::from_bits_retain(u64::MAX)) } else { CapabilitySet::from_name(bare) }
}

/// Gives up, for this process and all that follow from it, what the container of `spec` may not do.
pub fn limit(spec: &ContainerSpec) -> io::Result<()> {
    let kept = kept(spec);
    for bit in 0..=HIGHEST {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel refuses to look up capabilities it does not know: those past its last one.
        let Ok(present) = capability_is_in_bounding_set(capability) else { break };
        if present && !kept.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    let held = capabilities(None)?;
    let permitted = held.permitted & kept;
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_with_and_without_prefix() {
        assert_eq!(named("NET_ADMIN"), Some(CapabilitySet::NET_ADMIN));
        assert_eq!(named("cap_sys_time"), Some(CapabilitySet::SYS_TIME));
        assert_eq!(named("NO_SUCH"), None);
    }
}
