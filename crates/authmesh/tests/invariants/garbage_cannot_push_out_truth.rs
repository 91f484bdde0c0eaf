//! Invariant 7: unverified input evicts no verified entry, creates no mark, and causes no more than a budgeted number of
//! calls upstream.

use authmesh::{KeyPolicy, Outcome, RevokeError, Token, VerifyError};
use serde_json::json;

use crate::support::{TestIssuer, builder, cluster_with, manual_clock};

const GOOD: usize = 100;
const BAD: usize = 20_000;

/// A small generator, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_..";
        (0..length)
            .map(|_| char::from(ALPHABET[self.next() as usize % ALPHABET.len()]))
            .collect()
    }
}

#[tokio::test]
async fn by_a_flood_of_bad_tokens() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    // Room for the good ones, and for few more.
    let mesh = builder("a", &issuer)
        .verdict_bytes(256 << 10)
        .join(std::sync::Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let good: Vec<String> = (0..GOOD)
        .map(|n| issuer.token_with(json!({"sub": format!("user-{n}")})))
        .collect();
    for token in &good {
        mesh.verifier().verify(token).await.unwrap();
    }
    for token in &good {
        assert_eq!(mesh.verifier().answer(token).await.unwrap().outcome, Outcome::Hit);
    }
    let fetches = issuer.requests();

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let claims = issuer.claims(json!({}));
    let template = issuer.token_with(json!({}));
    let (input, _) = template.rsplit_once('.').unwrap();
    let unsigned = "A".repeat(86);
    for n in 0..BAD {
        let bad = match n % 4 {
            0 => random.text(300),
            1 => format!("{input}.{}{}", &unsigned[..80], random.text(6).replace('.', "A")),
            2 => {
                let kid = format!("k-{}", random.next());
                let token = issuer.sign(json!({"kid": kid}), claims.clone());
                token[..token.len() - 4].to_owned() + "AAAA"
            }
            _ => issuer.sign(json!({"alg": "none"}), claims.clone()),
        };
        let error = mesh.verifier().verify(&bad).await.unwrap_err();
        let expected = match n % 4 {
            0 => matches!(error, VerifyError::Malformed(_)),
            1 => matches!(error, VerifyError::BadSignature | VerifyError::Malformed(_)),
            2 => matches!(error, VerifyError::UnknownKey | VerifyError::CouldNotAsk { .. }),
            _ => matches!(error, VerifyError::Unsupported(_)),
        };
        assert!(expected, "{n}: {error:?}");
        if n % 999 == 0 {
            assert!(matches!(mesh.revoke(Token::new(bad)).await, Err(RevokeError::Token(_))));
        }
    }

    let budget = u64::from(KeyPolicy::default().unknown_kid_burst);
    let caused = issuer.requests() - fetches;
    assert!((1..=budget).contains(&caused), "{caused} fetches");
    for token in &good {
        assert_eq!(mesh.verifier().answer(token).await.unwrap().outcome, Outcome::Hit);
    }
    let stats = mesh.stats();
    assert_eq!((stats.marks, stats.outbox, stats.verdicts), (0, 0, GOOD as u64));
}
