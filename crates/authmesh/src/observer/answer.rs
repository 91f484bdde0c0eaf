//! The other side: what a member is told who observes.

use std::sync::Arc;

use authmesh_proto::ident::{ChannelId, EntryName, ScopeId};
use authmesh_proto::marks::element_digest;
use authmesh_proto::observe::{Element, Held, MAX_ELEMENTS, Question, Reply};
use authmesh_proto::time::Unix;

use super::level2::is_served;
use crate::node::Node;
use crate::ports::Asked;

/// Answers a question, in a task of its own: the driver has other work. A question that comes while another is being answered is
/// as if it had been lost, so that no member can make this node work without bound.
pub(crate) fn answer(node: &Arc<Node>, asked: Asked) {
    let Ok(turn) = Arc::clone(&node.observer.answers).try_acquire_owned() else {
        return;
    };
    let Ok(question) = Question::decode(&asked.request) else {
        node.counters.gossip_malformed.add();
        tracing::warn!(from = ?asked.from.origin, "a member asked what an observer cannot ask");
        return;
    };
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        let reply = reply(&node, &question).await.encode();
        if reply.len() <= asked.limit {
            // The member may have given up.
            let _ = asked.answer.send(reply);
        }
        drop(turn);
    });
}

async fn reply(node: &Node, question: &Question) -> Reply {
    let mut reply = Reply {
        coherent: node.coherence().is_coherent(),
        ..Reply::default()
    };
    {
        let marks = node.marks();
        for (channel, root) in ChannelId::all().zip(&question.roots) {
            if marks.root(channel) != *root {
                reply.channels.push((channel.number(), marks.digests(channel).to_vec()));
            }
        }
    }
    let mut room = MAX_ELEMENTS;
    for (channel, bucket) in question.asked_buckets() {
        let elements = elements(node, channel, bucket, room);
        room -= elements.as_ref().map_or(0, Vec::len);
        let elements = elements.map(|all| all.into_iter().map(|named| named.element).collect());
        reply.buckets.push(elements);
        // Each takes the lock, and looks at every mark of its channel.
        tokio::task::yield_now().await;
    }
    reply.entries = question.entries.iter().map(|name| held(node, name)).collect();
    // Whoever became blind meanwhile may have answered as one that lacks something.
    reply.coherent &= node.coherence().is_coherent();
    reply
}

/// What is served under a name, from memory.
fn held(node: &Node, name: &EntryName) -> Option<Held> {
    let entry = node.l1.entries.get(&name.into())?;
    is_served(node, &entry).then_some(Held {
        digest: entry.seen.digest,
        filled_at: entry.seen.filled_at,
    })
}

/// A mark of a bucket, as others name it, with what this node knows of it.
pub(super) struct Named {
    pub(super) element: Element,
    pub(super) scope: ScopeId,
    pub(super) at: Unix,
}

/// The marks of a bucket; `None`: more than `limit`.
pub(super) fn elements(node: &Node, channel: ChannelId, bucket: usize, limit: usize) -> Option<Vec<Named>> {
    let marks: Vec<_> = node.marks().of_bucket(channel, bucket, None).take(limit + 1).collect();
    (marks.len() <= limit).then(|| {
        let named = marks.iter().map(|mark| Named {
            element: Element {
                digest: element_digest(&node.codec.namer, mark),
                expires: mark.expires,
            },
            scope: mark.key.scope,
            at: mark.note.at,
        });
        named.collect()
    })
}
