//! A healthy mesh under load: whatever is on its way, nothing of it is called an inconsistency.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::{AuthMesh, Checked, Load, Subject};
use serde_json::json;

use super::support::{Place, Site, entry, pass};
use super::{cache, is_sound, observe, put_back, stored};

const KEYS: usize = 40;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// The source of truth: who writes it drops the key afterwards.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<BTreeMap<usize, u64>>>);

impl Database {
    fn write(&self, key: usize) {
        *self.0.lock().unwrap().entry(key).or_default() += 1;
    }

    fn read(&self, key: usize) -> String {
        let version = self.0.lock().unwrap().get(&key).copied().unwrap_or_default();
        format!("version {version} of {key}")
    }
}

async fn read(mesh: &AuthMesh, database: &Database, key: usize) -> String {
    let database = database.clone();
    let load = move || async move {
        let value = database.read(key);
        // A source takes its time: statements come meanwhile.
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok::<_, ()>(Load::new(value).tag(format!("t{}", key % 3)))
    };
    cache(mesh)
        .get_or_load(format!("k{key}"), load)
        .await
        .unwrap()
        .to_string()
}

/// Reads, writes, tags and revocations on one node, until it is told to stop.
async fn work(
    mesh: AuthMesh,
    seed: u64,
    database: Database,
    tokens: Arc<Vec<String>>,
    issuer: String,
    stop: Arc<AtomicBool>,
) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        let key = random.below(KEYS);
        match random.below(100) {
            0..4 => {
                database.write(key);
                cache(&mesh).remove(format!("k{key}")).await.unwrap();
            }
            4 => {
                cache(&mesh).invalidate_tag(&format!("t{}", key % 3)).await.unwrap();
            }
            5 => {
                mesh.revoke(Subject::new(&*issuer, format!("user{}", random.below(400))))
                    .await
                    .unwrap();
            }
            6..50 => {
                let token = &tokens[random.below(tokens.len())];
                // Some are revoked by now.
                let _ = mesh.verifier().verify(token).await;
            }
            _ => {
                read(&mesh, &database, key).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(1 + random.below(4) as u64)).await;
    }
}

async fn is_quiet_under_load(place: &Place, sites: &[Site]) {
    let (database, stop) = (Database::default(), Arc::new(AtomicBool::new(false)));
    let token = |user: usize| {
        place
            .issuer
            .token_with(json!({"sub": format!("user{user}"), "exp": place.issuer.now() + 3000}))
    };
    let tokens = Arc::new((0..100).map(token).collect::<Vec<_>>());
    let mut workers = Vec::new();
    for (seed, site) in (1..).zip(sites) {
        for half in 0..2 {
            workers.push(tokio::spawn(work(
                site.mesh.clone(),
                seed * 2 + half,
                database.clone(),
                Arc::clone(&tokens),
                place.issuer.url().to_owned(),
                Arc::clone(&stop),
            )));
        }
    }
    pass(Duration::from_secs(2)).await;
    let mut checked = Checked::default();
    for _ in 0..5 {
        for site in sites {
            let report = observe(&site.mesh).await;
            assert!(report.coherent && is_sound(&report), "{report:#?}");
            checked.verdicts += report.checked.verdicts;
            checked.entries += report.checked.entries;
            checked.in_l2 += report.checked.in_l2;
            checked.channels += report.checked.channels;
            checked.peers += report.checked.peers;
            checked.at_peers += report.checked.at_peers;
        }
        pass(Duration::from_millis(700)).await;
    }
    let rounds = 5 * sites.len() as u64;
    assert!(
        checked.verdicts >= 3 * rounds && checked.entries >= 5 * rounds,
        "{checked:?}"
    );
    assert!(
        checked.in_l2 >= 2 * rounds && checked.at_peers >= 2 * rounds,
        "{checked:?}"
    );
    assert!(
        checked.channels >= 30 * rounds && checked.peers >= rounds,
        "{checked:?}"
    );
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_mesh_under_load_has_no_inconsistency() {
    let place = Place::new();
    let sites: [Site; 3] = place.sites().await;
    is_quiet_under_load(&place, &sites).await;

    // The control: in the same mesh, one old value is found.
    let (mesh, name) = (&sites[0].mesh, entry("users", "k0"));
    let database = Database::default();
    cache(mesh).remove("k0").await.unwrap();
    read(mesh, &database, 0).await;
    let old = stored(&place, name, None).await;
    database.write(0);
    cache(mesh).remove("k0").await.unwrap();
    read(mesh, &database, 0).await;
    let new = stored(&place, name, Some(&old)).await;
    put_back(&place, name, &old, &new).await;
    assert_eq!(observe(mesh).await.inconsistent, 1);
}
