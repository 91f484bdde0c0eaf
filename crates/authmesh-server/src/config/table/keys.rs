//! When the keys of an issuer are fetched, and how long they are trusted: the settings of [`KeyPolicy`].

use authmesh::KeyPolicy;

use super::super::schema::Fallback::Sdk;
use super::super::schema::Setting;
use super::super::units::show_duration;
use super::*;

/// The longest that any duration here can be. What contradicts each other, `KeyPolicy::check` knows.
const LONGEST: Kind = Kind::Duration {
    min: Duration::ZERO,
    max: KeyPolicy::MAX_TRUST_AGE,
};
const NUMBER: Kind = Kind::Count {
    min: 0,
    max: u32::MAX as u64,
};

const DEFAULT: KeyPolicy = KeyPolicy::DEFAULT;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        path: "issuers[].keys.soft_lifetime",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.soft_lifetime)),
        doc: "Age at which the key set is fetched again, in the background, where the issuer does not say (Cache-Control: \
              max-age).",
    },
    Setting {
        path: "issuers[].keys.lifetime_floor",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.lifetime_floor)),
        doc: "The shortest such age that the issuer can ask for.",
    },
    Setting {
        path: "issuers[].keys.lifetime_ceiling",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.lifetime_ceiling)),
        doc: "The longest such age that the issuer can ask for. It bounds how long a key that the issuer took away stays in use.",
    },
    Setting {
        path: "issuers[].keys.refresh_ahead_percent",
        kind: Kind::Count { min: 0, max: 100 },
        fallback: Sdk(|| DEFAULT.refresh_ahead_percent.to_string()),
        doc: "A refresh begins in the last so many percent of that age, at a random moment, so that nodes do not ask together.",
    },
    Setting {
        path: "issuers[].keys.max_trust_age",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.max_trust_age)),
        doc: "Age beyond which keys are not trusted, however long the issuer is down and whoever restarts.",
    },
    Setting {
        path: "issuers[].keys.confirm_within",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.confirm_within)),
        doc: "A set that did not come from the issuer itself, and not lately, is confirmed within this time by one fetch for the \
              cluster.",
    },
    Setting {
        path: "issuers[].keys.min_interval",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.min_interval)),
        doc: "The least time between two fetches in the cluster, whatever causes them.",
    },
    Setting {
        path: "issuers[].keys.unknown_kid_burst",
        kind: NUMBER,
        fallback: Sdk(|| DEFAULT.unknown_kid_burst.to_string()),
        doc: "How many fetches tokens with an unknown key name (kid) may cause at once on one node.",
    },
    Setting {
        path: "issuers[].keys.unknown_kid_period",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.unknown_kid_period)),
        doc: "How long until one more such fetch is allowed.",
    },
    Setting {
        path: "issuers[].keys.reserve",
        kind: NUMBER,
        fallback: Sdk(|| DEFAULT.reserve.to_string()),
        doc: "How many of the burst are kept for what no attacker can cause: the word of the cluster that there is a newer set.",
    },
    Setting {
        path: "issuers[].keys.absent_lifetime",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.absent_lifetime)),
        doc: "How long a key name that a fresh set did not hold counts as unknown, without another fetch.",
    },
    Setting {
        path: "issuers[].keys.absent_cap",
        kind: Kind::Count { min: 0, max: 1 << 20 },
        fallback: Sdk(|| DEFAULT.absent_cap.to_string()),
        doc: "How many such names are remembered.",
    },
    Setting {
        path: "issuers[].keys.attempts",
        kind: NUMBER,
        fallback: Sdk(|| DEFAULT.attempts.to_string()),
        doc: "How often the issuer is asked before a fetch has failed.",
    },
    Setting {
        path: "issuers[].keys.deadline",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.deadline)),
        doc: "How long all attempts of one fetch may take together; also the longest that a request waits for keys.",
    },
    Setting {
        path: "issuers[].keys.backoff_floor",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.backoff_floor)),
        doc: "Mean wait after a first failure; it doubles with each further one, with full jitter.",
    },
    Setting {
        path: "issuers[].keys.backoff_ceiling",
        kind: LONGEST,
        fallback: Sdk(|| show_duration(DEFAULT.backoff_ceiling)),
        doc: "The longest such wait, and the most that a Retry-After of the issuer is obeyed.",
    },
    Setting {
        path: "issuers[].keys.open_after",
        kind: NUMBER,
        fallback: Sdk(|| DEFAULT.open_after.to_string()),
        doc: "After so many failed fetches in a row the issuer is only probed, one attempt at a time.",
    },
    Setting {
        path: "issuers[].keys.refuse_changed_keys",
        kind: ON_OFF,
        fallback: Sdk(|| DEFAULT.refuse_changed_keys.to_string()),
        doc: "Refuse a key that appears under the name (kid) of another one, as long as the node remembers that one.",
    },
];
