//! The log: a capped stream and 32 hashes per channel.

use std::time::Duration;

use authmesh::ports::{BoxFuture, Commit, Committed, Effect, Log, LogSlice, MarkTable, PortError, StoredMark};
use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce, Position};
use authmesh_proto::log::{Head, LogEntry, MAX_PAYLOAD};
use authmesh_proto::marks::{Buckets, Digests};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::RedisAdapter;
use crate::answer::{array, bytes, fields, head, number, pairs, stream, unreadable};
use crate::link::{Answer, Place, Stopped};

/// How often a commit is tried whole while its slot is moving, within which time, and how long apart. Then a bare entry has
/// to do.
const WHOLE_TRIES: u32 = 3;
const WHOLE_WITHIN: Duration = Duration::from_millis(100);
const WHOLE_PAUSE: Duration = Duration::from_millis(30);

/// The field of a bucket that holds its digest (16) and its least hour (8).
const SUMS: &[u8] = b"d";
/// Rank and digest, before the sealed mark.
const CLEAR: usize = 8 + 16;

impl Log for RedisAdapter {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>> {
        Box::pin(async move {
            sound(&commit)?;
            let began = Instant::now();
            for tried in 1.. {
                match self.commit_whole(&commit).await {
                    Ok(committed) => return Ok(committed),
                    Err(Stopped::Error(error)) => return Err(error),
                    Err(Stopped::Migrating) if tried < WHOLE_TRIES && began.elapsed() < WHOLE_WITHIN => {
                        tokio::time::sleep(WHOLE_PAUSE).await;
                    }
                    Err(Stopped::Migrating) => break,
                }
            }
            self.commit_bare(&commit).await
        })
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>> {
        Box::pin(async move {
            let commands = ChannelId::all().map(|channel| (Place::of(channel), self.last_of(channel)));
            let limit = self.link().config().response_timeout;
            let reading = self.link().everywhere(commands.collect());
            let answers = tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| {
                Err(PortError::Unavailable(format!(
                    "{}: not every primary has told its heads within {limit:?}",
                    self.link().peer()
                )))
            })?;
            let heads: Option<Vec<Option<Head>>> = ChannelId::all()
                .zip(answers)
                .map(|(channel, last)| head(channel, last))
                .collect();
            heads
                .filter(|heads| heads.len() == ChannelId::all().len())
                .ok_or_else(|| unreadable(self.link().peer()))
        })
    }

