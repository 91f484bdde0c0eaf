//! Signed introspection responses (RFC 9701).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::jose::{AlgorithmSet, JwsError, KeySet, KeySetLimits, VerifiedJws, verify_jws};
use authmesh::ports::{FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};
use authmesh::proto::time::{Moment, Now};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::failure::Failure;

/// `typ` of a signed response (RFC 9701 section 5).
const TYPE: &str = "token-introspection+jwt";

/// How far `iat` may be from this node's clock, in seconds: a response is made when it is asked for. The bound covers a clock that
/// is 30 s off, and the longest that a request may take.
const RECENT: u64 = 60;

/// A key set is fetched again when it is older.
const REFRESH_AFTER: Duration = Duration::from_secs(3_600);

/// A key set is not believed when it is older, even if no other can be had.
const TRUST_FOR: Duration = Duration::from_secs(86_400);

/// The least time between two fetches: a stream of responses under unknown keys must not become one of fetches.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// Whose signature an introspection response must bear (RFC 9701), for [`Introspection::signed`](super::Introspection::signed).
///
/// A response is taken when it is a JWS of type `token-introspection+jwt`, signed by a key of the issuer's set, with `iss` equal to
/// the issuer, `aud` naming this service, and an `iat` at most 60 s from this node's clock. Encrypted responses are not supported.
///
/// The key set is fetched when it is first needed, again after 1 h, and when a response names a key that it does not hold, at most
/// every 10 s; it is believed for at most 24 h.
#[derive(Clone)]
pub struct SignedAnswers {
    issuer: String,
    audience: Option<String>,
    algorithms: AlgorithmSet,
    keys: Arc<Keys>,
}

struct Keys {
    source: Arc<dyn KeySource>,
    held: Mutex<Held>,
    /// Held while the source is asked: callers that come meanwhile share its answer.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    set: Option<(Arc<KeySet>, Moment)>,
    etag: Option<String>,
    /// When the source was last asked, and how that failed if it did.
    asked: Option<Moment>,
    trouble: Option<UpstreamError>,
}

