use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;
use proptest::prelude::*;

use super::window::{WINDOW, Window};
use super::*;

const A: Origin = Origin([1; 16]);
const B: Origin = Origin([2; 16]);

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7946))
}

fn second(n: u64) -> Moment {
    Moment::ORIGIN.plus(Duration::from_secs(100 + n))
}

/// A source of numbers that never repeat.
fn numbers() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u64;
    move |bytes| {
        next += 1;
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = next.to_le_bytes()[n % 8] ^ 0x5a;
        }
    }
}

/// `a` has proven itself to `b`. Returns what was first sent, and the datagrams that were sent again.
fn proven(a: &mut Links, b: &mut Links, random: &mut dyn FnMut(&mut [u8]), now: Moment) -> (Vec<u8>, Vec<Vec<u8>>) {
    let first = a.outgoing(at(2), Kind::Swim, b"first", now, random).unwrap();
    let Incoming::Challenge(challenge) = b.incoming(at(1), &first, now, random) else {
        panic!("a stranger is challenged")
    };
    let Incoming::Resend(again) = a.incoming(at(2), &challenge, now, random) else {
        panic!("a challenge is followed")
    };
    for plain in &again {
        assert!(matches!(
            b.incoming(at(1), plain, now, random),
            Incoming::Take { origin: A, .. }
        ));
    }
    (first, again)
}

#[test]
fn a_challenge_is_as_short_as_the_shortest_datagram() {
    let plain = Plain {
        origin: A,
        session: NO_SESSION,
        sequence: 0,
        kind: Kind::Hello,
        body: Vec::new(),
    };
    assert_eq!(plain.encode().len() + ENVELOPE_OVERHEAD, MIN_DATAGRAM);
    let longest = Plain {
        body: vec![7; MAX_BODY],
        ..plain
    };
    assert_eq!(longest.encode().len() + ENVELOPE_OVERHEAD, MAX_DATAGRAM);
    assert_eq!(Plain::decode(&longest.encode()), Some(longest));
}

#[test]
fn the_first_contact_costs_one_round_trip_and_loses_nothing() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    let now = second(0);
    let sent: Vec<_> = (0..3_u8)
        .map(|n| a.outgoing(at(2), Kind::Items, &[n], now, &mut random).unwrap())
        .collect();
    let answers: Vec<_> = sent
        .iter()
        .map(|plain| b.incoming(at(1), plain, now, &mut random))
        .collect();
    let mut taken = Vec::new();
    for answer in answers {
        let Incoming::Challenge(challenge) = answer else {
            panic!("{answer:?}")
        };
        if let Incoming::Resend(again) = a.incoming(at(2), &challenge, now, &mut random) {
            for plain in again {
                let Incoming::Take { body, .. } = b.incoming(at(1), &plain, now, &mut random) else {
                    panic!()
                };
                taken.extend(body);
            }
        }
    }
    assert_eq!(taken, [0, 1, 2], "each once, though each was challenged");
}

#[test]
fn a_session_counts_at_its_address_and_for_its_origin_only() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    let now = second(0);
    proven(&mut a, &mut b, &mut random, now);
    let next = a.outgoing(at(2), Kind::Hello, b"", now, &mut random).unwrap();
    let from_elsewhere = b.incoming(at(9), &next, now, &mut random);
    assert!(matches!(from_elsewhere, Incoming::Challenge(_)), "{from_elsewhere:?}");
    let mut of_another = Plain::decode(&next).unwrap();
    of_another.origin = Origin([3; 16]);
    let of_another = b.incoming(at(1), &of_another.encode(), now, &mut random);
    assert!(matches!(of_another, Incoming::Challenge(_)), "{of_another:?}");
    assert!(matches!(
        b.incoming(at(1), &next, now, &mut random),
        Incoming::Take { .. }
    ));
    assert_eq!(b.incoming(at(1), &next, now, &mut random), Incoming::Replayed);
}

#[test]
fn a_challenge_that_answers_nothing_is_not_followed() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    let now = second(0);
    let first = a.outgoing(at(2), Kind::Swim, b"x", now, &mut random).unwrap();
    let Incoming::Challenge(challenge) = b.incoming(at(1), &first, now, &mut random) else {
        panic!()
    };
    assert_eq!(
        a.incoming(at(3), &challenge, now, &mut random),
        Incoming::Stale,
        "from another address"
    );
    assert!(matches!(
        a.incoming(at(2), &challenge, now, &mut random),
        Incoming::Resend(_)
    ));
    assert_eq!(
        a.incoming(at(2), &challenge, now, &mut random),
        Incoming::Stale,
        "a second time"
    );
    // Recorded, and played back when another session is under way.
    let (mut b, later) = (Links::new(B), second(2));
    proven(&mut a, &mut b, &mut random, later);
    assert_eq!(a.incoming(at(2), &challenge, later, &mut random), Incoming::Stale);
}

