//! The scripts that run inside Redis.

use redis::Script;

/// May run above `maxmemory`: a revocation that does not fit is worse than a server that is a little fuller.
const COMMITS: &str = "#!lua flags=allow-oom\n";
/// Refused above `maxmemory` before they begin, so that such an error means that nothing was changed.
const WRITES: &str = "#!lua\n";
const READS: &str = "#!lua flags=no-writes\n";

const LIB: &str = include_str!("scripts/lib.lua");
const APPEND: &str = include_str!("scripts/append.lua");

pub(crate) struct Scripts {
    pub(crate) commit: Script,
    pub(crate) mint: Script,
    pub(crate) slice: Script,
    pub(crate) load: Script,
    pub(crate) lease: Script,
    pub(crate) renew: Script,
    pub(crate) store: Script,
    pub(crate) release: Script,
    pub(crate) insert: Script,
    pub(crate) increment: Script,
    pub(crate) announce: Script,
    pub(crate) list: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let made = |parts: &[&str]| Script::new(&parts.concat());
        Self {
            commit: made(&[COMMITS, LIB, APPEND, include_str!("scripts/commit.lua")]),
            mint: made(&[COMMITS, LIB, APPEND, include_str!("scripts/mint.lua")]),
            slice: made(&[READS, include_str!("scripts/slice.lua")]),
            load: made(&[READS, include_str!("scripts/load.lua")]),
            lease: made(&[WRITES, LIB, include_str!("scripts/lease.lua")]),
            renew: made(&[WRITES, LIB, include_str!("scripts/renew.lua")]),
            store: made(&[WRITES, LIB, include_str!("scripts/store.lua")]),
            release: made(&[WRITES, LIB, include_str!("scripts/release.lua")]),
            insert: made(&[WRITES, LIB, include_str!("scripts/insert.lua")]),
            increment: made(&[WRITES, include_str!("scripts/increment.lua")]),
            announce: made(&[WRITES, include_str!("scripts/announce.lua")]),
            list: made(&[READS, include_str!("scripts/list.lua")]),
        }
    }
}
