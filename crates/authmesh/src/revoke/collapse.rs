//! Collapse: whoever logs in and out without end makes no marks without end.
//!
//! The node counts the marks by which it revoked tokens of one subject. Beyond [`MOST`] live ones a mark of the subject takes
//! the place of the next: up to the newest `iat` of those tokens, so that it voids none that was issued after them. Only
//! tokens that were verified here are counted, since of a `sid` or a `jti` alone nobody knows the subject. See
//! `docs/decisions/0012-marks-of-one-subject-collapse.md`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use authmesh_proto::ident::ScopeId;
use authmesh_proto::time::Unix;

/// How many live marks of tokens of one subject this node makes.
const MOST: usize = 64;
/// How many subjects are counted. Beyond it the one with the fewest is forgotten, and begins again.
const SUBJECTS: usize = 4096;

/// A token that was verified, and can be revoked by a mark of its subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfSubject {
    pub(crate) subject: ScopeId,
    pub(crate) issued_at: Unix,
}

/// A revoked token.
#[derive(Debug, Clone, Copy)]
struct Revoked {
    issued_at: Unix,
    /// Of its mark.
    expires: Unix,
}

/// The subjects of whom tokens were revoked here.
#[derive(Debug, Default)]
pub(crate) struct Subjects(Mutex<BTreeMap<ScopeId, BTreeMap<ScopeId, Revoked>>>);

impl Subjects {
    /// A token is about to be revoked by a mark that lives until `expires`. `Some`: there are as many as may be, and a mark of
    /// the subject with this `not_before` takes its place.
    pub(super) fn count(&self, now: Unix, token: ScopeId, of: OfSubject, expires: Unix) -> Option<Unix> {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if subjects.len() >= SUBJECTS && !subjects.contains_key(&of.subject) {
            make_room(&mut subjects, now);
        }
        let tokens = subjects.entry(of.subject).or_default();
        tokens.retain(|_, token| now < token.expires);
        if tokens.len() < MOST || tokens.contains_key(&token) {
            let issued_at = of.issued_at;
            tokens.insert(token, Revoked { issued_at, expires });
            return None;
        }
        let newest = tokens.values().map(|token| token.issued_at).max();
        newest.map(|newest| newest.max(of.issued_at))
    }
}

fn make_room(subjects: &mut BTreeMap<ScopeId, BTreeMap<ScopeId, Revoked>>, now: Unix) {
    subjects.retain(|_, tokens| tokens.values().any(|token| now < token.expires));
    let fewest = subjects.iter().min_by_key(|(_, tokens)| tokens.len());
    if let (true, Some((subject, _))) = (subjects.len() >= SUBJECTS, fewest) {
        let subject = *subject;
        subjects.remove(&subject);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const NOW: Unix = 1_800_000_000;

    fn id(n: usize) -> ScopeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ScopeId(id)
    }

    fn of(subject: usize, issued_at: Unix) -> OfSubject {
        OfSubject {
            subject: id(subject),
            issued_at,
        }
    }

    #[test]
    fn the_sixty_fifth_live_mark_is_one_of_the_subject_up_to_the_newest_token() {
        let subjects = Subjects::default();
        for n in 0..MOST {
            let issued_at = NOW - 1000 + n as Unix;
            assert_eq!(subjects.count(NOW, id(n), of(1, issued_at), NOW + 3600), None);
        }
        // Again, and of somebody else.
        assert_eq!(subjects.count(NOW, id(0), of(1, NOW - 1000), NOW + 3600), None);
        assert_eq!(subjects.count(NOW, id(900), of(2, NOW), NOW + 3600), None);
        let newest = NOW - 1000 + 63;
        assert_eq!(
            subjects.count(NOW, id(901), of(1, NOW - 5000), NOW + 3600),
            Some(newest)
        );
        assert_eq!(subjects.count(NOW, id(902), of(1, NOW - 1), NOW + 3600), Some(NOW - 1));
        // Those that the subject's mark took the place of have none of their own.
        assert_eq!(
            subjects.count(NOW, id(903), of(1, NOW - 5000), NOW + 3600),
            Some(newest)
        );
    }

    #[test]
    fn marks_that_are_past_do_not_count_and_reach_no_further() {
        let subjects = Subjects::default();
        for n in 0..MOST {
            let (issued_at, expires) = if n == 0 {
                (NOW, NOW + 10)
            } else {
                (NOW - 100, NOW + 3600)
            };
            subjects.count(NOW, id(n), of(1, issued_at), expires);
        }
        let later = NOW + 10;
        assert_eq!(subjects.count(later, id(100), of(1, NOW - 50), NOW + 3600), None);
        assert_eq!(
            subjects.count(later, id(101), of(1, NOW - 60), NOW + 3600),
            Some(NOW - 50)
        );
    }

    #[test]
    fn no_more_subjects_are_counted_than_there_is_room_for_and_the_busiest_stay() {
        let subjects = Subjects::default();
        for n in 0..MOST {
            subjects.count(NOW, id(n), of(0, NOW), NOW + 3600);
        }
        for subject in 1..SUBJECTS * 2 {
            subjects.count(NOW, id(1000 + subject), of(subject, NOW), NOW + 3600);
        }
        assert_eq!(subjects.0.lock().unwrap().len(), SUBJECTS);
        assert_eq!(subjects.count(NOW, id(999), of(0, NOW), NOW + 3600), Some(NOW));
    }
}
