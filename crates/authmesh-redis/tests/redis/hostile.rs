//! A Redis that is full, foreign, restricted, or written to by somebody else.

use authmesh::ports::{Effect, LeaseOutcome, Log, Members, PortError, Store};
use authmesh_proto::ident::Incarnation;
use authmesh_proto::log::Payload;
use authmesh_redis::{ConnectError, RedisAdapter, RedisConfig, Secret};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::fixture::{
    LONG, channel, commits, dropping, entry, eventually, head, mark, marking, nonce, rings_again, subscribe, table,
    unique,
};
use crate::server::Server;

/// The keys of channel 0 of the cluster `authmesh`, written out: they are part of the wire format.
const LOG: &str = "authmesh:1:authmesh:{14}:log";
const BUCKET: &str = "authmesh:1:authmesh:{14}:marks:8";
const ENTRY: &str = "authmesh:1:authmesh:{14}:e:";

fn is_refused<T: std::fmt::Debug>(answer: &Result<T, PortError>) {
    assert!(matches!(answer, Err(PortError::Refused(_))), "{answer:?}");
}

/// Appends to the log, as whoever can write to Redis could.
async fn forge(raw: &mut MultiplexedConnection, field: &str, content: &[u8]) {
    let mut append = redis::cmd("XADD");
    append.arg(LOG).arg("*").arg(field).arg(content);
    append.exec_async(raw).await.unwrap();
}

#[tokio::test]
async fn a_log_of_another_type_is_refused_until_it_is_deleted() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let kept = mark(1);
    commits(&adapter, marking(&kept)).await;
    let () = raw.set(LOG, "foreign").await.unwrap();
    is_refused(&adapter.commit(dropping(1)).await);
    is_refused(&adapter.commit(marking(&mark(2))).await);
    is_refused(&adapter.mint(channel(), None, Incarnation(unique()), nonce()).await);
    is_refused(&adapter.heads().await);
    is_refused(&adapter.load(channel(), None).await);
    let () = raw.del(LOG).await.unwrap();
    commits(&adapter, dropping(1)).await;
    assert_eq!(table(&adapter).await, [kept], "the refused mark was not merged");
}

#[tokio::test]
async fn a_bucket_of_another_type_refuses_its_marks_and_nothing_else() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let before = commits(&adapter, dropping(1)).await;
    let () = raw.set(BUCKET, "foreign").await.unwrap();
    is_refused(&adapter.commit(marking(&mark(1))).await);
    assert_eq!(head(&adapter).await, Some(before.head), "nothing was appended");
    is_refused(&adapter.load(channel(), None).await);
    commits(&adapter, dropping(1)).await;
    let () = raw.del(BUCKET).await.unwrap();
    let mark = mark(1);
    commits(&adapter, marking(&mark)).await;
    assert_eq!(table(&adapter).await, [mark]);
}

/// Trap 6, and "a log full of garbage": what is no entry in its own place is no head, and the log is born anew.
#[tokio::test]
async fn garbage_at_the_end_of_a_log_never_blocks_the_channel() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let kept = mark(1);
    let genuine = commits(&adapter, marking(&kept)).await.encode();
    let mut other_channel = genuine.clone();
    other_channel[1] = 1;
    let mut no_kind = genuine.clone();
    no_kind[2] = 9;
    let mut unlinked = genuine.clone();
    unlinked[60] = 1;
    let longer = [&genuine[..], b"more"].concat();
    let forged = [
        &b"garbage"[..],
        b"",
        &genuine,
        &other_channel,
        &no_kind,
        &unlinked,
        &longer,
    ];
    for garbage in forged {
        let incarnation = head(&adapter).await.unwrap().incarnation;
        forge(&mut raw, "e", garbage).await;
        assert_eq!(head(&adapter).await, None);
        assert_eq!(
            adapter.lease(entry(1), nonce(), None, LONG).await.unwrap(),
            LeaseOutcome::Unborn
        );
        let late = adapter
            .mint(channel(), Some(incarnation), Incarnation(unique()), nonce())
            .await;
        assert_eq!(late, Ok(false), "the script sees what the nodes see");
        let born = commits(&adapter, dropping(1)).await;
        assert_eq!(born.head.previous, None);
        assert_ne!(born.head.incarnation, incarnation, "followers adopt");
        assert_eq!(table(&adapter).await, std::slice::from_ref(&kept));
    }
    forge(&mut raw, "x", b"another field").await;
    let minted = adapter.mint(channel(), None, Incarnation(unique()), nonce()).await;
    assert_eq!(minted, Ok(true));
    assert_eq!(table(&adapter).await, [kept]);
}

