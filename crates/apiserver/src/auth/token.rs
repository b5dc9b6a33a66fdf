//! Service account tokens: JSON Web Tokens (RFC 7519) signed with ES256 (RFC 7518, section 3.4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, ToSpan};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey};
use rustls::pki_types::SignatureVerificationAlgorithm;
use serde_json::{Value, json};

/// Who signs the tokens of a cluster, and for whom.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const HEADER: &str = r#"{"alg":"ES256","kid":"service-accounts"}"#;
/// Bytes of each of the two numbers of a P-256 signature.
const HALF: usize = 32;

/// The key that signs service account tokens.
#[derive(Debug)]
pub struct TokenKey(KeyPair);

/// Signs and verifies service account tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    key: TokenKey,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub namespace: String,
    pub service_account: String,
    pub service_account_uid: String,
    /// The pod the token ends with.
    pub pod: Option<PodReference>,
    pub audiences: Vec<String>,
    pub expires: Timestamp,
}

/// A pod, of the token's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodReference {
    pub name: String,
    pub uid: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not one this server issues")]
    Malformed,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's service account or pod is gone")]
    Gone,
    #[error("the token cannot be signed")]
    Sign,
}

impl TokenKey {
    /// A new key.
    pub fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self)
    }

    /// Reads a private key (PKCS #8, P-256).
    pub fn from_pem(pem: &str) -> Result<Self, rcgen::Error> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).map(Self)
    }

    /// The private key as text.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }
}

impl Tokens {
    pub fn new(key: TokenKey) -> Self {
        Self { key }
    }

    pub fn issue(&self, claims: &Claims, now: Timestamp) -> Result<String, TokenError> {
        let text = format!("{}.{}", encode(HEADER), encode(claims.to_json(now).to_string()));
        let signature = self.key.0.sign(text.as_bytes()).map_err(|_| TokenError::Sign)?;
        let signature = fixed_from_der(&signature).ok_or(TokenError::Sign)?;
        Ok(format!("{text}.{}", encode(signature)))
    }

    /// What a token says, if it is ours, in force, and meant for this audience.
    pub fn verify(&self, token: &str, audience: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let signature = decode(signature).and_then(|fixed| der_from_fixed(&fixed)).ok_or(TokenError::Malformed)?;
        let algorithm: &dyn SignatureVerificationAlgorithm = webpki_algorithm().ok_or(TokenError::Signature)?;
        algorithm
            .verify_signature(self.key.0.der_bytes(), signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let claims = signed.split_once('.').and_then(|(_, claims)| decode(claims)).ok_or(TokenError::Malformed)?;
        let claims = Claims::from_json(&serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?)
            .ok_or(TokenError::Malformed)?;
        if claims.expires <= now {
            return Err(TokenError::Expired);
        }
        if !claims.audiences.iter().any(|of| of == audience) {
            return Err(TokenError::Audience);
        }
        Ok(claims)
    }

    /// Where the public key is found (OpenID Connect Discovery 1.0).
    pub fn issuer_metadata(&self) -> Value {
        json!({
            "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> Value {
        let point = self.key.0.der_bytes();
        // An uncompressed point: one byte of tag, then both coordinates.
        let coordinate = |index: usize| encode(point.get(1 + index * HALF..1 + (index + 1) * HALF).unwrap_or_default());
        json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": "service-accounts", "crv": "P-256", "alg": "ES256",
            "x": coordinate(0), "y": coordinate(1),
        }]})
    }
}

impl Claims {
    fn to_json(&self, now: Timestamp) -> Value {
        let mut bound = json!({
            "namespace": self.namespace,
            "serviceaccount": { "name": self.service_account, "uid": self.service_account_uid },
        });
        if let Some(pod) = &self.pod {
            bound["pod"] = json!({ "name": pod.name, "uid": pod.uid });
        }
        // A clock that is a little behind must not refuse a token that was just made.
        let not_before = now.checked_sub(1.second()).unwrap_or(now);
        json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.service_account),
            "aud": self.audiences,
            "exp": self.expires.as_second(), "iat": now.as_second(), "nbf": not_before.as_second(),
            "kubernetes.io": bound,
        })
    }

    fn from_json(claims: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let bound = &claims["kubernetes.io"];
        let pod = || Some(PodReference { name: text(&bound["pod"]["name"])?, uid: text(&bound["pod"]["uid"])? });
        Some(Self {
            namespace: text(&bound["namespace"])?,
            service_account: text(&bound["serviceaccount"]["name"])?,
            service_account_uid: text(&bound["serviceaccount"]["uid"])?,
            pod: pod(),
            audiences: claims["aud"].as_array()?.iter().filter_map(text).collect(),
            expires: Timestamp::from_second(claims["exp"].as_i64()?).ok()?,
        })
    }
}

