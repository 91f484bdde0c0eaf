//! Verification without a node: a token, a key set, the rules, a point in time.
//!
//! For tools and for questions after the fact ("was this token good at noon?"). Pure: no I/O, no clock, no cache. It
//! knows of no revocation; only a node does.

use std::fmt;
use std::sync::Arc;

use authmesh_proto::time::Unix;
use serde_json::{Map, Value};

use crate::error::VerifyError;
use crate::jose::{self, Algorithm, CompactJws, JwsError, KeySet};
use crate::policy::Rules;
use crate::possession::Binding;
use crate::verify::claims;

/// What a token said that [`check`] accepted.
///
/// `Debug` names the key and the times; no claim of the holder.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Offline {
    /// `iss` (RFC 7519 section 4.1.1). `None` only where no issuer was demanded.
    pub issuer: Option<String>,
    /// `sub` (RFC 7519 section 4.1.2).
    pub subject: Option<String>,
    /// `aud` (RFC 7519 section 4.1.3); a single string is a list of one.
    pub audiences: Vec<String>,
    /// `client_id` (RFC 8693 section 4.3), else `azp`.
    pub client: Option<String>,
    /// `sid`: the session at the issuer.
    pub session: Option<String>,
    /// `jti` (RFC 7519 section 4.1.7).
    pub jwt_id: Option<String>,
    /// `iat`, in seconds since the Unix epoch.
    pub issued_at: Option<Unix>,
    /// `exp`, in seconds since the Unix epoch.
    pub expires_at: Unix,
    /// What the token is bound to (`cnf`, RFC 7800): whoever sends it has to prove that it is his, on every call.
    pub binding: Option<Binding>,
    /// Every claim.
    pub claims: Map<String, Value>,
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// `kid` of the key that signed.
    pub kid: Option<Arc<str>>,
}

/// Verifies a token as a node would that holds these keys at that time, except for revocation, the size limit of its
/// policy, and the proof that a bound token needs.
///
/// `issuers` are the accepted values of `iss`, compared byte by byte. `None` accepts any, and none: then `keys` alone
/// says whose token it is. `now` is in seconds since the Unix epoch. The limits that a policy has for `leeway` (5 min) and
/// `max_token_lifetime` (1 min to 7 days) are not enforced.
///
/// # Errors
/// [`VerifyError`], always with [`Fault::Token`](crate::Fault::Token). A token with several faults is refused for
/// the one that a node would name.
pub fn check(
    token: &[u8],
    keys: &KeySet,
    issuers: Option<&[String]>,
    rules: &Rules,
    now: Unix,
) -> Result<Offline, VerifyError> {
    let jws = CompactJws::parse(token)?;
    let members = jose::json::parse_object(jws.payload()).map_err(|_| NOT_CLAIMS)?;
    let issuer = match (issuers, members.contains_key("iss")) {
        (None, false) => None,
        _ => Some(claims::issuer(&members)?.to_owned()),
    };
    if let (Some(accepted), Some(issuer)) = (issuers, &issuer)
        && !accepted.contains(issuer)
    {
        return Err(VerifyError::WrongIssuer);
    }
    let algorithm = jws.header().algorithm();
    if !rules.algorithms.contains(algorithm) {
        return Err(JwsError::AlgorithmNotAllowed(algorithm).into());
    }

    let verified = jose::verify_jws(token, keys, rules.algorithms)?;
    let checked = claims::check(rules, verified.header().typ(), now, &members)?;

    let owned = |text: Option<Box<str>>| text.map(String::from);
    Ok(Offline {
        issuer,
        subject: owned(checked.subject),
        audiences: checked.audiences.into_iter().map(String::from).collect(),
        client: owned(checked.client),
        session: owned(checked.session),
        jwt_id: owned(checked.jwt_id),
        issued_at: checked.issued_at,
        expires_at: checked.expires_at,
        binding: checked.binding,
        claims: members,
        algorithm,
        kid: verified.key_identity().kid.clone(),
    })
}

