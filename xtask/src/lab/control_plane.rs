//! The control plane: etcd, API server, controller manager and scheduler on one machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::certificates::{ADMINISTRATOR, API_SERVER, Authority, SERVICE_ACCOUNTS};
use super::cluster::Cluster;
use super::machine::{Machine, Mount, Service};
use super::network;
use super::programs::Programs;
use super::site::{API_PORT, CONTROL, Families, Site};
use crate::process::find_program;

const ETCD: &str = "http://127.0.0.1:2379";
/// Nine seconds on an idle machine of two cores.
const API_LIMIT: Duration = Duration::from_secs(180);

/// Starts the control plane and waits until it answers.
pub fn start(site: &Site, families: Families, programs: &Programs) -> Result<()> {
    let control = site.control();
    fs::create_dir_all(&control.folder).with_context(|| format!("cannot make {}", control.folder.display()))?;
    let authority = Authority::found(site.folder.join("certificates"))?;
    authority.write_kubeconfig(ADMINISTRATOR, &site.kubeconfig())?;
    for (name, user) in CLIENTS {
        authority.issue_client(name, "", user)?;
        authority.write_kubeconfig(name, &control.folder.join(format!("{name}.kubeconfig")))?;
    }
    control.boot(&programs.machine, &[Mount::Empty { target: "/run" }])?;
    network::lay_bridge(&control, families)?;
    start_services(&control, families, &authority, &programs.kubernetes)?;
    let ready = Cluster::of(site).wait_for_api(API_LIMIT);
    ready.with_context(|| format!("kube-apiserver's last words:\n{}", control.log_end("kube-apiserver")))
}

/// The programs of the control plane that are clients, and who they are.
const CLIENTS: [(&str, &str); 2] =
    [("kube-controller-manager", "system:kube-controller-manager"), ("kube-scheduler", "system:kube-scheduler")];

fn start_services(control: &Machine, families: Families, authority: &Authority, programs: &Path) -> Result<()> {
    let etcd = find_program("etcd").context("no etcd; `cargo xtask lab build` installs it")?;
    control.start(&Service { name: "etcd", program: etcd, arguments: etcd_arguments(&control.folder) })?;
    let services = [
        ("kube-apiserver", api_server_arguments(families, authority)),
        ("kube-controller-manager", controller_manager_arguments(families, authority, &control.folder)),
        ("kube-scheduler", scheduler_arguments(&control.folder)),
    ];
    for (name, arguments) in services {
        control.start(&Service { name, program: programs.join(name), arguments })?;
    }
    Ok(())
}

fn etcd_arguments(folder: &Path) -> Vec<String> {
    vec![
        flag("data-dir", folder.join("etcd").display()),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        // The lab's data need not outlive the machine's power.
        "--unsafe-no-fsync".into(),
        flag("logger", "zap"),
        flag("log-level", "warn"),
    ]
}

fn api_server_arguments(families: Families, authority: &Authority) -> Vec<String> {
    let certificate = |file: &str| authority.certificate(file).display().to_string();
    let key = |file: &str| authority.key(file).display().to_string();
    vec![
        flag("etcd-servers", ETCD),
        flag("bind-address", "0.0.0.0"),
        flag("secure-port", API_PORT),
        flag("advertise-address", CONTROL),
        flag("tls-cert-file", certificate(API_SERVER)),
        flag("tls-private-key-file", key(API_SERVER)),
        flag("client-ca-file", authority.root().display()),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-key-file", certificate(SERVICE_ACCOUNTS)),
        flag("service-account-signing-key-file", key(SERVICE_ACCOUNTS)),
        flag("service-cluster-ip-range", families.service_ranges()),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
        flag("kubelet-client-certificate", certificate(ADMINISTRATOR)),
        flag("kubelet-client-key", key(ADMINISTRATOR)),
        flag("kubelet-preferred-address-types", "InternalIP"),
        // Service addresses mean nothing on this machine: the pods behind an aggregated API are asked directly.
        flag("enable-aggregator-routing", true),
    ]
}

fn controller_manager_arguments(families: Families, authority: &Authority, folder: &Path) -> Vec<String> {
    vec![
        kubeconfig(folder, "kube-controller-manager"),
        flag("allocate-node-cidrs", true),
        flag("cluster-cidr", families.pod_ranges()),
        flag("service-cluster-ip-range", families.service_ranges()),
        flag("root-ca-file", authority.root().display()),
        flag("cluster-signing-cert-file", authority.root().display()),
        flag("cluster-signing-key-file", authority.key("ca").display()),
        flag("service-account-private-key-file", authority.key(SERVICE_ACCOUNTS).display()),
        flag("use-service-account-credentials", true),
        flag("leader-elect", false),
    ]
}

fn scheduler_arguments(folder: &Path) -> Vec<String> {
    vec![kubeconfig(folder, "kube-scheduler"), flag("leader-elect", false)]
}

fn kubeconfig(folder: &Path, name: &str) -> String {
    flag("kubeconfig", folder.join(format!("{name}.kubeconfig")).display())
}

/// A command-line flag.
pub fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
