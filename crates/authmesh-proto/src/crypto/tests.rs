use alloc::vec::Vec;

use super::*;
use crate::ident::ChannelId;

fn ring(first: u8, more: &[u8]) -> KeyRing {
    let keys: Vec<_> = core::iter::once(&first).chain(more).map(|b| [*b; 32]).collect();
    KeyRing::new([0xee; 32], keys).unwrap()
}

fn place(channel: u8) -> Context {
    Context::new().channel(ChannelId::new(channel).unwrap())
}

#[test]
fn redis_is_hostile_a_value_opens_only_where_it_was_sealed() {
    let sealer = Sealer::new(&ring(1, &[]), "orders");
    let sealed = sealer.seal(Kind::Statement, &place(3), [7; 24], b"secret");
    assert_eq!(sealer.open(Kind::Statement, &place(3), &sealed).unwrap(), b"secret");
    assert!(!sealed.windows(6).any(|w| w == b"secret"));

    assert_eq!(sealer.open(Kind::Statement, &place(4), &sealed), Err(OpenError::Forged));
    assert_eq!(sealer.open(Kind::Mark, &place(3), &sealed), Err(OpenError::Kind(1)));
    let other = Sealer::new(&ring(1, &[]), "billing");
    assert_eq!(other.open(Kind::Statement, &place(3), &sealed), Err(OpenError::Forged));
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(sealer.open(Kind::Statement, &place(3), &altered).is_err(), "byte {at}");
        assert!(
            sealer.open(Kind::Statement, &place(3), &sealed[..at]).is_err(),
            "cut at {at}"
        );
    }
}

#[test]
fn the_first_key_seals_and_every_key_opens() {
    let old = Sealer::new(&ring(1, &[]), "c");
    let rotated = Sealer::new(&ring(2, &[1]), "c");
    let sealed_before = old.seal(Kind::Mark, &place(0), [1; 24], b"m");
    assert_eq!(rotated.open(Kind::Mark, &place(0), &sealed_before).unwrap(), b"m");
    let sealed_after = rotated.seal(Kind::Mark, &place(0), [2; 24], b"m");
    assert!(matches!(
        old.open(Kind::Mark, &place(0), &sealed_after),
        Err(OpenError::UnknownKey(_))
    ));
}

#[test]
fn an_envelope_tells_its_key_and_nothing_else() {
    let sealer = Sealer::new(&ring(1, &[]), "c").with_ring(&ring(2, &[1]));
    let sealed = sealer.seal(Kind::Mark, &place(0), [1; 24], b"m");
    assert_eq!(key_of(Kind::Mark, &sealed), Ok(ring(2, &[]).key_ids().next().unwrap()));
    assert_eq!(key_of(Kind::Record, &sealed), Err(OpenError::Kind(2)));
    assert_eq!(key_of(Kind::Mark, &sealed[..20]), Err(OpenError::Truncated));
    assert_eq!(key_of(Kind::Mark, &[9; 60]), Err(OpenError::Version(9)));
}

#[test]
fn a_ring_tells_whether_another_has_its_naming_key() {
    assert_eq!(ring(1, &[]).naming_id(), ring(2, &[1]).naming_id());
    let other = KeyRing::new([0xef; 32], [[1; 32]]).unwrap();
    assert_ne!(ring(1, &[]).naming_id(), other.naming_id());
    // The same bytes as a sealing key must not give the same ID.
    assert_ne!(other.naming_id().0, ring(0xef, &[]).key_ids().next().unwrap().0);
}

#[test]
fn names_survive_rotation_and_keep_issuers_apart() {
    let before = Namer::new(&ring(1, &[]), "c");
    let after = Namer::new(&ring(2, &[1]), "c");
    assert_eq!(before.entry("ns", b"k"), after.entry("ns", b"k"));
    assert_ne!(
        before.entry("ns", b"k"),
        Namer::new(&ring(1, &[]), "d").entry("ns", b"k")
    );
    assert_ne!(before.entry("ns", b"k"), before.entry("n", b"sk"));
    let alice = |issuer| before.scope(ScopeKind::Subject, issuer, b"alice");
    assert_ne!(alice("https://a.example"), alice("https://b.example"));
    assert_ne!(
        before.scope(ScopeKind::Subject, "i", b"x"),
        before.scope(ScopeKind::Session, "i", b"x")
    );
}

#[test]
fn a_ring_without_keys_or_with_a_repeated_one_is_refused() {
    assert_eq!(KeyRing::new([0; 32], []).unwrap_err(), KeyRingError::Empty);
    assert_eq!(
        KeyRing::new([0; 32], [[1; 32], [1; 32]]).unwrap_err(),
        KeyRingError::Repeated
    );
    assert_eq!(KeyRing::new([1; 32], [[1; 32]]).unwrap_err(), KeyRingError::Repeated);
    assert_eq!(
        KeyRing::new([0; 32], (1..=17).map(|n| [n; 32])).unwrap_err(),
        KeyRingError::TooMany
    );
}

#[test]
fn debug_tells_no_secret() {
    let text = std::format!("{:?} {:?}", ring(0x5a, &[]), Sealer::new(&ring(0x5a, &[]), "c"));
    assert!(!text.contains("90, 90") && !text.contains("5a5a"));
}

#[test]
fn every_node_knows_the_nonces_of_its_cluster_and_no_others() {
    let old = ServerNonces::new(&ring(1, &[]), "c");
    let nonce = old.make(7);
    assert_eq!(old.period_of(&nonce), Some(7));
    assert_eq!(ServerNonces::new(&ring(1, &[]), "c").make(7), nonce);
    // A rotation: another key makes them, the old one's still count.
    let new = ServerNonces::new(&ring(9, &[1]), "c");
    assert_eq!(new.period_of(&nonce), Some(7));
    assert_eq!(old.period_of(&new.make(7)), None, "a key that it does not have");
    assert_eq!(ServerNonces::new(&ring(1, &[]), "d").period_of(&nonce), None);
    for at in 0..nonce.len() {
        let mut bent = nonce;
        bent[at] ^= 1;
        assert_eq!(old.period_of(&bent), None, "byte {at}");
        assert_eq!(old.period_of(&nonce[..at]), None, "{at} bytes");
    }
    assert_eq!(old.period_of(&[nonce.as_slice(), &[0]].concat()), None);
}

/// Nodes of two versions hand out and take the same ones.
#[test]
fn a_nonce_is_what_it_was() {
    let ring = KeyRing::new([1; 32], [[2; 32]]).unwrap();
    let nonce = ServerNonces::new(&ring, "authmesh").make(30_000_000);
    let shown: alloc::string::String = nonce.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    assert_eq!(
        shown,
        "9e452bde7375b6e40000000001c9c3800bfa738c2e922558b9771dca1b33fde2"
    );
}
