//! Marks: what is revoked.
//!
//! Marks merge by maximum, so that any road, any order and any number of copies give the same table (the merge laws are
//! property tests). A token is void if **any** mark of its scopes voids it. A mark is never evicted: it leaves when both
//! clocks agree that nothing it could void can be valid any more, plus an hour.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::crypto::{Namer, ScopeKind};
use crate::ident::{CHANNELS, ChannelId, Digest, Incarnation, Position, ScopeId};
use crate::statement::{Mark, MarkKey, Note, to_full_hour};
use crate::time::{Now, Unix};

mod scopes;
mod table;

use table::{Table, Terms};

pub use scopes::TokenScopes;

#[cfg(test)]
mod tests;

/// How much longer than its `expires` a mark is kept, for clocks that disagree.
pub const GRACE: Duration = Duration::from_secs(3600);

/// The longest that a mark can be needed: the longest token lifetime that a policy may accept is seven days.
const LONGEST: Duration = Duration::from_secs(8 * 86_400);

/// How many buckets the marks of a channel are in: a mark is in the one of its expiry's hour, modulo this.
pub const BUCKETS: usize = 32;

/// The digests of a channel's buckets.
pub type Digests = [Digest; BUCKETS];

/// A set of buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets(u32);

impl Buckets {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Adds a bucket; a number that is none adds nothing.
    pub const fn add(&mut self, bucket: usize) {
        if bucket < BUCKETS {
            self.0 |= 1 << bucket;
        }
    }

    /// Whether a bucket is in the set.
    #[must_use]
    pub const fn contains(self, bucket: usize) -> bool {
        bucket < BUCKETS && self.0 & 1 << bucket != 0
    }
}

/// The bucket of a mark.
#[must_use]
pub const fn bucket_of(expires: Unix) -> usize {
    bucket_of_hour(expires.div_ceil(3600))
}

/// The bucket of the marks that expire in an hour, which is counted from the epoch.
#[must_use]
pub const fn bucket_of_hour(hour: u64) -> usize {
    (hour % BUCKETS as u64) as usize
}

/// The marks that a node holds.
#[derive(Debug)]
pub struct Marks {
    table: Table,
    channels: Vec<Channel>,
    cap: usize,
    revision: u64,
}

#[derive(Debug)]
struct Channel {
    tags: BTreeMap<ScopeId, TagMark>,
    digests: Digests,
}

impl Channel {
    fn toggle(&mut self, expires: Unix, element: Digest) {
        let digest = &mut self.digests[bucket_of(expires)];
        *digest = digest.toggled(element);
    }
}

/// The newest statement about a tag, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagMark {
    At(Incarnation, Position),
    /// Heard by a road that has no positions: nothing in L2 can prove that it is newer.
    Unpositioned,
}

/// There is no room for another mark. `revoke` fails with this, loudly: marks are never dropped to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The cap that is reached.
    pub cap: usize,
}

/// A part of the marks, as [`Marks::page`] gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The marks.
    pub marks: Vec<Mark>,
    /// Where the next page goes on; `None` when nothing follows.
    pub next: Option<MarkKey>,
}

/// Why a token is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voided {
    /// The kind of the scope that voids it.
    pub kind: ScopeKind,
    /// Tokens issued up to this second are void.
    pub not_before: Unix,
    /// Who revoked it, why, and when.
    pub note: Note,
}

