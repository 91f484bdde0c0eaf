//! Many processes side by side.

use std::time::Duration;

use authmesh_tests::client::Answer;
use authmesh_tests::fleet::Fleet;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::netns::Namespaces;
use authmesh_tests::tools;

const SOON: Duration = Duration::from_secs(30);
const SIZE: usize = 16;
/// Nobody answers there, and a node that listens does not mind.
const NO_ISSUER: &str = "http://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_nodes_start_side_by_side_and_one_is_killed_frozen_and_started_again() {
    let idp = Idp::start().await;
    let issuer = idp.issuer();
    let mut fleet = Fleet::start(SIZE, |seat| seat.basics(&issuer, "info")).await;
    fleet.ready(SOON).await;
    let token = idp.token(Order::default()).await;
    for index in 0..SIZE {
        fleet
            .node(index)
            .verify(&token)
            .await
            .expect(200, "every node verifies");
    }
    let stats = |_, answer: &Answer| answer.status == 200;
    fleet.until_all("statistics", "/v1/stats", SOON, stats).await;

    fleet.kill(3);
    fleet.freeze(5);
    let running: Vec<usize> = (0..SIZE).filter(|index| ![3, 5].contains(index)).collect();
    assert_eq!(fleet.running(), running);
    assert!(!fleet.node_mut(3).process().is_alive());
    let silence = Duration::from_millis(300);
    assert!(fleet.node(5).try_admin("/v1/stats", silence).await.is_err(), "frozen");
    // Neither is waited for.
    fleet.until_all("statistics", "/v1/stats", SOON, stats).await;

    let before = fleet.node_mut(3).process().id();
    fleet.thaw(5);
    fleet.restart(3).await;
    fleet.ready(SOON).await;
    assert_ne!(fleet.node_mut(3).process().id(), before);
    assert_eq!(fleet.running().len(), SIZE);
    fleet.until_all("statistics", "/v1/stats", SOON, stats).await;
    fleet.node(3).verify(&token).await.expect(200, "at the same address");

    fleet.leave(0, SOON).await;
    assert_eq!(fleet.running().len(), SIZE - 1);
    let ids: Vec<u32> = (1..SIZE).map(|index| fleet.node_mut(index).process().id()).collect();
    drop(fleet);
    for id in ids {
        assert!(
            !std::path::Path::new(&format!("/proc/{id}")).exists(),
            "{id} outlived its fleet"
        );
    }
}

#[test]
fn a_wish_that_does_not_come_true_is_told_with_the_answers_and_the_logs_are_kept() {
    let test = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let fleet = Fleet::start(2, |seat| seat.basics(NO_ISSUER, "info")).await;
            let patience = Duration::from_millis(50);
            let first_alone = |index, _: &Answer| index == 0;
            fleet
                .until_all("the impossible", "/v1/stats", patience, first_alone)
                .await;
        });
    });
    let failed = test.join().unwrap_err();
    let text = failed.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("the impossible") && text.contains("node 1: Ok(") && !text.contains("node 0:"),
        "{text}"
    );

    // A fleet that ends with a failed test has written its logs. This one has failed as it should, so they go.
    let own = format!("fleet-{}-", std::process::id());
    let folders: Vec<_> = std::fs::read_dir(tools::target_dir().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&own))
        })
        .filter(|path| std::fs::read_dir(path).unwrap().count() == 2)
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    for name in ["node-0.log", "node-1.log"] {
        let log = std::fs::read_to_string(folders[0].join(name)).unwrap();
        assert!(log.contains(" | "), "{name} is empty");
    }
    std::fs::remove_dir_all(&folders[0]).unwrap();
}

#[tokio::test]
async fn a_fleet_runs_in_namespaces_and_is_asked_from_outside() {
    if let Err(why) = Namespaces::available() {
        eprintln!("SKIPPED, nothing was tested: {why}");
        return;
    }
    let mut fleet = Fleet::start(Namespaces::create(3), |seat| seat.basics(NO_ISSUER, "info")).await;
    let ok = |_, answer: &Answer| answer.status == 200;
    fleet.until_all("statistics", "/v1/stats", SOON, ok).await;
    for index in 0..3 {
        let ip = fleet.node(index).address().ip();
        assert_eq!(ip, fleet.spaces().address(index), "each has an address of its own");
    }
    fleet.spaces().cut(0, 1);
    fleet.kill(2);
    fleet.restart(2).await;
    fleet.until_all("statistics", "/v1/stats", SOON, ok).await;
}
