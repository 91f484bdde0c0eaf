//! Settings that contradict each other are refused with the reason, before anything runs.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::{BuildError, Namespace, Policy, Rules, UpstreamRules};

use crate::provider::{ISSUER, Provider, S, World, rules, with};

async fn refusal(rules: UpstreamRules) -> Option<BuildError> {
    let world = World::new();
    let builder = world.builder("a").upstream(ISSUER, Provider::new() as _, rules);
    builder.start().await.err()
}

#[tokio::test(start_paused = true)]
async fn what_contradicts_itself_is_refused_with_the_reason() {
    type Change = fn(&mut UpstreamRules);
    let hour = 3600 * S;
    assert_eq!(refusal(rules()).await, None);
    assert_eq!(refusal(with(|rules| rules.stale_for = 3600 * S)).await, None);
    assert_eq!(refusal(rules().danger_stale_for(24 * hour)).await, None);
    let bad: [(&str, Change); 16] = [
        ("lifetime", |rules| rules.lifetime = Duration::ZERO),
        ("lifetime", |rules| rules.lifetime = 86_401 * S),
        ("inactive_lifetime", |rules| rules.inactive_lifetime = 61 * S),
        ("inactive_cap", |rules| rules.inactive_cap = 0),
        ("stale_for", |rules| rules.stale_for = 3601 * S),
        ("stale_for", |rules| *rules = rules.clone().danger_stale_for(86_401 * S)),
        ("soft_timeout", |rules| rules.soft_timeout = rules.hard_timeout),
        ("soft_timeout", |rules| rules.hard_timeout = S / 10),
        ("hard_timeout", |rules| rules.hard_timeout = Duration::ZERO),
        ("hard_timeout", |rules| rules.hard_timeout = 61 * S),
        ("calls", |rules| rules.calls = 0),
        ("calls", |rules| rules.reserved_calls = 0),
        ("queue", |rules| rules.queue = 65_537),
        ("failures", |rules| rules.failures = 0),
        ("backoff_floor", |rules| rules.backoff_floor = 31 * S),
        ("backoff_ceiling", |rules| rules.backoff_ceiling = 601 * S),
    ];
    for (n, (setting, change)) in bad.into_iter().enumerate() {
        let error = refusal(with(change)).await.unwrap();
        assert_eq!(error.setting, setting, "{n}: {error}");
        assert!(error.problem.contains(ISSUER) && error.problem.len() > 40, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn opaque_tokens_have_one_home_in_a_policy() {
    let world = World::new();
    let two = || {
        let builder = world.builder("a").upstream(ISSUER, Provider::new() as _, rules());
        builder.upstream(
            "https://second.test",
            Provider::named("second") as _,
            with(|rules| rules.stale_for = S),
        )
    };
    let error = two().start().await.unwrap_err();
    assert_eq!(error.setting, "opaque");
    assert!(
        error.problem.contains(ISSUER) && error.problem.contains("https://second.test"),
        "{error}"
    );

    let keys = Arc::new(FixedKeys::new("{\"keys\":[]}"));
    let signed = world
        .builder("a")
        .issuer(ISSUER, keys.clone() as _, Rules::for_audiences(["api"]).opaque(true));
    assert_eq!(signed.start().await.unwrap_err().setting, "opaque");
    let twice = world
        .builder("a")
        .issuer(ISSUER, keys as _, Rules::for_audiences(["api"]));
    let twice = twice.upstream(ISSUER, Provider::new() as _, rules());
    assert_eq!(twice.start().await.unwrap_err().setting, "upstream");

    // Each in a policy of its own is fine.
    let shut = |rules: UpstreamRules| UpstreamRules::new(rules.tokens.opaque(false));
    let mesh = world.builder("a").upstream(ISSUER, Provider::new() as _, rules());
    let mesh = mesh.upstream("https://second.test", Provider::named("second") as _, shut(rules()));
    let mesh = mesh.start().await.unwrap();
    let issuers = [("https://second.test".to_owned(), rules().tokens)].into();
    mesh.verifier_for(Policy {
        issuers,
        ..Policy::default()
    })
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_sdks_own_namespaces_cannot_be_declared() {
    let world = World::new();
    let mesh = world.node("a").await;
    for name in ["authmesh/upstream", "authmesh/verdict"] {
        assert_eq!(
            mesh.cache::<String>(Namespace::new(name)).unwrap_err().setting,
            "namespace"
        );
    }
}
