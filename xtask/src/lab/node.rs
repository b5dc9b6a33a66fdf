//! A node: a machine with containerd and kubelet, and its own view of the folders they and their pods use.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::certificates::Authority;
use super::cgroups;
use super::control_plane::flag;
use super::machine::{Inside, Mount, Service};
use super::network;
use super::programs::Programs;
use super::progress::wait_for;
use super::site::{CLUSTER_DOMAIN, CONTROL, DNS_SERVICE, Node, Site};
use super::versions::PAUSE_IMAGE;
use crate::process::{find_program, output};

const RUNTIME_LIMIT: Duration = Duration::from_secs(60);
/// What a node sees in place of the host's folders. `/run` is empty after each boot, the others last.
const MOUNTS: [Mount; 5] = [
    Mount::Empty { target: "/run" },
    Mount::Own { source: "var", target: "/var" },
    Mount::Own { source: "opt", target: "/opt" },
    Mount::Over { source: "etc", target: "/etc" },
    Mount::Own { source: "cni", target: "/etc/cni" },
];
/// Kernel settings that are the whole host's and that kubelet wants to set: on its node it finds them set. The file in
/// the node's folder, its place, and kubelet's value.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("settings/overcommit_memory", "/proc/sys/vm/overcommit_memory", "1"),
    ("settings/panic", "/proc/sys/kernel/panic", "10"),
    ("settings/panic_on_oops", "/proc/sys/kernel/panic_on_oops", "1"),
    ("settings/root_maxkeys", "/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("settings/root_maxbytes", "/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Prepares a node's files, gives it an identity and boots it.
pub fn create(site: &Site, node: &Node, programs: &Programs) -> Result<()> {
    write_files(node).with_context(|| format!("cannot prepare the files of {}", node.name()))?;
    let authority = Authority::open(site.folder.join("certificates"));
    authority.issue_client(node.name(), "system:nodes", &format!("system:node:{}", node.name()))?;
    authority.write_kubeconfig(node.name(), &node.machine.folder.join("kubelet.kubeconfig"))?;
    write_json(&node.machine.folder.join("kubelet.json"), &kubelet_configuration(&authority, node))?;
    boot(site, node, programs)
}

/// Boots a node whose files are there: the first time, or after its power was cut.
pub fn boot(site: &Site, node: &Node, programs: &Programs) -> Result<()> {
    cgroups::make(&node.cgroup)?;
    let settings = SETTINGS.iter().map(|(source, target, _)| Mount::Own { source, target });
    let mounts: Vec<Mount> = MOUNTS.into_iter().chain(settings).collect();
    node.machine.boot(&programs.machine, &mounts)?;
    network::connect(&site.control(), node)?;
    start_runtime(node)
}

/// Gives the node the images of an archive.
pub fn import_images(node: &Node, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut ctr = node.machine.command(Inside::Everything, "ctr")?;
    let ended = ctr.args(["--namespace", "k8s.io", "images", "import", "-"]).stdin(file).output()?;
    let told = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{} cannot import {}: {told}", node.name(), archive.display());
    Ok(())
}

/// Starts kubelet; the node joins the cluster.
pub fn start_kubelet(node: &Node, programs: &Programs) -> Result<()> {
    let folder = &node.machine.folder;
    let mut arguments = vec![
        flag("config", folder.join("kubelet.json").display()),
        flag("kubeconfig", folder.join("kubelet.kubeconfig").display()),
        flag("hostname-override", node.name()),
        flag("node-ip", node.address_list()),
    ];
    arguments
        .extend(node.zone.as_ref().map(|zone| flag("node-labels", format_args!("topology.kubernetes.io/zone={zone}"))));
    node.machine.start(&Service { name: "kubelet", program: programs.kubernetes.join("kubelet"), arguments })
}

fn start_runtime(node: &Node) -> Result<()> {
    let containerd = find_program("containerd").context("no containerd; `cargo xtask lab build` installs it")?;
    let arguments = vec![flag("config", node.machine.folder.join("containerd.toml").display())];
    node.machine.start(&Service { name: "containerd", program: containerd, arguments })?;
    let ready = wait_for(format_args!("containerd on {}", node.name()), RUNTIME_LIMIT, || {
        output(node.machine.command(Inside::Everything, "ctr")?.arg("version")).map(Some)
    });
    ready.map(|_| ()).with_context(|| format!("containerd's last words:\n{}", node.machine.log_end("containerd")))
}

fn write_files(node: &Node) -> Result<()> {
    let folder = &node.machine.folder;
    for name in ["var/lib", "var/log", "var/tmp", "opt/cni/bin", "etc/upper/cni", "cni/net.d", "settings"] {
        fs::create_dir_all(folder.join(name))?;
    }
    match symlink("/run", folder.join("var/run")) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    for (file, _, value) in SETTINGS {
        fs::write(folder.join(file), format!("{value}\n"))?;
    }
    let name = node.name();
    fs::write(folder.join("etc/upper/hostname"), format!("{name}\n"))?;
    let own: String = node.addresses.iter().map(|address| format!("{address} {name}\n")).collect();
    fs::write(folder.join("etc/upper/hosts"), format!("127.0.0.1 localhost\n{own}"))?;
    // Nobody answers there, and says so at once: the lab has no outside.
    fs::write(folder.join("etc/upper/resolv.conf"), format!("nameserver {CONTROL}\n"))?;
    fs::write(folder.join("containerd.toml"), containerd_configuration())?;
    Ok(())
}

fn containerd_configuration() -> String {
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Lowering the score of a process takes a capability that a container host need not have.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}

fn kubelet_configuration(authority: &Authority, node: &Node) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority.root() },
        },
        "authorization": { "mode": "Webhook" },
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        // The disk is the host's, and images are not to be had again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}