impl SignedAnswers {
    /// Responses signed by `issuer` with a key of `keys`: most often an [`HttpKeySource`](crate::HttpKeySource).
    #[must_use]
    pub fn new(issuer: impl Into<String>, keys: Arc<dyn KeySource>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: None,
            algorithms: AlgorithmSet::ALL,
            keys: Arc::new(Keys {
                source: keys,
                held: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Whom the responses must be meant for.
    ///
    /// Default: the client's name, as it stands in [`ClientAuth`](crate::ClientAuth).
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The signature algorithms that are accepted.
    ///
    /// Default: all nine that are supported.
    #[must_use]
    pub fn algorithms(mut self, algorithms: AlgorithmSet) -> Self {
        self.algorithms = algorithms;
        self
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn audience_if_none(&mut self, audience: &str) {
        self.audience.get_or_insert_with(|| audience.to_owned());
    }

    pub(super) fn has_audience(&self) -> bool {
        self.audience.is_some()
    }

    pub(super) fn identity(&self) -> String {
        format!(
            " signed by {} for {:?}",
            self.issuer,
            self.audience.as_deref().unwrap_or_default()
        )
    }

    /// The members of `token_introspection`, after everything around them was checked.
    pub(super) async fn open(&self, body: &[u8], endpoint: &Endpoint, now: Now) -> Result<Map<String, Value>, Failure> {
        let bad = |why: &str| {
            Failure::from(UpstreamError::new(
                UpstreamFault::Answer,
                format!("the signed answer of {endpoint} is refused: {why}"),
            ))
        };
        let text = body.trim_ascii();
        let mut keys = self.keys.get(now.boot, None).await.map_err(Failure::from)?;
        let mut verified = verify_jws(text, &keys, self.algorithms);
        if matches!(verified, Err(JwsError::UnknownKey)) {
            keys = self.keys.get(now.boot, Some(&keys)).await.map_err(Failure::from)?;
            verified = verify_jws(text, &keys, self.algorithms);
        }
        let verified = verified.map_err(|error| {
            let parts = text.split(|byte| *byte == b'.').count();
            bad(&match parts {
                5 => {
                    "it is encrypted, which is not supported. Register this client without encryption of its responses"
                        .to_owned()
                }
                _ => error.to_string(),
            })
        })?;
        self.check(&verified, now).map_err(bad)
    }

    fn check(&self, verified: &VerifiedJws, now: Now) -> Result<Map<String, Value>, &'static str> {
        if !verified.header().typ_is(TYPE) {
            return Err("its typ is not token-introspection+jwt: it was signed for another purpose");
        }
        let mut claims = verified
            .claims()
            .map_err(|_| "its payload is not a JSON object without repeated members")?;
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("its iss is not the issuer");
        }
        let own = self.audience.as_deref().unwrap_or_default();
        let for_us = match claims.get("aud") {
            Some(Value::String(one)) => one == own,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(own)),
            _ => false,
        };
        if !for_us {
            return Err("its aud does not name this client");
        }
        match claims.get("iat").and_then(Value::as_f64) {
            Some(iat) if (now.wall as f64 - iat).abs() <= RECENT as f64 => {}
            Some(_) => {
                return Err(
                    "it was made more than 60 s from now, by this node's clock: it is an old one, or a clock is wrong",
                );
            }
            None => return Err("it has no iat"),
        }
        match claims.remove("token_introspection") {
            Some(Value::Object(members)) => Ok(members),
            _ => Err("it has no object token_introspection"),
        }
    }
}

impl Keys {
    /// The issuer's keys; another set than `not`, if there is one to be had.
    async fn get(&self, now: Moment, not: Option<&Arc<KeySet>>) -> Result<Arc<KeySet>, UpstreamError> {
        if let Some(set) = self.usable(now, not) {
            return Ok(set);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(set) = self.usable(now, not) {
            return Ok(set);
        }
        let (trusted, etag) = {
            let held = self.held();
            let trusted = held.set.as_ref().filter(|(_, since)| now.since(*since) < TRUST_FOR);
            let trusted = trusted.map(|(set, _)| Arc::clone(set));
            if held.asked.is_some_and(|asked| now.since(asked) < FETCH_PAUSE) {
                // Asked only just now, maybe by whom this caller waited for.
                let trouble = held.trouble.clone();
                return trusted.ok_or_else(|| trouble.unwrap_or_else(too_soon));
            }
            (trusted, held.etag.clone().filter(|_| held.set.is_some()))
        };
        let request = KeyFetch {
            no_cache: not.is_some(),
            etag,
        };
        let fetched = self.fetch(request, now).await;
        // Only now: a caller that went away meanwhile has asked nothing.
        self.held().asked = Some(now);
        match fetched {
            Ok(set) => Ok(set),
            Err(error) => {
                self.held().trouble = Some(error.clone());
                tracing::warn!(%error, "the keys of signed introspection answers could not be fetched");
                trusted.ok_or(error)
            }
        }
    }

    /// The set at hand, if it is young enough and another than `not`.
    fn usable(&self, now: Moment, not: Option<&Arc<KeySet>>) -> Option<Arc<KeySet>> {
        let held = self.held();
        let (set, since) = held.set.as_ref()?;
        let refused = not.is_some_and(|not| Arc::ptr_eq(not, set));
        (!refused && now.since(*since) < REFRESH_AFTER).then(|| Arc::clone(set))
    }

    async fn fetch(&self, request: KeyFetch, now: Moment) -> Result<Arc<KeySet>, UpstreamError> {
        let fetched = self.source.fetch(request).await?;
        let mut held = self.held();
        let set = match fetched.body {
            FetchedBody::Document(document) => {
                Arc::new(KeySet::parse(&document, &KeySetLimits::default()).map_err(|error| {
                    UpstreamError::new(UpstreamFault::Answer, format!("the key set is refused: {error}"))
                })?)
            }
            FetchedBody::NotModified => match &held.set {
                Some((set, _)) => Arc::clone(set),
                None => return Err(UpstreamError::new(UpstreamFault::Answer, "304 without a set to keep")),
            },
        };
        held.set = Some((Arc::clone(&set), now));
        held.etag = fetched.etag;
        held.trouble = None;
        Ok(set)
    }

    /// Held for single assignments only, never across an await.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_soon() -> UpstreamError {
    UpstreamError::new(
        UpstreamFault::Unreachable,
        "the keys of signed introspection answers were asked for a moment ago, without success",
    )
}

impl fmt::Debug for SignedAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedAnswers")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("algorithms", &self.algorithms)
            .field("keys", &self.keys.source)
            .finish()
    }
}
