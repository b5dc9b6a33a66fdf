//! The user a client certificate names: common name and organizations of its subject (X.509, RFC 5280 section 4.1.2.6).
//!
//! The chain and the signature have been verified by TLS before anything is read here.

use super::Identity;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The optional version in front of the serial number.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The identity in a certificate's subject; `None` if it names nobody.
pub(crate) fn identity_of_certificate(der: &[u8]) -> Option<Identity> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut signed = Reader(certificate.expect(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    let (_serial, _algorithm, _issuer, _validity) = (signed.next()?, signed.next()?, signed.next()?, signed.next()?);
    let mut subject = Reader(signed.expect(SEQUENCE)?);
    let (mut user, mut groups) = (None, Vec::new());
    while let Some((SET, part)) = subject.next() {
        let mut attribute = Reader(Reader(part).expect(SEQUENCE)?);
        let kind = attribute.expect(OBJECT_IDENTIFIER)?;
        let (_string_type, text) = attribute.next()?;
        let text = String::from_utf8(text.to_vec()).ok()?;
        match kind {
            COMMON_NAME => user = Some(text),
            ORGANIZATION => groups.push(text),
            _ => {}
        }
    }
    Some(Identity::of_user(user?, groups))
}

/// Reads DER elements one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The tag and content of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..0x80 => (usize::from(first), rest),
            _ => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(d, _)| d.len() <= 4)?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(common_name: &str, organizations: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, common_name);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_subject_names_the_user_and_the_groups() {
        let identity = identity_of_certificate(&certificate("kubernetes-admin", &["system:masters"])).unwrap();
        assert_eq!(identity, Identity::of_user("kubernetes-admin", ["system:masters"]));
    }

    #[test]
    fn a_certificate_without_a_name_names_nobody() {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(identity_of_certificate(&der), None);
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_never_a_panic(at in 0usize..300, byte: u8) {
            let mut der = certificate("a", &["b"]);
            let index = at % der.len();
            der[index] = byte;
            let _ = identity_of_certificate(&der);
            let _ = identity_of_certificate(&der[..index]);
        }
    }
}
