//! Letting the node pass on packets, without which pods reach their own node only.

use std::path::Path;

use datapath::sysctl;
use model::IpFamily;

use crate::CniError;
use crate::state::StateDirectory;

const IPV4: &str = "ipv4/ip_forward";
const IPV6: &str = "ipv6/conf/all/forwarding";

/// Whether the node passes on packets of a family.
pub(crate) fn is_allowed(family: IpFamily) -> Result<bool, CniError> {
    Ok(sysctl::read(key(family))? != "0")
}

const fn key(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => IPV4,
        IpFamily::V6 => IPV6,
    }
}

/// Lets the node pass on packets of a family. The agent and all calls of the plugin do it by this.
///
/// One at a time: the kernel takes back what a writer set while it waits for a lock of its own, and a second writer that
/// saw it in between changes nothing. Both are then told that packets are passed on, and no link does
/// (`devinet_sysctl_forward` in `net/ipv4/devinet.c`; IPv6 has no such gap).
pub fn allow_forwarding(state_dir: &Path, family: IpFamily) -> Result<(), CniError> {
    let state = StateDirectory::open(state_dir);
    // Where there is none yet, no call of the plugin has come.
    let _turn = if state_dir.is_dir() { Some(state.lock()?) } else { None };
    Ok(sysctl::write(key(family), "1")?)
}