    fn read(&self, channel: ChannelId, from: Position, limit: usize) -> BoxFuture<'_, Result<LogSlice, PortError>> {
        Box::pin(async move {
            let slice = self.scripts().slice.call().key(self.keys().log(channel));
            let from = format!("{}-{}", from.id.millis, from.id.sequence);
            let slice = slice.arg(from).number(limit);
            let answer = self.link().invoke(Place::of(channel), &slice).await?;
            parse_slice(channel, answer).ok_or_else(|| unreadable(self.link().peer()))
        })
    }

    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>> {
        Box::pin(async move {
            // Who knows nothing wants everything: command by command that costs a fifth of what it costs the script, which makes
            // a value of its language of every mark and holds the server up meanwhile.
            let knows = known.is_some_and(|known| known.iter().any(|digest| *digest != Digest::EMPTY));
            if !knows && let Ok(table) = self.load_by_key(channel).await {
                return Ok(table);
            }
            let keys = self.keys();
            let load = self.scripts().load.call();
            let load = load.key(keys.log(channel)).keys(keys.buckets(channel));
            let mut load = load.arg([channel.number()]);
            for digest in known.iter().flatten() {
                load = load.arg(digest.as_bytes());
            }
            match self.link().invoke(Place::of(channel), &load).await {
                Ok(answer) => parse_table(channel, answer).ok_or_else(|| unreadable(self.link().peer())),
                Err(Stopped::Migrating) => self.load_by_key(channel).await,
                Err(Stopped::Error(error)) => Err(error),
            }
        })
    }

    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            let keys = self.keys();
            let mint = |whole: bool| {
                let mut mint = self.scripts().mint.call().key(keys.log(channel));
                if whole {
                    mint = mint.keys(keys.buckets(channel));
                }
                let mint = mint.arg([channel.number()]).number(self.link().config().log_entries);
                let mint = mint.arg(nonce.as_bytes()).arg(incarnation.as_bytes());
                let mint = mint.arg(keys.bell(channel));
                mint.arg(expected.as_ref().map_or(&[][..], |expected| expected.as_bytes()))
            };
            let answer = match self.link().commit(Place::of(channel), &mint(true)).await {
                // The root stays as it is; should it be wrong, it is made anew when the slot has arrived.
                Err(Stopped::Migrating) if expected.is_some() => {
                    self.link().commit(Place::of(channel), &mint(false)).await?
                }
                answer => answer?,
            };
            Ok(self.appended(channel, answer).await?.is_some())
        })
    }

    fn purge(&self, channel: ChannelId, elements: Vec<StoredMark>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            for mark in elements {
                let value = [&mark.rank.to_be_bytes()[..], mark.digest.as_bytes(), &mark.sealed].concat();
                let purge = self.scripts().purge.call().key(self.keys().bucket(channel, mark.hour));
                let purge = purge.arg(field_of(&mark)).arg(value);
                self.link().invoke(Place::of(channel), &purge).await?;
            }
            Ok(())
        })
    }
}

impl RedisAdapter {
    async fn commit_whole(&self, commit: &Commit) -> Result<Committed, Stopped> {
        let committed = match self.commit_once(commit, false).await? {
            Some(committed) => committed,
            // The log has no head: the new entry must carry the digest of whatever the table holds.
            None => self
                .commit_once(commit, true)
                .await?
                .ok_or_else(|| unreadable(self.link().peer()))?,
        };
        Ok(committed)
    }

    /// `whole`: the script may look at the whole table.
    async fn commit_once(&self, commit: &Commit, whole: bool) -> Result<Option<Committed>, Stopped> {
        let (channel, keys) = (commit.channel, self.keys());
        let mut script = self.scripts().commit.call().key(keys.log(channel));
        script = script.key(match &commit.effect {
            Effect::Drop(name) => keys.entry(name),
            Effect::Mark(mark) => keys.bucket(channel, mark.hour),
        });
        if whole {
            script = script.keys(keys.buckets(channel));
        }
        script = script
            .arg([channel.number()])
            .number(self.link().config().log_entries)
            .arg(commit.nonce.as_bytes())
            .arg(commit.birth.as_bytes())
            .arg(keys.bell(channel))
            .arg(&commit.statement);
        script = match &commit.effect {
            Effect::Drop(_) => script.arg("d"),
            Effect::Mark(mark) => script
                .arg("m")
                .arg(field_of(mark))
                .arg(mark.rank.to_be_bytes())
                .arg(mark.digest.as_bytes())
                .arg(&mark.sealed)
                .number(commit.now / 3600),
        };
        let answer = self.link().commit(Place::of(channel), &script).await?;
        Ok(self.appended(channel, answer).await?)
    }

    /// Into the log alone, by a script of one key: that is never refused for a slot that is moving.
    async fn commit_bare(&self, commit: &Commit) -> Result<Committed, PortError> {
        let (channel, keys) = (commit.channel, self.keys());
        let moving = || PortError::from(Stopped::Migrating);
        let is_mark = matches!(commit.effect, Effect::Mark(_));
        if is_mark && commit.bare_done {
            return Err(moving());
        }
        let script = self.scripts().bare.call().key(keys.log(channel));
        let script = script
            .arg([channel.number()])
            .number(self.link().config().log_entries)
            .arg(commit.nonce.as_bytes())
            .arg(keys.bell(channel))
            .arg(&commit.statement);
        let answer = self.link().commit(Place::of(channel), &script).await?;
        let committed = self.appended(channel, answer).await?.ok_or_else(moving)?;
        if is_mark {
            return Err(PortError::Partly(format!(
                "the slot of channel {channel} is on its way to another node of the Redis Cluster: every node has the \
                 revocation, and the table for nodes to come gets it when the slot has arrived"
            )));
        }
        // The raised generation voids whatever stands under the name.
        Ok(committed)
    }

