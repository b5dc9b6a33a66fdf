//! Images without a registry: every image a pod can name is a program of this binary or of the host.
//!
//! [`IMAGES`] is the whole list. Registry, tag and digest of a reference are ignored, only the last part of its path
//! counts: `nginx`, `docker.io/library/nginx:1.27` and `registry.example/team/nginx@sha256:..` are the same image.

mod agnhost;
mod flags;
mod http;
mod http_echo;
mod journal;
mod tools;
mod web;

pub use web::NODE_NAME_FILE;

use std::ffi::OsString;
use std::process::ExitCode;

/// Search path of every container: programs that stand for an image first, stand-ins for missing tools last.
pub const PATH: &str =
    "/opt/fairway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/fairway/tools";

/// An image: what runs when a pod names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The names it goes by; the first one is its own.
    pub names: &'static [&'static str],
    /// The program, replaced by a container's `command`.
    pub entrypoint: &'static [&'static str],
    /// Its arguments, replaced by a container's `args` and dropped when `command` is given.
    pub arguments: &'static [&'static str],
    /// Paths at which users of the real image expect its program.
    pub links: &'static [(&'static str, &'static str)],
    /// Directories users of the real image write to.
    pub directories: &'static [&'static str],
    /// The signal that asks it to end.
    pub stop_signal: StopSignal,
}

/// The signal that asks a program to end; an image's `STOPSIGNAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum StopSignal {
    /// Most programs.
    Terminate,
    /// Programs that end gracefully on SIGQUIT, as nginx does.
    Quit,
}

const fn tools(names: &'static [&'static str], arguments: &'static [&'static str]) -> Image {
    Image { names, entrypoint: &[], arguments, links: &[], directories: &[], stop_signal: StopSignal::Terminate }
}

const fn program(
    names: &'static [&'static str],
    entrypoint: &'static [&'static str],
    arguments: &'static [&'static str],
    links: &'static [(&'static str, &'static str)],
) -> Image {
    Image { names, entrypoint, arguments, links, directories: &[], stop_signal: StopSignal::Terminate }
}

/// Every image there is. Entry points and arguments are those of the real images, so that pod specs written for these
/// work unchanged.
pub static IMAGES: &[Image] = &[
    // A shell with the host's tools, and nslookup, wget, nc and ping of our own where the host has none.
    tools(&["busybox"], &["sh"]),
    tools(&["alpine"], &["/bin/sh"]),
    tools(&["debian", "ubuntu", "bash", "netshoot", "dnsutils", "jessie-dnsutils"], &["bash"]),
    program(&["curl"], &["curl"], &[], &[]),
    tools(&["python"], &["python3"]),
    // Test programs of the Kubernetes project.
    program(&["agnhost"], &["/agnhost"], &["pause"], &[("/agnhost", "agnhost")]),
    program(&["pause"], &["/pause"], &[], &[("/pause", "pause")]),
    // Web servers that say which pod answered; they serve the files of a volume at the image's usual place.
    Image {
        names: &["nginx", "nginx-unprivileged"],
        entrypoint: &["/docker-entrypoint.sh"],
        arguments: &["nginx", "-g", "daemon off;"],
        links: &[("/docker-entrypoint.sh", "docker-entrypoint.sh")],
        directories: &["/usr/share/nginx/html"],
        stop_signal: StopSignal::Quit,
    },
    Image { directories: &["/usr/local/apache2/htdocs"], ..program(&["httpd"], &[], &["httpd-foreground"], &[]) },
    Image {
        directories: &["/usr/share/caddy"],
        ..program(&["caddy"], &[], &["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"], &[])
    },
    program(&["whoami"], &["/whoami"], &[], &[("/whoami", "whoami")]),
    program(&["hello-app"], &["/hello-app"], &[], &[("/hello-app", "hello-app")]),
    program(&["http-echo"], &["/http-echo"], &[], &[("/http-echo", "http-echo")]),
    // This program: the agent, the DNS server and every other role.
    program(&["fairway"], &[crate::rootfs::PROGRAM], &[], &[]),
];

type Main = fn(&[String]) -> ExitCode;

/// Programs inside this binary, by the name they are called by, and where they are linked.
static APPLETS: &[(&str, Main)] = &[
    ("agnhost", agnhost::main),
    ("pause", agnhost::pause),
    ("nginx", web::nginx),
    ("docker-entrypoint.sh", web::docker_entrypoint),
    ("httpd", web::httpd),
    ("httpd-foreground", web::httpd),
    ("caddy", web::caddy),
    ("whoami", web::whoami),
    ("hello-app", web::hello_app),
    ("http-echo", http_echo::main),
];

/// The image `reference` names, if it is one of [`IMAGES`].
pub fn find(reference: &str) -> Option<&'static Image> {
    let path = reference.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let name = last.split(':').next().unwrap_or_default();
    IMAGES.iter().find(|image| image.names.contains(&name))
}

/// What a user may write instead of an image that is not there, as one sentence.
pub fn advice() -> String {
    let names: Vec<&str> = IMAGES.iter().flat_map(|image| image.names).copied().collect();
    format!(
        "a sandbox pulls nothing and has these images built in (registry and tag are ignored): {}",
        names.join(", ")
    )
}

/// The names under which this program is to be linked in a container's root, before the host's programs.
pub fn applet_names() -> Vec<&'static str> {
    APPLETS.iter().map(|(name, _)| *name).collect()
}

/// The names under which it is to be linked behind the host's programs.
pub fn tool_names() -> Vec<&'static str> {
    tools::TOOLS.iter().map(|(name, _)| *name).collect()
}

/// Runs the applet called `name`; `None` if there is none of that name.
pub fn run_applet(name: &str, arguments: &[OsString]) -> Option<ExitCode> {
    let (_, main) = APPLETS.iter().chain(tools::TOOLS).find(|(known, _)| *known == name)?;
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Some(main(&arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_tag_and_digest_do_not_matter() {
        for reference in ["nginx", "nginx:1.27", "docker.io/library/nginx:1", "localhost:5000/x/nginx@sha256:00"] {
            assert_eq!(find(reference).map(|image| image.names[0]), Some("nginx"), "{reference}");
        }
        assert_eq!(find("registry.k8s.io/e2e-test-images/agnhost:2.53").map(|image| image.names[0]), Some("agnhost"));
    }

    #[test]
    fn an_unknown_image_is_none_and_the_advice_names_those_there_are() {
        assert_eq!(find("quay.io/me/my-app:v1"), None);
        assert!(advice().contains("busybox") && advice().contains("http-echo"));
    }

    #[test]
    fn every_link_of_an_image_is_an_applet() {
        for (_, name) in IMAGES.iter().flat_map(|image| image.links) {
            assert!(applet_names().contains(name), "{name}");
        }
    }
}
