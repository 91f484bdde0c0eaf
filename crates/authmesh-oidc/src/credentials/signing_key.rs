//! A private key that signs JWTs.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use authmesh::jose::Algorithm;

use super::CredentialError;

/// Smallest RSA modulus that signs, in bytes: 2,048 bits (RFC 7518 section 3.3).
const LEAST_MODULUS: usize = 256;

/// A private key for [`PrivateKeyJwt`](super::PrivateKeyJwt): RSA of at least 2,048 bits, P-256, P-384 or Ed25519.
///
/// `Debug` shows the algorithm and the `kid`.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    algorithm: Algorithm,
    kid: Option<String>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads the first private key of a PEM file: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
    ///
    /// Its algorithm is the first of its kind: RS256, ES256, ES384 or EdDSA; see [`algorithm`](Self::algorithm).
    ///
    /// # Errors
    /// [`CredentialError`]; it repeats nothing of the file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CredentialError> {
        let unreadable = || {
            error(
                "the PEM file holds no private key that is supported. It must hold an unencrypted BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY block, with RSA, P-256, P-384 or Ed25519",
            )
        };
        let der = Zeroizing::new(PrivateKeyDer::from_pem_slice(pem).map_err(|_| unreadable())?);
        let bytes = der.secret_der();
        let pair = RsaKeyPair::from_pkcs8(bytes)
            .or_else(|_| RsaKeyPair::from_der(bytes))
            .map(Pair::Rsa)
            .or_else(|_| ecdsa_der(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes))
            .or_else(|_| ecdsa_der(&ECDSA_P384_SHA384_FIXED_SIGNING, bytes))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(Pair::Ed25519))
            .map_err(|_| unreadable())?;
        Self::of(pair, None)
    }

    /// Reads a private JWK (RFC 7517), with its `kid` and its `alg`. An RSA key must have all of `n`, `e`, `d`, `p`, `q`, `dp`, `dq`
    /// and `qi`.
    ///
    /// # Errors
    /// [`CredentialError`]; it repeats nothing of the key.
    pub fn from_jwk(jwk: &[u8]) -> Result<Self, CredentialError> {
        let jwk: Jwk = serde_json::from_slice(jwk).map_err(|_| {
            error("the JWK is not a JSON object with the strings kty, and what a private key of that type has")
        })?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(error("the JWK is not for signatures: its use is another than sig"));
        }
        let rejected = || error("the JWK's numbers are no key: they are out of range, or do not belong together");
        let pair = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents {
                        n: member("n", jwk.n.as_ref())?,
                        e: member("e", jwk.e.as_ref())?,
                    },
                    d: member("d", jwk.d.as_ref())?,
                    p: member("p", jwk.p.as_ref())?,
                    q: member("q", jwk.q.as_ref())?,
                    dP: member("dp", jwk.dp.as_ref())?,
                    dQ: member("dq", jwk.dq.as_ref())?,
                    qInv: member("qi", jwk.qi.as_ref())?,
                };
                Pair::Rsa(RsaKeyPair::from_components(&components).map_err(|_| rejected())?)
            }
            ("EC", Some(curve @ ("P-256" | "P-384"))) => {
                let algorithm = if curve == "P-256" {
                    &ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &ECDSA_P384_SHA384_FIXED_SIGNING
                };
                // SEC 1 section 2.3.3: the uncompressed point.
                let point = [
                    &[4],
                    member("x", jwk.x.as_ref())?.as_slice(),
                    member("y", jwk.y.as_ref())?.as_slice(),
                ]
                .concat();
                let d = member("d", jwk.d.as_ref())?;
                Pair::Ecdsa(
                    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &d, &point).map_err(|_| rejected())?,
                )
            }
            ("OKP", Some("Ed25519")) => {
                let (d, x) = (member("d", jwk.d.as_ref())?, member("x", jwk.x.as_ref())?);
                Pair::Ed25519(Ed25519KeyPair::from_seed_and_public_key(&d, &x).map_err(|_| rejected())?)
            }
            _ => {
                return Err(error(
                    "the JWK is of a kind that is not supported. Use RSA, EC with P-256 or P-384, or OKP with Ed25519",
                ));
            }
        };
        let key = Self::of(pair, jwk.kid)?;
        match jwk.alg {
            Some(name) => {
                let algorithm = name
                    .parse()
                    .map_err(|_| error("the JWK names an alg that is not supported"))?;
                key.algorithm(algorithm)
            }
            None => Ok(key),
        }
    }

    fn of(pair: Pair, kid: Option<String>) -> Result<Self, CredentialError> {
        let algorithm = match &pair {
            Pair::Rsa(pair) if pair.public_modulus_len() < LEAST_MODULUS => {
                return Err(error("the RSA key has fewer than 2048 bits"));
            }
            Pair::Rsa(_) => Algorithm::RS256,
            Pair::Ecdsa(pair) if pair.algorithm() == &ECDSA_P256_SHA256_FIXED_SIGNING => Algorithm::ES256,
            Pair::Ecdsa(_) => Algorithm::ES384,
            Pair::Ed25519(_) => Algorithm::EdDSA,
        };
        Ok(Self {
            pair: Arc::new(pair),
            algorithm,
            kid,
        })
    }

    /// Signs with another algorithm: for an RSA key any RS or PS algorithm. Other keys have only one.
    ///
    /// # Errors
    /// [`CredentialError`] when the key cannot.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Result<Self, CredentialError> {
        let fits = match &*self.pair {
            Pair::Rsa(_) => rsa_encoding(algorithm).is_some(),
            Pair::Ecdsa(_) | Pair::Ed25519(_) => algorithm == self.algorithm,
        };
        if !fits {
            return Err(CredentialError(format!(
                "the key cannot sign with {}; its algorithm is {}",
                algorithm.name(),
                self.algorithm.name()
            )));
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Names the key in the header of what it signs, so that the issuer finds its public half.
    ///
    /// Default: the `kid` of the JWK; none for PEM.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// A compact JWS of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> Result<Zeroizing<String>, CredentialError> {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let mut jws = Zeroizing::new(format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        ));
        let signature = self
            .signature(jws.as_bytes())
            .ok_or_else(|| error("the client assertion could not be signed"))?;
        jws.push('.');
        jws.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(jws)
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(self.algorithm)?, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Pair::Ecdsa(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The members of a private JWK. A member that stands twice is refused by the parser.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<Text>,
    e: Option<Text>,
    x: Option<Text>,
    y: Option<Text>,
    d: Option<Text>,
    p: Option<Text>,
    q: Option<Text>,
    dp: Option<Text>,
    dq: Option<Text>,
    qi: Option<Text>,
}

/// Text that is overwritten when it is dropped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text(Zeroizing<String>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

fn member(name: &str, text: Option<&Text>) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let text =
        text.ok_or_else(|| CredentialError(format!("the JWK has no {name}: it is no private key of its type")))?;
    URL_SAFE_NO_PAD
        .decode(text.0.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| CredentialError(format!("{name} of the JWK is not base64url")))
}

fn ecdsa_der(algorithm: &'static EcdsaSigningAlgorithm, der: &[u8]) -> Result<Pair, aws_lc_rs::error::KeyRejected> {
    EcdsaKeyPair::from_private_key_der(algorithm, der).map(Pair::Ecdsa)
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        _ => return None,
    })
}

fn error(what: &str) -> CredentialError {
    CredentialError(what.to_owned())
}

#[cfg(test)]
mod tests;
