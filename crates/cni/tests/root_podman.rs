//! Driven by podman: needs root, and Debian's packages podman and runc.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use datapath::route::Rtnetlink;
use datapath::testing::{isolated, wait_for};
use serde_json::json;

const SECONDS: Duration = Duration::from_secs(20);
/// Where in the system podman keeps what it runs, which only this test may see.
const PRIVATE: [&str; 2] = ["/run", "/var/lib/containers"];
/// The control groups podman leaves behind, inner ones first.
const CONTROL_GROUPS: [&str; 2] = ["libpod_parent/conmon", "libpod_parent"];
/// Tells everybody who connects which addresses the container has.
const SERVER: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(Listen => 1, LocalPort => 80, ReuseAddr => 1) or die; \
                      while ($c = $s->accept) { open F, '/proc/net/fib_trie'; print $c <F>; close $c }";

/// A podman with its files and its configuration in a folder.
struct Podman<'a> {
    folder: &'a Path,
}

impl<'a> Podman<'a> {
    fn new(folder: &'a Path) -> Self {
        for part in ["bin", "net.d", "rootfs", "storage"] {
            fs::create_dir(folder.join(part)).unwrap();
        }
        for path in PRIVATE {
            fs::create_dir_all(path).unwrap();
            let mounted = Command::new("mount").args(["-t", "tmpfs", "private", path]).status().unwrap();
            assert!(mounted.success());
        }
        fs::copy(env!("CARGO_BIN_EXE_cni"), folder.join("bin/fairway")).unwrap();
        let network = json!({
            "cniVersion": "1.0.0", "name": "pods",
            "plugins": [{
                "type": "fairway", "ipam": { "ranges": ["10.209.1.0/24"] }, "stateDir": folder.join("state"),
                "capabilities": { "portMappings": true, "ips": true, "mac": true },
            }],
        });
        fs::write(folder.join("net.d/05-fairway.conflist"), network.to_string()).unwrap();
        let at = folder.display();
        let containers = format!(
            "[network]\nnetwork_backend = \"cni\"\ndefault_network = \"pods\"\ncni_plugin_dirs = [\"{at}/bin\"]\n\
             network_config_dir = \"{at}/net.d\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"
        );
        fs::write(folder.join("containers.conf"), containers).unwrap();
        let storage =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{at}/storage\"\nrunroot = \"/run/storage\"\n");
        fs::write(folder.join("storage.conf"), storage).unwrap();
        Self { folder }
    }

    fn podman(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        command.args(["--runtime", "runc"]).args(arguments);
        let output = command.output();
        output.unwrap_or_else(|error| {
            panic!("cannot run podman: {error}; this tier needs root and the Debian packages podman and runc")
        })
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a container that serves, with this machine's programs in it.
    fn start(&self, name: &str, options: &[&str]) {
        let system = ["/usr", "/bin", "/lib", "/lib64"].map(|path| format!("--volume={path}:{path}:ro"));
        let rootfs = self.folder.join("rootfs");
        let mut arguments =
            vec!["run", "--detach", "--name", name, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        arguments.extend(options);
        arguments.extend(system.iter().map(String::as_str));
        arguments.extend(["--rootfs", rootfs.to_str().unwrap(), "/usr/bin/perl", "-e", SERVER]);
        self.succeed(&arguments);
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|hierarchy| hierarchy.path()).chain(["/sys/fs/cgroup".into()]) {
            for group in CONTROL_GROUPS {
                // One in use is somebody else's, and stays.
                let _ = fs::remove_dir(hierarchy.join(group));
            }
        }
    }
}

/// What the server at a socket says.
fn ask(socket: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&socket.parse().unwrap(), Duration::from_secs(1)).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok().filter(|length| *length > 0).map(|_| said)
}

#[test]
fn podman_gives_a_container_an_address_a_published_port_and_takes_both_back() {
    isolated(|| {
        let mut links = Rtnetlink::open().unwrap();
        let loopback = links.require_link("lo").unwrap().index;
        links.set_up(loopback).unwrap();
        links.add_address(loopback, "192.0.2.1/32".parse().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let podman = Podman::new(folder.path());
        let wishes = ["--ip", "10.209.1.77", "--mac-address", "02:00:5e:00:53:07", "--publish", "8080:80"];
        podman.start("wishes", &wishes);
        let direct = wait_for("the container to serve", SECONDS, || ask("10.209.1.77:80"));
        assert!(direct.contains("10.209.1.77"), "{direct}");
        assert!(wait_for("the published port", SECONDS, || ask("192.0.2.1:8080")).contains("10.209.1.77"));
        let inspected = podman.succeed(&["inspect", "wishes"]);
        assert!(inspected.contains("02:00:5e:00:53:07"), "{inspected}");
        podman.succeed(&["rm", "--force", "--time", "0", "wishes"]);
        assert_eq!(ask("192.0.2.1:8080"), None);
        assert_eq!(links.links().unwrap().len(), 1, "only lo is left");
        assert_eq!(fs::read_dir(folder.path().join("state/addresses")).unwrap().count(), 0);
    });
}
