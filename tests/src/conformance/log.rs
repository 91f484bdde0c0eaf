//! What every [`Log`](authmesh::ports::Log) promises.

use authmesh::ports::{Commit, Committed, Effect, LogSlice, MarkTable, PortError, StoredMark};
use authmesh_proto::ident::{CHANNELS, ChannelId, Digest, Nonce, Position, StreamId};
use authmesh_proto::log::{LogEntry, MAX_PAYLOAD, Payload};
use authmesh_proto::marks::{BUCKETS, Digests};

use super::fixture::{channel, commit, dropping, entry, mark, marking, nonce, root};
use super::{Factory, Peer, Scene, checks, mints};

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    checks!(
        "log",
        factory,
        [
            a_channel_without_a_log_shows_nothing,
            the_first_commit_is_the_birth_of_the_log,
            later_commits_keep_the_incarnation_and_link_to_the_entry_before,
            heads_come_in_the_order_of_the_channels,
            a_statement_comes_back_byte_for_byte,
            a_statement_that_is_empty_or_too_long_is_refused_and_changes_nothing,
            a_read_includes_its_beginning_and_goes_upwards,
            a_read_brings_no_more_than_its_limit,
            a_drop_deletes_the_value_of_its_name_only,
            a_drop_leaves_counters_alone,
            marks_merge_by_rank_within_hour_and_field,
            hours_that_share_a_bucket_stand_apart,
            the_root_is_the_digest_of_the_table,
            a_mark_that_is_committed_again_changes_nothing,
            commits_at_the_same_time_make_one_chain,
            a_capped_log_loses_its_oldest_entries_only,
            a_load_leaves_out_what_the_caller_knows,
            a_merge_takes_the_past_of_its_bucket_with_it,
            what_one_clock_alone_holds_to_be_past_stays,
        ]
    );
    mints::suite(factory).await;
}

/// A position before every entry.
pub(super) const BEGINNING: Position = Position {
    id: StreamId { millis: 0, sequence: 0 },
    nonce: Nonce([0; 16]),
};

/// The whole log of a channel, read in small parts.
pub(super) async fn whole(peer: &Peer, channel: ChannelId) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    loop {
        let from = entries.last().map_or(BEGINNING, |entry| entry.head.position);
        let part = read(peer, channel, from, 100).await;
        // The first of a part is the last of the part before: a read includes its beginning.
        let new: Vec<LogEntry> = part
            .entries
            .into_iter()
            .skip(usize::from(!entries.is_empty()))
            .collect();
        if new.is_empty() {
            return entries;
        }
        entries.extend(new);
    }
}

async fn read(peer: &Peer, channel: ChannelId, from: Position, limit: usize) -> LogSlice {
    peer.log.read(channel, from, limit).await.expect("a log can be read")
}

/// The table of a channel, its marks by hour and field.
pub(super) async fn table(peer: &Peer, channel: ChannelId) -> MarkTable {
    let mut table = peer.log.load(channel, None).await.expect("a table can be loaded");
    table.marks.sort_by_key(|mark| (mark.hour, mark.field));
    table
}

#[track_caller]
pub(super) fn assert_chain(entries: &[LogEntry]) {
    for pair in entries.windows(2) {
        let (before, after) = (&pair[0].head, &pair[1].head);
        assert_eq!(
            after.previous,
            Some(before.position),
            "each entry names the one before it"
        );
        assert!(after.position.id > before.position.id, "stream IDs go up");
    }
}

async fn a_channel_without_a_log_shows_nothing(scene: Scene) {
    assert_eq!(scene.a.heads().await, vec![None; CHANNELS]);
    for id in [channel(0), channel(63)] {
        let slice = read(&scene.a, id, BEGINNING, 10).await;
        assert_eq!((slice.head, slice.first, slice.entries), (None, None, Vec::new()));
        let table = table(&scene.a, id).await;
        assert_eq!((table.head, table.marks), (None, Vec::new()));
    }
}