    /// The table without a script, whole. It counts only if nothing was appended meanwhile: whatever changes the table
    /// appends.
    async fn load_by_key(&self, channel: ChannelId) -> Result<MarkTable, PortError> {
        let (place, keys) = (Place::of(channel), self.keys());
        let first = self.scripts().headed.call().key(keys.log(channel));
        let first = self.link().invoke(place, &first.arg([channel.number()])).await?;
        let buckets: Vec<Cmd> = keys.buckets(channel).into_iter().map(hgetall).collect();
        let buckets = self.link().commands(place, &buckets).await?;
        let buckets: Vec<Value> = buckets.into_iter().collect::<Result<_, _>>()?;
        let last = self.link().command(place, &self.last_of(channel)).await?;

        let parse = || {
            let [before, bare] = fields(first)?;
            let after = head(channel, last)?;
            let mut parts = vec![before, bare];
            parts.extend(buckets);
            Some((parse_table(channel, Value::Array(parts))?, after))
        };
        let (table, after) = parse().ok_or_else(|| unreadable(self.link().peer()))?;
        if table.head != after {
            return Err(PortError::Unavailable(format!(
                "the table of channel {channel} changed while it was read"
            )));
        }
        Ok(table)
    }

    /// Reads the last entry of a log.
    pub(crate) fn last_of(&self, channel: ChannelId) -> Cmd {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(self.keys().log(channel));
        last.arg("+").arg("-").arg("COUNT").arg(1);
        last
    }

    /// Reads the answer of a script that appends. `None`: it did nothing.
    async fn appended(&self, channel: ChannelId, answer: Answer) -> Result<Option<Committed>, PortError> {
        let Answer { value, replicas, ahead } = answer;
        let parse = || {
            let mut parts = array(value)?.into_iter();
            match &bytes(parts.next()?)?[..] {
                b"N" => Some(None),
                b"A" => {
                    let entry = LogEntry::decode(&bytes(parts.next()?)?).ok()?;
                    Some(Some((entry, number(&parts.next()?)? == 1)))
                }
                _ => None,
            }
        };
        let Some((entry, rang)) = parse().ok_or_else(|| unreadable(self.link().peer()))? else {
            return Ok(None);
        };
        if ahead {
            self.ring(channel, &entry).await;
        }
        if !rang {
            tracing::warn!(
                %channel,
                "committed, but the bell could not be rung; other nodes hear of it up to a second later. \
                 Allow the Redis user SPUBLISH on the channels of authmesh"
            );
        }
        Ok(Some(Committed { entry, replicas }))
    }

    /// Rings again where subscribers are: the script ran, and rang, at a server that does not serve the slot yet.
    async fn ring(&self, channel: ChannelId, entry: &LogEntry) {
        let mut ring = redis::cmd("SPUBLISH");
        ring.arg(self.keys().bell(channel)).arg(entry.encode());
        if let Err(error) = self.link().command(Place::of(channel), &ring).await {
            tracing::debug!(%channel, %error, "the bell was not rung; nodes find the entry by its head");
        }
    }
}

fn hgetall(key: String) -> Cmd {
    let mut all = redis::cmd("HGETALL");
    all.arg(key);
    all
}

fn field_of(mark: &StoredMark) -> Vec<u8> {
    [&mark.hour.to_be_bytes()[..], &mark.field].concat()
}

