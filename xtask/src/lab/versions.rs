//! What the lab is made of, by version. The one place to change them; Kubernetes' own is in `lab/go.mod`.

/// A program built as it is from a Go module of its own.
pub struct GoProgram {
    /// The name of the program.
    pub name: &'static str,
    /// The package its `main` is in.
    pub package: &'static str,
    /// The module's version.
    pub version: &'static str,
}

/// Kubernetes; the same as in `lab/go.mod`, whose modules are built (a test compares them).
pub const KUBERNETES: &str = "v1.36.3";

/// CoreDNS, as its maintainers build it.
pub const COREDNS: GoProgram = GoProgram { name: "coredns", package: "github.com/coredns/coredns", version: "v1.14.7" };

/// Helm.
pub const HELM: GoProgram = GoProgram { name: "helm", package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" };

const CNI_VERSION: &str = "v1.9.1";

/// The CNI plugins of the reference stack, and the one containerd wants.
pub const CNI_PLUGINS: [GoProgram; 4] = [
    plugin("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
    plugin("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
    plugin("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
    plugin("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
];

const fn plugin(name: &'static str, package: &'static str) -> GoProgram {
    GoProgram { name, package, version: CNI_VERSION }
}

/// Debian packages of the machine, each by a program it brings.
pub const MACHINE_PACKAGES: [(&str, &str); 11] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("debootstrap", "debootstrap"),
    ("conntrack", "conntrack"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("nsenter", "util-linux"),
    ("cc", "gcc"),
];

/// Debian packages in the image that stands for every test image.
pub const IMAGE_PACKAGES: [&str; 12] = [
    "bash",
    "bind9-dnsutils",
    "busybox-static",
    "curl",
    "iperf",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "nginx-light",
    "openssl",
    "procps",
    "wget",
];

/// An image of the lab.
pub struct Image {
    /// Its name in the registry it is said to come from.
    pub name: &'static str,
    /// What it starts; arguments of a pod's container come after it.
    pub entrypoint: &'static [&'static str],
    /// The arguments when a pod gives none.
    pub arguments: &'static [&'static str],
}

/// The image of CoreDNS.
pub const COREDNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.14.7";
/// The image of the process that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.2";

/// Every image, with the tags Kubernetes' suite asks for (`test/utils/image/manifest.go`).
pub const IMAGES: [Image; 10] = [
    agnhost("registry.k8s.io/e2e-test-images/agnhost:2.63.0"),
    agnhost("registry.k8s.io/e2e-test-images/agnhost:2.55"),
    shell("registry.k8s.io/e2e-test-images/busybox:1.37.0-1"),
    shell("registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0"),
    shell("registry.k8s.io/build-image/distroless-iptables:v0.9.6"),
    nginx("registry.k8s.io/e2e-test-images/nginx:1.15-4"),
    nginx("registry.k8s.io/e2e-test-images/nginx:1.27-0"),
    program("registry.k8s.io/e2e-test-images/regression-issue-74839:1.4", &["/regression-issue-74839"]),
    program(COREDNS_IMAGE, &["/coredns"]),
    program(PAUSE_IMAGE, &["/pause"]),
];

const fn agnhost(name: &'static str) -> Image {
    Image { name, entrypoint: &["/agnhost"], arguments: &["pause"] }
}

const fn shell(name: &'static str) -> Image {
    Image { name, entrypoint: &[], arguments: &["/bin/sh"] }
}

const fn nginx(name: &'static str) -> Image {
    Image { name, entrypoint: &["nginx", "-g", "daemon off;"], arguments: &[] }
}

const fn program(name: &'static str, entrypoint: &'static [&'static str]) -> Image {
    Image { name, entrypoint, arguments: &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_the_version_the_module_builds() {
        let module = include_str!("../../../lab/go.mod");
        assert!(module.contains(&format!("k8s.io/kubernetes {KUBERNETES}\n")));
    }

    #[test]
    fn the_image_of_coredns_is_the_version_built() {
        assert!(COREDNS_IMAGE.ends_with(&format!(":{}", COREDNS.version)));
    }
}
