//! Letting the node pass on packets, without which pods reach their own node only.

use std::path::Path;

use compile::guard::POD_LINKS;
use datapath::route::Rtnetlink;
use datapath::sysctl;
use model::IpFamily;

use crate::CniError;
use crate::state::StateDirectory;

const IPV4: &str = "ipv4/ip_forward";
const IPV6: &str = "ipv6/conf/all/forwarding";

/// Whether the node passes on packets of a family. Just after [`allow_forwarding`] of somebody else the answer may be that it
/// does, though no link does yet.
pub fn is_allowed(family: IpFamily) -> Result<bool, CniError> {
    Ok(sysctl::read(key(family))? != "0")
}

const fn key(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => IPV4,
        IpFamily::V6 => IPV6,
    }
}

/// Lets the node pass on packets of a family, and keeps what routers told it before. The agent and all calls of the plugin
/// do it by this.
///
/// One at a time: the kernel takes back what a writer set while it waits for a lock of its own, and a second writer that
/// saw it in between changes nothing. Both are then told that packets are passed on, and no link does
/// (`devinet_sysctl_forward` in `net/ipv4/devinet.c`; IPv6 has no such gap).
pub fn allow_forwarding(state_dir: &Path, family: IpFamily) -> Result<(), CniError> {
    let state = StateDirectory::open(state_dir);
    // Where there is none yet, no call of the plugin has come.
    let _turn = if state_dir.is_dir() { Some(state.lock()?) } else { None };
    if family == IpFamily::V6 {
        keep_listening_to_routers()?;
    }
    Ok(sysctl::write(key(family), "1")?)
}

/// Lets the node's links go on taking addresses and routes from router advertisements. Of links that take them only while
/// the node is no router itself (`accept_ra` 1), the kernel forgets the default route as soon as it becomes one
/// (`rt6_purge_dflt_routers` in `net/ipv6/route.c`). Pods are no routers for their node: their links stay as they are, and
/// so does what new links begin with.
fn keep_listening_to_routers() -> Result<(), CniError> {
    if is_allowed(IpFamily::V6)? {
        return Ok(());
    }
    for link in Rtnetlink::open()?.links()?.iter().filter(|link| !link.name.starts_with(POD_LINKS)) {
        let key = format!("ipv6/conf/{}/accept_ra", link.name);
        // A link without IPv6 has no such setting.
        if sysctl::read(&key).is_ok_and(|value| value == "1") {
            sysctl::write(&key, "2")?;
        }
    }
    Ok(())
}
