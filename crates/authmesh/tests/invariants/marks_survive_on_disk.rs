//! Invariant 5, where no node lives: marks come back from the disks of the nodes, and a file proves nothing but what it
//! holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::proto::ident::ChannelId;
use authmesh::{AuthMesh, Builder, KeyRing, Session, Subject, VerifyError};
use serde_json::json;

use crate::support::{TestIssuer, builder, eventually, manual_clock, node, wired};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).unwrap();
        let name = format!("authmesh-{:016x}", u64::from_be_bytes(name));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn keeping(name: &str, path: &Path, cluster: &Cluster, issuer: &TestIssuer) -> Builder {
    builder(name, issuer).join(Arc::new(cluster.clone())).snapshot(path)
}

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

/// A file with marks of some users, and their tokens.
async fn kept(path: &Path, issuer: &TestIssuer, count: usize) -> Vec<String> {
    let a = keeping("a", path, &Cluster::new(), issuer).start().await.unwrap();
    let mut tokens = Vec::new();
    for n in 0..count {
        let user = format!("user-{n}");
        tokens.push(issuer.token_with(json!({"sub": user})));
        a.revoke(Subject::new(issuer.url(), user))
            .why("x".repeat(256))
            .await
            .unwrap();
    }
    a.shutdown().await;
    tokens
}

#[tokio::test]
async fn every_node_ends_and_redis_is_emptied() {
    let (folder, issuer, cluster) = (Folder::new(), TestIssuer::new(), Cluster::new());
    let names = ["a", "b", "c"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(
            keeping(name, &folder.file(name), &cluster, &issuer)
                .start()
                .await
                .unwrap(),
        );
    }
    let spared = issuer.token_with(json!({"sub": "alice", "sid": "s1"}));
    let void = [
        issuer.token_with(json!({"sub": "alice", "sid": "s2"})),
        issuer.token_with(json!({"sub": "bob", "sid": "s3"})),
    ];
    let receipt = nodes[0]
        .revoke(Subject::new(issuer.url(), "alice"))
        .why("left")
        .except_session("s1");
    receipt.await.unwrap();
    nodes[1].revoke(Session::new(issuer.url(), "s3")).await.unwrap();
    for node in &nodes {
        for token in &void {
            eventually("the mark is everywhere", || is_revoked(node, token)).await;
        }
        node.shutdown().await;
    }
    cluster.wipe();
    assert_eq!(folder.names(), names, "one file each, and nothing beside it");

    // One of them comes back with its file, and one that never had any.
    let a = keeping("a", &folder.file("a"), &cluster, &issuer)
        .start()
        .await
        .unwrap();
    let new = node("new", &cluster, &issuer).await;
    for node in [&a, &new] {
        for token in &void {
            eventually("the mark is back", || is_revoked(node, token)).await;
        }
        node.verifier().verify(&spared).await.unwrap();
    }
    // It stands in the table again: nobody who had the file need live.
    a.shutdown().await;
    new.shutdown().await;
    let heir = node("heir", &cluster, &issuer).await;
    for token in &void {
        assert!(is_revoked(&heir, token).await);
    }
    let marks = heir.explain_marks(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(marks[0].why, "left", "who and why come back too");
}

/// The log is not empty, but has lost marks: whoever joins and knows them brings them.
#[tokio::test]
async fn a_joiner_commits_what_the_table_lacks() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    let tokens = kept(&path, &issuer, 40).await;
    // Another table, of a cluster that lives and has never heard of them.
    let cluster = Cluster::new();
    let b = node("b", &cluster, &issuer).await;
    b.verifier().verify(&tokens[0]).await.unwrap();
    let a = keeping("a", &path, &cluster, &issuer).start().await.unwrap();
    for token in &tokens {
        assert!(is_revoked(&a, token).await, "before it has told anybody");
        eventually("b has the mark", || is_revoked(&b, token)).await;
    }
}

#[tokio::test]
async fn a_node_is_as_blind_with_its_file_as_without() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    let tokens = kept(&path, &issuer, 1).await;
    let wire = wired(&Cluster::new());
    wire.faults().cut();
    let a = builder("a", &issuer).join(Arc::clone(&wire)).snapshot(&path);
    let a = a.start().await.unwrap();
    assert!(!a.is_ready() && !a.health().coherent);
    assert_eq!(a.stats().marks, 1);
    for token in [&tokens[0], &issuer.token_with(json!({}))] {
        let answer = a.verifier().verify(token).await;
        assert!(
            matches!(answer, Err(VerifyError::Blind { .. } | VerifyError::Revoked(_))),
            "{answer:?}"
        );
    }
    let other = a.verifier().verify(issuer.token_with(json!({"sub": "bob"}))).await;
    assert!(matches!(other, Err(VerifyError::Blind { .. })), "{other:?}");
    wire.faults().clear();
    eventually("it sees", || async { a.health().coherent }).await;
    assert!(is_revoked(&a, &tokens[0]).await);
}