#[tokio::test]
async fn a_log_that_is_deleted_is_born_with_the_digest_of_the_table() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let marks = [mark(1), mark(2), mark(3)];
    for mark in &marks[..2] {
        commits(&adapter, marking(mark)).await;
    }
    let () = raw.del(LOG).await.unwrap();
    let _: i64 = raw.hset(BUCKET, "garbage", "garbage").await.unwrap();
    commits(&adapter, marking(&marks[2])).await;
    let mut held = table(&adapter).await;
    held.sort_by_key(|mark| mark.field);
    assert_eq!(held, marks);
    // The same mark again, into a log without a head: it counts once.
    let () = raw.del(LOG).await.unwrap();
    commits(&adapter, marking(&marks[0])).await;
    assert_eq!(table(&adapter).await.len(), 3);
}

#[tokio::test]
async fn ids_go_up_even_when_the_clock_goes_back_or_the_newest_entry_is_deleted() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let first = commits(&adapter, dropping(1)).await.head.position.id;
    let ahead = first.millis + 3_600_000;
    let () = redis::cmd("XSETID")
        .arg(LOG)
        .arg(format!("{ahead}-5"))
        .exec_async(&mut raw)
        .await
        .unwrap();
    for sequence in 6..9 {
        let id = commits(&adapter, dropping(1)).await.head.position.id;
        assert_eq!((id.millis, id.sequence), (ahead, sequence));
    }
    let mut delete = redis::cmd("XDEL");
    delete.arg(LOG).arg(format!("{ahead}-8"));
    assert_eq!(delete.query_async(&mut raw).await, Ok(1));
    let next = commits(&adapter, dropping(1)).await.head;
    assert_eq!((next.position.id.millis, next.position.id.sequence), (ahead, 9));
    assert_eq!(next.previous.unwrap().id.sequence, 7, "it follows what is there");
    // As far as stream IDs go.
    let () = redis::cmd("XSETID")
        .arg(LOG)
        .arg(format!("{}-0", u64::MAX))
        .exec_async(&mut raw)
        .await
        .unwrap();
    is_refused(&adapter.commit(dropping(1)).await);
    let minted = adapter
        .mint(channel(), Some(next.incarnation), Incarnation(unique()), nonce())
        .await;
    is_refused(&minted);
}

#[tokio::test]
async fn a_foreign_key_under_an_entrys_name_is_no_value_and_gives_way() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    commits(&adapter, dropping(1)).await;
    let name = entry(2);
    let hex: String = name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let _: i64 = raw.lpush(format!("{ENTRY}{hex}"), "foreign").await.unwrap();
    assert_eq!(Store::read(&*adapter, name).await.unwrap().value, None);
    assert!(!adapter.store(name, nonce(), b"v".to_vec(), LONG).await.unwrap());
    let taken = adapter.lease(name, nonce(), None, LONG).await.unwrap();
    assert!(matches!(taken, LeaseOutcome::Taken(..)), "{taken:?}");
}

/// Trap 11.
#[tokio::test]
async fn a_full_server_refuses_values_and_still_takes_revocations() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let born = commits(&adapter, dropping(1)).await.head;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "1"])
        .exec_async(&mut raw)
        .await
        .unwrap();
    let is_full = |answer: Result<(), PortError>| assert!(matches!(answer, Err(PortError::Full(_))), "{answer:?}");
    is_full(adapter.lease(entry(1), nonce(), None, LONG).await.map(drop));
    is_full(
        adapter
            .insert_if_absent(entry(1), b"v".to_vec(), None, LONG)
            .await
            .map(drop),
    );
    is_full(adapter.increment(entry(1), 1, LONG).await.map(drop));
    is_full(adapter.announce(b"m".to_vec(), b"r".to_vec()).await);
    let mark = mark(1);
    commits(&adapter, marking(&mark)).await;
    let minted = adapter
        .mint(channel(), Some(born.incarnation), Incarnation(unique()), nonce())
        .await;
    assert_eq!(minted, Ok(true));
    assert_eq!(table(&adapter).await, [mark], "reads go on");
    assert_eq!(Store::read(&*adapter, entry(1)).await.unwrap().value, None);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_taught_them_again() {
    let server = Server::start().await;
    let (adapter, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    for _ in 0..3 {
        commits(&adapter, dropping(1)).await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut raw).await.unwrap();
    }
    let from = commits(&adapter, dropping(1)).await.head.previous.unwrap();
    assert_eq!(
        Log::read(&*adapter, channel(), from, 10).await.unwrap().entries.len(),
        2
    );
}

