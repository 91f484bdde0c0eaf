//! Marks: what is revoked.
//!
//! Marks merge by maximum, so that any road, any order and any number of copies give the same table (the merge laws are
//! property tests). A token is void if **any** mark of its scopes voids it. A mark is never evicted: it leaves when both
//! clocks agree that nothing it could void can be valid any more, plus an hour.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;

use crate::crypto::{Namer, ScopeKind};
use crate::ident::{CHANNELS, ChannelId, Digest, Incarnation, Position, ScopeId};
use crate::statement::{Mark, MarkKey, Note};
use crate::time::{Moment, Now, Unix};

mod scopes;

pub use scopes::TokenScopes;

#[cfg(test)]
mod tests;

/// How much longer than its `expires` a mark is kept, for clocks that disagree.
pub const GRACE: Duration = Duration::from_secs(3600);

/// The longest that a mark can be needed: the longest token lifetime that a policy may accept is seven days.
const LONGEST: Duration = Duration::from_secs(8 * 86_400);

/// The marks that a node holds.
#[derive(Debug)]
pub struct Marks {
    channels: Vec<Channel>,
    count: usize,
    cap: usize,
}

#[derive(Debug, Default)]
struct Channel {
    marks: BTreeMap<MarkKey, Held>,
    tags: BTreeMap<ScopeId, TagMark>,
    root: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    kind: ScopeKind,
    not_before: Unix,
    expires: Unix,
    /// When it may go by the clock that never jumps; the wall clock must agree.
    until: Moment,
    note: Note,
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
        Self {
            channels: (0..CHANNELS).map(|_| Channel::default()).collect(),
            count: 0,
            cap,
        }
    }

    /// How many marks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
        let lacking = |key: &&MarkKey| !self.channel(key.scope).marks.contains_key(*key);
        let new: BTreeSet<&MarkKey> = keys.into_iter().filter(lacking).collect();
        // At the cap, and also beyond it (marks of others are never refused), what merges still has its room.
        if new.is_empty() || self.count.saturating_add(new.len()) <= self.cap {
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
        let is_tag = mark.kind == ScopeKind::Tag;
        let channel = &mut self.channels[mark.key.scope.slot().channel.index()];
        if is_tag {
            channel.tags.insert(
                mark.key.scope,
                position.map_or(TagMark::Unpositioned, |(incarnation, position)| {
                    TagMark::At(incarnation, position)
                }),
            );
        }
        // By the origin's clock or by ours, whichever keeps it longer: a clock that is days ahead must not shorten its life.
        let lifetime = Duration::from_secs(mark.expires.saturating_sub(now.wall.min(mark.note.at)));
        let until = now.boot.plus(lifetime.min(LONGEST)).plus(GRACE);
        let new = Held {
            kind: mark.kind,
            not_before: mark.not_before,
            expires: mark.expires,
            until,
            note: mark.note,
        };
        let changed = match channel.marks.get_mut(&mark.key) {
            None => {
                channel.root = channel.root.toggled(element(namer, &mark.key, &new));
                channel.marks.insert(mark.key, new);
                self.count += 1;
                true
            }
            Some(held) => {
                let merged = merge(held, &new);
                let changed = merged != *held;
                if changed {
                    let before = element(namer, &mark.key, held);
                    channel.root = channel.root.toggled(before).toggled(element(namer, &mark.key, &merged));
                    *held = merged;
                }
                changed
            }
        };
        changed || is_tag
    }

    /// The first mark that voids a token, if any does.
    #[must_use]
    pub fn check(&self, token: &TokenScopes) -> Option<Voided> {
        token.iter().find_map(|(kind, scope)| {
            self.channel(scope)
                .marks
                .range(keys_of(scope))
                .find(|(key, held)| {
                    let spared = key.except.is_some_and(|except| token.contains(except));
                    // A token without `iat` cannot prove that it is newer.
                    let covered = !kind.compares_time() || token.issued_at().is_none_or(|iat| iat <= held.not_before);
                    covered && !spared
                })
                .map(|(_, held)| Voided {
                    kind,
                    not_before: held.not_before,
                    note: held.note.clone(),
                })
        })
    }

    /// Whether an L2 record that carries `filled` for `tag` is newer than every statement about the tag that this node
    /// knows. `filled` is the position that the filler had applied in the tag's channel before it read its source.
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

    /// The root digest of a channel's marks.
    #[must_use]
    pub fn root(&self, channel: ChannelId) -> Digest {
        self.channels[channel.index()].root
    }

    /// Every mark of a channel, in the order of their keys.
    pub fn of_channel(&self, channel: ChannelId) -> impl Iterator<Item = Mark> + '_ {
        self.channels[channel.index()]
            .marks
            .iter()
            .map(|(key, held)| held.to_mark(*key))
    }

    /// The marks of one scope: one without an exception at most, and one for each exception.
    pub fn of_scope(&self, scope: ScopeId) -> impl Iterator<Item = Mark> + '_ {
        self.channel(scope)
            .marks
            .range(keys_of(scope))
            .map(|(key, held)| held.to_mark(*key))
    }

    /// The marks behind `after`, in the order of their keys, of the kinds that `wanted` asks for: at most `limit` of them.
    /// Looks at no more than `look_at` marks, so that the lock around the table is never held for long: a page may be short
    /// although more follows.
    #[must_use]
    pub fn page(
        &self,
        after: Option<MarkKey>,
        limit: usize,
        look_at: usize,
        wanted: impl Fn(ScopeKind) -> bool,
    ) -> Page {
        // A scope begins with the number of its channel, so the order of all keys is the order of the channels.
        let first = after.map_or(0, |key| key.scope.slot().channel.index());
        let bounds = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut behind = self.channels[first..]
            .iter()
            .flat_map(|channel| channel.marks.range::<MarkKey, _>(bounds))
            .peekable();
        let mut marks = Vec::new();
        let mut last = after;
        let mut looked_at = 0;
        while looked_at < look_at && marks.len() < limit {
            let Some((key, held)) = behind.next() else { break };
            looked_at += 1;
            last = Some(*key);
            if wanted(held.kind) {
                marks.push(held.to_mark(*key));
            }
        }
        Page {
            marks,
            next: behind.peek().and(last),
        }
    }

    /// The marks of a channel that another table lacks, or has only an older form of. `theirs` is that table.
    #[must_use]
    pub fn lacking_in(&self, channel: ChannelId, theirs: &[Mark]) -> Vec<Mark> {
        let theirs: BTreeMap<MarkKey, (Unix, Unix)> = theirs
            .iter()
            .map(|mark| (mark.key, (mark.not_before, mark.expires)))
            .collect();
        self.of_channel(channel)
            .filter(|mark| {
                theirs
                    .get(&mark.key)
                    .is_none_or(|(not_before, expires)| mark.not_before > *not_before || mark.expires > *expires)
            })
            .collect()
    }

    /// Removes the marks that both clocks agree are past, plus [`GRACE`]. Returns how many went.
    pub fn collect(&mut self, now: Now, namer: &Namer) -> usize {
        let before = self.count;
        for channel in &mut self.channels {
            let Channel { marks, tags, root } = channel;
            marks.retain(|key, held| {
                let past = now.boot >= held.until && now.wall >= held.expires.saturating_add(GRACE.as_secs());
                if past {
                    *root = root.toggled(element(namer, key, held));
                    tags.remove(&key.scope);
                }
                !past
            });
        }
        self.count = self.channels.iter().map(|channel| channel.marks.len()).sum();
        before - self.count
    }

    fn channel(&self, scope: ScopeId) -> &Channel {
        &self.channels[scope.slot().channel.index()]
    }
}

impl Held {
    fn to_mark(&self, key: MarkKey) -> Mark {
        Mark {
            key,
            kind: self.kind,
            not_before: self.not_before,
            expires: self.expires,
            note: self.note.clone(),
        }
    }
}

/// The keys that the marks of a scope can have.
fn keys_of(scope: ScopeId) -> core::ops::RangeInclusive<MarkKey> {
    let key = |except| MarkKey { scope, except };
    key(None)..=key(Some(ScopeId([0xff; 16])))
}

/// Pointwise maximum: commutative, associative, idempotent.
fn merge(a: &Held, b: &Held) -> Held {
    let newer = if (b.not_before, &b.note) > (a.not_before, &a.note) {
        b
    } else {
        a
    };
    Held {
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

fn element(namer: &Namer, key: &MarkKey, held: &Held) -> Digest {
    digest_of(namer, key, held.kind, held.not_before, held.expires)
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
