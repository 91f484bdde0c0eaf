//! Trap 34: a token that is bound to a key or a certificate is verified and cached like any other, and whoever sends it proves on
//! every call that it is his. What is cached never stands for the proof.

use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::memory::Cluster;
use authmesh::possession::{DpopRules, Presentation, ProofError, ProofMemory, RequestProof, RequestUri, Scheme};
use authmesh::{AuthMesh, CommitState, Fault, Outcome, Policy, Rules, Token, Verifier, VerifyError};
use serde_json::{Value, json};

use crate::support::{Holder, Request, START, TestIssuer, builder, eventually, manual_clock, node, twin};

const URI: &str = "https://api.example.com/orders";

struct World {
    issuer: TestIssuer,
    clock: Arc<ManualClock>,
    mesh: AuthMesh,
    holder: Holder,
    token: String,
}

async fn world() -> World {
    world_of(Holder::new(), |builder| builder).await
}

async fn world_of(holder: Holder, change: impl FnOnce(authmesh::Builder) -> authmesh::Builder) -> World {
    let clock = manual_clock();
    let issuer = TestIssuer::at(clock.clone());
    let mesh = change(builder("a", &issuer)).start().await.unwrap();
    let token = issuer.token_with(json!({ "cnf": holder.cnf() }));
    World {
        issuer,
        clock,
        mesh,
        holder,
        token,
    }
}

fn invalid(error: ProofError) -> VerifyError {
    VerifyError::InvalidDpopProof(error)
}

impl World {
    /// The request that proofs are for, each with a `jti` of its own.
    fn request<'a>(&'a self, jti: &'a str) -> Request<'a> {
        Request {
            token: &self.token,
            method: "POST",
            uri: URI,
            at: self.issuer.now(),
            jti,
        }
    }

    fn presentation<'a>(&'a self, proof: &'a str) -> Presentation<'a> {
        Presentation::new(&self.token, Scheme::Dpop)
            .proofs([proof])
            .request("POST", RequestUri::absolute(URI))
    }

    async fn present(&self, proof: &str) -> Result<Outcome, VerifyError> {
        let answer = self.mesh.verifier().answer_presented(&self.presentation(proof)).await?;
        Ok(answer.outcome)
    }

    /// A proof with something in it that is not as it should be.
    async fn present_with(&self, jti: &str, header: Value, claims: Value) -> Result<Outcome, VerifyError> {
        self.present(&self.holder.proof_with(&self.request(jti), header, claims))
            .await
    }

    /// Brings the token into memory: from then on every answer is a hit.
    async fn warm(&self) {
        eventually("the token is in memory", || async {
            let proof = self.holder.proof(&self.request(&format!("warm {}", next())));
            self.present(&proof).await.unwrap() == Outcome::Hit
        })
        .await;
    }

    fn verifier(&self, rules: Rules, dpop: DpopRules) -> Verifier {
        self.mesh
            .verifier_for(Policy {
                issuers: [(self.issuer.url().to_owned(), rules)].into(),
                dpop,
                ..Policy::default()
            })
            .unwrap()
    }
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test]
async fn whoever_has_the_key_gets_an_answer_fresh_and_from_memory() {
    for holder in [Holder::new(), Holder::ed25519()] {
        let world = world_of(holder, |builder| builder).await;
        let first = world.present(&world.holder.proof(&world.request("1"))).await.unwrap();
        assert_eq!(first, Outcome::Verified);
        world.warm().await;
        let hit = world
            .mesh
            .verifier()
            .try_hit_presented(&world.presentation(&world.holder.proof(&world.request("2"))));
        let verdict = hit.unwrap().unwrap().verdict;
        assert!(verdict.binding().unwrap().jkt().is_some());
        assert!(world.mesh.stats().counts.possession_proven >= 3);
    }
}

