//! What an issuer is asked about tokens that are not checked by their signature: credentials, and the settings of
//! [`UpstreamRules`].

use authmesh::{Rules, UpstreamRules};

use super::super::schema::Fallback::{Is, Sdk, Unset};
use super::super::schema::Setting;
use super::super::typed::AuthMethod;
use super::super::units::show_duration;
use super::*;

const DAY: u64 = 24 * HOUR;
const NUMBER: Kind = Kind::Count {
    min: 0,
    max: u32::MAX as u64,
};

/// The defaults of the SDK. What they say of tokens is not looked at.
fn sdk() -> UpstreamRules {
    UpstreamRules::new(Rules::danger_any_audience())
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        path: "issuers[].upstream.endpoint",
        kind: word("a URL", rules::url),
        fallback: Unset {
            example: "https://login.example.com/introspect",
        },
        doc: "Where the issuer is asked. Without it, it is found by discovery.",
    },
    Setting {
        path: "issuers[].upstream.client_id",
        kind: word("a client ID", rules::audience),
        fallback: Unset { example: "orders-api" },
        doc: "As whom the issuer is asked (introspection).",
    },
    Setting {
        path: "issuers[].upstream.client_secret_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-client-secret",
        },
        doc: "File with the client secret and nothing else: visible ASCII characters. Space around it is ignored. It is read at \
              start.",
    },
    Setting {
        path: "issuers[].upstream.client_secret",
        kind: Kind::Secret { least: 1 },
        fallback: Unset { example: "" },
        doc: "The client secret itself. It wins over client_secret_file.",
    },
    Setting {
        path: "issuers[].upstream.auth_method",
        kind: Kind::OneOf(AuthMethod::WORDS),
        fallback: Is("client_secret_basic"),
        doc: "How the client secret is sent: in a header or, for issuers that take it no other way, in the body.",
    },
    Setting {
        path: "issuers[].upstream.private_key_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-client-key.pem",
        },
        doc: "File with the private key that proves who asks, instead of a client secret (private_key_jwt): PEM, or a JWK with its \
              kid. It is read at start.",
    },
    Setting {
        path: "issuers[].upstream.assertion_audience",
        kind: word("an audience", rules::audience),
        fallback: Unset {
            example: "https://login.example.com",
        },
        doc: "With private_key_file: whom the proof is meant for. Without it, the issuer.",
    },
    Setting {
        path: "issuers[].upstream.signed",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether only signed answers are taken (RFC 9701), by a key of the issuer's key set.",
    },
    Setting {
        path: "issuers[].upstream.honour_no_store",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether Cache-Control: no-store of an introspection answer keeps it from being used again. Many issuers put it on every \
              answer, for HTTP caches. A max-age is obeyed in any case.",
    },
    Setting {
        path: "issuers[].upstream.opaque",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether tokens that are no JWT are this issuer's. They do not say whose they are, so one issuer at most can have them.",
    },
    Setting {
        path: "issuers[].upstream.lifetime",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().lifetime)),
        doc: "How long an answer counts: how long a token that the issuer has ended may live on. Never beyond exp. What authmesh \
              revokes is void at once.",
    },
    Setting {
        path: "issuers[].upstream.l2",
        kind: ON_OFF,
        fallback: Sdk(|| sdk().l2.to_string()),
        doc: "Whether answers are shared, sealed, through Redis: one call for the cluster.",
    },
    Setting {
        path: "issuers[].upstream.inactive_lifetime",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().inactive_lifetime)),
        doc: "How long \"inactive\" counts, on the node that was told. \"0s\" asks each time.",
    },
    Setting {
        path: "issuers[].upstream.inactive_cap",
        kind: NUMBER,
        fallback: Sdk(|| sdk().inactive_cap.to_string()),
        doc: "How many inactive tokens are remembered.",
    },
    Setting {
        path: "issuers[].upstream.stale_for",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().stale_for)),
        doc: "How long after its lifetime an answer may be given while the issuer is slow or away; never on a sensitive route. \
              \"0s\" turns it off.",
    },
    Setting {
        path: "issuers[].upstream.soft_timeout",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().soft_timeout)),
        doc: "How long a request for which there is an older answer waits for a new one. The call goes on.",
    },
    Setting {
        path: "issuers[].upstream.hard_timeout",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().hard_timeout)),
        doc: "How long a request without one waits, and the longest that a call takes.",
    },
    Setting {
        path: "issuers[].upstream.calls",
        kind: NUMBER,
        fallback: Sdk(|| sdk().calls.to_string()),
        doc: "Calls at once for tokens that are not known: what a flood of garbage can cause.",
    },
    Setting {
        path: "issuers[].upstream.queue",
        kind: NUMBER,
        fallback: Sdk(|| sdk().queue.to_string()),
        doc: "How many more of them wait. Beyond that they get 503 at once.",
    },
    Setting {
        path: "issuers[].upstream.reserved_calls",
        kind: NUMBER,
        fallback: Sdk(|| sdk().reserved_calls.to_string()),
        doc: "Calls at once for tokens that were active when this node looked last. No garbage takes their place.",
    },
    Setting {
        path: "issuers[].upstream.failures",
        kind: NUMBER,
        fallback: Sdk(|| sdk().failures.to_string()),
        doc: "Failures in a row after which the issuer is left alone, but for one probe at a time.",
    },
    Setting {
        path: "issuers[].upstream.backoff_floor",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().backoff_floor)),
        doc: "The shortest time that it is left alone.",
    },
    Setting {
        path: "issuers[].upstream.backoff_ceiling",
        kind: seconds(0, DAY),
        fallback: Sdk(|| show_duration(sdk().backoff_ceiling)),
        doc: "The longest.",
    },
];
