//! Driven by containerd, as on a node: needs root, and Debian's packages containerd and runc.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use datapath::route::Rtnetlink;
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

const SECONDS: Duration = Duration::from_secs(20);

/// A containerd of its own; it ends with the test.
struct Containerd<'a> {
    folder: &'a Path,
    process: Child,
}

impl<'a> Containerd<'a> {
    fn start(folder: &'a Path) -> Self {
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{0}/socket\"\n",
            folder.display()
        );
        fs::write(folder.join("config.toml"), config).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let started = Command::new("containerd")
            .arg("-c")
            .arg(folder.join("config.toml"))
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn();
        let process = started.unwrap_or_else(|error| {
            panic!("cannot run containerd: {error}; this tier needs root and the Debian packages containerd and runc")
        });
        let containerd = Self { folder, process };
        wait_for("containerd", SECONDS, || containerd.ctr(&["version"]).status.success().then_some(()));
        containerd
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        Command::new("ctr").arg("--address").arg(self.folder.join("socket")).args(arguments).output().unwrap()
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The plugin and its configuration where containerd looks for them, in the test's own mount namespace only.
fn install(folder: &Path) {
    for part in ["upper", "work", "rootfs"] {
        fs::create_dir(folder.join(part)).unwrap();
    }
    let layers = format!("lowerdir=/etc,upperdir={0}/upper,workdir={0}/work", folder.display());
    run("mount", &["-t", "tmpfs", "opt", "/opt"]);
    run("mount", &["-t", "overlay", "etc", "-o", &layers, "/etc"]);
    fs::create_dir_all("/opt/cni/bin").unwrap();
    fs::create_dir_all("/etc/cni/net.d").unwrap();
    let network = json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [{
            "type": "noted", "ipam": { "ranges": ["10.209.1.0/24"] }, "stateDir": folder.join("state-of-cni"),
            "capabilities": { "portMappings": true, "bandwidth": true, "dns": true },
        }],
    });
    fs::write("/etc/cni/net.d/00-noted.conflist", network.to_string()).unwrap();
    // Notes what it is called with, and lets the plugin answer.
    let script = format!(
        "#!/bin/sh\n(env | grep ^CNI_ | tr '\\n' ' '; echo) >> {0}/calls\ntee -a {0}/inputs | {1}\n",
        folder.display(),
        env!("CARGO_BIN_EXE_cni")
    );
    fs::write("/opt/cni/bin/noted", script).unwrap();
    fs::set_permissions("/opt/cni/bin/noted", PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn containerd_attaches_a_container_and_detaches_it_without_its_namespace() {
    isolated(|| {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path());
        let containerd = Containerd::start(folder.path());
        let (rootfs, name) = (folder.path().join("rootfs"), format!("fairway-{}", std::process::id()));
        let mut arguments = vec!["run", "--rm", "--cni", "--rootfs"];
        let system = ["/usr", "/bin", "/lib", "/lib64"]
            .map(|path| format!("--mount=type=bind,src={path},dst={path},options=rbind:ro"));
        arguments.splice(1..1, system.iter().map(String::as_str));
        arguments.extend([rootfs.to_str().unwrap(), &name, "/bin/cat", "/proc/net/fib_trie", "/proc/net/arp"]);
        let output = containerd.ctr(&arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("10.209.1.1") && said.contains("169.254.1.1"), "{said}");
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        let calls: Vec<&str> = calls.lines().collect();
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert!(calls[0].contains("CNI_COMMAND=ADD") && calls[0].contains("CNI_NETNS=/proc/"), "{}", calls[0]);
        assert!(calls[1].contains("CNI_COMMAND=DEL"), "{}", calls[1]);
        let inputs = fs::read_to_string(folder.path().join("inputs")).unwrap();
        let last: Value = serde_json::Deserializer::from_str(&inputs).into_iter().last().unwrap().unwrap();
        assert_eq!(last["prevResult"]["ips"][0]["address"], "10.209.1.1/32");
        let links = Rtnetlink::open().unwrap().links().unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
        assert_eq!(fs::read_dir(folder.path().join("state-of-cni/addresses")).unwrap().count(), 0);
    });
}