impl Marks {
    /// An empty table for at most `cap` marks.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        let channel = |_| Channel {
            tags: BTreeMap::new(),
            digests: [Digest::EMPTY; BUCKETS],
        };
        Self {
            table: Table::new(),
            channels: (0..CHANNELS).map(channel).collect(),
            cap,
            revision: 0,
        }
    }

    /// A number that moves whenever a mark about tokens comes, reaches further, or goes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// How many marks are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Asks for room before a mark is named: a statement that was named is never refused again.
    ///
    /// # Errors
    /// [`Full`] at the cap.
    pub fn admit(&self, key: &MarkKey) -> Result<(), Full> {
        self.admit_all([key])
    }

    /// Asks for room for several marks, of which either all are named or none is.
    ///
    /// # Errors
    /// [`Full`] when not all of them fit below the cap.
    pub fn admit_all<'a>(&self, keys: impl IntoIterator<Item = &'a MarkKey>) -> Result<(), Full> {
        let lacking = |key: &&MarkKey| self.table.find(key).is_none();
        let new: BTreeSet<&MarkKey> = keys.into_iter().filter(lacking).collect();
        // At the cap, and also beyond it (marks of others are never refused), what merges still has its room.
        if new.is_empty() || self.len().saturating_add(new.len()) <= self.cap {
            Ok(())
        } else {
            Err(Full { cap: self.cap })
        }
    }

    /// Applies a mark, by whatever road it came. Never refuses: the cap binds the origin only. Returns whether the table
    /// changed; a statement about a tag always counts as a change.
    ///
    /// The caller bumps the [`MarkEpoch`](crate::freshness::MarkEpoch) (and for tags the fence) **afterwards**.
    pub fn apply(&mut self, now: Now, mark: Mark, position: Option<(Incarnation, Position)>, namer: &Namer) -> bool {
        self.apply_known(now, mark, None, position, false, namer)
    }

    /// [`Marks::apply`] for a mark whose digest is known to be its [`element_digest`]: to compute it is most of the work.
    pub fn apply_digested(
        &mut self,
        now: Now,
        (mark, digest): (Mark, Digest),
        position: Option<(Incarnation, Position)>,
        namer: &Namer,
    ) -> bool {
        self.apply_known(now, mark, Some(digest), position, false, namer)
    }

    /// [`Marks::apply`] for a mark that comes from before this node's start: what was past by then is in force for
    /// [`GRACE`] from now, should the clock be wrong, and is nobody's lack.
    pub fn apply_kept(&mut self, now: Now, mark: Mark, namer: &Namer) -> bool {
        self.apply_known(now, mark, None, None, true, namer)
    }

    fn apply_known(
        &mut self,
        now: Now,
        mark: Mark,
        digest: Option<Digest>,
        position: Option<(Incarnation, Position)>,
        kept: bool,
        namer: &Namer,
    ) -> bool {
        let is_tag = mark.kind == ScopeKind::Tag;
        let channel = &mut self.channels[mark.key.scope.slot().channel.index()];
        if is_tag {
            let new = position.map_or(TagMark::Unpositioned, |(incarnation, position)| {
                TagMark::At(incarnation, position)
            });
            let held = channel.tags.entry(mark.key.scope).or_insert(new);
            // A table that was loaded from a log that lost writes knows less than this node does.
            let goes_back = match (*held, new) {
                (TagMark::At(own, at), TagMark::At(theirs, then)) => own == theirs && then.id < at.id,
                _ => false,
            };
            if !goes_back {
                *held = new;
            }
        }
        // By the origin's clock or by ours, whichever keeps it longer: a clock that is days ahead must not shorten its life.
        let is_past = kept && mark.expires <= now.wall;
        let from = if is_past { now.wall } else { now.wall.min(mark.note.at) };
        let lifetime = Duration::from_secs(mark.expires.saturating_sub(from));
        let until = now.boot.plus(lifetime.min(LONGEST)).plus(GRACE);
        let new = Terms {
            kind: mark.kind,
            not_before: mark.not_before,
            expires: to_full_hour(mark.expires),
            until,
            note: mark.note,
        };
        let changed = match self.table.seek(&mark.key) {
            Err(place) => {
                let digest = digest.unwrap_or_else(|| element(namer, &mark.key, &new));
                channel.toggle(new.expires, digest);
                self.table.insert(place, &mark.key, &new);
                true
            }
            Ok(place) => {
                let held = self.table.terms(place);
                let merged = merge(&held, &new);
                // What a mark voids, and until when, is in these two; who said it first is not.
                let changed = (merged.not_before, merged.expires) != (held.not_before, held.expires);
                if changed {
                    channel.toggle(held.expires, element(namer, &mark.key, &held));
                    channel.toggle(merged.expires, element(namer, &mark.key, &merged));
                }
                if merged != held {
                    self.table.replace(place, &merged);
                }
                changed
            }
        };
        self.revision += u64::from(changed && !is_tag);
        changed || is_tag
    }

    /// The first mark that voids a token, if any does.
    #[must_use]
    pub fn check(&self, token: &TokenScopes) -> Option<Voided> {
        token.iter().find_map(|(kind, scope)| {
            let mut marks = self.table.of_scope(scope);
            let (voids, _) = marks.find(|(mark, except)| {
                let spared = except.is_some_and(|except| token.contains(except));
                // A token without `iat` cannot prove that it is newer.
                let covered = !kind.compares_time() || token.issued_at().is_none_or(|iat| iat <= mark.not_before());
                covered && !spared
            })?;
            Some(Voided {
                kind,
                not_before: voids.not_before(),
                note: self.table.note_of(voids),
            })
        })
    }

    /// Whether a statement about the tag is known.
    #[must_use]
    pub fn tag_is_stated(&self, tag: ScopeId) -> bool {
        self.channel(tag).tags.contains_key(&tag)
    }

    /// Whether an L2 record that carries `filled` for `tag` is newer than every statement about the tag that this node
    /// knows. `filled` is the position that the filler had applied in the tag's channel before it read its source; it must be
    /// one that this node has applied too ([`Follower::knows`](crate::follower::Follower::knows)).
    #[must_use]
    pub fn tag_allows(&self, tag: ScopeId, filled: Option<(Incarnation, Position)>) -> bool {
        match (self.channel(tag).tags.get(&tag), filled) {
            (None, Some(_)) => true,
            (Some(TagMark::At(incarnation, position)), Some((filled_in, filled_at))) => {
                *incarnation == filled_in && position.id <= filled_at.id
            }
            (Some(TagMark::Unpositioned), _) | (_, None) => false,
        }
    }

    /// The root digest of a channel's marks: that of its buckets together.
    #[must_use]
    pub fn root(&self, channel: ChannelId) -> Digest {
        self.digests(channel).into_iter().fold(Digest::EMPTY, Digest::toggled)
    }

    /// The digests of a channel's buckets.
    #[must_use]
    pub fn digests(&self, channel: ChannelId) -> Digests {
        self.channels[channel.index()].digests
    }

    /// The marks of one scope: one without an exception at most, and one for each exception.
    pub fn of_scope(&self, scope: ScopeId) -> impl Iterator<Item = Mark> + '_ {
        let marks = self.table.of_scope(scope);
        marks.map(move |(element, except)| self.table.mark(MarkKey { scope, except }, element))
    }

    /// The marks behind `after`, by stripe and there in the order of their keys, of the kinds that `wanted` asks for: at most
    /// `limit` of them. Looks at no more than `look_at` marks, so that the lock around the table is never held for long: a
    /// page may be short although more follows.
    #[must_use]
    pub fn page(
        &self,
        after: Option<MarkKey>,
        limit: usize,
        look_at: usize,
        wanted: impl Fn(ScopeKind) -> bool,
    ) -> Page {
        let mut behind = self.table.behind(after).peekable();
        let (mut marks, mut last) = (Vec::new(), after);
        for _ in 0..look_at {
            if marks.len() == limit {
                break;
            }
            let Some((key, element)) = behind.next() else { break };
            last = Some(key);
            if wanted(element.kind) {
                marks.push(self.table.mark(key, element));
            }
        }
        Page {
            marks,
            next: behind.peek().and(last),
        }
    }

    /// How many marks of a channel are held.
    #[must_use]
    pub fn count_of(&self, channel: ChannelId) -> usize {
        self.table.count_of(channel)
    }

    /// Every mark of a channel, by stripe and there in the order of their keys.
    pub fn of_channel(&self, channel: ChannelId) -> impl Iterator<Item = Mark> + '_ {
        let marks = self.table.of_channel(channel);
        marks.map(|(key, element)| self.table.mark(key, element))
    }

    /// The marks of one bucket, in the order of [`Marks::of_channel`], behind `after`.
    pub fn of_bucket(
        &self,
        channel: ChannelId,
        bucket: usize,
        after: Option<MarkKey>,
    ) -> impl Iterator<Item = Mark> + '_ {
        let within = move |(key, _): &(MarkKey, &table::Element)| key.scope.slot().channel == channel;
        let (behind, all) = match after {
            Some(after) => (Some(self.table.behind(Some(after)).take_while(within)), None),
            None => (None, Some(self.table.of_channel(channel))),
        };
        let marks = behind.into_iter().flatten().chain(all.into_iter().flatten());
        marks
            .filter(move |(_, element)| bucket_of(element.expires()) == bucket)
            .map(|(key, element)| self.table.mark(key, element))
    }

    /// Whether this mark would change nothing that is voided here.
    #[must_use]
    pub fn covers(&self, mark: &Mark) -> bool {
        self.table.find(&mark.key).is_some_and(|place| {
            let held = self.table.terms(place);
            held.not_before >= mark.not_before && held.expires >= mark.expires
        })
    }

    /// The marks of a channel that another table lacks, or has only an older form of. `theirs` is that table, but for the
    /// buckets in `same`: their digests are equal, so they lack nothing. Marks that both clocks say are past are nobody's
    /// lack.
    #[must_use]
    pub fn lacking_in<'a>(
        &self,
        channel: ChannelId,
        theirs: impl IntoIterator<Item = &'a Mark>,
        same: Buckets,
        now: Now,
    ) -> Vec<Mark> {
        let own = || {
            let marks = self.table.of_channel(channel);
            marks
                .filter(|(_, mark)| !same.contains(bucket_of(mark.expires())))
                .filter(|(_, mark)| now.wall < mark.expires() || now.boot.plus(GRACE) < mark.until())
        };
        // A node that joins has none, and loads many.
        if own().next().is_none() {
            return Vec::new();
        }
        let mut known: BTreeMap<MarkKey, (Unix, Unix)> = BTreeMap::new();
        for mark in theirs {
            // A table holds one for each hour.
            let (not_before, expires) = known.entry(mark.key).or_default();
            *not_before = mark.not_before.max(*not_before);
            *expires = mark.expires.max(*expires);
        }
        let lacks = |key: &MarkKey, own: (Unix, Unix)| {
            known
                .get(key)
                .is_none_or(|(not_before, expires)| own.0 > *not_before || own.1 > *expires)
        };
        own()
            .filter(|(key, mark)| lacks(key, (mark.not_before(), mark.expires())))
            .map(|(key, mark)| self.table.mark(key, mark))
            .collect()
    }

    /// Says that the table beside a log at this position holds the tags of these buckets: records that were filled there, or
    /// later, know of them.
    pub fn position_tags(&mut self, channel: ChannelId, at: (Incarnation, Position), held: Buckets) {
        for (scope, tag) in &mut self.channels[channel.index()].tags {
            let mut marks = self.table.of_scope(*scope);
            if marks.any(|(mark, _)| held.contains(bucket_of(mark.expires()))) {
                *tag = TagMark::At(at.0, at.1);
            }
        }
    }

    /// Removes the marks that both clocks agree are past, plus [`GRACE`]. Returns how many went.
    pub fn collect(&mut self, now: Now, namer: &Namer) -> usize {
        ChannelId::all()
            .map(|channel| self.collect_channel(channel, now, namer))
            .sum()
    }

    /// [`Marks::collect`] for one channel, for callers who must not hold others up for long.
    pub fn collect_channel(&mut self, channel: ChannelId, now: Now, namer: &Namer) -> usize {
        let before = self.len();
        let own = &mut self.channels[channel.index()];
        self.table.collect(channel, |key, mark| {
            let past = now.boot >= mark.until() && now.wall >= mark.expires().saturating_add(GRACE.as_secs());
            if past {
                own.toggle(
                    mark.expires(),
                    digest_of(namer, key, mark.kind, mark.not_before(), mark.expires()),
                );
                own.tags.remove(&key.scope);
            }
            past
        });
        let gone = before - self.len();
        self.revision += gone as u64;
        gone
    }

    fn channel(&self, scope: ScopeId) -> &Channel {
        &self.channels[scope.slot().channel.index()]
    }
}

