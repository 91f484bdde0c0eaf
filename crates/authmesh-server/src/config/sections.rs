//! The sections of the file, in its order.

use super::schema::{Group, Section};

/// Sections that may stand several times.
pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "issuers",
        min: 1,
        max: 512,
        advice: "is missing: without an issuer no token can be accepted. Add a section [[issuers]] with url and \
                 audience, or set AUTHMESH_ISSUERS_0_URL and AUTHMESH_ISSUERS_0_AUDIENCE.",
    },
    Group {
        name: "routes",
        min: 0,
        max: 256,
        advice: "",
    },
];

/// Sections, in the order of the file.
pub(super) static SECTIONS: &[Section] = &[
    Section {
        path: "cluster",
        doc: "Who this node is.",
    },
    Section {
        path: "server",
        doc: "The listener that proxies ask (forward auth), with health and metrics.",
    },
    Section {
        path: "server.headers",
        doc: "Names of the identity headers of an answer. All of them are always sent, empty where the token has no \
              such claim, so that a client cannot smuggle its own through the proxy. \"\" turns one off.",
    },
    Section {
        path: "possession",
        doc: "Tokens that are bound to a key or a client certificate of their holder (DPoP, RFC 9449; mutual TLS, RFC 8705). Each is \
              verified and cached like any other, and needs its proof on every request.",
    },
    Section {
        path: "admin",
        doc: "The admin API: revocation, statistics, health. It is off where no credential is set. The credential comes \
              from token_file or from AUTHMESH_ADMIN_TOKEN, never from this file.",
    },
    Section {
        path: "logout",
        doc: "The listener to which issuers post logout tokens (OpenID Connect Back-Channel Logout 1.0), at \
              /backchannel-logout. It is off where listen is empty, and takes those of the issuers that have \
              logout.client_ids. Let only the issuers reach it.",
    },
    Section {
        path: "redis",
        doc: "Redis, which makes nodes one cluster: a revocation through one is known to all, and an issuer is asked once for \
              all. Without url, and without gossip, each node stands alone. `authmesh doctor` checks a Redis.",
    },
    Section {
        path: "gossip",
        doc: "Gossip: nodes talk to each other directly, and stay one cluster while Redis is away, or without any. Without bind it is \
              off. It needs one port, open by UDP and TCP between all nodes.",
    },
    Section {
        path: "marks",
        doc: "Revocations.",
    },
    Section {
        path: "cache",
        doc: "Sizes and ages of what is kept in memory.",
    },
    Section {
        path: "issuers[]",
        doc: "Whose tokens are accepted: one section for each issuer. In variables, issuers are numbered from 0.",
    },
    Section {
        path: "issuers[].preset",
        doc: "A provider that is known: its name, and what is particular to you. `authmesh presets` lists the names and their \
              parameters.",
    },
    Section {
        path: "issuers[].http",
        doc: "How the issuer is asked.",
    },
    Section {
        path: "issuers[].logout",
        doc: "The issuer's logout tokens. They are taken where client_ids is set.",
    },
    Section {
        path: "issuers[].keys",
        doc: "When the issuer's keys are fetched, and how long they are trusted.",
    },
    Section {
        path: "issuers[].upstream",
        doc: "How the issuer is asked about tokens, where validate is not \"signature\". Secrets stand in files or variables only.",
    },
    Section {
        path: "routes[]",
        doc: "What paths demand. The first section that matches wins; where none matches, a valid token is enough.",
    },
    Section {
        path: "log",
        doc: "Logging.",
    },
    Section {
        path: "telemetry",
        doc: "OpenTelemetry: traces and metrics for a collector, by OTLP over HTTP. OTEL_ variables count where a setting is not \
              given; OTEL_SDK_DISABLED=true turns it off.",
    },
    Section {
        path: "danger",
        doc: "Options that weaken a rule. Leave them alone in production.",
    },
];