/// The trap itself: the first call may be refused or not, the second finds a verdict in memory.
#[tokio::test]
async fn it_is_no_bearer_token_fresh_or_from_memory() {
    let world = world().await;
    let verifier = world.mesh.verifier();
    for round in 0..3 {
        assert_eq!(verifier.verify(&world.token).await.unwrap_err(), VerifyError::Bound);
        assert_eq!(verifier.answer(&world.token).await.unwrap_err(), VerifyError::Bound);
        if let Some(hit) = verifier.try_hit(&world.token) {
            assert_eq!(hit.unwrap_err(), VerifyError::Bound);
        } else {
            assert_eq!(round, 0);
        }
        // A good proof beside it changes nothing: the scheme is part of it (RFC 9449 section 7.2).
        let proof = world.holder.proof(&world.request("bearer"));
        let bearer = Presentation::bearer(&world.token)
            .proofs([&proof])
            .request("POST", RequestUri::absolute(URI));
        assert_eq!(
            verifier.answer_presented(&bearer).await.unwrap_err(),
            VerifyError::Bound
        );
        world.warm().await;
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_nothing_is_refused_with_the_scheme_dpop() {
    let world = world().await;
    let token = world.issuer.token_with(json!({}));
    for _ in 0..2 {
        let proof = world.holder.proof(&Request {
            token: &token,
            ..world.request("1")
        });
        let presented = Presentation::new(&token, Scheme::Dpop)
            .proofs([&proof])
            .request("POST", RequestUri::absolute(URI));
        let refused = world.mesh.verifier().answer_presented(&presented).await.unwrap_err();
        assert_eq!(refused, VerifyError::NotBound);
        world.mesh.verifier().verify(&token).await.unwrap();
    }
    let strict = world.verifier(world.issuer.rules().require_bound(), DpopRules::default());
    assert_eq!(strict.verify(&token).await.unwrap_err(), VerifyError::NotBound);
    strict
        .answer_presented(&world.presentation(&world.holder.proof(&world.request("2"))))
        .await
        .unwrap();
}

/// Each of these before and after the verdict is in memory.
#[tokio::test]
async fn a_proof_that_is_not_of_this_request_this_token_and_this_key_is_refused() {
    for from_memory in [false, true] {
        let world = world().await;
        if from_memory {
            world.warm().await;
        }
        let (none, other) = (json!({}), Holder::new());
        let refused = |header: Value, claims: Value| {
            let world = &world;
            async move { world.present_with("1", header, claims).await.unwrap_err() }
        };
        for (claims, error) in [
            (json!({"htm": "GET"}), ProofError::WrongMethod),
            (json!({"htm": "post"}), ProofError::WrongMethod),
            (json!({"htu": "https://api.example.com/refunds"}), ProofError::WrongUri),
            (json!({"htu": "http://api.example.com/orders"}), ProofError::WrongUri),
            (json!({"htu": "/orders"}), ProofError::InvalidClaim("htu")),
            (
                json!({"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}),
                ProofError::WrongToken,
            ),
            (json!({"ath": null}), ProofError::MissingClaim("ath")),
            (json!({"jti": null}), ProofError::MissingClaim("jti")),
            (json!({"jti": ""}), ProofError::InvalidClaim("jti")),
            (json!({"jti": "x".repeat(257)}), ProofError::InvalidClaim("jti")),
            (json!({"jti": 7}), ProofError::InvalidClaim("jti")),
            (json!({"htm": null}), ProofError::MissingClaim("htm")),
            (json!({"htu": ["x"]}), ProofError::InvalidClaim("htu")),
            (json!({"iat": null}), ProofError::MissingClaim("iat")),
            (json!({"iat": "now"}), ProofError::InvalidClaim("iat")),
            (json!({"nonce": 7}), ProofError::InvalidClaim("nonce")),
            (
                json!({"iat": START - 61}),
                ProofError::TooOld {
                    ago: Duration::from_secs(61),
                },
            ),
            (
                json!({"iat": START + 31}),
                ProofError::Early {
                    ahead: Duration::from_secs(31),
                },
            ),
        ] {
            assert_eq!(refused(none.clone(), claims.clone()).await, invalid(error), "{claims}");
        }
        for typ in [json!("JWT"), json!("at+jwt"), Value::Null] {
            assert_eq!(
                refused(json!({ "typ": typ }), none.clone()).await,
                invalid(ProofError::WrongType)
            );
        }
        let mut with_private = world.holder.jwk();
        with_private["d"] = json!("AA");
        for (jwk, error) in [
            (other.jwk(), ProofError::WrongKey),
            (with_private, ProofError::PrivateKey),
            (json!({"kty": "oct", "k": "AA"}), ProofError::BadKey("it is symmetric")),
            (Value::Null, ProofError::BadKey("it is missing")),
        ] {
            assert_eq!(refused(json!({ "jwk": jwk }), none.clone()).await, invalid(error));
        }
        for alg in ["none", "HS256"] {
            let refused = refused(json!({ "alg": alg }), none.clone()).await;
            assert!(matches!(
                refused,
                VerifyError::InvalidDpopProof(ProofError::Unsupported(_))
            ));
        }
        // Another key's proof, and one that says to be of the right key.
        let foreign = other.proof(&world.request("1"));
        assert_eq!(
            world.present(&foreign).await.unwrap_err(),
            invalid(ProofError::WrongKey)
        );
        let forged = other.proof_with(&world.request("1"), json!({"jwk": world.holder.jwk()}), none.clone());
        assert_eq!(
            world.present(&forged).await.unwrap_err(),
            invalid(ProofError::BadSignature)
        );
        // None of them has used up the `jti`.
        world.present_with("1", none, json!({"jti": "1"})).await.unwrap();
    }
}

#[tokio::test]
async fn it_takes_exactly_one_proof_and_a_request_that_is_known() {
    let world = world().await;
    let verifier = world.mesh.verifier();
    let proof = world.holder.proof(&world.request("1"));
    let plain = Presentation::new(&world.token, Scheme::Dpop);
    let uri = RequestUri::absolute(URI);
    for _ in 0..2 {
        for (presentation, error) in [
            (plain.request("POST", uri), ProofError::Missing),
            (plain.request("POST", uri).proofs([&proof, &proof]), ProofError::Several),
            (
                plain.request("POST", uri).proofs([""]),
                ProofError::Malformed("not three parts with dots between"),
            ),
            (plain.proofs([&proof]), ProofError::UnknownRequest),
            (
                plain.proofs([&proof]).request("POST", RequestUri::absolute("/orders")),
                ProofError::UnknownRequest,
            ),
        ] {
            let refused = verifier.answer_presented(&presentation).await.unwrap_err();
            assert_eq!(refused, invalid(error), "{presentation:?}");
            assert_eq!((refused.fault(), refused.code()), (Fault::Token, "invalid_dpop_proof"));
        }
        world.warm().await;
    }
    // Told in parts, with a query, from a place that names no scheme.
    let parts = RequestUri::from_parts("https", "API.example.com:443", "/orders?page=2");
    let unnamed = Presentation::new(&world.token, Scheme::Unnamed).proofs([&proof]);
    verifier
        .answer_presented(&unnamed.request("POST", parts))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_bit_flip_of_its_proof_is_refused() {
    let world = world().await;
    world.warm().await;
    let good = world.holder.proof(&world.request("1")).into_bytes();
    let verifier = world.mesh.verifier();
    for bit in 0..good.len() * 8 {
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let presentation = Presentation::new(&world.token, Scheme::Dpop)
            .proofs([&bent])
            .request("POST", RequestUri::absolute(URI));
        let refused = verifier.answer_presented(&presentation).await;
        assert!(refused.is_err(), "bit {bit}");
    }
    world.present(std::str::from_utf8(&good).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_proof_counts_once() {
    let world = world().await;
    let proof = world.holder.proof(&world.request("1"));
    world.present(&proof).await.unwrap();
    let replayed = invalid(ProofError::Replayed);
    for step in [0, 1, 59, 1, 300] {
        world.clock.advance(Duration::from_secs(step));
        let refused = world.present(&proof).await.unwrap_err();
        let old = matches!(refused, VerifyError::InvalidDpopProof(ProofError::TooOld { .. }));
        assert!(old || refused == replayed, "{refused}");
    }
    // Another signature of the same proof is the same proof.
    let again = world.holder.proof(&world.request("2"));
    world.present(&again).await.unwrap();
    assert_eq!(world.present(&twin(&again)).await.unwrap_err(), replayed);
    let resigned = world.holder.proof(&world.request("2"));
    assert_ne!(resigned, again);
    assert_eq!(world.present(&resigned).await.unwrap_err(), replayed);
    // The `jti` of one holder says nothing of another's.
    let other = Holder::new();
    let token = world.issuer.token_with(json!({ "cnf": other.cnf() }));
    let proof = other.proof(&Request {
        token: &token,
        ..world.request("2")
    });
    let presentation = Presentation::new(&token, Scheme::Dpop)
        .proofs([&proof])
        .request("POST", RequestUri::absolute(URI));
    world.mesh.verifier().answer_presented(&presentation).await.unwrap();
    assert!(world.mesh.stats().counts.possession_replayed >= 4);
}

/// Two layers and a handler that validates anew look at one request; a replay in another request is one.
#[tokio::test]
async fn one_request_may_look_at_its_proof_again() {
    let world = world().await;
    let (request, proof) = (RequestProof::new(), world.holder.proof(&world.request("1")));
    let verifier = world.mesh.verifier();
    let presentation = world.presentation(&proof).within(&request);
    verifier.answer_presented(&presentation).await.unwrap();
    verifier
        .clone()
        .max_age(Duration::ZERO)
        .answer_presented(&presentation)
        .await
        .unwrap();
    let replayed = invalid(ProofError::Replayed);
    let other = RequestProof::new();
    for elsewhere in [world.presentation(&proof), world.presentation(&proof).within(&other)] {
        assert_eq!(verifier.answer_presented(&elsewhere).await.unwrap_err(), replayed);
    }
    // It is looked at again in full.
    let moved = presentation.request("DELETE", RequestUri::absolute(URI));
    assert_eq!(
        verifier.answer_presented(&moved).await.unwrap_err(),
        invalid(ProofError::WrongMethod)
    );
}

/// Neither forgotten proofs nor a client that makes very many.
#[tokio::test]
async fn a_full_memory_of_proofs_is_no_way_in_and_one_client_cannot_fill_it() {
    let memory = ProofMemory {
        proofs: 6,
        of_one_key: 4,
    };
    let world = world_of(Holder::new(), |builder| builder.proof_memory(memory)).await;
    let proofs: Vec<String> = (0..5)
        .map(|n| world.holder.proof(&world.request(&n.to_string())))
        .collect();
    for proof in &proofs[..4] {
        world.present(proof).await.unwrap();
    }
    let refused = world.present(&proofs[4]).await.unwrap_err();
    assert_eq!((refused.code(), refused.fault()), ("too_many_proofs", Fault::Service));
    assert!(refused.retry_after().unwrap() > Duration::ZERO);
    for proof in &proofs[..4] {
        assert_eq!(world.present(proof).await.unwrap_err(), invalid(ProofError::Replayed));
    }
    // Another client is not disturbed; garbage takes no room.
    let other = Holder::new();
    let token = world.issuer.token_with(json!({ "cnf": other.cnf() }));
    for n in 0..20 {
        let proof = Holder::new().proof(&Request {
            token: &token,
            ..world.request(&n.to_string())
        });
        let presentation = Presentation::new(&token, Scheme::Dpop).proofs([&proof]);
        let presentation = presentation.request("POST", RequestUri::absolute(URI));
        world.mesh.verifier().answer_presented(&presentation).await.unwrap_err();
    }
    let proof = other.proof(&Request {
        token: &token,
        ..world.request("1")
    });
    let presentation = Presentation::new(&token, Scheme::Dpop).proofs([&proof]);
    let presentation = presentation.request("POST", RequestUri::absolute(URI));
    world.mesh.verifier().answer_presented(&presentation).await.unwrap();
    // Room comes back.
    world.clock.advance(Duration::from_secs(190));
    world
        .present(&world.holder.proof(&world.request("later")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_nonce_of_any_node_of_the_cluster_is_demanded_where_the_policy_says_so() {
    let (cluster, clock) = (Cluster::new(), manual_clock());
    let issuer = TestIssuer::at(clock.clone());
    let mut demanding = Policy::default();
    demanding.dpop.require_nonce = true;
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let verifier = |mesh: &AuthMesh| {
        let issuers = [(issuer.url().to_owned(), issuer.rules())].into();
        mesh.verifier_for(Policy {
            issuers,
            ..demanding.clone()
        })
        .unwrap()
    };
    let (a, b) = (verifier(&a), verifier(&b));
    let holder = Holder::new();
    let token = issuer.token_with(json!({ "cnf": holder.cnf() }));
    let present = async |verifier: &Verifier, claims: Value| {
        let jti = next().to_string();
        let request = Request {
            token: &token,
            method: "POST",
            uri: URI,
            at: issuer.now(),
            jti: &jti,
        };
        let proof = holder.proof_with(&request, json!({}), claims);
        let presentation = Presentation::new(&token, Scheme::Dpop).proofs([&proof]);
        let presentation = presentation.request("POST", RequestUri::absolute(URI));
        verifier.answer_presented(&presentation).await.map(drop)
    };
    let demanded = |result: Result<(), VerifyError>| match result {
        Err(VerifyError::UseDpopNonce { nonce }) => nonce,
        other => panic!("{other:?}"),
    };
    let nonce = demanded(present(&a, json!({})).await);
    assert_eq!(a.dpop_nonce(), Some(nonce.clone()));
    assert_eq!(demanded(present(&a, json!({"nonce": "made up"})).await), nonce);
    present(&a, json!({ "nonce": nonce })).await.unwrap();
    present(&b, json!({ "nonce": nonce })).await.unwrap();
    clock.advance(Duration::from_secs(180));
    let newer = demanded(present(&b, json!({ "nonce": nonce })).await);
    assert_ne!(newer, nonce);
    present(&a, json!({ "nonce": newer })).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_compared_on_every_call() {
    let world = world().await;
    let thumbprint = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    let sha256: [u8; 32] = {
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(thumbprint);
        decoded.unwrap().try_into().unwrap()
    };
    let token = world.issuer.token_with(json!({"cnf": {"x5t#S256": thumbprint}}));
    let verifier = world.mesh.verifier();
    let bearer = Presentation::bearer(&token);
    for _ in 0..3 {
        let none = verifier.answer_presented(&bearer).await.unwrap_err();
        assert_eq!(none, VerifyError::CertificateMismatch("the connection has none"));
        assert_eq!(verifier.verify(&token).await.unwrap_err(), none);
        let other = bearer.certificate([7; 32]);
        let other = verifier.answer_presented(&other).await.unwrap_err();
        assert_eq!(
            other,
            VerifyError::CertificateMismatch("the connection has another one")
        );
        let own = bearer.certificate(sha256);
        verifier.answer_presented(&own).await.unwrap();
        // It is bound, but to no key.
        let dpop = Presentation::new(&token, Scheme::Dpop).certificate(sha256);
        assert_eq!(
            verifier.answer_presented(&dpop).await.unwrap_err(),
            VerifyError::NotBound
        );
    }
    // Bound to both: both are demanded.
    let mut cnf = world.holder.cnf();
    cnf["x5t#S256"] = json!(thumbprint);
    let token = world.issuer.token_with(json!({ "cnf": cnf }));
    let proof = world.holder.proof(&Request {
        token: &token,
        ..world.request("both")
    });
    let plain = Presentation::new(&token, Scheme::Dpop).request("POST", RequestUri::absolute(URI));
    let proven = plain.proofs([&proof]);
    let refused = verifier.answer_presented(&proven).await.unwrap_err();
    assert_eq!(refused, VerifyError::CertificateMismatch("the connection has none"));
    let refused = verifier.answer_presented(&plain.certificate(sha256)).await.unwrap_err();
    assert_eq!(refused, invalid(ProofError::Missing));
    verifier.answer_presented(&proven.certificate(sha256)).await.unwrap();
}

#[tokio::test]
async fn whoever_voids_or_explains_a_token_needs_no_proof() {
    let world = world().await;
    let explained = world.mesh.verifier().explain(&world.token).await;
    let binding = explained.binding.unwrap();
    assert_eq!(binding.jkt.unwrap(), world.holder.cnf()["jkt"].as_str().unwrap());
    assert!(explained.reason.contains("proof"), "{}", explained.reason);
    world.warm().await;
    let receipt = world.mesh.revoke(Token::new(world.token.clone())).await.unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    let refused = world
        .present(&world.holder.proof(&world.request("after")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "revoked");
}

#[tokio::test]
async fn what_is_wrong_with_the_token_is_told_before_its_proof_is_looked_at() {
    let world = world().await;
    world.warm().await;
    world.clock.advance(Duration::from_secs(3600));
    let refused = world.present("garbage").await.unwrap_err();
    assert_eq!(refused.code(), "expired");
}

#[tokio::test]
async fn only_danger_and_only_where_it_is_said_takes_it_as_a_bearer_token() {
    let world = world().await;
    let lax = world.verifier(world.issuer.rules().danger_bound_as_bearer(), DpopRules::default());
    for _ in 0..2 {
        let verdict = lax.verify(&world.token).await.unwrap();
        assert!(verdict.binding().is_some());
        assert_eq!(
            world.mesh.verifier().verify(&world.token).await.unwrap_err(),
            VerifyError::Bound
        );
        // Who says DPoP is held to it.
        let refused = lax.answer_presented(&world.presentation("garbage")).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_dpop_proof");
    }
    let mut off = DpopRules::default();
    off.accepted = false;
    let off = world.verifier(world.issuer.rules(), off);
    let proof = world.holder.proof(&world.request("off"));
    assert_eq!(
        off.answer_presented(&world.presentation(&proof)).await.unwrap_err(),
        VerifyError::Bound
    );
}