fn webpki_algorithm() -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (_, algorithms) = provider
        .signature_verification_algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256)?;
    algorithms.iter().copied().find(|algorithm| algorithm.public_key_alg_id() == rustls::pki_types::alg_id::ECDSA_P256)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The two numbers of a DER signature (SEQUENCE of two INTEGERs), each padded to its full length.
fn fixed_from_der(der: &[u8]) -> Option<Vec<u8>> {
    let [0x30, _, 0x02, numbers @ ..] = der else { return None };
    let (&length, rest) = numbers.split_first()?;
    let (r, rest) = rest.split_at_checked(length.into())?;
    let [0x02, _, s @ ..] = rest else { return None };
    let mut fixed = Vec::with_capacity(2 * HALF);
    for number in [r, s] {
        let significant = number.iter().position(|byte| *byte != 0).map_or(&[][..], |start| &number[start..]);
        fixed.resize(fixed.len() + HALF.checked_sub(significant.len())?, 0);
        fixed.extend_from_slice(significant);
    }
    Some(fixed)
}

/// The DER form of two numbers of full length.
fn der_from_fixed(fixed: &[u8]) -> Option<Vec<u8>> {
    if fixed.len() != 2 * HALF {
        return None;
    }
    let mut numbers = Vec::with_capacity(2 * HALF + 8);
    for number in fixed.chunks(HALF) {
        let significant = &number[number.iter().position(|byte| *byte != 0).unwrap_or(HALF - 1)..];
        // A leading one bit would make the number negative.
        let sign = significant.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = u8::try_from(significant.len()).ok()? + u8::from(sign);
        numbers.extend([0x02, length]);
        numbers.extend(sign.then_some(0));
        numbers.extend_from_slice(significant);
    }
    let mut der = vec![0x30, u8::try_from(numbers.len()).ok()?];
    der.append(&mut numbers);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: &str = "api";

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            namespace: "default".into(),
            service_account: "web".into(),
            service_account_uid: "u-1".into(),
            pod: Some(PodReference { name: "web-0".into(), uid: "u-2".into() }),
            audiences: vec![AUDIENCE.into()],
            expires: now() + 600.seconds(),
        }
    }

    fn tokens() -> Tokens {
        Tokens::new(TokenKey::generate().unwrap())
    }

    #[test]
    fn a_token_says_what_was_put_in() {
        let tokens = tokens();
        // Many, because the length of a DER signature varies.
        for _ in 0..64 {
            let token = tokens.issue(&claims(), now()).unwrap();
            assert_eq!(tokens.verify(&token, AUDIENCE, now()), Ok(claims()));
        }
    }

    #[test]
    fn a_token_of_another_key_or_altered_is_refused() {
        let ours = tokens();
        let foreign = tokens().issue(&claims(), now()).unwrap();
        assert_eq!(ours.verify(&foreign, AUDIENCE, now()), Err(TokenError::Signature));
        let token = ours.issue(&claims(), now()).unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        let altered = Claims { namespace: "kube-system".into(), ..claims() };
        let forged = format!("{}.{}.{signature}", encode(HEADER), encode(altered.to_json(now()).to_string()));
        assert_eq!(ours.verify(&forged, AUDIENCE, now()), Err(TokenError::Signature));
        for rubbish in ["", "..", "a.b.c", "abc"] {
            assert!(ours.verify(rubbish, AUDIENCE, now()).is_err());
        }
    }

    #[test]
    fn a_token_ends_and_is_for_its_audience_only() {
        let tokens = tokens();
        let token = tokens.issue(&claims(), now()).unwrap();
        assert_eq!(tokens.verify(&token, AUDIENCE, now() + 600.seconds()), Err(TokenError::Expired));
        assert_eq!(tokens.verify(&token, "vault", now()), Err(TokenError::Audience));
    }

    #[test]
    fn a_key_is_the_same_after_a_round_trip() {
        let key = TokenKey::generate().unwrap();
        let again = Tokens::new(TokenKey::from_pem(&key.to_pem()).unwrap());
        let token = Tokens::new(key).issue(&claims(), now()).unwrap();
        assert!(again.verify(&token, AUDIENCE, now()).is_ok());
    }

    #[test]
    fn signatures_keep_their_value_between_both_forms() {
        for (r, s) in [(vec![0u8; 32], vec![0xff; 32]), (vec![1; 32], vec![0x80; 32])] {
            let fixed = [r, s].concat();
            assert_eq!(fixed_from_der(&der_from_fixed(&fixed).unwrap()), Some(fixed));
        }
    }
}
