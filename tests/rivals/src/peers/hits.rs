//! A token that was seen before: everybody's hit, or everybody's signature check where there is no cache.

use std::hint::black_box;
use std::time::Instant;

use authmesh_tests::bench::issuer::{Issuer, TOKEN_BYTES};
use authmesh_tests::bench::{Figure, Scatter};

use crate::Effort;
use crate::verifiers::{
    ByHand, Checker, Moka, Quick, Store, at_once, guarded, hit, hit_by_future, jwt_authorizer, mesh, through,
};
use crate::workers::{BATCH, Batch, Begin, Turn, figures, take_turns};

/// The hot set.
const HOT: usize = 1_000;
/// Signature checks per batch.
const CHECKS: usize = 8;

const OURS: &str = "authmesh, try_hit";
const ASYNC: &str = "authmesh, verify().await";
const MOKA: &str = "moka by SHA-256, by hand";
const QUICK: &str = "quick_cache by SHA-256, by hand";
const CHECK: &str = "jsonwebtoken, RS256";
const AUTHORIZER: &str = "jwt-authorizer, RS256";
const TOWER: &str = "tower-oauth2-resource-server, RS256";

/// So many tokens of a set, in a place that is warm, as they are when they come off a socket.
fn some(set: &[String], count: usize, scatter: &mut Scatter) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let mut token = Vec::with_capacity(TOKEN_BYTES + 1);
            token.extend_from_slice(set[scatter.below(set.len())].as_bytes());
            token
        })
        .collect()
}

/// A turn that does the same with each of so many tokens.
fn each<'a>(name: &'static str, set: &'a [String], count: usize, work: impl Fn(&[u8]) + Sync + 'a) -> Turn<'a> {
    Turn::new(name, move |scatter| {
        let tokens = some(set, count, scatter);
        let begin = Begin::now();
        tokens.iter().for_each(|token| work(token));
        Batch {
            operations: count,
            spent: begin.elapsed(),
        }
    })
}

pub(crate) fn measure(effort: &Effort) -> Vec<Figure> {
    let issuer = Issuer::new();
    let keys = issuer.jwks();
    let hot: Vec<String> = (0..HOT).map(|n| issuer.rs256(n)).collect();
    let many: Vec<String> = (0..effort.tokens).map(|n| issuer.ed25519(n)).collect();

    // Its threads sleep while others measure: a hit needs none of them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let capacity = (effort.tokens + HOT) * 2;
    let (mesh, authorizer, service) =
        runtime.block_on(async { (mesh(&keys).await, jwt_authorizer(&keys).await, guarded(&keys).await) });
    let verifier = mesh.verifier();
    let moka = ByHand::new(Moka::new(capacity as u64), &keys);
    let quick = ByHand::new(Quick::new(capacity), &keys);
    let checker = Checker::new(&keys);
    runtime.block_on(async {
        for token in many.iter().chain(&hot) {
            verifier.verify(token).await.expect("the token is valid");
        }
    });
    fill(&moka, &quick, many.iter().chain(&hot));

    let turns = [
        each(OURS, &hot, BATCH, |token| hit(&verifier, token)),
        each(ASYNC, &hot, BATCH, |token| hit_by_future(&verifier, token)),
        each(QUICK, &hot, BATCH, |token| drop(black_box(quick.verify(token)))),
        each(MOKA, &hot, BATCH, |token| drop(black_box(moka.verify(token)))),
        each(CHECK, &hot, CHECKS, |token| drop(black_box(checker.check(token)))),
        each(AUTHORIZER, &hot, CHECKS, |token| {
            let token = std::str::from_utf8(token).expect("a token is text");
            black_box(at_once(authorizer.check_auth(token)).expect("the token is valid"));
        }),
        Turn::new(TOWER, |scatter| {
            let tokens = some(&hot, CHECKS, scatter);
            Batch {
                operations: CHECKS,
                spent: through(&service, &tokens),
            }
        }),
    ];
    let peers = [QUICK, MOKA, CHECK, AUTHORIZER, TOWER];
    let rates = take_turns(&turns, effort.cycles, effort.slice, runtime.handle());
    let mut all = figures("Hit, 1,000 hot tokens", &rates, &peers);

    let turns = [
        each(OURS, &many, BATCH, |token| hit(&verifier, token)),
        each(QUICK, &many, BATCH, |token| drop(black_box(quick.verify(token)))),
        each(MOKA, &many, BATCH, |token| drop(black_box(moka.verify(token)))),
        // Always the hot set: a signature check does not care.
        each(CHECK, &hot, CHECKS, |token| drop(black_box(checker.check(token)))),
    ];
    let rates = take_turns(&turns, effort.cycles, effort.slice, runtime.handle());
    all.extend(figures("Hit, uniform over 200,000 tokens", &rates, &peers));
    all
}

/// Both caches at once, on two threads: a signature check each, 200,000 times.
fn fill<'a>(moka: &ByHand<Moka>, quick: &ByHand<Quick>, tokens: impl Iterator<Item = &'a String> + Clone + Send) {
    fn every<'a, S: Store>(cache: &ByHand<S>, tokens: impl Iterator<Item = &'a String>) {
        tokens.for_each(|token| drop(cache.verify(token.as_bytes())));
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let also = tokens.clone();
        scope.spawn(move || every(moka, also));
        every(quick, tokens);
    });
    println!(
        "peers: the other caches are full after {:.0} s",
        begin.elapsed().as_secs_f64()
    );
}
