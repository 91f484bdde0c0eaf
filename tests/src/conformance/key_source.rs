//! What every [`KeySource`] promises.

use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::{BoxFuture, Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};

/// An upstream that publishes a key set, and the source under test that asks it.
pub trait Upstream: Send + Sync {
    /// The source under test.
    fn source(&self) -> Arc<dyn KeySource>;

    /// Publishes another document from now on, and comes up again if it was down.
    fn publish(&self, document: &[u8]);

    /// Makes every request fail until something is published.
    fn take_down(&self);

    /// Requests for the document that came in so far, failed ones included.
    fn requests(&self) -> u64;

    /// Whether the last request asked to go past caches. Only asked where [`Abilities::passes_caches`] says so.
    fn went_past_caches(&self) -> bool {
        false
    }
}

/// Makes upstreams for the suite.
pub trait Factory: Sync {
    /// An upstream that publishes `document`.
    fn upstream(&self, document: &[u8]) -> BoxFuture<'_, Box<dyn Upstream>>;

    /// What the source under test can do.
    fn abilities(&self) -> Abilities;
}

/// What differs between sources.
#[derive(Clone, Copy, Debug, Default)]
pub struct Abilities {
    /// The upstream names a document by an entity tag, and the source asks conditionally with it. Default: no.
    pub entity_tags: bool,
    /// The source can ask to go past caches. Default: no.
    pub passes_caches: bool,
    /// The `max-age` that the upstream sends with each document. Default: none.
    pub max_age: Option<Duration>,
    /// Whether the upstream tells its time. Default: no.
    pub tells_its_time: bool,
}

const FIRST: &[u8] =
    br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const SECOND: &[u8] = br#"{"keys":[ ]}  "#;

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    macro_rules! checks {
        ($($check:ident),* $(,)?) => {
            $(
                eprintln!("conformance: key_source: {}", stringify!($check));
                let upstream = factory.upstream(FIRST).await;
                let ended = tokio::time::timeout(PATIENCE, $check(&*upstream, factory.abilities())).await;
                assert!(ended.is_ok(), "did not end within {PATIENCE:?}");
            )*
        };
    }
    checks!(
        a_document_comes_as_it_was_published,
        a_rotation_is_seen_by_the_next_fetch,
        each_fetch_asks_once_and_a_failure_is_not_tried_again,
        an_outage_is_an_error_that_says_so_and_ends,
        fetches_at_the_same_time_are_all_answered,
        an_abandoned_fetch_changes_nothing,
        an_unchanged_document_is_told_by_its_tag,
        what_is_asked_past_caches_reaches_the_upstream_so,
        what_the_upstream_says_beside_the_document_comes_along,
        a_document_does_not_stand_in_debug_output,
    );
}

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn fetch(upstream: &dyn Upstream) -> Result<Fetched, UpstreamError> {
    upstream.source().fetch(KeyFetch::default()).await
}

async fn document(upstream: &dyn Upstream) -> Vec<u8> {
    match fetch(upstream).await.expect("the upstream is up").body {
        FetchedBody::Document(document) => document,
        FetchedBody::NotModified => panic!("nothing was said about a document that the caller holds"),
    }
}

async fn a_document_comes_as_it_was_published(upstream: &dyn Upstream, _: Abilities) {
    assert_eq!(document(upstream).await, FIRST);
    assert_eq!(
        document(upstream).await,
        FIRST,
        "whole again: the source remembers none for its caller"
    );
}

async fn a_rotation_is_seen_by_the_next_fetch(upstream: &dyn Upstream, _: Abilities) {
    document(upstream).await;
    upstream.publish(SECOND);
    assert_eq!(document(upstream).await, SECOND);
}

async fn each_fetch_asks_once_and_a_failure_is_not_tried_again(upstream: &dyn Upstream, _: Abilities) {
    for expected in 1..=3 {
        document(upstream).await;
        assert_eq!(upstream.requests(), expected);
    }
    upstream.take_down();
    for expected in 4..=5 {
        assert!(fetch(upstream).await.is_err());
        assert_eq!(upstream.requests(), expected);
    }
}

async fn an_outage_is_an_error_that_says_so_and_ends(upstream: &dyn Upstream, _: Abilities) {
    upstream.take_down();
    let error = fetch(upstream).await.expect_err("the upstream is down");
    assert_ne!(
        error.fault,
        UpstreamFault::Configuration,
        "nobody configured anything wrong: {error}"
    );
    assert!(!error.what.is_empty() && error.to_string() == error.what);
    upstream.publish(SECOND);
    assert_eq!(document(upstream).await, SECOND);
}

async fn fetches_at_the_same_time_are_all_answered(upstream: &dyn Upstream, _: Abilities) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let source = upstream.source();
        tasks.spawn(async move { source.fetch(KeyFetch::default()).await });
    }
    for fetched in tasks.join_all().await {
        assert_eq!(
            fetched.expect("the upstream is up").body,
            FetchedBody::Document(FIRST.to_vec())
        );
    }
}

async fn an_abandoned_fetch_changes_nothing(upstream: &dyn Upstream, _: Abilities) {
    let source = upstream.source();
    for _ in 0..3 {
        let mut abandoned = source.fetch(KeyFetch::default());
        // Polled once, then dropped.
        tokio::select! {
            biased;
            _ = &mut abandoned => {}
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(document(upstream).await, FIRST);
}

async fn an_unchanged_document_is_told_by_its_tag(upstream: &dyn Upstream, abilities: Abilities) {
    let first = fetch(upstream).await.expect("the upstream is up");
    assert_eq!(first.etag.is_some(), abilities.entity_tags);
    if !abilities.entity_tags {
        return;
    }
    let ask = async |etag: &Option<String>| {
        let request = KeyFetch {
            no_cache: false,
            etag: etag.clone(),
        };
        upstream.source().fetch(request).await.expect("the upstream is up")
    };
    let again = ask(&first.etag).await;
    assert_eq!(again.body, FetchedBody::NotModified);
    assert_eq!(again.etag, first.etag, "the tag holds on");
    assert_eq!(
        ask(&None).await.body,
        FetchedBody::Document(FIRST.to_vec()),
        "without a tag the whole document"
    );
    upstream.publish(SECOND);
    let changed = ask(&first.etag).await;
    assert_eq!(changed.body, FetchedBody::Document(SECOND.to_vec()));
    assert_ne!(changed.etag, first.etag);
}

async fn what_is_asked_past_caches_reaches_the_upstream_so(upstream: &dyn Upstream, abilities: Abilities) {
    for no_cache in [false, true, false] {
        let request = KeyFetch { no_cache, etag: None };
        upstream.source().fetch(request).await.expect("the upstream is up");
        assert_eq!(upstream.went_past_caches(), no_cache && abilities.passes_caches);
    }
}

async fn what_the_upstream_says_beside_the_document_comes_along(upstream: &dyn Upstream, abilities: Abilities) {
    let fetched = fetch(upstream).await.expect("the upstream is up");
    assert_eq!(fetched.max_age, abilities.max_age);
    assert_eq!(fetched.date.is_some(), abilities.tells_its_time);
    if let Some(date) = fetched.date {
        assert!(
            (1_500_000_000..10_000_000_000).contains(&date),
            "seconds since the Unix epoch: {date}"
        );
    }
}

async fn a_document_does_not_stand_in_debug_output(upstream: &dyn Upstream, _: Abilities) {
    let fetched = fetch(upstream).await.expect("the upstream is up");
    let text = format!("{fetched:?} {:?}", upstream.source());
    assert!(!text.contains("11qYAYKx") && !text.contains("kty"), "{text}");
}
