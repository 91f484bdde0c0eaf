//! Settings of routes, the log, telemetry and the options that weaken a rule.

use super::super::schema::Fallback::{Computed, Is, Required, Unset};
use super::super::schema::Setting;
use super::super::telemetry;
use super::super::typed::{Access, Level, LogFormat};
use super::*;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        path: "routes[].host",
        kind: word("a host name", rules::host),
        fallback: Unset {
            example: "api.example.com",
        },
        doc: "Exact host name in lower case, without a port. Without it any host matches.",
    },
    Setting {
        path: "routes[].path",
        kind: word("a path", rules::route_path),
        fallback: Required {
            why: "name the prefix of the paths that this route covers, such as \"/admin\", or \"/\" for all.",
            unless: None,
            example: "/admin",
        },
        doc: "Prefix of the path, by whole segments: \"/admin\" covers /admin and /admin/users, not /administrator.",
    },
    Setting {
        path: "routes[].methods",
        kind: words("methods", 0, 32, rules::method),
        fallback: Is(""),
        doc: "Methods that this route covers. An empty list covers all.",
    },
    Setting {
        path: "routes[].access",
        kind: Kind::OneOf(Access::WORDS),
        fallback: Is("authenticated"),
        doc: "\"authenticated\" asks for a valid token. \"public\" lets everybody pass and looks at no token.",
    },
    Setting {
        path: "routes[].scopes",
        kind: SCOPES,
        fallback: Is(""),
        doc: "Scopes that the token must all have.",
    },
    Setting {
        path: "routes[].any_scope",
        kind: SCOPES,
        fallback: Is(""),
        doc: "Scopes of which the token must have at least one.",
    },
    Setting {
        path: "routes[].sensitive",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether a node that may have missed a revocation must refuse: the same as when_blind = \"deny\".",
    },
    Setting {
        path: "routes[].when_blind",
        kind: Kind::WhenBlind,
        fallback: Computed {
            words: "\"serve 5m\", or \"deny\" where sensitive = true",
            example: "serve 1m",
            value: |around| if around.sensitive { "deny" } else { "serve 5m" }.to_owned(),
        },
        doc: "What a node does that may have missed a revocation: refuse, or go on from memory for a limited time.",
    },
    Setting {
        path: "routes[].max_age",
        kind: seconds(0, 24 * HOUR),
        fallback: Unset { example: "30s" },
        doc: "The signature and the revocations must have been checked within this time. \"0s\" checks for every request.",
    },
    Setting {
        path: "routes[].audience",
        kind: words("audiences", 0, 64, rules::audience),
        fallback: Is(""),
        doc: "Audiences of which the token must name one, narrower than the issuer's. An empty list adds no demand.",
    },
    Setting {
        path: "log.level",
        kind: Kind::OneOf(Level::WORDS),
        fallback: Is("info"),
        doc: "Least level that is written.",
    },
    Setting {
        path: "log.format",
        kind: Kind::OneOf(LogFormat::WORDS),
        fallback: Is("text"),
        doc: "Form of a line: for people, or one JSON object.",
    },
    Setting {
        path: "telemetry.endpoint",
        kind: word("a URL", telemetry::collector),
        fallback: Unset {
            example: "http://otel-collector:4318",
        },
        doc: "Where a collector takes OTLP over HTTP (protobuf): traces go to /v1/traces below it, metrics to /v1/metrics. Without \
              it, OTEL_EXPORTER_OTLP_ENDPOINT and its likes count; without those nothing is sent. Credentials stand in \
              OTEL_EXPORTER_OTLP_HEADERS only.",
    },
    Setting {
        path: "telemetry.traces",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether traces are sent: of misses and slow paths, never of a hit.",
    },
    Setting {
        path: "telemetry.metrics",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether metrics are sent too. /metrics has them in any case.",
    },
    Setting {
        path: "telemetry.sample",
        kind: word("a share from 0 to 1", telemetry::share),
        fallback: Unset { example: "0.1" },
        doc: "Share of the traces that begin here and are kept; those that a caller began are kept or not as the caller decided. \
              Without it, OTEL_TRACES_SAMPLER counts, and without that all are kept.",
    },
    Setting {
        path: "telemetry.service_name",
        kind: word("a name", telemetry::label),
        fallback: Unset { example: "orders-auth" },
        doc: "The attribute service.name. Without it, OTEL_SERVICE_NAME, and without that \"authmesh\".",
    },
    Setting {
        path: "telemetry.attributes",
        kind: words("attributes, each \"name=value\",", 0, 64, telemetry::attribute),
        fallback: Is(""),
        doc: "Further attributes of the resource, such as \"deployment.environment.name=prod\". Those of \
              OTEL_RESOURCE_ATTRIBUTES are taken too.",
    },
    Setting {
        path: "telemetry.propagate",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether requests to issuers carry the trace context (traceparent, tracestate); never baggage.",
    },
    Setting {
        path: "telemetry.ca_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/etc/ssl/collector-ca.pem",
        },
        doc: "PEM file of root certificates that may sign the collector's, in addition to those of this machine.",
    },
    Setting {
        path: "danger.any_audience",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Issuers may go without an audience. A token that was made for any other service is then accepted here.",
    },
    Setting {
        path: "danger.without_issued_at",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Tokens without iat are accepted of issuers that are asked about them; userinfo names none for opaque tokens. How \
              long a revocation has to be kept to cover such a token is not known.",
    },
    Setting {
        path: "danger.allow_http",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Issuers and key sets may be asked over plain HTTP. Whoever sits on the wire can then forge tokens.",
    },
    Setting {
        path: "danger.any_eviction_policy",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "A Redis may be used whose maxmemory-policy evicts any key. It may then forget a revocation, and a node that \
              starts later never hears of it.",
    },
];
