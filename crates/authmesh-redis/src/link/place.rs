//! Where keys lie: a channel's slot, or that of the members.

use authmesh_proto::ident::{CHANNELS, ChannelId};

use crate::keys::{MEMBERS_TAG, TAGS};

/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// One of the 65 slots that are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(usize);

impl Place {
    /// The slot of the members.
    pub(crate) const MEMBERS: Self = Self(CHANNELS);

    pub(crate) fn of(channel: ChannelId) -> Self {
        Self(channel.index())
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=CHANNELS).map(Self)
    }

    pub(super) fn index(self) -> usize {
        self.0
    }

    pub(super) fn slot(self) -> u16 {
        slot(TAGS.get(self.0).copied().unwrap_or(MEMBERS_TAG))
    }
}

/// The slot of a hash tag, as the Redis Cluster specification says: CRC-16/XMODEM modulo 16,384.
pub(crate) fn slot(tag: &str) -> u16 {
    let mut crc = 0_u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_slot_function_is_that_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
    }

    #[test]
    fn every_place_has_its_own_slot() {
        let mut slots: Vec<u16> = Place::all().map(Place::slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), CHANNELS + 1);
    }
}
