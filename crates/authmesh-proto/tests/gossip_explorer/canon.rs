//! One form for worlds that are alike: instants as ages, those that say nothing any more left out.

use std::hash::{Hash as _, Hasher};
use std::time::Duration;

use crate::world::{NODES, STATEMENTS, Tick, World, moment};

/// Two lanes of 64 bits: so many states as are visited here do not collide by chance.
struct Lanes(u64, u64);

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 = (self.1 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Lanes {
    fn both(&self) -> u128 {
        let mix = |mut word: u64| {
            word ^= word >> 32;
            word = word.wrapping_mul(0xd6e8_feb8_6659_fd93);
            word ^ word >> 29
        };
        u128::from(mix(self.0)) << 64 | u128::from(mix(self.1))
    }
}

impl World {
    /// The fingerprint of this world.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut into = Lanes(1, 2);
        let now = moment(self.tick);
        let age = |at: Option<Tick>, limit: Tick| at.map(|at| (self.tick - at).min(limit));
        let mut lease = 0;
        for at in 0..NODES {
            let Some(node) = self.node(at) else {
                (at, self.starts[at]).hash(&mut into);
                continue;
            };
            let config = node.machine.config();
            lease = config.lease.as_secs();
            node.machine.canonical(now, &mut into);
            for said in 0..STATEMENTS {
                (age(node.applied[said], lease + 1), node.passed[said]).hash(&mut into);
            }
            age(node.proven, lease).hash(&mut into);
            (
                self.starts[at],
                node.announced_now,
                node.proven == Some(self.tick),
                node.forgotten,
            )
                .hash(&mut into);
            for (origin, seen) in &node.seen {
                let stands = self.records.get(origin).map(|record| record.written) == Some(seen.written);
                let long = config.gone_after.max(config.redis_limit).saturating_add(config.lease);
                let never = config.gone_after == Duration::MAX;
                let still_for = age((!never).then_some(seen.since), long.as_secs().saturating_add(1));
                (origin, stands, still_for, seen.moves).hash(&mut into);
            }
        }
        for call in &self.calls {
            (call.from, call.to, call.large, self.tick - call.sent).hash(&mut into);
            (&call.request, &call.answer).hash(&mut into);
        }
        for fate in &self.fates {
            (fate.name, fate.logged, age(fate.confirmed, lease)).hash(&mut into);
        }
        for (origin, record) in &self.records {
            (origin, &record.view).hash(&mut into);
        }
        (self.calls.len(), self.records.len(), self.budget).hash(&mut into);
        into.both()
    }
}