async fn the_first_commit_is_the_birth_of_the_log(scene: Scene) {
    let first = dropping(entry(channel(7), 1));
    let Committed { entry, replicas } = scene.a.commits(first.clone()).await;
    assert_eq!(entry.channel, channel(7));
    assert_eq!(
        entry.head.incarnation, first.birth,
        "born with the incarnation of the commit"
    );
    assert_eq!(entry.head.generation, 0);
    assert_eq!(entry.head.previous, None, "nothing is before the first entry");
    assert_eq!(
        entry.head.position.nonce, first.nonce,
        "the nonce is part of the position"
    );
    assert_eq!(entry.payload, Payload::Statement(first.statement));
    assert!(
        replicas <= scene.abilities.replicas,
        "{replicas} replicas cannot have confirmed"
    );

    let slice = read(&scene.b, channel(7), BEGINNING, 10).await;
    assert_eq!(slice.head, Some(entry.head));
    assert_eq!(slice.first, Some(entry.head.position));
    assert_eq!(slice.entries, [entry]);
}

async fn later_commits_keep_the_incarnation_and_link_to_the_entry_before(scene: Scene) {
    let c = channel(1);
    let mut entries = Vec::new();
    for n in 0..5 {
        let peer = if n % 2 == 0 { &scene.a } else { &scene.b };
        let said = dropping(entry(c, n));
        let done = peer.commits(said.clone()).await.entry;
        assert_eq!(done.head.position.nonce, said.nonce);
        entries.push(done);
    }
    assert_chain(&entries);
    assert!(
        entries
            .iter()
            .all(|entry| entry.head.incarnation == entries[0].head.incarnation)
    );
    assert_eq!(whole(&scene.a, c).await, entries);
    let last = entries.last().map(|entry| entry.head);
    assert_eq!(scene.b.heads().await[c.index()], last, "the head is the last entry");
    assert_eq!(table(&scene.b, c).await.head, last);
}

async fn heads_come_in_the_order_of_the_channels(scene: Scene) {
    let mut expected = vec![None; CHANNELS];
    // Backwards, and not all of them: order and absence must come from the channels.
    for id in ChannelId::all()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .filter(|id| id.number() % 3 != 1)
    {
        expected[id.index()] = Some(scene.a.bears(id).await);
        assert_eq!(scene.b.heads().await, expected, "one channel moved, and no other");
    }
}

async fn a_statement_comes_back_byte_for_byte(scene: Scene) {
    let c = channel(2);
    let every_byte: Vec<u8> = (0..=255).collect();
    let longest: Vec<u8> = every_byte.iter().copied().cycle().take(MAX_PAYLOAD).collect();
    let mut expected = Vec::new();
    for statement in [vec![0], every_byte, b"\r\n*1\r\n$-1".to_vec(), longest] {
        let done = scene
            .a
            .commits(commit(c, Effect::Drop(entry(c, 1)), statement.clone()))
            .await;
        assert_eq!(done.entry.payload, Payload::Statement(statement.clone()));
        expected.push(Payload::Statement(statement));
    }
    let read: Vec<Payload> = whole(&scene.b, c)
        .await
        .into_iter()
        .map(|entry| entry.payload)
        .collect();
    assert_eq!(read, expected);
}

async fn a_statement_that_is_empty_or_too_long_is_refused_and_changes_nothing(scene: Scene) {
    let (born, unborn) = (channel(3), channel(4));
    scene.a.bears(born).await;
    let name = entry(born, 1);
    let value = scene.a.fills(name, "stays").await;
    let before = scene.a.heads().await;
    for statement in [vec![], vec![1; MAX_PAYLOAD + 1]] {
        let refused = [
            commit(born, Effect::Drop(name), statement.clone()),
            commit(born, Effect::Mark(mark(1, 1, 1)), statement.clone()),
            commit(unborn, Effect::Mark(mark(1, 1, 1)), statement),
        ];
        for commit in refused {
            let answer = scene.a.log.commit(commit).await;
            assert!(matches!(answer, Err(PortError::Refused(_))), "{answer:?}");
        }
    }
    assert_eq!(scene.a.heads().await, before);
    assert_eq!(scene.a.value(name).await, Some(value), "the drop did not happen");
    assert_eq!(table(&scene.a, born).await.marks, []);
    assert_eq!(table(&scene.a, unborn).await.marks, []);
}

