use foca::{Codec as _, Header, Identity as _, Message};
use proptest::prelude::*;

use super::codec::Codec;
use super::*;
use crate::testing::{TIMES, address, identity};

fn codec() -> Codec {
    Codec { address: address(0) }
}

fn header(message: Message<Identity>) -> Header<Identity> {
    Header {
        src: identity(1, 2),
        src_incarnation: 513,
        dst: identity(0, 0),
        message,
    }
}

#[test]
fn every_message_comes_back_as_it_was() {
    let target = Identity {
        address: "[2001:db8::7]:99".parse().unwrap(),
        name: "é".repeat(32),
        ..identity(3, 1)
    };
    let messages = [
        Message::Ping(1),
        Message::Ack(255),
        Message::PingReq {
            target: target.clone(),
            probe_number: 3,
        },
        Message::IndirectPing {
            origin: target.clone(),
            probe_number: 4,
        },
        Message::IndirectAck {
            target: target.clone(),
            probe_number: 5,
        },
        Message::ForwardedAck {
            origin: target,
            probe_number: 6,
        },
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::Broadcast,
        Message::TurnUndead,
    ];
    for message in messages {
        let (mut bytes, header) = (Vec::new(), header(message));
        codec().encode_header(&header, &mut bytes).unwrap();
        let mut read = bytes.as_slice();
        assert_eq!(codec().decode_header(&mut read), Ok(header));
        assert!(read.is_empty(), "exactly one header was read");
        for cut in 0..bytes.len() {
            assert!(codec().decode_header(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
    for state in [State::Alive, State::Suspect, State::Down] {
        let (mut bytes, member) = (Vec::new(), Member::new(identity(2, 1), 7, state));
        codec().encode_member(&member, &mut bytes).unwrap();
        assert_eq!(codec().decode_member(bytes.as_slice()), Ok(member));
    }
}

#[test]
fn the_bytes_of_an_identity_are_as_documented() {
    let mut bytes = Vec::new();
    let me = Identity {
        name: "n1".into(),
        renewals: 3,
        rank: 0x0102,
        ..identity(0, 0)
    };
    put_identity(&me, &mut bytes);
    let mut expected = me.origin.0.to_vec();
    expected.extend([4, 10, 0, 0, 1, 0x1f, 0x0a, 0, 0, 0, 0, 0, 0, 1, 2, 3, 2, b'n', b'1']);
    assert_eq!(bytes, expected);
}

#[test]
fn a_member_that_does_not_fit_leaves_the_buffer_as_it_was() {
    use bytes::BufMut as _;
    let mut buffer = Vec::new().limit(20);
    assert!(
        codec()
            .encode_member(&Member::alive(identity(1, 0)), &mut buffer)
            .is_err()
    );
    assert!(buffer.get_ref().is_empty());
}

#[test]
fn a_seed_is_reached_at_whatever_address_it_has() {
    let (mut bytes, mut to_seed) = (Vec::new(), header(Message::Announce));
    to_seed.dst = Identity::unknown("192.0.2.1:1".parse().unwrap());
    codec().encode_header(&to_seed, &mut bytes).unwrap();
    assert_eq!(codec().decode_header(bytes.as_slice()).unwrap().dst.address, address(0));
}

#[test]
fn a_later_start_wins_and_renewals_catch_up_with_any_clock() {
    let (old, new) = (identity(1, 0), identity(1, 1));
    assert!(new.win_addr_conflict(&old) && !old.win_addr_conflict(&new));
    let mut behind = Identity {
        rank: old.rank - 10 * 365 * 86_400,
        ..new
    };
    let mut renewals = 0;
    while !behind.win_addr_conflict(&old) {
        behind = behind.renew().unwrap();
        renewals += 1;
    }
    assert!(renewals < 32, "{renewals}");
}

#[test]
fn a_member_speaks_for_itself_only() {
    let mut swim = Swim::new(identity(0, 0), TIMES, [1; 32]);
    let mut bytes = Vec::new();
    codec().encode_header(&header(Message::Announce), &mut bytes).unwrap();
    let now = Moment::ORIGIN.plus(Duration::from_secs(5));
    assert!(!swim.take(identity(2, 0).origin, &bytes, now), "it is another's word");
    assert!(swim.members().is_empty());
    assert!(swim.take(identity(1, 2).origin, &bytes, now));
    assert_eq!(swim.members().len(), 1);
}

proptest! {
    #[test]
    fn bytes_of_any_sort_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec().decode_header(bytes.as_slice());
        let _ = codec().decode_member(bytes.as_slice());
    }
}
