//! What a node can say about the machine it is part of.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

/// What there is for pods. All nodes of a sandbox share one machine, so each of them says it has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// Room for volumes and logs.
    pub storage_bytes: u64,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// What there is.
    pub capacity: Capacity,
    /// Version of the kernel.
    pub kernel: String,
    /// Name of the distribution.
    pub os_image: String,
    /// As Go names it: `amd64`.
    pub architecture: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Does not.
    pub machine_id: String,
}

/// Asks the kernel and the files that every Linux has. What is unknown is empty.
pub fn read_machine() -> MachineFacts {
    let names = uname().ok();
    let kernel = names.as_ref().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let machine = names.map(|names| names.machine().to_string_lossy().into_owned()).unwrap_or_default();
    MachineFacts {
        capacity: Capacity {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory_bytes: total_memory(&text("/proc/meminfo")),
            storage_bytes: statvfs(Path::new("/")).map_or(0, |facts| facts.blocks() * facts.fragment_size()),
        },
        kernel,
        os_image: pretty_name(&text("/etc/os-release")),
        architecture: go_architecture(&machine).to_owned(),
        boot_id: text("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        machine_id: text("/etc/machine-id").trim().to_owned(),
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn pretty_name(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn go_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm",
        "i686" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_every_linux_has_are_understood() {
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16384 * 1024);
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!((pretty_name(""), go_architecture("x86_64")), ("Linux".to_owned(), "amd64"));
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let facts = read_machine();
        assert!(facts.capacity.cpus > 0 && facts.capacity.memory_bytes > 0 && !facts.kernel.is_empty(), "{facts:?}");
    }
}
