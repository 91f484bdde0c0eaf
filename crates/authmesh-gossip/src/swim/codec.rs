//! foca's messages as bytes: fixed layouts, numbers big-endian.
//!
//! ```text
//! identity  origin (16) | family (1): 4 or 6 | address (4 or 16) | port (2) | rank (8) | renewals (1)
//!           | length of the name (1) | name
//! header    identity of the sender | its incarnation (2) | identity of the receiver | message
//! message   kind (1) | for 0, 1: number (1) | for 2 to 5: identity, number (1)
//! member    identity | incarnation (2) | state (1): 0 alive, 1 suspect, 2 down
//! ```

use std::net::{IpAddr, SocketAddr};

use authmesh_proto::ident::Origin;
use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};

use super::identity::{Identity, MAX_NAME};

/// Bytes that are not what they should be, or do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// The bytes end early, or hold a value that the type does not have.
    #[error("malformed")]
    Malformed,
    /// There is no room left.
    #[error("no room")]
    NoRoom,
}

/// Writes and reads; an announcement to whoever lives at an address is read as one to this node.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    /// Where others reach this node.
    pub(crate) address: SocketAddr,
}

/// Appends an identity.
pub(crate) fn put_identity(identity: &Identity, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(identity.origin.as_bytes());
    match identity.address.ip() {
        IpAddr::V4(ip) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(6);
            bytes.extend_from_slice(&ip.octets());
        }
    }
    bytes.extend_from_slice(&identity.address.port().to_be_bytes());
    bytes.extend_from_slice(&identity.rank.to_be_bytes());
    bytes.push(identity.renewals);
    // Names are checked where they come in; cut here, they would only look odd.
    let name = &identity.name.as_bytes()[..identity.name.len().min(MAX_NAME)];
    bytes.push(u8::try_from(name.len()).unwrap_or(0));
    bytes.extend_from_slice(name);
}

fn array<const N: usize>(bytes: &mut impl Buf) -> Result<[u8; N], CodecError> {
    let mut array = [0; N];
    bytes.try_copy_to_slice(&mut array).map_err(|_| CodecError::Malformed)?;
    Ok(array)
}

fn byte(bytes: &mut impl Buf) -> Result<u8, CodecError> {
    bytes.try_get_u8().map_err(|_| CodecError::Malformed)
}

/// Reads an identity.
pub(crate) fn get_identity(bytes: &mut impl Buf) -> Result<Identity, CodecError> {
    let origin = Origin(array(bytes)?);
    let ip = match byte(bytes)? {
        4 => IpAddr::from(array::<4>(bytes)?),
        6 => IpAddr::from(array::<16>(bytes)?),
        _ => return Err(CodecError::Malformed),
    };
    let port = u16::from_be_bytes(array(bytes)?);
    let rank = u64::from_be_bytes(array(bytes)?);
    let renewals = byte(bytes)?;
    let length = usize::from(byte(bytes)?);
    if length > MAX_NAME || bytes.remaining() < length {
        return Err(CodecError::Malformed);
    }
    let mut name = vec![0; length];
    bytes.copy_to_slice(&mut name);
    Ok(Identity {
        origin,
        address: SocketAddr::new(ip, port),
        rank,
        renewals,
        name: String::from_utf8(name).map_err(|_| CodecError::Malformed)?,
    })
}

fn put_message(message: &Message<Identity>, bytes: &mut Vec<u8>) {
    let (kind, member, number) = match message {
        Message::Ping(number) => (0, None, Some(*number)),
        Message::Ack(number) => (1, None, Some(*number)),
        Message::PingReq { target, probe_number } => (2, Some(target), Some(*probe_number)),
        Message::IndirectPing { origin, probe_number } => (3, Some(origin), Some(*probe_number)),
        Message::IndirectAck { target, probe_number } => (4, Some(target), Some(*probe_number)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(origin), Some(*probe_number)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    bytes.push(kind);
    if let Some(member) = member {
        put_identity(member, bytes);
    }
    bytes.extend(number);
}

fn get_message(bytes: &mut impl Buf) -> Result<Message<Identity>, CodecError> {
    Ok(match byte(bytes)? {
        0 => Message::Ping(byte(bytes)?),
        1 => Message::Ack(byte(bytes)?),
        2 => Message::PingReq {
            target: get_identity(bytes)?,
            probe_number: byte(bytes)?,
        },
        3 => Message::IndirectPing {
            origin: get_identity(bytes)?,
            probe_number: byte(bytes)?,
        },
        4 => Message::IndirectAck {
            target: get_identity(bytes)?,
            probe_number: byte(bytes)?,
        },
        5 => Message::ForwardedAck {
            origin: get_identity(bytes)?,
            probe_number: byte(bytes)?,
        },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(CodecError::Malformed),
    })
}

fn put(bytes: &[u8], mut buf: impl BufMut) -> Result<(), CodecError> {
    // All or nothing: foca must not find half a member in its buffer.
    if buf.remaining_mut() < bytes.len() {
        return Err(CodecError::NoRoom);
    }
    buf.put_slice(bytes);
    Ok(())
}

impl foca::Codec<Identity> for Codec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(192);
        put_identity(&header.src, &mut bytes);
        bytes.extend_from_slice(&header.src_incarnation.to_be_bytes());
        put_identity(&header.dst, &mut bytes);
        put_message(&header.message, &mut bytes);
        put(&bytes, buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        let src = get_identity(&mut buf)?;
        let src_incarnation = u16::from_be_bytes(array(&mut buf)?);
        let mut dst = get_identity(&mut buf)?;
        if dst.is_unknown() {
            // A seed may be written to at another address than the one that it advertises: a service's, a load balancer's.
            dst.address = self.address;
        }
        let message = get_message(&mut buf)?;
        Ok(Header {
            src,
            src_incarnation,
            dst,
            message,
        })
    }

    fn encode_member(&mut self, member: &Member<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(96);
        put_identity(member.id(), &mut bytes);
        bytes.extend_from_slice(&member.incarnation().to_be_bytes());
        bytes.push(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put(&bytes, buf)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, CodecError> {
        let identity = get_identity(&mut buf)?;
        let incarnation = u16::from_be_bytes(array(&mut buf)?);
        let state = match byte(&mut buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(CodecError::Malformed),
        };
        Ok(Member::new(identity, incarnation, state))
    }
}