/// What is wrong with the file, and how many of its marks can still be read.
#[tokio::test]
async fn a_file_that_cannot_be_taken_whole_is_set_aside_and_its_true_parts_count() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    // Two parts at least, and the one that ends it.
    let count = 600;
    kept(&path, &issuer, count).await;
    let good = std::fs::read(&path).unwrap();
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut trailing = good.clone();
    trailing.push(0);
    let foreign = {
        let path = folder.file("foreign");
        let other = builder("f", &issuer)
            .cluster("another")
            .snapshot(&path)
            .start()
            .await
            .unwrap();
        other.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
        other.shutdown().await;
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    };
    let end = good.len();
    let bad = [
        ("empty", Vec::new(), 0),
        ("garbage", b"not a snapshot, and longer than its header is".to_vec(), 0),
        ("another version", changed(14), 0),
        ("another name", changed(20), 0),
        ("a length", changed(31), 0),
        ("the first part", changed(40), 0),
        ("the last part", changed(end - 1), count),
        ("cut in the header", good[..20].to_vec(), 0),
        ("cut in the first part", good[..100].to_vec(), 0),
        ("cut before the end", good[..end - 1].to_vec(), count),
        ("something behind it", trailing, count),
        ("of another cluster", foreign, 0),
    ];
    for (what, bytes, marks) in bad {
        std::fs::write(&path, &bytes).unwrap();
        let a = keeping("a", &path, &Cluster::new(), &issuer).start().await.unwrap();
        assert_eq!(a.stats().marks, marks, "{what}");
        assert_eq!(a.stats().counts.unopened, 1, "{what}");
        a.shutdown().await;
        let names = folder.names();
        let aside: Vec<_> = names.iter().filter(|name| name.starts_with("marks.refused-")).collect();
        assert_eq!(aside.len(), 1, "{what}: {names:?}");
        let aside = folder.file(aside[0]);
        assert_eq!(std::fs::read(&aside).unwrap(), bytes, "{what}: nothing of it is lost");
        std::fs::remove_file(&aside).unwrap();
        // What took its place is good.
        let a = keeping("a", &path, &Cluster::new(), &issuer).start().await.unwrap();
        assert_eq!((a.stats().marks, a.stats().counts.unopened), (marks, 0), "{what}");
        a.shutdown().await;
    }
}

#[tokio::test]
async fn a_file_under_a_key_that_is_not_in_the_ring_is_set_aside_and_one_that_is_rotated_opens() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    kept(&path, &issuer, 3).await;
    let with = |keys: &[u8]| {
        let ring = KeyRing::new([1; 32], keys.iter().map(|key| [*key; 32])).unwrap();
        keeping("a", &path, &Cluster::new(), &issuer).key_ring(ring)
    };
    // Key 2 sealed it; then 3 does, and 2 leaves.
    for keys in [&[3, 2][..], &[3]] {
        let a = with(keys).start().await.unwrap();
        assert_eq!((a.stats().marks, a.stats().counts.unopened), (3, 0), "{keys:?}");
        a.shutdown().await;
    }
    let a = with(&[4]).start().await.unwrap();
    assert_eq!((a.stats().marks, a.stats().counts.unopened), (0, 1));
    a.shutdown().await;
}

#[tokio::test]
async fn a_key_that_leaves_the_ring_of_a_running_node_leaves_the_file() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    kept(&path, &issuer, 3).await;
    let a = keeping("a", &path, &Cluster::new(), &issuer).start().await.unwrap();
    eventually("it was written", || async { folder.names() == ["marks"] }).await;
    a.set_key_ring(&KeyRing::new([1; 32], [[3; 32]]).unwrap()).unwrap();
    a.shutdown().await;
    let ring = KeyRing::new([1; 32], [[3; 32]]).unwrap();
    let a = keeping("a", &path, &Cluster::new(), &issuer)
        .key_ring(ring)
        .start()
        .await
        .unwrap();
    assert_eq!((a.stats().marks, a.stats().counts.unopened), (3, 0));
    a.shutdown().await;
}

#[tokio::test]
async fn what_is_past_is_no_load_for_anybody() {
    let (folder, clock) = (Folder::new(), manual_clock());
    let issuer = TestIssuer::at(Arc::clone(&clock) as _);
    let path = folder.file("marks");
    kept(&path, &issuer, 5).await;
    clock.advance(Duration::from_secs(3 * 86_400));
    let cluster = Cluster::new();
    let a = keeping("a", &path, &cluster, &issuer).start().await.unwrap();
    assert_eq!(
        a.stats().marks,
        5,
        "the clock may be wrong: for an hour they are in force"
    );
    // What a node knows and the table lacks is committed before the log begins.
    assert!(a.is_ready());
    for channel in ChannelId::all() {
        let table = authmesh::ports::Log::load(&cluster, channel, None).await.unwrap();
        assert!(table.marks.is_empty(), "nobody lacks them");
    }
}

#[tokio::test]
async fn a_snapshot_needs_a_place_and_a_key_ring() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    for place in [folder.0.clone(), folder.file("nowhere/marks"), PathBuf::from("/")] {
        let refused = builder("a", &issuer).snapshot(&place).start().await.unwrap_err();
        assert_eq!(refused.setting, "snapshot", "{refused}");
    }
    let alone = AuthMesh::builder().issuer(issuer.url(), issuer.source(), issuer.rules());
    let refused = alone.snapshot(folder.file("marks")).start().await.unwrap_err();
    assert_eq!(refused.setting, "key_ring", "{refused}");
}

#[tokio::test]
async fn a_file_tells_nothing_and_is_its_owners() {
    let (folder, issuer) = (Folder::new(), TestIssuer::new());
    let path = folder.file("marks");
    kept(&path, &issuer, 2).await;
    let bytes = std::fs::read(&path).unwrap();
    for word in [&b"user-0"[..], b"xxxxxxxx", issuer.url().as_bytes()] {
        assert!(!bytes.windows(word.len()).any(|window| window == word));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
