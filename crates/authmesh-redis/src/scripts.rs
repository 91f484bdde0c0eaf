//! The scripts that run inside Redis.

use crate::link::Script;

/// May run above `maxmemory`: a revocation that does not fit is worse than a server that is a little fuller.
const COMMITS: &str = "#!lua flags=allow-oom\n";
/// Refused above `maxmemory` before they begin, so that such an error means that nothing was changed.
const WRITES: &str = "#!lua\n";
const READS: &str = "#!lua flags=no-writes\n";

const LIB: &str = include_str!("scripts/lib.lua");
const APPEND: &str = include_str!("scripts/append.lua");
const BARES: &str = include_str!("scripts/bares.lua");

pub(crate) struct Scripts {
    pub(crate) commit: Script,
    pub(crate) bare: Script,
    pub(crate) mint: Script,
    pub(crate) purge: Script,
    pub(crate) slice: Script,
    pub(crate) load: Script,
    pub(crate) headed: Script,
    pub(crate) lease: Script,
    pub(crate) renew: Script,
    pub(crate) store: Script,
    pub(crate) release: Script,
    pub(crate) hold: Script,
    pub(crate) unhold: Script,
    pub(crate) insert: Script,
    pub(crate) increment: Script,
    pub(crate) announce: Script,
    pub(crate) list: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let made = |parts: &[&str]| Script::new(parts.concat());
        Self {
            commit: made(&[COMMITS, LIB, APPEND, include_str!("scripts/commit.lua")]),
            bare: made(&[COMMITS, LIB, APPEND, include_str!("scripts/bare.lua")]),
            mint: made(&[COMMITS, LIB, APPEND, include_str!("scripts/mint.lua")]),
            purge: made(&[COMMITS, include_str!("scripts/purge.lua")]),
            slice: made(&[READS, include_str!("scripts/slice.lua")]),
            load: made(&[READS, LIB, BARES, include_str!("scripts/load.lua")]),
            headed: made(&[READS, LIB, BARES, include_str!("scripts/headed.lua")]),
            lease: made(&[WRITES, LIB, include_str!("scripts/lease.lua")]),
            renew: made(&[WRITES, LIB, include_str!("scripts/renew.lua")]),
            store: made(&[WRITES, LIB, include_str!("scripts/store.lua")]),
            release: made(&[WRITES, LIB, include_str!("scripts/release.lua")]),
            hold: made(&[
                WRITES,
                LIB,
                include_str!("scripts/holders.lua"),
                include_str!("scripts/hold.lua"),
            ]),
            unhold: made(&[
                WRITES,
                LIB,
                include_str!("scripts/holders.lua"),
                include_str!("scripts/unhold.lua"),
            ]),
            insert: made(&[WRITES, LIB, include_str!("scripts/insert.lua")]),
            increment: made(&[WRITES, include_str!("scripts/increment.lua")]),
            announce: made(&[WRITES, include_str!("scripts/announce.lua")]),
            list: made(&[READS, include_str!("scripts/list.lua")]),
        }
    }
}
