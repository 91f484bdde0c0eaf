//! Hundreds of issuers side by side: one that hangs, fails or is slow costs the others nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Fetched, KeyFetch, KeySource, UpstreamError, UpstreamFault};
use authmesh::{AuthMesh, VerifyError};
use serde_json::json;
use tokio::time::Instant;

use crate::provider::rules;
use crate::support::{Place, TestIssuer, pass, ring};

/// How a source behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Hangs,
    Fails,
    /// Nearly as long as a fetch may take.
    Slow,
}

const SLOW: Duration = Duration::from_secs(9);

#[derive(Debug)]
struct Moody {
    keys: Arc<dyn KeySource>,
    mood: Mood,
    asked: Mutex<Vec<Instant>>,
}

impl KeySource for Moody {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        self.asked.lock().unwrap().push(Instant::now());
        Box::pin(async move {
            match self.mood {
                Mood::Well => {}
                Mood::Hangs => std::future::pending().await,
                Mood::Fails => return Err(UpstreamError::new(UpstreamFault::Unreachable, "refused")),
                Mood::Slow => pass(SLOW).await,
            }
            self.keys.fetch(request).await
        })
    }
}

/// A node of so many issuers, each in its mood.
async fn many(place: &Place, count: usize, mood: impl Fn(usize) -> Mood) -> (AuthMesh, Vec<(TestIssuer, Arc<Moody>)>) {
    let mut issuers = Vec::new();
    let mut builder = AuthMesh::builder().key_ring(ring()).clock(place.issuer.clock());
    for n in 0..count {
        let issuer = TestIssuer::named(&format!("https://i{n}.test"), place.issuer.clock());
        let source = Arc::new(Moody {
            keys: issuer.source(),
            mood: mood(n),
            asked: Mutex::default(),
        });
        builder = builder.issuer(issuer.url(), Arc::clone(&source) as _, rules());
        issuers.push((issuer, source));
    }
    let mesh = builder.join(Arc::new(place.cluster.clone())).start().await.unwrap();
    (mesh, issuers)
}

fn asked(source: &Moody) -> usize {
    source.asked.lock().unwrap().len()
}

/// A third of them is unwell in one way or another.
fn moods(n: usize) -> Mood {
    match n % 9 {
        0 => Mood::Hangs,
        3 => Mood::Fails,
        6 => Mood::Slow,
        _ => Mood::Well,
    }
}

#[tokio::test(start_paused = true)]
async fn issuers_that_hang_fail_or_are_slow_delay_no_first_token_of_another() {
    let place = Place::new();
    let (mesh, issuers) = many(&place, 300, moods).await;
    // Callers of all who are unwell wait at once.
    let mut waiting = Vec::new();
    for (issuer, _) in issuers.iter().filter(|(_, source)| source.mood != Mood::Well) {
        for n in 0..10 {
            let (verifier, token) = (
                mesh.verifier().clone(),
                issuer.token_with(json!({"sub": format!("u{n}")})),
            );
            waiting.push(tokio::spawn(async move { verifier.verify(token).await.is_ok() }));
        }
    }
    tokio::task::yield_now().await;
    for (issuer, _) in issuers.iter().filter(|(_, source)| source.mood == Mood::Well) {
        let before = Instant::now();
        mesh.verifier().verify(issuer.token_with(json!({}))).await.unwrap();
        assert!(
            before.elapsed() <= Duration::from_millis(50),
            "{:?} for {}",
            before.elapsed(),
            issuer.url()
        );
    }
    let mut verified = 0;
    for caller in waiting {
        verified += usize::from(caller.await.unwrap());
    }
    let slow = issuers.iter().filter(|(_, source)| source.mood == Mood::Slow).count();
    assert_eq!(
        verified,
        slow * 10,
        "the slow ones got their keys, and nobody else of these"
    );
}

#[tokio::test(start_paused = true)]
async fn the_fetches_of_the_others_go_on_and_nobody_who_holds_keys_waits() {
    let place = Place::new();
    let (mesh, issuers) = many(&place, 90, moods).await;
    assert!(!mesh.wait_for_keys(Duration::from_secs(60)).await, "some never come");
    let well = || issuers.iter().filter(|(_, source)| source.mood == Mood::Well);
    let before: BTreeMap<_, _> = well().map(|(issuer, source)| (issuer.url(), asked(source))).collect();
    for round in 0..12 {
        pass(Duration::from_secs(300)).await;
        for (issuer, source) in &issuers {
            let token = issuer.token_with(json!({"sub": format!("u{round}")}));
            if source.mood == Mood::Well {
                let before = Instant::now();
                mesh.verifier().verify(token).await.unwrap();
                assert_eq!(before.elapsed(), Duration::ZERO);
            }
        }
    }
    for (issuer, source) in well() {
        let fetched = asked(source) - before[issuer.url()];
        assert!((5..=8).contains(&fetched), "{fetched} in an hour of {}", issuer.url());
    }
    for (_, source) in issuers.iter().filter(|(_, source)| source.mood == Mood::Fails) {
        assert!(asked(source) <= 3 * 3600 / 3, "left alone in between");
    }
    let hung = issuers.iter().find(|(_, source)| source.mood == Mood::Hangs).unwrap();
    let error = mesh.verifier().verify(hung.0.token_with(json!({}))).await.unwrap_err();
    assert!(matches!(error, VerifyError::CouldNotAsk { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_first_fetches_of_many_issuers_are_spread_and_can_be_waited_for() {
    let place = Place::new();
    let before = Instant::now();
    let (mesh, issuers) = many(&place, 300, |_| Mood::Well).await;
    assert!(mesh.wait_for_keys(Duration::from_secs(30)).await);
    assert!(before.elapsed() <= Duration::from_secs(9), "{:?}", before.elapsed());
    let mut slices: BTreeMap<u128, usize> = BTreeMap::new();
    for (_, source) in &issuers {
        assert_eq!(asked(source), 1);
        let at = source.asked.lock().unwrap()[0];
        *slices.entry(at.duration_since(before).as_millis() / 250).or_default() += 1;
    }
    // Thirty slices of ten each, by chance.
    let most = slices.values().max().unwrap();
    assert!(*most <= 30, "{slices:?}");
    // The control: a handful begins at once.
    let place = Place::new();
    let before = Instant::now();
    let (mesh, _) = many(&place, 16, |_| Mood::Well).await;
    assert!(mesh.wait_for_keys(Duration::from_secs(30)).await);
    assert!(before.elapsed() <= Duration::from_millis(500), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_keys_does_not_wait_until_their_fetch_is_due() {
    let place = Place::new();
    let (mesh, issuers) = many(&place, 300, |_| Mood::Well).await;
    for (issuer, _) in &issuers {
        let before = Instant::now();
        mesh.verifier().verify(issuer.token_with(json!({}))).await.unwrap();
        assert!(before.elapsed() <= Duration::from_millis(50));
    }
    assert!(
        issuers.iter().all(|(_, source)| asked(source) == 1),
        "by one fetch each"
    );
}
