//! Namespaces of this program's own, in which it is root whoever runs it.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Leaves for network and mount namespaces of this program's own; nothing of what follows reaches the machine. The
/// program must have one thread.
pub fn isolate() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let advice = "cannot make namespaces; unprivileged user namespaces may be switched off";
    if user.is_root() {
        unshare(own).context(advice)?;
    } else {
        unshare(own | CloneFlags::CLONE_NEWUSER).context(advice)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}
