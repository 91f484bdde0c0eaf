//! Answers of a member to an observer, altered on their way.

use std::sync::atomic::{AtomicU8, Ordering};

use authmesh::proto::ident::{ChannelId, Digest};
use authmesh::proto::marks::BUCKETS;
use authmesh::proto::observe::{Element, Question, Reply};
use authmesh_testkit as kit;

/// What is altered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lie {
    /// As if the member held no mark at all.
    LacksAll,
    /// As if it held this one, in bucket 0 of channel 0.
    Holds(Element),
    /// As if it held another one there at each look, which expires then.
    HoldsAnother(u64),
}

impl Lie {
    /// Tells it in every answer to a pull.
    pub(super) fn told(self) -> impl Fn(&kit::Call, kit::Reply<'_>) + Send + Sync + 'static {
        let looks = AtomicU8::new(0);
        move |call, reply| {
            let (kit::Call::Pull { request, .. }, kit::Reply::Bytes(Ok(answer))) = (call, reply) else {
                return;
            };
            if let Ok(question) = Question::decode(request) {
                *answer = self.instead_of(answer, &question, &looks);
            }
        }
    }

    fn instead_of(self, answer: &[u8], question: &Question, looks: &AtomicU8) -> Vec<u8> {
        let mut reply = Reply::decode(answer, question).unwrap();
        if !question.roots.is_empty() {
            // Everything differs, so that the marks themselves are asked for.
            let is_altered = |channel: &ChannelId| match self {
                Self::LacksAll => question.roots[channel.index()] != Digest::EMPTY,
                Self::Holds(_) | Self::HoldsAnother(_) => channel.number() == 0,
            };
            reply.channels = ChannelId::all()
                .filter(is_altered)
                .map(|channel| (channel.number(), vec![Digest([0xee; 16]); BUCKETS]))
                .collect();
        }
        for (bucket, elements) in question.buckets.iter().zip(&mut reply.buckets) {
            match self {
                Self::LacksAll => *elements = Some(Vec::new()),
                Self::Holds(element) if *bucket == (0, 0) => elements.get_or_insert_default().push(element),
                Self::HoldsAnother(expires) if *bucket == (0, 0) => {
                    let look = looks.fetch_add(1, Ordering::Relaxed);
                    let digest = Digest([look; 16]);
                    elements.get_or_insert_default().push(Element { digest, expires });
                }
                Self::Holds(_) | Self::HoldsAnother(_) => {}
            }
        }
        reply.encode()
    }
}
