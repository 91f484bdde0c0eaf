//! The names that every world uses: subjects, keys, tags.

use std::cell::OnceCell;

use authmesh_proto::crypto::{KeyRing, Namer, ScopeKind};
use authmesh_proto::ident::{ChannelId, Digest, EntryName, ScopeId};
use authmesh_proto::marks::{TokenScopes, element_digest};
use authmesh_proto::statement::Mark;
use authmesh_proto::time::Unix;

/// The issuer of every token.
const ISSUER: &str = "https://issuer.example";

thread_local! {
    static NAMER: OnceCell<Namer> = const { OnceCell::new() };
}

/// Runs something with the one namer.
pub(crate) fn with_namer<T>(work: impl FnOnce(&Namer) -> T) -> T {
    NAMER.with(|cell| {
        work(cell.get_or_init(|| {
            let ring = KeyRing::new([1; 32], [[2; 32]]);
            // Two different constants: this ring is never refused.
            Namer::new(&ring.unwrap_or_else(|_| unreachable!()), "sim")
        }))
    })
}

/// The digest of a mark.
#[must_use]
pub(crate) fn element(mark: &Mark) -> Digest {
    with_namer(|namer| element_digest(namer, mark))
}

/// The scope of a subject.
#[must_use]
pub(crate) fn subject(number: usize) -> ScopeId {
    with_namer(|namer| namer.scope(ScopeKind::Subject, ISSUER, format!("u{number}").as_bytes()))
}

/// The scope of a session of a subject.
#[must_use]
pub(crate) fn session(subject: usize, number: usize) -> ScopeId {
    with_namer(|namer| namer.scope(ScopeKind::Session, ISSUER, format!("u{subject}/{number}").as_bytes()))
}

/// The scopes of a token.
#[must_use]
pub(crate) fn token(subject: usize, session: usize, iat: Unix) -> TokenScopes {
    let (subject_name, session_name) = (format!("u{subject}"), format!("u{subject}/{session}"));
    let values = [
        (ScopeKind::Subject, subject_name.as_bytes()),
        (ScopeKind::Session, session_name.as_bytes()),
    ];
    with_namer(|namer| TokenScopes::new(namer, ISSUER, Some(iat), values))
}

/// The name of a key in a channel. Neighbours share a stripe of the fence.
#[must_use]
pub(crate) fn key(number: usize, channel: ChannelId) -> EntryName {
    let mut name = [0xee; 32];
    name[0] = channel.number() << 2;
    name[1] = ((number / 2) as u8) << 2;
    name[2] = number as u8;
    EntryName(name)
}

/// A tag in a channel.
#[must_use]
pub(crate) fn tag(number: usize, channel: ChannelId) -> ScopeId {
    let mut scope = [0xdd; 16];
    scope[0] = channel.number() << 2;
    scope[1] = (40 + number as u8) << 2;
    scope[2] = number as u8;
    ScopeId(scope)
}
