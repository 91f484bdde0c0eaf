//! Registration: each node's own sealed record among the members.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authmesh_proto::crypto::{Context, Kind};
use authmesh_proto::member::MemberRecord;
use authmesh_proto::statement;
use authmesh_proto::time::Moment;
use authmesh_proto::wire;

use super::Node;
use crate::ports::PortError;

/// How often a node writes its record.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(10);
/// A member whose record has stood still for longer counts as gone until it moves again.
const STALE_AFTER: Duration = Duration::from_secs(35);

/// A member of the cluster, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// The node's configured name.
    pub node: String,
    /// This start of it, in hexadecimal.
    pub incarnation: String,
    /// Where it answers; empty where it listens to nothing.
    pub address: String,
    /// Version of authmesh.
    pub version: String,
    /// How long its record has stood still, in seconds, by this node's clock. Records move every 10 s.
    pub age_seconds: u64,
    /// Whether the record moved within the last 35 s.
    pub live: bool,
    /// Whether it is the node that was asked.
    pub this: bool,
}

/// When each member's sequence was last seen to move.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<Vec<u8>, (u64, Moment)>>);

impl Seen {
    fn age(&self, id: &[u8], sequence: u64, now: Moment) -> Duration {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(id.to_vec()).or_insert((sequence, now));
        if entry.0 != sequence {
            *entry = (sequence, now);
        }
        now.since(entry.1)
    }

    fn keep_only(&self, ids: &[&[u8]]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|id, _| ids.contains(&id.as_slice()));
    }
}

impl Node {
    /// Announces this node until it shuts down, then takes its record away.
    pub(crate) async fn announce(self: Arc<Self>) {
        let mut sequence = 0;
        loop {
            sequence += 1;
            let record = MemberRecord {
                name: self.name.clone(),
                address: self.address.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                wire_versions: vec![wire::VERSION],
                statement_kinds: statement::KINDS.to_vec(),
                sequence,
            };
            let sealed = self.codec.sealer().seal(
                Kind::Member,
                &Context::new().name(&self.origin.0),
                self.codec.nonce(),
                &wire::encode(&record),
            );
            if let Err(error) = self.ports.members.announce(self.origin.0.to_vec(), sealed).await {
                tracing::debug!(%error, "this node could not announce itself");
            }
            // Reading along keeps the ages right even when nobody asks.
            let _ = self.list_members().await;
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                () = tokio::time::sleep(ANNOUNCE_PERIOD) => {}
            }
        }
        let forget = self.ports.members.forget(self.origin.0.to_vec());
        let _ = tokio::time::timeout(Duration::from_secs(1), forget).await;
    }

    /// The members whose records open, by name.
    pub(crate) async fn list_members(&self) -> Result<Vec<Member>, PortError> {
        let entries = self.ports.members.list().await?;
        let now = self.now().boot;
        let mut members = Vec::with_capacity(entries.len());
        for entry in &entries {
            let context = Context::new().name(&entry.id);
            let record = self.codec.sealer().open(Kind::Member, &context, &entry.sealed).ok();
            let Some(record) = record.and_then(|bytes| wire::decode::<MemberRecord>(&bytes).ok()) else {
                self.counters.unopened.add();
                continue;
            };
            let age = self.seen.age(&entry.id, record.sequence, now);
            members.push(Member {
                node: record.name,
                incarnation: entry.id.iter().map(|byte| format!("{byte:02x}")).collect(),
                address: record.address,
                version: record.version,
                age_seconds: age.as_secs(),
                live: age < STALE_AFTER,
                this: entry.id == self.origin.0,
            });
        }
        let ids: Vec<&[u8]> = entries.iter().map(|entry| entry.id.as_slice()).collect();
        self.seen.keep_only(&ids);
        members.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.incarnation.cmp(&b.incarnation)));
        Ok(members)
    }
}