async fn a_read_includes_its_beginning_and_goes_upwards(scene: Scene) {
    let c = channel(5);
    let mut entries = Vec::new();
    for n in 0..6 {
        entries.push(scene.a.commits(dropping(entry(c, n))).await.entry);
    }
    let at = |n: usize| entries[n].head.position;
    for from in 0..6 {
        let slice = read(&scene.b, c, at(from), 100).await;
        assert_eq!(slice.entries, entries[from..], "from the position on, itself included");
        assert_eq!(slice.first, Some(at(0)), "the oldest entry of the log, not of the part");
        assert_eq!(slice.head, Some(entries[5].head));
    }
    let twin = Position {
        id: at(3).id,
        nonce: nonce(),
    };
    let slice = read(&scene.b, c, twin, 100).await;
    assert_eq!(
        slice.entries,
        entries[3..],
        "the stream ID decides where a read begins, not the nonce"
    );
    let beyond = Position {
        id: StreamId {
            millis: at(5).id.millis + 1,
            sequence: 0,
        },
        nonce: at(5).nonce,
    };
    let slice = read(&scene.b, c, beyond, 100).await;
    assert_eq!(
        (slice.entries, slice.head),
        (Vec::new(), Some(entries[5].head)),
        "past the end"
    );
}

async fn a_read_brings_no_more_than_its_limit(scene: Scene) {
    let c = channel(6);
    let mut entries = Vec::new();
    for n in 0..5 {
        entries.push(scene.a.commits(dropping(entry(c, n))).await.entry);
    }
    for limit in [1, 2, 4, 5, 1_000] {
        let slice = read(&scene.a, c, entries[0].head.position, limit).await;
        assert_eq!(slice.entries, entries[..limit.min(5)], "the oldest ones, limit {limit}");
        assert_eq!(slice.head, Some(entries[4].head), "the head is that of the whole log");
    }
}

async fn a_drop_deletes_the_value_of_its_name_only(scene: Scene) {
    let c = channel(8);
    scene.a.bears(c).await;
    let (dropped, kept) = (entry(c, 1), entry(c, 2));
    scene.a.fills(dropped, "old").await;
    let value = scene.a.fills(kept, "kept").await;
    scene.b.commits(dropping(dropped)).await;
    assert_eq!(scene.a.value(dropped).await, None);
    assert_eq!(scene.a.value(kept).await, Some(value));
    scene.b.commits(marking(c, &mark(1, 1, 1))).await;
    assert!(scene.a.value(kept).await.is_some(), "a mark deletes no value");
    let refilled = scene.a.fills(dropped, "new").await;
    assert_eq!(
        scene.b.value(dropped).await,
        Some(refilled),
        "a dropped name can be filled again"
    );
}

async fn a_drop_leaves_counters_alone(scene: Scene) {
    let name = entry(channel(9), 1);
    let count = async |by| scene.a.store.increment(name, by, super::fixture::LONG).await;
    assert_eq!(count(3).await, Ok(3));
    scene.a.commits(dropping(name)).await;
    assert_eq!(count(1).await, Ok(4));
}

/// Commits marks, and expects the table that the last argument names.
async fn merges(scene: &Scene, c: ChannelId, said: &[StoredMark], expected: &[&StoredMark]) {
    for mark in said {
        let done = scene.a.commits(marking(c, mark)).await;
        let table = table(&scene.b, c).await;
        assert_eq!(table.head, Some(done.entry.head), "table and head are of one instant");
        assert_eq!(
            done.entry.head.root,
            root(&table.marks),
            "the entry's root is that of the table after it"
        );
    }
    let table = table(&scene.b, c).await;
    assert_eq!(table.marks.iter().collect::<Vec<_>>(), expected);
}

async fn marks_merge_by_rank_within_hour_and_field(scene: Scene) {
    let [low, high, equal, lower] = [mark(10, 1, 5), mark(10, 1, 9), mark(10, 1, 9), mark(10, 1, 8)];
    merges(&scene, channel(10), std::slice::from_ref(&low), &[&low]).await;
    merges(&scene, channel(10), std::slice::from_ref(&high), &[&high]).await;
    // Of equal ranks the one that is there stays: nothing changes, whoever repeats a commit.
    merges(&scene, channel(10), &[equal, lower, low], &[&high]).await;
    let greatest = mark(10, 1, u64::MAX);
    let beyond_floats = mark(10, 1, (1 << 53) + 1);
    merges(
        &scene,
        channel(10),
        &[mark(10, 1, 1 << 53), beyond_floats.clone()],
        &[&beyond_floats],
    )
    .await;
    merges(&scene, channel(10), std::slice::from_ref(&greatest), &[&greatest]).await;
    let zero = mark(11, 1, 0);
    merges(&scene, channel(10), std::slice::from_ref(&zero), &[&greatest, &zero]).await;
}