#[test]
fn a_receiver_that_starts_anew_accepts_nothing_from_before() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    let (first, again) = proven(&mut a, &mut b, &mut random, second(0));
    let mut b = Links::new(B);
    for plain in again.iter().chain([&first]) {
        assert!(matches!(
            b.incoming(at(1), plain, second(1), &mut random),
            Incoming::Challenge(_)
        ));
    }
}

#[test]
fn who_was_silent_for_a_minute_proves_itself_anew() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    proven(&mut a, &mut b, &mut random, second(0));
    b.sweep(second(59));
    assert!(b.is_proven(&at(1)));
    b.sweep(second(61));
    assert!(!b.is_proven(&at(1)));
    proven(&mut a, &mut b, &mut random, second(61));
}

#[test]
fn a_challenge_dies_after_five_seconds() {
    let (mut a, mut b, mut random) = (Links::new(A), Links::new(B), numbers());
    let first = a.outgoing(at(2), Kind::Swim, b"x", second(0), &mut random).unwrap();
    let Incoming::Challenge(challenge) = b.incoming(at(1), &first, second(0), &mut random) else {
        panic!()
    };
    let Incoming::Resend(again) = a.incoming(at(2), &challenge, second(0), &mut random) else {
        panic!()
    };
    assert!(matches!(
        b.incoming(at(1), &again[0], second(5), &mut random),
        Incoming::Challenge(_)
    ));
}

#[test]
fn strangers_without_number_take_bounded_room() {
    let (mut b, mut random) = (Links::new(B), numbers());
    let mut limited = 0;
    for n in 0..10_000_u32 {
        let from = SocketAddr::from((n.to_be_bytes(), 1));
        let plain = Plain {
            origin: A,
            session: NO_SESSION,
            sequence: 1,
            kind: Kind::Hello,
            body: Vec::new(),
        };
        limited += usize::from(b.incoming(from, &plain.encode(), second(0), &mut random) == Incoming::Limited);
    }
    assert_eq!(limited, 10_000 - 4096);
    let mut limits = Limits::default();
    for n in 0..100_000_u32 {
        limits.admit(SocketAddr::from((n.to_be_bytes(), 1)), n % 2 == 0, second(0));
    }
    assert!(limits.sources() <= 8192, "{}", limits.sources());
}

#[test]
fn a_source_gets_its_rate_and_no_more() {
    let mut limits = Limits::default();
    let admitted = |limits: &mut Limits, proven, now| (0..10_000).filter(|_| limits.admit(at(1), proven, now)).count();
    assert_eq!(admitted(&mut limits, false, second(0)), 32);
    assert_eq!(admitted(&mut limits, false, second(1)), 16);
    assert_eq!(admitted(&mut limits, false, second(100)), 32);
    assert_eq!(admitted(&mut limits, true, second(100)), 5000);
    let others = (0..2000_u32).filter(|n| limits.admit(SocketAddr::from((n.to_be_bytes(), 1)), false, second(200)));
    assert_eq!(others.count(), 512, "all unproven sources together");
}

proptest! {
    /// The window against a set that forgets nothing.
    #[test]
    fn a_window_takes_each_sequence_once(steps in proptest::collection::vec((0_u64..3000, any::<bool>()), 1..400)) {
        let mut window = Window::beginning(5000);
        let (mut taken, mut highest) = (BTreeSet::from([5000_u64]), 5000_u64);
        for (by, ahead) in steps {
            let sequence = if ahead { highest + by / 2 } else { highest.saturating_sub(by) };
            let expected = sequence + WINDOW > highest && taken.insert(sequence);
            prop_assert_eq!(window.take(sequence), expected, "{} of {}", sequence, highest);
            highest = highest.max(sequence);
        }
    }

    #[test]
    fn opened_bytes_of_any_sort_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (mut a, mut random) = (Links::new(A), numbers());
        a.outgoing(at(2), Kind::Hello, b"", second(0), &mut random).unwrap();
        let mut tagged = bytes.clone();
        if let Some(first) = tagged.first_mut() { *first = TAG; }
        for bytes in [bytes, tagged] {
            let judged = a.incoming(at(2), &bytes, second(0), &mut random);
            let is_taken = matches!(judged, Incoming::Take { .. } | Incoming::Resend(_));
            prop_assert!(!is_taken);
        }
    }
}
