//! The table of settings: the one place where a setting, its default, its limits and its meaning stand.
//!
//! | file | settings of |
//! | --- | --- |
//! | `node` | the node itself: `cluster`, `server`, `possession`, `admin`, `logout`, `redis`, `gossip`, `marks`, `cache` |
//! | `issuers` | issuers: who, how they are asked, their presets |
//! | `keys` | when an issuer's keys are fetched |
//! | `upstream` | what an issuer is asked about tokens |
//! | `rest` | `routes`, `log`, `telemetry`, `danger` |

mod issuers;
mod keys;
mod node;
mod rest;
mod upstream;

use std::time::Duration;

use super::kind::Kind;
use super::rules;
use super::schema::Setting;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 3600;

const ON_OFF: Kind = Kind::Bool;
const HEADER: Kind = Kind::Word {
    what: "a header name, or nothing to turn it off,",
    rule: rules::header_name,
};
const SCOPES: Kind = words("scopes", 0, 64, rules::scope);

const fn seconds(min: u64, max: u64) -> Kind {
    millis(min * 1000, max * 1000)
}

const fn millis(min: u64, max: u64) -> Kind {
    Kind::Duration {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    }
}

const fn word(what: &'static str, rule: fn(&str) -> rules::Verdict) -> Kind {
    Kind::Word { what, rule }
}

const fn words(what: &'static str, min: usize, max: usize, rule: fn(&str) -> rules::Verdict) -> Kind {
    Kind::Words { what, min, max, rule }
}

/// Its parts, in the order of the file.
const PARTS: &[&[Setting]] = &[
    node::SETTINGS,
    issuers::SETTINGS,
    keys::SETTINGS,
    upstream::SETTINGS,
    rest::SETTINGS,
];

const COUNT: usize = {
    let (mut part, mut count) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// Every setting, in the order of the file. Settings of one section stand together.
pub(super) static SETTINGS: &[Setting] = &{
    let mut all = [PARTS[0][0]; COUNT];
    let (mut part, mut filled) = (0, 0);
    while part < PARTS.len() {
        let mut at = 0;
        while at < PARTS[part].len() {
            all[filled] = PARTS[part][at];
            filled += 1;
            at += 1;
        }
        part += 1;
    }
    all
};