const NOT_CLAIMS: VerifyError = VerifyError::Malformed("its payload is not a JSON object without duplicate members");

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offline")
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::Fault;
    use crate::jose::{AlgorithmSet, KeySetLimits};

    const NOW: Unix = 1_800_000_000;
    const ISSUER: &str = "https://login.example.com";

    fn key() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn keys() -> KeySet {
        let x = URL_SAFE_NO_PAD.encode(key().public_key().as_ref());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
        KeySet::parse(set.to_string().as_bytes(), &KeySetLimits::default()).unwrap()
    }

    fn token(kid: &str, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "kid": kid }).to_string());
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes())))
    }

    fn claims() -> Value {
        json!({ "iss": ISSUER, "aud": ["a", "b"], "sub": "alice", "azp": "c1", "sid": "s1", "jti": "j1",
                "iat": NOW - 10, "exp": NOW + 10, "own": [1, { "x": null }] })
    }

    fn check_at(token: &str, issuers: Option<&[&str]>, now: Unix) -> Result<Offline, VerifyError> {
        let issuers: Option<Vec<String>> = issuers.map(|list| list.iter().map(ToString::to_string).collect());
        let rules = Rules::for_audiences(["b"]);
        check(token.as_bytes(), &keys(), issuers.as_deref(), &rules, now)
    }

    #[test]
    fn what_an_accepted_token_said_is_all_there() {
        let said = check_at(&token("k1", &claims()), Some(&["https://x", ISSUER]), NOW).unwrap();
        assert_eq!(Value::Object(said.claims.clone()), claims());
        assert_eq!(said.issuer.as_deref(), Some(ISSUER));
        assert_eq!(said.subject.as_deref(), Some("alice"));
        assert_eq!(said.audiences, ["a", "b"]);
        assert_eq!(
            (said.client.as_deref(), said.session.as_deref()),
            (Some("c1"), Some("s1"))
        );
        assert_eq!(said.jwt_id.as_deref(), Some("j1"));
        assert_eq!((said.issued_at, said.expires_at), (Some(NOW - 10), NOW + 10));
        assert_eq!((said.algorithm, said.kid.as_deref()), (Algorithm::EdDSA, Some("k1")));
        let shown = format!("{said:?}");
        assert!(!shown.contains("alice") && shown.contains("k1"), "{shown}");
    }

    #[test]
    fn the_issuer_is_compared_where_one_is_demanded() {
        let good = token("k1", &claims());
        for near in ["https://login.example.com/", "https://LOGIN.example.com", ""] {
            assert_eq!(check_at(&good, Some(&[near]), NOW), Err(VerifyError::WrongIssuer));
        }
        assert_eq!(check_at(&good, Some(&[]), NOW), Err(VerifyError::WrongIssuer));
        assert!(check_at(&good, None, NOW).is_ok());

        let mut without = claims();
        without.as_object_mut().unwrap().remove("iss");
        let without = token("k1", &without);
        assert_eq!(
            check_at(&without, Some(&[ISSUER]), NOW),
            Err(VerifyError::MissingClaim("iss".into()))
        );
        assert_eq!(check_at(&without, None, NOW).unwrap().issuer, None);

        let mut odd = claims();
        odd["iss"] = json!([ISSUER]);
        for issuers in [None, Some([ISSUER].as_slice())] {
            assert_eq!(
                check_at(&token("k1", &odd), issuers, NOW),
                Err(VerifyError::InvalidClaim("iss"))
            );
        }
    }

    #[test]
    fn time_is_an_argument() {
        let good = token("k1", &claims());
        assert!(check_at(&good, None, NOW + 39).is_ok());
        assert!(matches!(
            check_at(&good, None, NOW + 40),
            Err(VerifyError::Expired { .. })
        ));
        assert!(check_at(&good, None, NOW - 40).is_ok());
        assert!(matches!(
            check_at(&good, None, NOW - 41),
            Err(VerifyError::NotYetValid { claim: "iat", .. })
        ));
    }

    #[test]
    fn every_refusal_is_the_fault_of_the_token() {
        let good = token("k1", &claims());
        let mut forged: Vec<&str> = good.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(json!({ "iss": ISSUER, "sub": "root" }).to_string());
        forged[1] = &other;
        let mut elsewhere = claims();
        elsewhere["aud"] = json!("c");
        for (token, refusal) in [
            (forged.join("."), VerifyError::BadSignature),
            (token("k2", &claims()), VerifyError::UnknownKey),
            (token("k1", &elsewhere), VerifyError::WrongAudience),
            (token("k1", &json!("text")), NOT_CLAIMS),
            (
                String::new(),
                VerifyError::Malformed("not three parts with dots between"),
            ),
        ] {
            let refused = check_at(&token, Some(&[ISSUER]), NOW).unwrap_err();
            assert_eq!((refused.fault(), &refused), (Fault::Token, &refusal));
        }
        // What the policy does not allow is never looked for among the keys.
        let mut rules = Rules::danger_any_audience();
        rules.algorithms = AlgorithmSet::of(&[Algorithm::RS256]);
        let refused = check(token("k2", &claims()).as_bytes(), &keys(), None, &rules, NOW).unwrap_err();
        assert_eq!(refused.code(), "unsupported");
    }
}
