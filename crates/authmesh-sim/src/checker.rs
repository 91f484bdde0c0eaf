//! The true history, and what must hold in it after each step.
//!
//! The checker sees what no node can: when a statement was executed, on which primary, and whether it is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::{ChannelId, Nonce, ScopeId, StatementName};
use authmesh_proto::statement::{Body, MarkKey};
use authmesh_proto::time::Unix;

use crate::clock::{MS, SECOND, True};
use crate::redis::{Entry, Payload};
use crate::trace::{About, Seconds};

/// The coherence lease in true time, by the slowest clock, and a little more.
pub const LEASE: True = 3 * SECOND + 2 * MS + MS;

/// A start of a node: its number, and which start it is.
pub type Start = (usize, u32);

/// What a caller who came at some instant may expect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// When the caller came.
    pub at: True,
    /// The oldest version that no drop voids which this node had applied then.
    pub applied: u64,
    /// The oldest version that no drop voids which a coherent node must have applied by then.
    pub known: u64,
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// When.
    pub at: True,
    /// What was seen.
    pub what: String,
    /// What it concerns.
    pub about: Vec<About>,
}

/// Where the copies of a statement are.
#[derive(Debug, Default)]
struct Copies {
    /// Entries of the true log, each with the instant from which nobody can prove its log current without it.
    entries: BTreeMap<Nonce, (ChannelId, True)>,
    /// Starts of nodes that applied it.
    holders: BTreeSet<Start>,
    /// Where receipts count: from when on it was confirmed, and from when on by everybody.
    confirmed: Option<True>,
    whole: Option<True>,
}

impl Copies {
    /// From when on coherent nodes must know it. With `receipts`, only what was confirmed binds.
    fn binding_since(&self, receipts: bool) -> Option<True> {
        let logged = self.entries.values().map(|(_, since)| *since).min();
        if !receipts {
            return logged;
        }
        let logged = logged
            .zip(self.confirmed)
            .map(|(since, confirmed)| since.max(confirmed));
        // What only the dead knew is lost, and nobody can tell.
        let is_held = !self.holders.is_empty() || !self.entries.is_empty();
        logged.into_iter().chain(self.whole.filter(|_| is_held)).min()
    }
}

#[derive(Debug)]
struct Dropped {
    /// Keys, each with the oldest version that is not void.
    keys: Vec<(usize, u64)>,
    copies: Copies,
}

#[derive(Debug)]
struct Marked {
    kind: ScopeKind,
    subject: usize,
    copies: Copies,
}

/// A token of the world.
#[derive(Debug)]
pub struct Token {
    /// Its subject's number.
    pub subject: usize,
    /// Its time of issue.
    pub iat: Unix,
    /// Its scopes, by name.
    pub scopes: Vec<ScopeId>,
}

#[derive(Debug, Clone, Default)]
struct Local {
    versions: Vec<u64>,
    marks: BTreeMap<MarkKey, Unix>,
}

/// The true history.
#[derive(Debug)]
pub struct Checker {
    drops: BTreeMap<StatementName, Dropped>,
    /// Per key its drops in the order in which they were said, each with the oldest version that is not void.
    of_key: Vec<Vec<(StatementName, u64)>>,
    marks: BTreeMap<(MarkKey, Unix), Marked>,
    local: Vec<Local>,
    /// The marks about tokens, by their statements' names.
    names: BTreeMap<StatementName, (MarkKey, Unix)>,
    keys: usize,
    /// Only what was confirmed binds.
    receipts: bool,
    /// What did not hold, the first of it.
    pub violation: Option<Violation>,
}

impl Checker {
    /// An empty history.
    #[must_use]
    pub fn new(nodes: usize, keys: usize, receipts: bool) -> Self {
        Self {
            drops: BTreeMap::new(),
            of_key: vec![Vec::new(); keys],
            marks: BTreeMap::new(),
            local: vec![Local::default(); nodes],
            keys,
            receipts,
            names: BTreeMap::new(),
            violation: None,
        }
    }

