//! Sealing with the node's entropy: the bytes that ports carry, and back.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use authmesh_proto::crypto::{
    Context, KeyRing, Kind, NONCE_BYTES, Namer, NamingKeyId, OpenError, Sealer, ServerNonces,
};
use authmesh_proto::follower::{OpenedEntry, OpenedPayload, Refused};
use authmesh_proto::ident::ChannelId;
use authmesh_proto::log::{LogEntry, Payload};
use authmesh_proto::marks::element_digest;
use authmesh_proto::statement::{Mark, Statement};
use authmesh_proto::wire;

use crate::ports::{Entropy, StoredMark};

/// Names, seals and opens.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) namer: Namer,
    naming: NamingKeyId,
    /// Swapped as a whole when the ring changes. What was begun under the old one ends under it.
    sealer: ArcSwap<Sealer>,
    /// Follows the ring as the sealer does.
    nonces: ArcSwap<ServerNonces>,
    cluster: Box<str>,
    entropy: Arc<dyn Entropy>,
}

impl Codec {
    pub(crate) fn new(ring: &KeyRing, cluster: &str, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            namer: Namer::new(ring, cluster),
            naming: ring.naming_id(),
            sealer: ArcSwap::from_pointee(Sealer::new(ring, cluster)),
            nonces: ArcSwap::from_pointee(ServerNonces::new(ring, cluster)),
            cluster: cluster.into(),
            entropy,
        }
    }

    pub(crate) fn sealer(&self) -> Guard<Arc<Sealer>> {
        self.sealer.load()
    }

    pub(crate) fn nonces(&self) -> Guard<Arc<ServerNonces>> {
        self.nonces.load()
    }

    /// Takes the sealing keys of another ring. `false`: it has another naming key, and nothing was changed.
    pub(crate) fn set_ring(&self, ring: &KeyRing) -> bool {
        let same = ring.naming_id() == self.naming;
        if same {
            self.sealer.store(Arc::new(self.sealer.load().with_ring(ring)));
            self.nonces.store(Arc::new(ServerNonces::new(ring, &self.cluster)));
        }
        same
    }

    /// Fills `bytes` from the node's random source.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }

    pub(crate) fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        nonce
    }

    pub(crate) fn seal_statement(&self, statement: &Statement) -> Vec<u8> {
        let context = Context::new().channel(statement.name.channel);
        self.sealer()
            .seal(Kind::Statement, &context, self.nonce(), &statement.encode())
    }

    pub(crate) fn open_entry(&self, entry: LogEntry) -> OpenedEntry {
        let opened = |sealed: &[u8]| self.open_statement(entry.channel, sealed);
        let payload = match &entry.payload {
            Payload::Statement(sealed) => opened(sealed).map(OpenedPayload::Statement),
            Payload::Bare(sealed) if sealed.is_empty() => Ok(OpenedPayload::Nothing),
            Payload::Bare(sealed) => opened(sealed).map(OpenedPayload::Bare),
            Payload::Mint => Ok(OpenedPayload::Nothing),
        };
        let payload = payload.unwrap_or_else(OpenedPayload::Refused);
        OpenedEntry {
            channel: entry.channel,
            head: entry.head,
            payload,
        }
    }

    fn open_statement(&self, channel: ChannelId, sealed: &[u8]) -> Result<Statement, Refused> {
        let context = Context::new().channel(channel);
        let bytes = self.sealer().open(Kind::Statement, &context, sealed);
        let statement = Statement::decode(&bytes.map_err(Refused::Sealed)?).map_err(Refused::Statement)?;
        if statement.name.channel != channel {
            // A statement replayed into another channel is a forgery, even with a good seal.
            return Err(Refused::Sealed(OpenError::Forged));
        }
        Ok(statement)
    }

    pub(crate) fn seal_mark(&self, mark: &Mark) -> StoredMark {
        let field = mark.key.field();
        let channel = mark.key.scope.slot().channel;
        StoredMark {
            hour: mark.expires / 3600,
            field,
            rank: mark.not_before,
            digest: element_digest(&self.namer, mark),
            sealed: self.sealer().seal(
                Kind::Mark,
                &mark_context(channel, &field, mark.not_before),
                self.nonce(),
                &wire::encode(mark),
            ),
        }
    }

    /// Opens a mark of a channel's table.
    ///
    /// # Errors
    /// When it is sealed under a key that this node does not have, or was altered, moved, or is not what its clear part says.
    pub(crate) fn open_mark(&self, channel: ChannelId, stored: &StoredMark) -> Result<Mark, Unopened> {
        let context = mark_context(channel, &stored.field, stored.rank);
        let bytes = match self.sealer().open(Kind::Mark, &context, &stored.sealed) {
            Ok(bytes) => bytes,
            // A newer version's, or a newer key's: it may well be true.
            Err(OpenError::UnknownKey(_) | OpenError::Version(_)) => return Err(Unopened::Foreign),
            Err(_) => return Err(Unopened::Garbage),
        };
        let mark: Mark = wire::decode(&bytes).map_err(|_| Unopened::Garbage)?;
        let same = mark.key.field() == stored.field
            && mark.not_before == stored.rank
            && Some(mark.expires) == stored.hour.checked_mul(3600)
            && mark.key.scope.slot().channel == channel
            && element_digest(&self.namer, &mark) == stored.digest;
        if same { Ok(mark) } else { Err(Unopened::Garbage) }
    }
}

/// Why an element of a table is no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It may be one, for a node with another key ring or of another version.
    Foreign,
    /// Nobody with the keys wrote it there.
    Garbage,
}

fn mark_context(channel: ChannelId, field: &[u8; 33], rank: u64) -> Context {
    Context::new().channel(channel).name(field).expires(rank)
}
