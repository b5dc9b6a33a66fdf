//! The cluster's certificates and the kubeconfigs that carry them, made with `openssl`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::site::{API_PORT, API_SERVICE, CLUSTER_DOMAIN, CONTROL};
use crate::process::run;

/// The key the API server signs service account tokens with.
pub const SERVICE_ACCOUNTS: &str = "service-accounts";
/// The API server's own certificate.
pub const API_SERVER: &str = "apiserver";
/// The administrator, who may do everything.
pub const ADMINISTRATOR: &str = "administrator";

/// The certificates of one lab.
pub struct Authority {
    folder: PathBuf,
}

/// Who a certificate is for.
struct Subject<'a> {
    /// The file's name.
    file: &'a str,
    /// `O`: the group in Kubernetes.
    group: &'a str,
    /// `CN`: the user in Kubernetes.
    name: &'a str,
    extensions: &'a str,
}

impl Authority {
    /// Makes a new authority in `folder`, with the certificates every control plane needs.
    pub fn found(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let authority = Self { folder };
        let own = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature";
        authority.issue(&Subject { file: "ca", group: "fairway-lab", name: "fairway-lab", extensions: own })?;
        let served = format!(
            "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:{CONTROL},IP:{API_SERVICE},IP:{},DNS:localhost,\
             DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
            Ipv4Addr::LOCALHOST
        );
        authority.issue(&Subject { file: API_SERVER, group: "", name: "kube-apiserver", extensions: &served })?;
        authority.issue_client(SERVICE_ACCOUNTS, "", "service-accounts")?;
        authority.issue_client(ADMINISTRATOR, "system:masters", "administrator")?;
        Ok(authority)
    }

    /// The authority of a lab that is up.
    pub fn open(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes a client's certificate.
    pub fn issue_client(&self, file: &str, group: &str, name: &str) -> Result<()> {
        let extensions = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth";
        self.issue(&Subject { file, group, name, extensions })
    }

    /// The certificate in that file.
    pub fn certificate(&self, file: &str) -> PathBuf {
        self.folder.join(format!("{file}.crt"))
    }

    /// The key of it.
    pub fn key(&self, file: &str) -> PathBuf {
        self.folder.join(format!("{file}.key"))
    }

    /// The certificate of the authority.
    pub fn root(&self) -> PathBuf {
        self.certificate("ca")
    }

    /// Writes a kubeconfig for whoever has the certificate `file`.
    pub fn write_kubeconfig(&self, file: &str, path: &Path) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": file } }],
            "clusters": [{ "name": "lab", "cluster": {
                "server": format!("https://{CONTROL}:{API_PORT}"), "certificate-authority": self.root() } }],
            "users": [{ "name": file, "user": {
                "client-certificate": self.certificate(file), "client-key": self.key(file) } }],
        });
        fs::write(path, format!("{config:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    }

    fn issue(&self, subject: &Subject<'_>) -> Result<()> {
        let Subject { file, group, name, extensions } = subject;
        let organisation = if group.is_empty() { String::new() } else { format!("O={group}\n") };
        let request = self.folder.join(format!("{file}.conf"));
        let text = format!(
            "[req]\nprompt=no\ndistinguished_name=subject\nx509_extensions=extensions\n\
             [subject]\n{organisation}CN={name}\n[extensions]\n{extensions}\n"
        );
        fs::write(&request, text).with_context(|| format!("cannot write {}", request.display()))?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "3650"]).arg("-config").arg(&request);
        openssl.arg("-keyout").arg(self.key(file)).arg("-out").arg(self.certificate(file));
        if *file != "ca" {
            openssl.arg("-CA").arg(self.root()).arg("-CAkey").arg(self.key("ca"));
        }
        run(&mut openssl).with_context(|| format!("cannot make the certificate of {name}"))
    }
}
