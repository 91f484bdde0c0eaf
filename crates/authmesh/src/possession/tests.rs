#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use authmesh_proto::crypto::{KeyRing, ServerNonces};
use authmesh_proto::time::{Moment, Now};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::proof::{Proof, Wanted};
use super::replay::NotTaken;
use super::*;
use crate::error::VerifyError;
use crate::jose::{Algorithm, AlgorithmSet, base64url};

/// RFC 9449, figures 12 and 13: the proof of a request for a protected resource, its token, and the thumbprint of its key.
const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ\
                     OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIs\
                     ImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJj\
                     ZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05y\
                     V0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6\
                     Fy1dqd-jfxSYoMxhAJpLjA";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const URI: &str = "https://resource.example.org/protectedresource";
const IAT: u64 = 1_562_262_618;
/// RFC 9449, figure 2: a proof of the same key for a token endpoint. It is for no token.
const TOKENLESS: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ\
                         OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIs\
                         ImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVy\
                         LmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFL\
                         bdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

/// What a check of the RFC's request looks like.
struct Case {
    token: &'static str,
    request: Option<(&'static str, &'static str)>,
    jkt: [u8; 32],
    rules: DpopRules,
    now: u64,
}

fn rfc() -> Case {
    Case {
        token: TOKEN,
        request: Some(("GET", URI)),
        jkt: thumbprint(JKT),
        rules: DpopRules::default(),
        now: IAT,
    }
}

fn thumbprint(text: &str) -> [u8; 32] {
    base64url::decode(text.as_bytes()).unwrap().try_into().unwrap()
}

impl Case {
    fn check(&self, proof: impl AsRef<[u8]>) -> Result<Proof, ProofError> {
        super::proof::check(
            proof.as_ref(),
            &Wanted {
                token: self.token.as_bytes(),
                request: self.request.map(|(method, uri)| (method, RequestUri::absolute(uri))),
                jkt: &self.jkt,
                rules: &self.rules,
                max_skew: Duration::from_secs(30),
                now: self.now,
            },
        )
    }
}

#[test]
fn the_proof_of_rfc_9449_holds() {
    let proof = rfc().check(PROOF).unwrap();
    assert_eq!((proof.issued_at, proof.nonce), (IAT, None));
    let spelt = Case {
        request: Some((
            "GET",
            "HTTPS://resource.EXAMPLE.org:443/x/../protected%72esource?page=2#top",
        )),
        ..rfc()
    };
    assert_eq!(spelt.check(PROOF).unwrap().id, proof.id);
}

#[test]
fn a_proof_for_anything_else_is_refused() {
    let refused = |case: Case| case.check(PROOF).unwrap_err();
    for method in ["POST", "get", "GET ", ""] {
        let request = Some((method, URI));
        assert_eq!(
            refused(Case { request, ..rfc() }),
            ProofError::WrongMethod,
            "{method:?}"
        );
    }
    for uri in [
        "http://resource.example.org/protectedresource",
        "https://resource.example.org:8443/protectedresource",
        "https://other.example.org/protectedresource",
        "https://resource.example.org/protectedresource/",
        "https://resource.example.org/ProtectedResource",
        "https://resource.example.org/",
    ] {
        let request = Some(("GET", uri));
        assert_eq!(refused(Case { request, ..rfc() }), ProofError::WrongUri, "{uri}");
    }
    for request in [None, Some(("GET", "/protectedresource"))] {
        assert_eq!(refused(Case { request, ..rfc() }), ProofError::UnknownRequest);
    }
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxV";
    assert_eq!(refused(Case { token, ..rfc() }), ProofError::WrongToken);
    for bit in 0..256 {
        let mut jkt = thumbprint(JKT);
        jkt[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(Case { jkt, ..rfc() }), ProofError::WrongKey);
    }
    let rules = DpopRules {
        algorithms: AlgorithmSet::of(&[Algorithm::EdDSA, Algorithm::PS256]),
        ..DpopRules::default()
    };
    assert!(matches!(refused(Case { rules, ..rfc() }), ProofError::Unsupported(_)));
    // Made for a token endpoint: it says nothing of a token.
    let tokenless = Case {
        request: Some(("POST", "https://server.example.com/token")),
        ..rfc()
    };
    assert_eq!(tokenless.check(TOKENLESS).unwrap_err(), ProofError::MissingClaim("ath"));
}

#[test]
fn a_proof_counts_for_its_window_and_the_skew_ahead() {
    let at = |now: u64| Case { now, ..rfc() }.check(PROOF);
    for now in [IAT - 30, IAT, IAT + 60] {
        assert!(at(now).is_ok(), "{now}");
    }
    let early = ProofError::Early {
        ahead: Duration::from_secs(31),
    };
    assert_eq!(at(IAT - 31).unwrap_err(), early);
    let old = ProofError::TooOld {
        ago: Duration::from_secs(61),
    };
    assert_eq!(at(IAT + 61).unwrap_err(), old);
    assert!(matches!(at(0), Err(ProofError::Early { .. })));
    assert!(matches!(at(u64::MAX), Err(ProofError::TooOld { .. })));
}