async fn hours_that_share_a_bucket_stand_apart(scene: Scene) {
    let (first, later, field) = (mark(40, 1, 5), mark(40 + 32, 1, 3), mark(40, 2, 1));
    let said = [later.clone(), first.clone(), field.clone()];
    merges(&scene, channel(11), &said, &[&first, &field, &later]).await;
    assert_eq!(
        table(&scene.a, channel(12)).await.marks,
        [],
        "marks are their channel's own"
    );
    let fields: Vec<StoredMark> = (0..=255).map(|n| mark(41, n, 1)).collect();
    merges(&scene, channel(12), &fields, &fields.iter().collect::<Vec<_>>()).await;
}

async fn the_root_is_the_digest_of_the_table(scene: Scene) {
    let c = channel(13);
    let marks = [mark(1, 1, 1), mark(2, 1, 1), mark(2, 2, 1)];
    for (n, mark) in marks.iter().enumerate() {
        let done = scene.a.commits(marking(c, mark)).await;
        assert_eq!(done.entry.head.root, root(&marks[..=n]));
    }
    let dropped = scene.a.commits(dropping(entry(c, 1))).await;
    assert_eq!(dropped.entry.head.root, root(&marks), "a drop leaves the root as it is");
    assert_eq!(scene.b.head(c).await.root, root(&marks));
}

async fn a_mark_that_is_committed_again_changes_nothing(scene: Scene) {
    let c = channel(14);
    let mark = mark(3, 3, 3);
    let first = scene.a.commits(marking(c, &mark)).await.entry;
    let again = scene.b.commits(marking(c, &mark)).await.entry;
    assert_ne!(first.head.position, again.head.position, "it is a new entry");
    assert_eq!(first.head.root, again.head.root);
    assert_eq!(table(&scene.a, c).await.marks, [mark]);
    assert_eq!(whole(&scene.a, c).await, [first, again]);
}

async fn commits_at_the_same_time_make_one_chain(scene: Scene) {
    let c = channel(15);
    let marks: Vec<StoredMark> = (0..40).map(|n| mark(5, n, 1)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (n, mark) in marks.iter().enumerate() {
        let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
        let commit = marking(c, mark);
        tasks.spawn(async move { peer.commits(commit).await.entry });
    }
    let mut done = scene.soon("40 commits", tasks.join_all()).await;
    done.sort_by_key(|entry| entry.head.position.id);
    assert_eq!(whole(&scene.a, c).await, done, "every commit is there once");
    assert_chain(&done);
    assert_eq!(done[0].head.previous, None, "only one of them was the birth");
    assert!(
        done.iter()
            .all(|entry| entry.head.incarnation == done[0].head.incarnation)
    );
    assert_eq!(scene.b.head(c).await.root, root(&marks));
}

async fn a_capped_log_loses_its_oldest_entries_only(scene: Scene) {
    let Some(cap) = scene.abilities.log_cap else { return };
    let c = channel(16);
    let mark = mark(1, 1, 1);
    let first = scene.a.commits(marking(c, &mark)).await.entry;
    let mut last = first.clone();
    for _ in 0..cap {
        last = scene.a.commits(dropping(entry(c, 1))).await.entry;
    }
    let entries = whole(&scene.a, c).await;
    assert!(!entries.is_empty() && entries.len() <= cap);
    assert_chain(&entries);
    assert_eq!(entries.last(), Some(&last));
    let slice = read(&scene.b, c, first.head.position, 1).await;
    assert_eq!(
        slice.first,
        Some(entries[0].head.position),
        "the oldest that is still there"
    );
    assert_eq!(slice.entries[..], entries[..1], "a read from before it begins with it");
    let table = table(&scene.b, c).await;
    assert_eq!(table.marks, [mark], "a mark outlives its log entry");
    assert_eq!(last.head.root, root(&table.marks));
}

/// The digests of the buckets of a table.
fn digests<'a>(marks: impl IntoIterator<Item = &'a StoredMark>) -> Digests {
    let mut digests = [Digest::EMPTY; BUCKETS];
    for mark in marks {
        let digest = &mut digests[bucket(mark.hour)];
        *digest = digest.toggled(mark.digest);
    }
    digests
}

