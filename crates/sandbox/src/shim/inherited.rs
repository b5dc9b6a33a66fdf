//! What a helper inherits from whoever started it, and should not pass on to a container.

use std::fs;

use nix::sys::signal::SigSet;

/// Lets go of what this process inherited: files other than the three standard streams, and a mask that holds back
/// signals, as the supervisor has one.
///
/// It must be called before this process opens anything that is to stay open: it cannot tell its own files from
/// inherited ones. Our own programs pass nothing on, but a user's shell may have started `up` with more than it knew.
pub fn shed() {
    // It fails only for a mask that is none.
    let _ = SigSet::empty().thread_set_mask();
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|&number| number > 2) {
        // The directory itself was among them, and is closed already.
        let _ = nix::unistd::close(number);
    }
}
