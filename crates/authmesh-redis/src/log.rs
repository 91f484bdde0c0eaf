//! The log: a capped stream and 32 hashes per channel.

use authmesh::ports::{BoxFuture, Commit, Committed, Effect, Log, LogSlice, MarkTable, PortError, StoredMark};
use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce, Position};
use authmesh_proto::log::{Head, LogEntry, MAX_PAYLOAD};
use authmesh_proto::marks::{Buckets, Digests};
use redis::{Pipeline, Value};

use crate::RedisAdapter;
use crate::answer::{array, bytes, fields, head, number, pairs, stream, unreadable};

/// The field of a bucket that holds its digest (16) and its least hour (8).
const SUMS: &[u8] = b"d";
/// Rank and digest, before the sealed mark.
const CLEAR: usize = 8 + 16;

impl Log for RedisAdapter {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>> {
        Box::pin(async move {
            sound(&commit)?;
            let entry = match self.appended(self.commit_once(&commit, false).await?)? {
                Some(entry) => entry,
                // The log has no head: the new entry must carry the digest of whatever the table holds.
                None => self
                    .appended(self.commit_once(&commit, true).await?)?
                    .ok_or_else(|| unreadable(self.link().peer()))?,
            };
            // Replicas are not asked yet: whoever waits for a second copy is told that there is none.
            Ok(Committed { entry, replicas: 0 })
        })
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>> {
        Box::pin(async move {
            let mut commands = redis::pipe();
            for channel in ChannelId::all() {
                let last = commands.cmd("XREVRANGE").arg(self.keys().log(channel));
                last.arg("+").arg("-").arg("COUNT").arg(1);
            }
            let answers = self.link().pipeline(&commands).await?;
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
            let mut slice = self.scripts().slice.prepare_invoke();
            slice.key(self.keys().log(channel));
            slice.arg(format!("{}-{}", from.id.millis, from.id.sequence)).arg(limit);
            let answer = self.link().invoke(slice).await?;
            parse_slice(channel, answer).ok_or_else(|| unreadable(self.link().peer()))
        })
    }

    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>> {
        Box::pin(async move {
            // Who knows nothing wants everything.
            let differs = known.filter(|known| known.iter().any(|digest| *digest != Digest::EMPTY));
            let whole = match differs {
                Some(_) => None,
                None => self.load_whole(channel).await?,
            };
            let answer = match whole {
                Some(whole) => whole,
                None => self.load_by_script(channel, known).await?,
            };
            parse_table(channel, answer).ok_or_else(|| unreadable(self.link().peer()))
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
            let mut mint = self.scripts().mint.prepare_invoke();
            mint.key(self.keys().log(channel)).key(self.keys().bell(channel));
            mint.key(self.keys().buckets(channel));
            mint.arg(&[channel.number()][..]).arg(self.link().config().log_entries);
            mint.arg(&nonce.as_bytes()[..]).arg(&incarnation.as_bytes()[..]);
            mint.arg(expected.as_ref().map_or(&[][..], |expected| &expected.as_bytes()[..]));
            let answer = self.link().invoke(mint).await?;
            Ok(self.appended(answer)?.is_some())
        })
    }
}

impl RedisAdapter {
    async fn load_by_script(&self, channel: ChannelId, known: Option<Digests>) -> Result<Value, PortError> {
        let mut load = self.scripts().load.prepare_invoke();
        load.key(self.keys().log(channel)).key(self.keys().buckets(channel));
        for digest in known.iter().flatten() {
            load.arg(&digest.as_bytes()[..]);
        }
        self.link().invoke(load).await
    }

    /// A whole table as the script gives it, for a fifth of its cost: that makes a value of its language of every mark, and
    /// holds the server up meanwhile. `None` where the log went on, so that it is not of one instant. No transaction: a
    /// full server refuses even one that only reads.
    async fn load_whole(&self, channel: ChannelId) -> Result<Option<Value>, PortError> {
        let mut commands = redis::pipe();
        let last = |commands: &mut Pipeline| {
            let last = commands.cmd("XREVRANGE").arg(self.keys().log(channel));
            last.arg("+").arg("-").arg("COUNT").arg(1);
        };
        last(&mut commands);
        for bucket in self.keys().buckets(channel) {
            commands.cmd("HGETALL").arg(bucket);
        }
        last(&mut commands);
        let mut answers = self.link().pipeline(&commands).await?;
        // Whatever changes the table appends to the log.
        let after = answers.pop();
        Ok((after.as_ref() == answers.first()).then_some(Value::Array(answers)))
    }

    /// `whole`: the script may look at the whole table.
    async fn commit_once(&self, commit: &Commit, whole: bool) -> Result<Value, PortError> {
        let (channel, keys) = (commit.channel, self.keys());
        let mut script = self.scripts().commit.prepare_invoke();
        script.key(keys.log(channel)).key(keys.bell(channel));
        script.key(match &commit.effect {
            Effect::Drop(name) => keys.entry(name),
            Effect::Mark(mark) => keys.bucket(channel, mark.hour),
        });
        if whole {
            script.key(keys.buckets(channel));
        }
        script
            .arg(&[channel.number()][..])
            .arg(self.link().config().log_entries);
        script
            .arg(&commit.nonce.as_bytes()[..])
            .arg(&commit.birth.as_bytes()[..]);
        script.arg(&commit.statement[..]);
        match &commit.effect {
            Effect::Drop(_) => {
                script.arg("d");
            }
            Effect::Mark(mark) => {
                let field = [&mark.hour.to_be_bytes()[..], &mark.field].concat();
                script.arg("m").arg(field).arg(&mark.rank.to_be_bytes()[..]);
                script.arg(&mark.digest.as_bytes()[..]).arg(&mark.sealed[..]);
                script.arg(commit.now / 3600);
            }
        }
        self.link().invoke(script).await
    }

    /// Reads the answer of a script that appends. `None`: it did nothing.
    fn appended(&self, answer: Value) -> Result<Option<LogEntry>, PortError> {
        let parse = || {
            let mut parts = array(answer)?.into_iter();
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
        if !rang {
            tracing::warn!(
                channel = %entry.channel,
                "committed, but the bell could not be rung; other nodes hear of it up to a second later. \
                 Allow the Redis user SPUBLISH on the channels of authmesh"
            );
        }
        Ok(Some(entry))
    }
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
    let (mut marks, mut same) = (Vec::new(), Buckets::NONE);
    for (bucket, content) in parts.enumerate() {
        if let Value::BulkString(_) = content {
            same.add(bucket);
            continue;
        }
        for (field, value) in pairs(content)? {
            let (field, value) = (bytes(field)?, bytes(value)?);
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
    Some(MarkTable { head, marks, same })
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