/// The signature alone has a twin, which changes many bits at once; one bit never makes another valid proof.
#[test]
fn every_bit_flip_of_a_proof_is_refused() {
    let case = rfc();
    let good = PROOF.as_bytes();
    for bit in 0..good.len() * 8 {
        let mut bent = good.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(case.check(&bent).is_err(), "bit {bit}");
    }
    for end in 0..good.len() {
        assert!(case.check(&good[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn too_long_a_proof_is_not_read() {
    let long = format!("{PROOF}{}", "A".repeat(8 * 1024));
    assert!(matches!(rfc().check(long), Err(ProofError::TooLarge { limit: 8192 })));
}

fn binding(cnf: Value) -> Result<Option<Binding>, VerifyError> {
    Binding::of(json!({ "cnf": cnf }).as_object().unwrap())
}

#[test]
fn a_binding_is_understood_as_a_whole_or_refused() {
    let x5t = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    assert_eq!(Binding::of(json!({}).as_object().unwrap()).unwrap(), None);
    assert_eq!(binding(Value::Null).unwrap(), None);
    let key = binding(json!({ "jkt": JKT })).unwrap().unwrap();
    assert_eq!((key.jkt(), key.x5t_s256()), (Some(&thumbprint(JKT)), None));
    assert!(
        x5t.len() == 43 && base64url::decode(x5t.as_bytes()).is_none(),
        "stray bits: none of RFC 8705's examples"
    );
    let certificate = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    let both = binding(json!({ "jkt": JKT, "x5t#S256": certificate }))
        .unwrap()
        .unwrap();
    assert_eq!(
        (both.jkt(), both.x5t_s256()),
        (key.jkt(), Some(&thumbprint(certificate)))
    );
    assert!(format!("{both:?}").contains(JKT));
    for odd in [
        json!({}),
        json!([]),
        json!("jkt"),
        json!(7),
        json!(true),
        json!({"jkt": null}),
        json!({"jkt": [JKT]}),
        json!({"jkt": ""}),
        json!({ "jkt": &JKT[1..] }),
        json!({ "jkt": format!("{JKT}=") }),
        json!({ "JKT": JKT }),
        json!({"x5t#S256": x5t}),
        json!({"kid": "k1"}),
        json!({"jwk": {"kty": "EC"}}),
        // What else it demands nobody here would check.
        json!({"jkt": JKT, "jwk": {}}),
        json!({ "jkt": JKT, "x5t#S256": null }),
    ] {
        let refused = binding(odd.clone()).unwrap_err();
        assert_eq!(refused.code(), "unsupported_binding", "{odd}");
    }
}

#[test]
fn what_two_sources_say_of_a_binding_must_agree() {
    let one = binding(json!({ "jkt": JKT })).unwrap();
    let other = binding(json!({ "x5t#S256": JKT })).unwrap();
    assert_eq!(Binding::both(one, None).unwrap(), one);
    assert_eq!(Binding::both(None, one).unwrap(), one);
    assert_eq!(Binding::both(one, one).unwrap(), one);
    assert_eq!(Binding::both(None, None).unwrap(), None);
    assert_eq!(Binding::both(one, other).unwrap_err().code(), "unsupported_binding");
}

fn at(seconds: u64) -> Now {
    Now {
        boot: Moment::ORIGIN.plus(Duration::from_secs(seconds)),
        wall: IAT + seconds,
    }
}

fn memory(proofs: usize, of_one_key: usize) -> Replays {
    let replays = Replays::new(ProofMemory { proofs, of_one_key });
    replays.keep_for(Duration::from_secs(92));
    replays
}

fn key(number: u8) -> [u8; 32] {
    [number; 32]
}

#[test]
fn a_proof_is_taken_once_while_it_could_count() {
    let replays = memory(100, 100);
    replays.take(&key(1), [7; 16], IAT + 30, at(0)).unwrap();
    for later in [0, 1, 60, 90, 91, 92, 120, 183, 184, 300, 3000] {
        let again = replays.take(&key(1), [7; 16], IAT + 30, at(later));
        assert_eq!(again, Err(NotTaken::Replayed), "{later}");
    }
    // Another key, another proof.
    replays.take(&key(2), [7; 16], IAT + 3000, at(3000)).unwrap();
    replays.take(&key(1), [8; 16], IAT + 3000, at(3000)).unwrap();
}

/// A clock that was set back makes old proofs look fresh: what was forgotten stays refused.
#[test]
fn a_forgotten_proof_is_not_taken_again_whatever_the_clock_says() {
    let replays = memory(100, 100);
    replays.take(&key(1), [7; 16], IAT, at(0)).unwrap();
    replays.take(&key(1), [8; 16], IAT + 1000, at(1000)).unwrap();
    assert_eq!(replays.held(), 1, "the first is gone");
    let set_back = Now { wall: IAT, ..at(1001) };
    assert_eq!(replays.take(&key(1), [7; 16], IAT, set_back), Err(NotTaken::Replayed));
    replays.take(&key(1), [9; 16], IAT + 1, set_back).unwrap();
}

#[test]
fn a_full_memory_refuses_and_forgets_nothing() {
    let replays = memory(10, 4);
    for proof in 0..4 {
        replays.take(&key(1), [proof; 16], IAT, at(0)).unwrap();
    }
    let full = |result| matches!(result, Err(NotTaken::Full { retry_after }) if retry_after <= Duration::from_secs(92));
    assert!(
        full(replays.take(&key(1), [9; 16], IAT, at(1))),
        "one key has its share"
    );
    for proof in 0..6 {
        replays.take(&key(2 + proof / 3), [proof; 16], IAT, at(1)).unwrap();
    }
    assert!(full(replays.take(&key(9), [0; 16], IAT, at(2))), "all keys have theirs");
    assert_eq!(replays.held(), 10);
    for proof in 0..4 {
        assert_eq!(replays.take(&key(1), [proof; 16], IAT, at(3)), Err(NotTaken::Replayed));
    }
    // What is over makes room, in every shard.
    replays.take(&key(9), [0; 16], IAT + 190, at(190)).unwrap();
    assert_eq!(replays.held(), 1);
}

proptest! {
    /// Against a list that forgets nothing: a proof that could still count is never taken twice, and one that is new is taken.
    #[test]
    fn no_replay_is_ever_taken(
        steps in proptest::collection::vec((0_u64..40, 0_u8..4, 0_u8..6, 0_u64..90), 1..80)
    ) {
        let replays = memory(1000, 1000);
        let mut taken = std::collections::BTreeSet::new();
        let mut now = 0;
        for (wait, holder, jti, age) in steps {
            now += wait;
            // As the window lets through: up to 60 s old, up to 30 s ahead.
            let issued_at = IAT + now + 30 - age;
            let proof = [[jti; 8], issued_at.to_be_bytes()].concat().try_into().unwrap();
            let result = replays.take(&key(holder), proof, issued_at, at(now));
            let is_new = taken.insert((holder, proof));
            prop_assert_eq!(result.is_ok(), is_new);
        }
    }
}

#[test]
fn a_nonce_counts_for_its_period_and_the_next() {
    let nonces = |first: u8| ServerNonces::new(&KeyRing::new([1; 32], [[first; 32]]).unwrap(), "authmesh");
    let (ours, rules, skew) = (nonces(2), DpopRules::default(), Duration::from_secs(5));
    let start = 1_800_000_000;
    let nonce = super::nonce::make(&ours, &rules, start);
    let counts = |now| super::nonce::counts(&ours, &rules, &nonce, now, skew);
    assert!(
        counts(start) && counts(start + 119),
        "handed out for 60 s, taken for as long again"
    );
    assert!(!counts(start + 120) && !counts(start + 1000));
    assert!(counts(start - 5), "a member's clock was ahead");
    assert!(!counts(start - 6));
    assert!(
        !super::nonce::counts(&nonces(3), &rules, &nonce, start, skew),
        "of another cluster"
    );
    for odd in ["", "AA", "not base64url!", &nonce[1..], &format!("{nonce}A")] {
        assert!(!super::nonce::counts(&ours, &rules, odd, start, skew), "{odd}");
    }
}

#[test]
fn rules_that_no_proof_meets_are_refused() {
    let with = |change: fn(&mut DpopRules)| {
        let mut rules = DpopRules::default();
        change(&mut rules);
        rules.check()
    };
    with(|_| ()).unwrap();
    for change in [
        (|rules| rules.algorithms = AlgorithmSet::of(&[])) as fn(&mut DpopRules),
        |rules| rules.window = Duration::ZERO,
        |rules| rules.window = Duration::from_secs(301),
        |rules| rules.nonce_lifetime = Duration::from_secs(9),
        |rules| rules.nonce_lifetime = Duration::from_secs(3601),
    ] {
        with(change).unwrap_err();
    }
    for (proofs, of_one_key) in [(0, 0), (1, 0), (1, 2)] {
        ProofMemory { proofs, of_one_key }.check().unwrap_err();
    }
}

#[test]
fn debug_shows_neither_token_nor_proof() {
    let shown = format!(
        "{:?}",
        Presentation::new("topsecret", Scheme::Dpop)
            .proofs(["hushhush"])
            .request("GET", RequestUri::absolute("https://h/quiet"))
    );
    assert!(
        ["topsecret", "hushhush", "quiet"]
            .iter()
            .all(|secret| !shown.contains(secret)),
        "{shown}"
    );
}