#[tokio::test]
async fn an_eviction_policy_that_takes_marks_is_refused_by_name() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let refused = RedisAdapter::connect(server.config()).await.unwrap_err();
    let ConnectError::Refused(text) = &refused else {
        panic!("{refused:?}")
    };
    assert!(text.contains("allkeys-lru") && text.contains("volatile-lru"), "{text}");
    let lazy = RedisAdapter::lazy(server.config()).unwrap();
    is_refused(&lazy.commit(dropping(1)).await);
    let danger = server.adapter(server.config().danger_any_eviction_policy(true)).await;
    commits(&danger, dropping(1)).await;
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let server = Server::with(&["--requirepass", "right-s3cret"]).await;
    let refused = RedisAdapter::connect(server.config()).await.unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Refused(text) if text.contains("redis.password")),
        "{refused}"
    );
    let wrong = server.config().password(Secret::new("wrong-s3cret"));
    let refused = RedisAdapter::connect(wrong).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused:?}");
    assert!(!format!("{refused} {refused:?}").contains("s3cret"));
    let adapter = server
        .adapter(server.config().password(Secret::new("right-s3cret")))
        .await;
    assert!(!format!("{adapter:?}").contains("s3cret"));
    commits(&adapter, dropping(1)).await;
    rings_again(&adapter, &mut subscribe(&adapter).await).await;
}

#[tokio::test]
async fn a_password_that_is_rotated_is_read_again_from_its_file() {
    let server = Server::with(&["--requirepass", "first-s3cret"]).await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first-s3cret\n").unwrap();
    // The file goes before what is set.
    let config = server.config().password(Secret::new("wrong")).password_file(&file);
    let adapter = server.adapter(config).await;
    commits(&adapter, dropping(1)).await;
    let first = server.config().password(Secret::new("first-s3cret"));
    let mut raw = server.raw_as("first-s3cret").await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "second-s3cret"])
        .exec_async(&mut raw)
        .await
        .unwrap();
    let refused = RedisAdapter::connect(first).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused:?}");
    std::fs::write(&file, "second-s3cret").unwrap();
    let () = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal"])
        .exec_async(&mut raw)
        .await
        .unwrap_or_default();
    eventually("the new password is used", async || {
        adapter.commit(dropping(2)).await.is_ok()
    })
    .await;
    rings_again(&adapter, &mut subscribe(&adapter).await).await;
}

/// Trap 25: an error half-way leaves nothing behind that a later commit or load would stumble over.
#[tokio::test]
async fn what_a_permission_lacks_is_named_and_half_a_commit_is_taken_back() {
    let server = Server::start().await;
    let (full, mut raw) = (server.adapter(server.config()).await, server.raw().await);
    let mut user = async |name: &str, rules: &[&str]| {
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER")
            .arg(name)
            .arg(&["on", ">s3cret", "~authmesh:*", "&authmesh:*", "+@all"]);
        acl.arg(rules).exec_async(&mut raw).await.unwrap();
        let config = server.config().username(name).password(Secret::new("s3cret"));
        server.adapter(config).await
    };
    let (old, new) = (mark(1), mark(2));
    let before = commits(&full, marking(&old)).await;

    let no_append = user("no-append", &["-xadd"]).await;
    let mut higher = old.clone();
    higher.rank = 7;
    for mark in [&new, &higher] {
        let answer = no_append.commit(marking(mark)).await;
        assert!(
            matches!(&answer, Err(PortError::Unknown(text)) if text.contains("permission")),
            "{answer:?}"
        );
    }
    assert_eq!(head(&full).await, Some(before.head));
    assert_eq!(table(&full).await, std::slice::from_ref(&old));

    let no_marks = user("no-marks", &["-hset"]).await;
    let answer = no_marks.commit(marking(&new)).await;
    assert!(
        matches!(&answer, Err(PortError::Refused(text)) if text.contains("permission")),
        "{answer:?}"
    );
    assert_eq!(head(&full).await, Some(before.head));

    let mut bells = subscribe(&full).await;
    let no_bell = user("no-bell", &["-spublish"]).await;
    let silent = commits(&no_bell, marking(&new)).await;
    assert_eq!(silent.payload, Payload::Statement(b"a sealed statement".to_vec()));
    assert_eq!(
        head(&full).await,
        Some(silent.head),
        "a commit without a bell is a commit"
    );
    rings_again(&full, &mut bells).await;

    let no_scripts = user("no-scripts", &["-evalsha"]).await;
    let answer = no_scripts.commit(dropping(1)).await;
    assert!(
        matches!(&answer, Err(PortError::Refused(text)) if text.contains("evalsha")),
        "{answer:?}"
    );
    assert!(!format!("{answer:?}").contains("s3cret"));
}

