//! Names of keys. Everything of a channel has one hash tag, so one slot of a Redis Cluster.

use authmesh_proto::ident::{CHANNELS, ChannelId, EntryName};
use authmesh_proto::marks::{BUCKETS, bucket_of_hour};

use crate::error::ConnectError;

/// The hash tag of each channel. Channel `n` lies in the middle quarter of slots `256 n` to `256 n + 255`, so that any
/// even division of the slots divides the channels evenly. Never change one: it is part of the wire format.
#[rustfmt::skip]
pub(crate) const TAGS: [&str; CHANNELS] = [
    "14", "6q", "6h", "9a", "29", "21", "5e", "5m", "0j", "0b", "76", "0s", "f", "n", "w", "43",
    "7f", "7n", "7w", "02", "4k", "4c", "6", "4r", "1u", "60", "1d", "1l", "2x", "2p", "2i", "2a",
    "7a", "7i", "7p", "05", "4l", "4d", "1", "9", "1r", "1z", "1c", "1k", "52", "2w", "2n", "2f",
    "13", "6v", "6o", "6g", "5s", "26", "5b", "5j", "0m", "0e", "71", "0t", "a", "i", "p", "x",
];

/// The hash tag of the members.
pub(crate) const MEMBERS_TAG: &str = "members";

/// Makes the names of keys.
#[derive(Clone)]
pub(crate) struct Keys {
    /// `prefix:version:cluster`.
    root: String,
}

impl Keys {
    /// `prefix` has 1 to 64 letters, digits, `.`, `_` or `-`; `cluster` any 1 to 64 bytes.
    pub(crate) fn new(prefix: &str, cluster: &str) -> Result<Self, ConnectError> {
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_plain) {
            return Err(ConnectError::setting(
                "prefix",
                "must have 1 to 64 letters, digits, `.`, `_` or `-`: braces and colons have a meaning in names of keys",
            ));
        }
        if cluster.is_empty() || cluster.len() > 64 {
            return Err(ConnectError::setting("cluster", "its name must have 1 to 64 bytes"));
        }
        let mut root = format!("{prefix}:1:");
        for byte in cluster.bytes() {
            if is_plain(byte) {
                root.push(char::from(byte));
            } else {
                // A brace would move the keys to another slot, a colon could make two clusters share them.
                root.push_str(&format!("%{byte:02X}"));
            }
        }
        Ok(Self { root })
    }

    pub(crate) fn log(&self, channel: ChannelId) -> String {
        self.of(channel, "log")
    }

    pub(crate) fn bell(&self, channel: ChannelId) -> String {
        self.of(channel, "bell")
    }

    pub(crate) fn bucket(&self, channel: ChannelId, hour: u64) -> String {
        self.numbered(channel, bucket_of_hour(hour))
    }

    pub(crate) fn buckets(&self, channel: ChannelId) -> Vec<String> {
        (0..BUCKETS).map(|bucket| self.numbered(channel, bucket)).collect()
    }

    fn numbered(&self, channel: ChannelId, bucket: usize) -> String {
        self.of(channel, &format!("marks:{bucket}"))
    }

    pub(crate) fn entry(&self, name: &EntryName) -> String {
        self.of(name.slot().channel, &format!("e:{}", hex(name)))
    }

    pub(crate) fn counter(&self, name: &EntryName) -> String {
        self.of(name.slot().channel, &format!("c:{}", hex(name)))
    }

    pub(crate) fn members(&self) -> String {
        format!("{}:{{{MEMBERS_TAG}}}:m", self.root)
    }

    /// What every key and every channel of the bus begins with.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// What the keys of the survey begin with. Nodes never look there.
    pub(crate) fn survey(&self) -> String {
        format!("{}:{{survey}}:", self.root)
    }

    fn of(&self, channel: ChannelId, what: &str) -> String {
        let tag = TAGS.get(channel.index()).copied().unwrap_or_default();
        format!("{}:{{{tag}}}:{what}", self.root)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn hex(name: &EntryName) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    let bytes = name.as_bytes().iter();
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::link::place;

    fn slot(tag: &str) -> usize {
        usize::from(place::slot(tag))
    }

    #[test]
    fn each_channel_lies_in_the_middle_of_its_own_256_slots() {
        for (channel, tag) in TAGS.iter().enumerate() {
            let within = slot(tag).checked_sub(channel * 256).unwrap();
            assert!((96..160).contains(&within), "{tag} of channel {channel}");
        }
    }

    #[test]
    fn the_table_holds_the_shortest_tags_in_order() {
        let letters = || ('0'..='9').chain('a'..='z');
        let one = letters().map(String::from);
        let two = letters().flat_map(|a| letters().map(move |b| format!("{a}{b}")));
        let three = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        let mut found: [Option<String>; CHANNELS] = [const { None }; CHANNELS];
        for tag in one.chain(two).chain(three) {
            let slot = slot(&tag);
            if (96..160).contains(&(slot % 256)) {
                found[slot / 256].get_or_insert(tag);
            }
        }
        assert_eq!(found.map(Option::unwrap), TAGS);
    }

    #[test]
    fn everything_of_a_channel_has_its_tag_and_no_other() {
        let keys = Keys::new("authmesh", "blue").unwrap();
        let name = EntryName([0xfc; 32]);
        let channel = name.slot().channel;
        assert_eq!(channel.index(), 63);
        let tag = format!("authmesh:1:blue:{{{}}}:", TAGS[63]);
        for key in [
            keys.log(channel),
            keys.bell(channel),
            keys.entry(&name),
            keys.counter(&name),
        ] {
            assert!(key.starts_with(&tag), "{key}");
        }
        assert_eq!(keys.buckets(channel).len(), 32);
        assert_eq!(keys.bucket(channel, 33), format!("{tag}marks:1"));
    }

    #[test]
    fn two_clusters_never_share_a_key() {
        let root = |cluster: &str| Keys::new("p", cluster).unwrap().root;
        let names = ["a", "a:{0}", "a%3A", "a{b}", "ä", "a b", "A"];
        let mut roots: Vec<String> = names.iter().map(|name| root(name)).collect();
        assert!(roots.iter().all(|root| !root.contains(['{', '}'])), "{roots:?}");
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), names.len());
    }

    #[test]
    fn a_prefix_that_would_change_the_slot_is_refused() {
        for prefix in ["", "a{b}", "a:b", "a b", &"x".repeat(65)] {
            assert!(Keys::new(prefix, "c").is_err(), "{prefix}");
        }
        assert!(Keys::new("p", "").is_err());
        assert!(Keys::new("p", &"x".repeat(65)).is_err());
    }
}
