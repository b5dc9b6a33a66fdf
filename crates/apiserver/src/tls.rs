//! The cluster's certificates: an authority of its own, made once and kept in a directory.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::auth::TokenKey;

/// How long certificates hold: longer than any sandbox lives.
const VALID_YEARS: i16 = 10;
const AUTHORITY_NAME: &str = "kubernetes";

/// The certificate authority of a cluster and the key of its service accounts.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    token_key_pem: String,
    made: Timestamp,
}

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
}

/// What a certificate for a server is valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// Why certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the authority cannot be read or written.
    #[error("cannot access the certificate file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate cannot be made, or a stored key cannot be read.
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    /// A stored certificate or key is not PEM.
    #[error("cannot read a certificate")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// TLS refuses the certificates.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
    /// TLS refuses the authority that signs clients.
    #[error("cannot set up the verification of clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Authority {
    /// The authority kept in `directory`, made there if there is none. Private keys are readable by their owner only.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let path = |name: &str| directory.join(name);
        fs::create_dir_all(directory).map_err(|source| TlsError::File { path: directory.into(), source })?;
        // The certificate is written last: it stands for all three.
        if !path("ca.crt").exists() {
            let made = Self::create(now)?;
            write(&path("sa.key"), &made.token_key_pem, 0o600)?;
            write(&path("ca.key"), &made.key_pem, 0o600)?;
            write(&path("ca.crt"), &made.certificate_pem, 0o644)?;
        }
        Ok(Self {
            certificate_pem: read(&path("ca.crt"))?,
            key_pem: read(&path("ca.key"))?,
            token_key_pem: read(&path("sa.key"))?,
            made: now,
        })
    }

    /// A new authority that is kept nowhere.
    pub fn create(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let certificate_pem = authority_params(now).self_signed(&key)?.pem();
        let (key_pem, token_key_pem) = (key.serialize_pem(), TokenKey::generate()?.to_pem());
        Ok(Self { certificate_pem, key_pem, token_key_pem, made: now })
    }

    /// The authority's certificate, for clients to verify servers with.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key that signs service account tokens.
    pub fn token_key(&self) -> Result<TokenKey, TlsError> {
        Ok(TokenKey::from_pem(&self.token_key_pem)?)
    }

    /// A certificate for a server.
    pub fn server_certificate(&self, names: &[ServerName]) -> Result<Certificate, TlsError> {
        let mut params = leaf_params("kube-apiserver", &[], self.made);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(ServerName::to_san).collect::<Result<_, _>>()?;
        self.sign(&params)
    }

    /// A certificate for a client: `user` in these groups.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<Certificate, TlsError> {
        let mut params = leaf_params(user, groups, self.made);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// TLS for a server under these names; clients may show a certificate of this authority, and need not.
    pub fn server_config(&self, names: &[ServerName]) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let certificate = self.server_certificate(names)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?)?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes())?],
                PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config.into())
    }

    fn sign(&self, params: &CertificateParams) -> Result<Certificate, TlsError> {
        let issuer = Issuer::new(authority_params(self.made), KeyPair::from_pem(&self.key_pem)?);
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &issuer)?.pem();
        Ok(Certificate { certificate_pem, key_pem: key.serialize_pem() })
    }
}

impl ServerName {
    fn to_san(&self) -> Result<SanType, rcgen::Error> {
        match self {
            Self::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
            Self::Ip(address) => Ok(SanType::IpAddress(*address)),
        }
    }
}

/// Where a kubeconfig leads and as whom.
#[derive(Debug, Clone, Copy)]
pub struct Kubeconfig<'a> {
    /// The name of the cluster, the context and the user.
    pub name: &'a str,
    /// As in `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// The certificate of the cluster's authority, PEM.
    pub authority_pem: &'a str,
    /// The client's certificate.
    pub client: &'a Certificate,
}

impl Kubeconfig<'_> {
    /// The file, in JSON, which is YAML too: certificates are inside, so that it stands alone.
    pub fn render(&self) -> String {
        let data = |pem: &str| STANDARD.encode(pem);
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": self.name, "cluster": {
                "server": self.server, "certificate-authority-data": data(self.authority_pem),
            }}],
            "users": [{ "name": self.name, "user": {
                "client-certificate-data": data(&self.client.certificate_pem),
                "client-key-data": data(&self.client.key_pem),
            }}],
            "contexts": [{ "name": self.name, "context": { "cluster": self.name, "user": self.name } }],
            "current-context": self.name,
        });
        format!("{config:#}\n")
    }
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = leaf_params(AUTHORITY_NAME, &[], now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf_params(common_name: &str, organizations: &[&str], now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    // From the first of January on: a client whose clock is behind accepts it as well.
    params.not_before = date_time_ymd(year.into(), 1, 1);
    params.not_after = date_time_ymd((year + VALID_YEARS).into(), 1, 1);
    params
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::File { path: path.into(), source })
}

/// Writes through a file of another name, so that a crash leaves no half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let unfinished = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    options
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|source| TlsError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pki");
        let first = Authority::load_or_create(&path, Timestamp::now()).unwrap();
        let again = Authority::load_or_create(&path, Timestamp::now()).unwrap();
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        assert_eq!(first.token_key_pem, again.token_key_pem);
        for key in ["ca.key", "sa.key"] {
            assert_eq!(fs::metadata(path.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        Authority::load_or_create(directory.path(), Timestamp::now()).unwrap();
        fs::write(directory.path().join("ca.key"), "rubbish").unwrap();
        let authority = Authority::load_or_create(directory.path(), Timestamp::now()).unwrap();
        assert!(matches!(authority.client_certificate("a", &[]), Err(TlsError::Generate(_))));
    }

    #[test]
    fn a_server_name_that_is_none_is_refused() {
        let authority = Authority::create(Timestamp::now()).unwrap();
        assert!(authority.server_config(&[ServerName::Dns("ä".into())]).is_err());
        assert!(authority.server_config(&[ServerName::Ip([127, 0, 0, 1].into())]).is_ok());
    }
}