/// The permissions that the documentation of the crate lists, and no more.
const PERMISSIONS: &str = include_str!("../../src/lib.rs");

#[tokio::test]
async fn the_permissions_that_are_listed_are_enough() {
    let (_, listed) = PERMISSIONS.split_once("//! ```text\n").unwrap();
    let (listed, _) = listed.split_once("//! ```").unwrap();
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("least").arg("on").arg(">s3cret").arg("-@all");
    for rule in listed.split_whitespace().filter(|word| *word != "//!") {
        // 7.0 does not know this one; the library goes on without.
        if rule != "+client|setinfo" {
            acl.arg(rule);
        }
    }
    acl.exec_async(&mut raw).await.unwrap();
    let config = server.config().username("least").password(Secret::new("s3cret"));
    let adapter = server.adapter(config).await;
    let kept = mark(1);
    commits(&adapter, marking(&kept)).await;
    let mut bells = subscribe(&adapter).await;
    rings_again(&adapter, &mut bells).await;
    assert_eq!(table(&adapter).await, [kept]);
    let holder = nonce();
    let taken = adapter.lease(entry(1), holder, None, LONG).await.unwrap();
    assert!(matches!(taken, LeaseOutcome::Taken(..)));
    assert!(adapter.renew(entry(1), holder, LONG).await.unwrap());
    assert!(adapter.store(entry(1), holder, b"v".to_vec(), LONG).await.unwrap());
    adapter.release(entry(1), holder).await.unwrap();
    assert!(Store::read(&*adapter, entry(1)).await.unwrap().value.is_some());
    adapter
        .insert_if_absent(entry(2), b"v".to_vec(), None, LONG)
        .await
        .unwrap();
    for _ in 0..2 {
        adapter.increment(entry(1), 1, LONG).await.unwrap();
    }
    adapter.announce(b"m".to_vec(), b"r".to_vec()).await.unwrap();
    assert_eq!(adapter.list().await.unwrap().len(), 1);
    adapter.forget(b"m".to_vec()).await.unwrap();
    let head = head(&adapter).await.unwrap();
    Log::read(&*adapter, channel(), head.position, 10).await.unwrap();
    let minted = adapter
        .mint(channel(), Some(head.incarnation), Incarnation(unique()), nonce())
        .await;
    assert_eq!(minted, Ok(true));
    assert!(
        adapter.load(channel(), None).await.is_ok(),
        "with a generation that was raised"
    );
}

#[tokio::test]
async fn tls_is_never_given_up_for_a_server_that_has_none() {
    let server = Server::start().await;
    let url = server.url().replace("redis://", "rediss://");
    let refused = RedisAdapter::connect(RedisConfig::new(&url).unwrap())
        .await
        .unwrap_err();
    assert!(matches!(refused, ConnectError::Unavailable(_)), "{refused:?}");
}

#[tokio::test]
async fn what_is_too_long_or_in_another_channel_is_never_sent() {
    let server = Server::start().await;
    let adapter = server.adapter(server.config()).await;
    let before = commits(&adapter, dropping(1)).await;
    let mut elsewhere = dropping(1);
    let mut name = *entry(1).as_bytes();
    name[0] = 0xff;
    elsewhere.effect = Effect::Drop(authmesh_proto::ident::EntryName(name));
    is_refused(&adapter.commit(elsewhere).await);
    let mut long = mark(1);
    long.sealed = vec![0; 5000];
    is_refused(&adapter.commit(marking(&long)).await);
    is_refused(
        &adapter
            .insert_if_absent(entry(1), vec![0; (1 << 20) + 1], None, LONG)
            .await,
    );
    is_refused(&adapter.announce(b"m".to_vec(), vec![0; 16 * 1024 + 1]).await);
    assert_eq!(head(&adapter).await, Some(before.head));
}
