//! What the runtime says in the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::CniError;
use crate::owner::Owner;

/// The longest interface name the kernel takes.
const INTERFACE_NAME_MAX: usize = 15;

/// A command with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Serve(Serving),
    Undo(Undoing),
    Version,
}

/// What makes or looks at attachments, by all that the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    Add { target: Target, arguments: Arguments },
    Check { target: Target },
    Status,
}

/// What takes attachments down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undoing {
    Del { owner: Owner },
    Gc,
}

/// An interface and the namespace it is to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) owner: Owner,
    pub(crate) netns: PathBuf,
}

/// What `CNI_ARGS` says, as far as anything here listens to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// `namespace/name` of the pod, as Kubernetes' runtimes tell.
    pub(crate) pod: Option<String>,
    /// An address to have, from before there was `runtimeConfig`.
    pub(crate) address: Option<String>,
    /// An Ethernet address to have, likewise.
    pub(crate) mac: Option<String>,
}

impl Request {
    pub(crate) fn parse(variables: &BTreeMap<String, String>) -> Result<Self, CniError> {
        let environment = Environment { variables };
        match environment.required("CNI_COMMAND")? {
            "ADD" => {
                let (target, arguments) = (environment.target()?, environment.arguments());
                Ok(Self::Serve(Serving::Add { target, arguments }))
            }
            "DEL" => Ok(Self::Undo(Undoing::Del { owner: environment.owner()? })),
            "CHECK" => Ok(Self::Serve(Serving::Check { target: environment.target()? })),
            "GC" => Ok(Self::Undo(Undoing::Gc)),
            "STATUS" => Ok(Self::Serve(Serving::Status)),
            "VERSION" => Ok(Self::Version),
            other => Err(refuse("CNI_COMMAND", format!("{other} is none of ADD, DEL, CHECK, GC, STATUS, VERSION"))),
        }
    }
}

struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
}

impl Environment<'_> {
    fn required(&self, name: &'static str) -> Result<&str, CniError> {
        let value = self.variables.get(name).map_or("", String::as_str);
        if value.is_empty() { Err(refuse(name, "must be set".into())) } else { Ok(value) }
    }

    fn target(&self) -> Result<Target, CniError> {
        Ok(Target { owner: self.owner()?, netns: self.required("CNI_NETNS")?.into() })
    }

    fn owner(&self) -> Result<Owner, CniError> {
        let container = self.required("CNI_CONTAINERID")?;
        if !is_identifier(container) {
            let why = format!("{container:?} must begin with a letter or digit and hold only those, '_', '.' and '-'");
            return Err(refuse("CNI_CONTAINERID", why));
        }
        let interface = self.required("CNI_IFNAME")?;
        if !is_interface_name(interface) {
            let why = format!("{interface:?} must be 1 to {INTERFACE_NAME_MAX} bytes without '/', ':' and white space");
            return Err(refuse("CNI_IFNAME", why));
        }
        Ok(Owner { container: container.to_owned(), interface: interface.to_owned() })
    }

    fn arguments(&self) -> Arguments {
        let text = self.variables.get("CNI_ARGS").map_or("", String::as_str);
        let pairs: BTreeMap<&str, &str> = text.split(';').filter_map(|pair| pair.split_once('=')).collect();
        let value = |name: &str| pairs.get(name).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
        let pod = value("K8S_POD_NAMESPACE").zip(value("K8S_POD_NAME"));
        Arguments {
            pod: pod.map(|(namespace, name)| format!("{namespace}/{name}")),
            address: value("IP"),
            mac: value("MAC"),
        }
    }
}

fn refuse(name: &'static str, why: String) -> CniError {
    CniError::Variable { name, why }
}

/// The specification's rule for container and network identifiers.
pub(crate) fn is_identifier(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_inner)
}

fn is_interface_name(text: &str) -> bool {
    let is_allowed = |c: char| !matches!(c, '/' | ':' | '\0') && !c.is_whitespace();
    (1..=INTERFACE_NAME_MAX).contains(&text.len()) && !matches!(text, "." | "..") && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Request, String> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request::parse(&variables).map_err(|error| error.to_string())
    }

    const ADD: [(&str, &str); 4] =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "abc"), ("CNI_NETNS", "/run/netns/x"), ("CNI_IFNAME", "eth0")];

    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        ADD.into_iter().filter(|(known, _)| *known != name).chain([(name, value)]).collect()
    }

    #[test]
    fn kubernetes_tells_the_pod_in_the_arguments() {
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=7;IP=10.0.0.7;MAC=";
        let owner = Owner { container: "abc".into(), interface: "eth0".into() };
        assert_eq!(
            parse(&with("CNI_ARGS", arguments)),
            Ok(Request::Serve(Serving::Add {
                target: Target { owner, netns: "/run/netns/x".into() },
                arguments: Arguments { pod: Some("shop/cart-0".into()), address: Some("10.0.0.7".into()), mac: None },
            }))
        );
    }

    #[test]
    fn a_deletion_needs_no_namespace() {
        let parsed = parse(&[("CNI_COMMAND", "DEL"), ADD[1], ADD[3]]);
        assert!(matches!(parsed, Ok(Request::Undo(Undoing::Del { .. }))));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (pairs, expected) in [
            (vec![], "environment variable CNI_COMMAND: must be set"),
            (with("CNI_NETNS", ""), "environment variable CNI_NETNS: must be set"),
            (with("CNI_COMMAND", "add"), "environment variable CNI_COMMAND: add is none of"),
            (with("CNI_CONTAINERID", "../x"), "environment variable CNI_CONTAINERID: \"../x\" must begin"),
            (with("CNI_IFNAME", "a/b"), "environment variable CNI_IFNAME: \"a/b\" must be"),
            (with("CNI_IFNAME", "sixteen-bytes-on"), "environment variable CNI_IFNAME"),
        ] {
            let refusal = parse(&pairs).unwrap_err();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