/// Pointwise maximum: commutative, associative, idempotent.
fn merge(a: &Terms, b: &Terms) -> Terms {
    let newer = if (b.not_before, &b.note) > (a.not_before, &a.note) {
        b
    } else {
        a
    };
    Terms {
        kind: a.kind,
        not_before: a.not_before.max(b.not_before),
        expires: a.expires.max(b.expires),
        until: a.until.max(b.until),
        note: newer.note.clone(),
    }
}

/// The digest of one mark, as it goes into the root of a channel and as the commit script is told.
#[must_use]
pub fn element_digest(namer: &Namer, mark: &Mark) -> Digest {
    digest_of(namer, &mark.key, mark.kind, mark.not_before, mark.expires)
}

fn element(namer: &Namer, key: &MarkKey, terms: &Terms) -> Digest {
    digest_of(namer, key, terms.kind, terms.not_before, terms.expires)
}

fn digest_of(namer: &Namer, key: &MarkKey, kind: ScopeKind, not_before: Unix, expires: Unix) -> Digest {
    let except = key.except.map_or([0; 16], |except| except.0);
    namer.digest(&[
        key.scope.as_bytes(),
        &[u8::from(key.except.is_some())],
        &except,
        &[kind as u8],
        &not_before.to_be_bytes(),
        &expires.to_be_bytes(),
    ])
}
