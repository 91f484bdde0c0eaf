//! Registration: one hash.

use authmesh::ports::{BoxFuture, MemberEntry, Members, PortError};

use crate::RedisAdapter;
use crate::answer::{array, bytes, number, unreadable};
use crate::link::Place;

/// The longest ID of a member, in bytes.
const MAX_ID: usize = 32;
/// The longest sealed record, in bytes.
const MAX_RECORD: usize = 16 * 1024;

impl Members for RedisAdapter {
    fn announce(&self, id: Vec<u8>, sealed: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            for (what, length, most) in [("ID", id.len(), MAX_ID), ("record", sealed.len(), MAX_RECORD)] {
                if length > most {
                    return Err(PortError::Refused(format!(
                        "a member's {what} has at most {most} bytes, this one {length}"
                    )));
                }
            }
            let cap = self.link().config().members;
            let announce = self.scripts().announce.call().key(self.keys().members());
            let announce = announce.arg(id).arg(sealed).number(cap);
            match number(&self.link().invoke(Place::MEMBERS, &announce).await?) {
                Some(1) => Ok(()),
                Some(0) => Err(PortError::Full(format!(
                    "{cap} members are registered already: forget those that are gone, or raise redis.members"
                ))),
                _ => Err(unreadable(self.link().peer())),
            }
        })
    }

    fn forget(&self, id: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let mut forget = redis::cmd("HDEL");
            forget.arg(self.keys().members()).arg(id);
            self.link().command(Place::MEMBERS, &forget).await.map(drop)
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<MemberEntry>, PortError>> {
        Box::pin(async move {
            // By a script, so that the answer is a plain list in every version of the wire protocol.
            let list = self.scripts().list.call().key(self.keys().members());
            let flat = array(self.link().invoke(Place::MEMBERS, &list).await?);
            let parse = || {
                let mut flat = flat?.into_iter();
                let mut members = Vec::new();
                while let Some(id) = flat.next() {
                    members.push(MemberEntry {
                        id: bytes(id)?,
                        sealed: bytes(flat.next()?)?,
                    });
                }
                members.sort_by(|a, b| a.id.cmp(&b.id));
                Some(members)
            };
            parse().ok_or_else(|| unreadable(self.link().peer()))
        })
    }
}
