//! Memory against marks: a verdict that a hit would serve as it is, and that a mark held here voids.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::marks::Voided;

use super::report::{Checked, Explained, Finding, Inconsistency};
use crate::l1::{Row as _, VerdictEntry};
use crate::node::{Node, hex};

pub(super) struct Suspect {
    entry: Arc<VerdictEntry>,
    voided: Voided,
}

pub(super) fn look(node: &Node, sample: &[Arc<VerdictEntry>], checked: &mut Checked) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for entry in sample {
        if !is_served_unlooked(node, entry) {
            continue;
        }
        checked.verdicts += 1;
        if let Some(voided) = node.marks().check(&entry.verdict.marked_by) {
            suspects.push(Suspect {
                entry: Arc::clone(entry),
                voided,
            });
        }
    }
    suspects
}

/// Whether every stamp says that nothing has changed: a hit answers then, and looks at no mark.
fn is_served_unlooked(node: &Node, entry: &VerdictEntry) -> bool {
    let now = node.now();
    (entry.from..entry.verdict.until).contains(&now.wall)
        && node.fence.all_current(&entry.stamps)
        && entry
            .backing
            .stands(entry.key_edition.load(Ordering::Acquire), now.boot)
        && entry.mark_epoch.load(Ordering::Acquire) == node.epoch.load()
}

impl Suspect {
    /// Whether it would still be served, and still is void.
    pub(super) fn stands(&self, node: &Node) -> bool {
        let held = node.l1.verdicts.get(self.entry.kept().key());
        held.is_some_and(|held| Arc::ptr_eq(&held, &self.entry))
            && is_served_unlooked(node, &self.entry)
            && node.marks().check(&self.entry.verdict.marked_by).is_some()
    }

    pub(super) fn explained(self, node: &Node, watched: u64) -> Finding {
        let scopes = || self.entry.verdict.marked_by.iter();
        let named = scopes().find(|(kind, _)| *kind == self.voided.kind);
        let token = scopes().find(|(kind, _)| *kind == ScopeKind::Token);
        let scope = named.or(token).map(|(_, scope)| scope);
        Finding {
            kind: Inconsistency::Marks,
            explained: Explained {
                what: format!(
                    "a verdict would be served from memory without a look at the marks, and a {} mark that this node holds \
                     voids it",
                    self.voided.kind
                ),
                name: scope.map(|scope| hex(scope.as_bytes())).unwrap_or_default(),
                channel: scope.map_or(0, |scope| scope.slot().channel.number()),
                peer: None,
                age_seconds: watched.max(node.now().wall.saturating_sub(self.voided.note.at)),
            },
        }
    }
}
