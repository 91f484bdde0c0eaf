//! The generic cache: a hit on 1,000 keys of 64 characters.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Namespace, Rules};
use authmesh_tests::bench::Figure;
use authmesh_tests::bench::issuer::ISSUER;

use crate::Effort;
use crate::verifiers::at_once;
use crate::workers::{BATCH, Batch, Begin, Turn, figures, take_turns};

const KEYS: usize = 1_000;
const LIFETIME: Duration = Duration::from_secs(3_600);

const OURS: &str = "authmesh, get().await";
const ASYNC: &str = "amalgam-cache, try_get().await";
const BLOCKING: &str = "amalgam-cache, blocking try_get";
const MOKA: &str = "moka, get";
const QUICK: &str = "quick_cache, get";

fn each<'a>(name: &'static str, keys: &'a [String], work: impl Fn(&str) -> u64 + Sync + 'a) -> Turn<'a> {
    Turn::new(name, move |scatter| {
        let keys: Vec<(&str, u64)> = (0..BATCH)
            .map(|_| {
                let n = scatter.below(keys.len());
                (keys[n].as_str(), n as u64)
            })
            .collect();
        let begin = Begin::now();
        for (key, value) in keys {
            assert_eq!(work(black_box(key)), value);
        }
        Batch {
            operations: BATCH,
            spent: begin.elapsed(),
        }
    })
}

/// The value is a number, which costs the others nothing to clone. amalgam-cache is the peer: moka and quick_cache hold the
/// key's entry and know nothing of other nodes, tags or statements.
pub(crate) fn measure(effort: &Effort) -> Vec<Figure> {
    let keys: Vec<String> = (0..KEYS).map(|n| format!("tenant-00000042:session:{n:040}")).collect();
    assert!(keys.iter().all(|key| key.len() == 64));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let options = || amalgam::EntryOptions::new(LIFETIME);
    let (mesh, ours, theirs) = runtime.block_on(async {
        let mesh = AuthMesh::builder()
            // No token is verified here.
            .issuer(ISSUER, Arc::new(FixedKeys::new(r#"{"keys":[]}"#)), Rules::for_audiences(["api"]))
            .start()
            .await
            .expect("the settings are sound");
        let ours = mesh
            .cache::<u64>(Namespace::new("sessions").lifetime(LIFETIME))
            .expect("a namespace");
        let theirs = amalgam::Cache::<u64>::builder()
            .default_options(options())
            .try_build()
            .expect("a cache");
        for (n, key) in keys.iter().enumerate() {
            ours.insert(key, n as u64).await.expect("it is stored");
            theirs.set(key, n as u64).await.expect("it is stored");
        }
        // The node hears its own statements once more, which voids what was filled before: read until all are in memory.
        for key in keys.iter().cycle().take(3 * KEYS) {
            ours.get(key).await.expect("it is there");
        }
        (mesh, ours, theirs)
    });
    let builder = amalgam::Cache::<u64>::builder().default_options(options());
    let blocking = amalgam::BlockingCache::from_builder(builder).expect("a cache");
    for (n, key) in keys.iter().enumerate() {
        blocking.set(key, n as u64).execute().expect("it is stored");
    }
    let moka = moka::sync::Cache::builder()
        .max_capacity(10_000)
        .time_to_live(LIFETIME)
        .build();
    let quick = quick_cache::sync::Cache::new(10_000);
    for (n, key) in keys.iter().enumerate() {
        moka.insert(key.clone(), n as u64);
        quick.insert(key.clone(), n as u64);
    }

    let turns = [
        each(OURS, &keys, |key| *at_once(ours.get(key)).expect("it is there")),
        each(ASYNC, &keys, |key| {
            at_once(theirs.try_get(key).into_future())
                .expect("no error")
                .expect("it is there")
        }),
        each(BLOCKING, &keys, |key| {
            blocking.try_get(key).execute().expect("no error").expect("it is there")
        }),
        each(QUICK, &keys, |key| quick.get(key).expect("it is there")),
        each(MOKA, &keys, |key| moka.get(key).expect("it is there")),
    ];
    let rates = take_turns(&turns, effort.cycles, effort.slice, runtime.handle());
    drop(mesh);
    figures("Generic cache, 1,000 keys of 64 characters", &rates, &[ASYNC, BLOCKING])
}