fn sound(commit: &Commit) -> Result<(), PortError> {
    let length = commit.statement.len();
    if !(1..=MAX_PAYLOAD).contains(&length) {
        return Err(PortError::Refused(format!(
            "a statement has 1 to {MAX_PAYLOAD} bytes, this one {length}"
        )));
    }
    match &commit.effect {
        Effect::Drop(name) if name.slot().channel != commit.channel => Err(PortError::Refused(format!(
            "an entry of channel {} cannot be dropped in channel {}",
            name.slot().channel,
            commit.channel
        ))),
        Effect::Mark(mark) if mark.sealed.len() > MAX_PAYLOAD => Err(PortError::Refused(format!(
            "a sealed mark has at most {MAX_PAYLOAD} bytes, this one {}",
            mark.sealed.len()
        ))),
        Effect::Drop(_) | Effect::Mark(_) => Ok(()),
    }
}

fn parse_slice(channel: ChannelId, answer: Value) -> Option<LogSlice> {
    let [last, first, entries] = fields(answer)?;
    Some(LogSlice {
        head: head(channel, last)?,
        first: stream(channel, first)?.first().map(|first| first.position()),
        // What is no entry leaves a hole in the chain, and the follower sees it.
        entries: stream(channel, entries)?
            .into_iter()
            .filter_map(|found| found.entry)
            .collect(),
    })
}

fn parse_table(channel: ChannelId, answer: Value) -> Option<MarkTable> {
    let mut parts = array(answer)?.into_iter();
    let head = head(channel, parts.next()?)?;
    // Newest first, as the script found them.
    let mut bare: Vec<LogEntry> = stream(channel, parts.next()?)?
        .into_iter()
        .filter_map(|found| found.entry)
        .collect();
    bare.reverse();
    let (mut marks, mut same) = (Vec::new(), Buckets::NONE);
    for (bucket, content) in parts.enumerate() {
        if let Value::BulkString(_) = content {
            same.add(bucket);
            continue;
        }
        let mut flat = pairs(content)?.into_iter();
        while let Some(field) = flat.next() {
            let (field, value) = (bytes(field)?, bytes(flat.next()?)?);
            if field == SUMS {
                continue;
            }
            match mark(&field, &value) {
                Some(mark) => marks.push(mark),
                // It counts in no digest, here or in the scripts.
                None => tracing::warn!(
                    target: "authmesh::audit", %channel,
                    "something in the table of marks is no mark; it is passed over"
                ),
            }
        }
    }
    Some(MarkTable {
        head,
        marks,
        same,
        bare,
    })
}

/// Field: hour (8) and the mark's own field (33). Value: rank (8), digest (16), envelope.
fn mark(field: &[u8], value: &[u8]) -> Option<StoredMark> {
    let (hour, field) = field.split_first_chunk()?;
    let (clear, sealed) = value.split_first_chunk::<CLEAR>()?;
    let (rank, digest) = clear.split_first_chunk()?;
    Some(StoredMark {
        hour: u64::from_be_bytes(*hour),
        field: field.try_into().ok()?,
        rank: u64::from_be_bytes(*rank),
        digest: Digest(digest.try_into().ok()?),
        sealed: sealed.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_mark_is_read_as_the_script_writes_it() {
        let field = [&7_u64.to_be_bytes()[..], &[3; 33]].concat();
        let value = [&9_u64.to_be_bytes()[..], &[4; 16], b"sealed"].concat();
        let read = mark(&field, &value).unwrap();
        assert_eq!((read.hour, read.field, read.rank), (7, [3; 33], 9));
        assert_eq!((read.digest, &read.sealed[..]), (Digest([4; 16]), &b"sealed"[..]));
        assert!(mark(&field[..40], &value).is_none());
        assert!(mark(&[&field[..], &[0]].concat(), &value).is_none());
        assert!(mark(&field, &value[..23]).is_none());
    }
}