    /// Something did not hold. The first counts.
    pub fn fail(&mut self, invariant: &'static str, at: True, about: Vec<About>, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                at,
                what,
                about,
            });
        }
    }

    /// A node starts anew: it has applied nothing.
    pub fn started(&mut self, node: usize) {
        self.local[node] = Local {
            versions: vec![0; self.keys],
            marks: BTreeMap::new(),
        };
    }

    /// A start of a node has ended, with all that it knew.
    pub fn ended(&mut self, start: Start) {
        let drops = self.drops.values_mut().map(|dropped| &mut dropped.copies);
        for copies in drops.chain(self.marks.values_mut().map(|marked| &mut marked.copies)) {
            copies.holders.remove(&start);
        }
    }

    /// A drop, or an invalidated tag, is about to be said: it voids every older version of these keys.
    pub fn dropping(&mut self, name: StatementName, keys: Vec<(usize, u64)>) {
        for (key, version) in &keys {
            self.of_key[*key].push((name, *version));
        }
        let copies = Copies::default();
        self.drops.insert(name, Dropped { keys, copies });
    }

    /// A mark is about to be said.
    pub fn marking(&mut self, name: StatementName, key: MarkKey, not_before: Unix, kind: ScopeKind, subject: usize) {
        let copies = Copies::default();
        self.marks
            .entry((key, not_before))
            .or_insert(Marked { kind, subject, copies });
        self.names.insert(name, (key, not_before));
    }

    /// A statement was confirmed, by the log or by everybody.
    pub fn confirmed(&mut self, name: StatementName, now: True, whole: bool) {
        let copies = match self.names.get(&name) {
            Some(mark) => self.marks.get_mut(mark).map(|marked| &mut marked.copies),
            None => self.drops.get_mut(&name).map(|dropped| &mut dropped.copies),
        };
        let Some(copies) = copies else { return };
        let at = if whole {
            &mut copies.whole
        } else {
            &mut copies.confirmed
        };
        at.get_or_insert(now);
    }

    /// The keys that a drop concerns.
    pub fn keys_of(&self, name: &StatementName) -> impl Iterator<Item = usize> + '_ {
        let dropped = self.drops.get(name).into_iter();
        dropped.flat_map(|dropped| dropped.keys.iter().map(|(key, _)| *key))
    }

    /// A node applied a statement.
    pub fn applied(&mut self, start: Start, name: StatementName) {
        if let Some(dropped) = self.drops.get_mut(&name) {
            dropped.copies.holders.insert(start);
            for (key, version) in &dropped.keys {
                let own = &mut self.local[start.0].versions[*key];
                *own = (*own).max(*version);
            }
        }
    }

    /// A node applied a mark, by whatever road.
    pub fn marked(&mut self, start: Start, key: MarkKey, not_before: Unix) {
        let own = self.local[start.0].marks.entry(key).or_default();
        *own = (*own).max(not_before);
        if let Some(marked) = self.marks.get_mut(&(key, not_before)) {
            marked.copies.holders.insert(start);
        }
    }

    fn copies(&mut self, entry: &Entry) -> Option<&mut Copies> {
        let Payload::Statement { statement, whole } = &entry.payload else {
            return None;
        };
        match &statement.body {
            Body::Mark(mark) if mark.kind.is_about_tokens() => {
                // Announced only: those who follow the log know it, those who load the table do not yet.
                let marked = self.marks.get_mut(&(mark.key, mark.not_before)).filter(|_| *whole);
                marked.map(|marked| &mut marked.copies)
            }
            _ => self.drops.get_mut(&statement.name).map(|dropped| &mut dropped.copies),
        }
    }

    /// An entry was appended to a true log. From `since` on, nobody who asks can be told that there is none such.
    pub fn executed(&mut self, entry: &Entry, since: True) {
        let (channel, nonce) = (entry.channel, entry.head.position.nonce);
        if let Some(copies) = self.copies(entry) {
            copies.entries.insert(nonce, (channel, since));
        }
    }

    /// A node minted. Whoever adopts its incarnation voids the channel, and with it whatever that node knew to be void.
    pub fn minted(&mut self, by: Start, entry: &Entry, since: True) {
        let (channel, nonce) = (entry.channel, entry.head.position.nonce);
        for (name, dropped) in &mut self.drops {
            if name.channel == channel && dropped.copies.holders.contains(&by) {
                dropped.copies.entries.insert(nonce, (channel, since));
            }
        }
    }

    /// A failover lost these entries.
    pub fn lost(&mut self, entries: &[Rc<Entry>]) {
        for entry in entries {
            if entry.payload == Payload::Mint {
                for dropped in self.drops.values_mut() {
                    dropped.copies.entries.remove(&entry.head.position.nonce);
                }
            }
            if let Some(copies) = self.copies(entry) {
                copies.entries.remove(&entry.head.position.nonce);
                copies.whole = None;
            }
        }
    }

    /// The logs and tables of these channels are empty.
    pub fn wiped(&mut self, gone: impl Fn(ChannelId) -> bool) {
        let drops = self.drops.values_mut().map(|dropped| &mut dropped.copies);
        for copies in drops.chain(self.marks.values_mut().map(|marked| &mut marked.copies)) {
            copies.entries.retain(|_, (channel, _)| !gone(*channel));
        }
    }

    /// What a caller may expect who comes to a node now.
    #[must_use]
    pub fn need(&self, node: usize, key: usize, now: True, coherent: bool) -> Need {
        // Versions only grow, so the newest drop that binds decides.
        let known = self.of_key[key].iter().rev().find_map(|(name, version)| {
            let since = self.drops.get(name)?.copies.binding_since(self.receipts)?;
            (since + LEASE <= now).then_some(*version)
        });
        Need {
            at: now,
            applied: self.local[node].versions[key],
            known: match coherent {
                true => known.unwrap_or(0),
                false => 0,
            },
        }
    }

    /// A caller was answered.
    pub fn answered(&mut self, node: usize, key: usize, version: u64, need: Need, from: &str, now: True) {
        if version < need.applied {
            let what = format!(
                "node {node} answered key {key} from {from} with version {version} to a caller who came at {}, when it had \
                 applied a drop of all before version {}",
                Seconds(need.at),
                need.applied
            );
            self.fail("3: no stale fill", now, vec![About::Node(node), About::Key(key)], what);
        } else if version < need.known {
            let what = format!(
                "node {node} answered key {key} from {from} with version {version} to a caller who came at {}, although a \
                 drop of all before version {} was confirmed for longer than a lease, and the node took itself for coherent",
                Seconds(need.at),
                need.known
            );
            self.fail("4: no lost statement is silent", now, vec![About::Key(key)], what);
        }
    }

    fn voids(kind: ScopeKind, key: &MarkKey, not_before: Unix, token: &Token) -> bool {
        let spared = key.except.is_some_and(|except| token.scopes.contains(&except));
        token.scopes.contains(&key.scope) && !spared && (!kind.compares_time() || token.iat <= not_before)
    }

    /// A coherent node accepted a token.
    pub fn accepted(&mut self, node: usize, token: &Token, now: True) {
        let own = &self.local[node].marks;
        let mut about = vec![About::Node(node), About::Subject(token.subject)];
        let applied = self.marks.iter().find(|((key, not_before), marked)| {
            Self::voids(marked.kind, key, *not_before, token) && own.get(key).is_some_and(|held| held >= not_before)
        });
        if let Some(((key, not_before), _)) = applied {
            let what = format!(
                "node {node} accepted a token of subject {} (iat {}), and it has applied the mark {:?} up to {not_before}",
                token.subject, token.iat, key.scope
            );
            return self.fail("1: revoked is never served", now, about, what);
        }
        let binding = self.marks.iter().find_map(|((key, not_before), marked)| {
            let since = marked
                .copies
                .binding_since(self.receipts)
                .filter(|since| since + LEASE <= now)?;
            Self::voids(marked.kind, key, *not_before, token).then_some((*key, *not_before, since))
        });
        if let Some((key, not_before, since)) = binding {
            about.push(About::Channel(key.scope.slot().channel));
            let what = format!(
                "node {node} took itself for coherent and accepted a token of subject {} (iat {}); the mark {:?} up to \
                 {not_before} was confirmed since {}",
                token.subject,
                token.iat,
                key.scope,
                Seconds(since)
            );
            self.fail("2: bounded blindness", now, about, what);
        }
    }

    /// The oldest version of each key that may still be answered, once everything is repaired: no drop voids it that is in
    /// a log, or that a living node has applied.
    #[must_use]
    pub fn owed_versions(&self, alive: impl Fn(Start) -> bool) -> Vec<u64> {
        let mut owed = vec![0; self.keys];
        for dropped in self.drops.values() {
            if stands(&dropped.copies, &alive) {
                for (key, version) in &dropped.keys {
                    owed[*key] = owed[*key].max(*version);
                }
            }
        }
        owed
    }

    /// The marks that must be everywhere, once everything is repaired, each with its subject.
    #[must_use]
    pub fn owed_marks(&self, alive: impl Fn(Start) -> bool) -> BTreeMap<MarkKey, (Unix, usize)> {
        let mut owed: BTreeMap<MarkKey, (Unix, usize)> = BTreeMap::new();
        for ((key, not_before), marked) in &self.marks {
            if stands(&marked.copies, &alive) {
                let newest = owed.entry(*key).or_insert((0, marked.subject));
                newest.0 = newest.0.max(*not_before);
            }
        }
        owed
    }
}

fn stands(copies: &Copies, alive: &impl Fn(Start) -> bool) -> bool {
    !copies.entries.is_empty() || copies.holders.iter().any(|start| alive(*start))
}