fn bucket(hour: u64) -> usize {
    usize::try_from(hour).expect("an hour of a test") % BUCKETS
}

async fn load(peer: &Peer, channel: ChannelId, known: Digests) -> MarkTable {
    let mut table = peer
        .log
        .load(channel, Some(known))
        .await
        .expect("a table can be loaded");
    table.marks.sort_by_key(|mark| (mark.hour, mark.field));
    table
}

async fn a_load_leaves_out_what_the_caller_knows(scene: Scene) {
    let c = channel(18);
    let marks = [mark(1, 1, 1), mark(2, 1, 1), mark(2, 2, 1), mark(34, 1, 1)];
    let mut head = None;
    for mark in &marks {
        head = Some(scene.a.commits(marking(c, mark)).await.entry.head);
    }
    let everything = load(&scene.b, c, [Digest([0xee; 16]); BUCKETS]).await;
    assert_eq!((everything.head, &everything.marks[..]), (head, &marks[..]));
    assert!((0..BUCKETS).all(|bucket| !everything.same.contains(bucket)));

    let nothing = load(&scene.b, c, digests(&marks)).await;
    assert_eq!((nothing.head, nothing.marks), (head, Vec::new()));
    assert!(
        (0..BUCKETS).all(|bucket| nothing.same.contains(bucket)),
        "empty ones too"
    );

    // A caller that lacks one of bucket 2 gets that bucket, whole.
    let part = load(&scene.b, c, digests(&marks[..3])).await;
    assert_eq!(part.marks, marks[1..]);
    assert!((0..BUCKETS).all(|bucket| part.same.contains(bucket) == (bucket != 2)));

    // A greater rank changes the digest.
    let greater = mark(1, 1, 9);
    scene.a.commits(marking(c, &greater)).await;
    let part = load(&scene.b, c, digests(&marks)).await;
    assert_eq!(part.marks, [greater]);
}

/// An hour that every clock of a test has behind it.
const PAST: u64 = 1000;
/// The same bucket, far ahead of every clock.
const AHEAD: u64 = PAST + 32 * 1_000_000;

/// A commit of a mark by a caller whose wall clock shows this hour.
fn marking_at(channel: ChannelId, mark: &StoredMark, hour: u64) -> Commit {
    Commit {
        now: hour * 3600,
        ..marking(channel, mark)
    }
}

async fn a_merge_takes_the_past_of_its_bucket_with_it(scene: Scene) {
    let c = channel(19);
    let past = [mark(PAST, 1, 1), mark(PAST + 32, 2, 1)];
    let other_bucket = mark(PAST + 1, 3, 1);
    let ahead = mark(AHEAD, 1, 1);
    for mark in [&past[0], &past[1], &other_bucket] {
        scene.a.commits(marking(c, mark)).await;
    }
    // Only what is more than an hour past goes.
    let soon = marking_at(c, &ahead, PAST + 1);
    scene.a.commits(soon).await;
    assert_eq!(table(&scene.b, c).await.marks.len(), 4);

    let again = marking_at(c, &ahead, PAST + 2);
    let head = scene.a.commits(again).await.entry.head;
    let left = [other_bucket.clone(), past[1].clone(), ahead.clone()];
    let now = table(&scene.b, c).await;
    assert_eq!(now.marks, left, "the caller's clock is the earlier one");
    assert_eq!((head.root, now.head), (root(&left), Some(head)));

    scene.a.commits(marking_at(c, &ahead, PAST + 40)).await;
    let left = [other_bucket, ahead];
    let now = table(&scene.b, c).await;
    assert_eq!(now.marks, left);
    assert_eq!(now.head.expect("a head").root, root(&left));
    let known = load(&scene.b, c, digests(&left)).await;
    assert_eq!(known.marks, Vec::new(), "the digests of buckets follow");
}

async fn what_one_clock_alone_holds_to_be_past_stays(scene: Scene) {
    let c = channel(20);
    let (near, ahead) = (mark(AHEAD, 1, 1), mark(AHEAD, 2, 1));
    scene.a.commits(marking(c, &near)).await;
    // A caller from the far future.
    scene.a.commits(marking_at(c, &ahead, AHEAD + 1_000)).await;
    assert_eq!(table(&scene.b, c).await.marks, [near, ahead]);
}
