//! The table of settings: the one place where a setting, its default, its limits and its meaning stand.

use std::time::Duration;

use super::gossip;
use super::kind::Kind;
use super::redis;
use super::rules;
use super::schema::Fallback::{Computed, Is, Required, Unset};
use super::schema::Setting;
use super::typed::{Access, Level, LogFormat};

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

/// Every setting, in the order of the file. Settings of one section stand together.
pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        path: "cluster.name",
        kind: word(
            "a name of 1 to 64 lower-case letters, digits and \"-\"",
            rules::cluster_name,
        ),
        fallback: Is("authmesh"),
        doc: "Name of the cluster. Nodes with the same name and the same key ring belong together.",
    },
    Setting {
        path: "cluster.node",
        kind: word(
            "a name of 1 to 64 letters, digits, \".\", \"_\" and \"-\"",
            rules::node_name,
        ),
        fallback: Computed {
            words: "the name of this host, else \"node\"",
            example: "node-1",
            value: |around| around.host_name.to_owned(),
        },
        doc: "Name of this node in logs, metrics and receipts.",
    },
    Setting {
        path: "cluster.key_ring_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-keyring",
        },
        doc: "File with the keys that seal what leaves the process, the same on every node: `authmesh keyring generate` \
              makes one. It is read again when it changes, and on SIGHUP. Without it a ring is made at start and \
              forgotten at the end, which is fine while nothing is shared between nodes.",
    },
    Setting {
        path: "server.listen",
        kind: Kind::Address { off: false },
        fallback: Is("127.0.0.1:8400"),
        doc: "Where proxies ask. Do not expose it to clients.",
    },
    Setting {
        path: "server.cookie",
        kind: word("a cookie name", rules::cookie_name),
        fallback: Unset { example: "auth_token" },
        doc: "Name of a cookie that may carry the token where there is no Authorization header. Without it cookies are \
              not looked at. Protect such a site against cross-site requests.",
    },
    Setting {
        path: "server.explain",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether answers carry X-Authmesh-* headers: outcome, age, issuer, key generation.",
    },
    Setting {
        path: "server.drain",
        kind: seconds(0, 600),
        fallback: Is("5s"),
        doc: "How long requests may take to end once the server was told to stop.",
    },
    Setting {
        path: "server.max_connections",
        kind: Kind::Count { min: 1, max: 1_000_000 },
        fallback: Is("10000"),
        doc: "Connections at one time. More wait to be accepted.",
    },
    Setting {
        path: "server.request_timeout",
        kind: millis(100, 300_000),
        fallback: Is("10s"),
        doc: "Limit for one request, from its first byte to the answer.",
    },
    Setting {
        path: "server.headers.subject",
        kind: HEADER,
        fallback: Is("X-Auth-Subject"),
        doc: "The subject (sub).",
    },
    Setting {
        path: "server.headers.issuer",
        kind: HEADER,
        fallback: Is("X-Auth-Issuer"),
        doc: "The issuer (iss).",
    },
    Setting {
        path: "server.headers.client",
        kind: HEADER,
        fallback: Is("X-Auth-Client"),
        doc: "The client (client_id or azp).",
    },
    Setting {
        path: "server.headers.scopes",
        kind: HEADER,
        fallback: Is("X-Auth-Scopes"),
        doc: "The scopes, separated by spaces.",
    },
    Setting {
        path: "server.headers.session",
        kind: HEADER,
        fallback: Is("X-Auth-Session"),
        doc: "The session (sid).",
    },
    Setting {
        path: "server.headers.email",
        kind: HEADER,
        fallback: Is("X-Auth-Email"),
        doc: "The e-mail address (email).",
    },
    Setting {
        path: "server.headers.expires",
        kind: HEADER,
        fallback: Is("X-Auth-Expires"),
        doc: "The end of validity (exp).",
    },
    Setting {
        path: "admin.listen",
        kind: Kind::Address { off: true },
        fallback: Is("127.0.0.1:8500"),
        doc: "Where operators ask. It speaks plain HTTP: keep it on this machine, or behind something that adds TLS.",
    },
    Setting {
        path: "admin.token_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-admin-token",
        },
        doc: "File with the admin credential and nothing else: 16 to 4096 visible ASCII characters. Space around it is \
              ignored.",
    },
    Setting {
        path: "admin.token",
        kind: Kind::Secret,
        fallback: Unset { example: "" },
        doc: "The admin credential itself. It wins over token_file.",
    },
    Setting {
        path: "logout.listen",
        kind: Kind::Address { off: true },
        fallback: Is(""),
        doc: "Where issuers post logout tokens. It speaks plain HTTP: put TLS in front.",
    },
    Setting {
        path: "logout.max_connections",
        kind: Kind::Count { min: 1, max: 10_000 },
        fallback: Is("256"),
        doc: "Connections at one time. More wait to be accepted.",
    },
    Setting {
        path: "logout.max_concurrent",
        kind: Kind::Count { min: 1, max: 10_000 },
        fallback: Is("64"),
        doc: "Logout requests at one time. More are answered with 429.",
    },
    Setting {
        path: "logout.per_second",
        kind: Kind::Count { min: 1, max: 100_000 },
        fallback: Is("100"),
        doc: "Logout requests per second, on average. More are answered with 429.",
    },
    Setting {
        path: "logout.burst",
        kind: Kind::Count { min: 1, max: 100_000 },
        fallback: Is("200"),
        doc: "Logout requests at once, after a quiet time.",
    },
    Setting {
        path: "redis.url",
        kind: words("URLs", 0, 16, redis::url),
        fallback: Unset {
            example: "rediss://redis.example.com:6379",
        },
        doc: "Where Redis is: redis://HOST:PORT, or rediss://HOST:PORT for TLS. Of a Redis Cluster name several nodes; the \
              others are found through them. Version 7.0 at least, or Valkey 7.2.",
    },
    Setting {
        path: "redis.username",
        kind: word("a user name", redis::username),
        fallback: Unset { example: "authmesh" },
        doc: "The ACL user. Without it, Redis' user \"default\".",
    },
    Setting {
        path: "redis.password_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-redis-password",
        },
        doc: "File with the password and nothing else, at most 4,096 bytes. It is read at each new connection, so that a \
              password can be changed. A line break at its end is ignored.",
    },
    Setting {
        path: "redis.ca_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/etc/ssl/redis-ca.pem",
        },
        doc: "PEM file with the root certificates that may sign Redis' own, instead of those of this machine.",
    },
    Setting {
        path: "redis.client_cert_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-redis.crt",
        },
        doc: "PEM file with the certificate that this node shows to Redis (mutual TLS). Goes with client_key_file.",
    },
    Setting {
        path: "redis.client_key_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/run/secrets/authmesh-redis.key",
        },
        doc: "PEM file with the private key of client_cert_file.",
    },
    Setting {
        path: "redis.prefix",
        kind: word(
            "a name of 1 to 64 letters, digits, \".\", \"_\" and \"-\"",
            rules::node_name,
        ),
        fallback: Is("authmesh"),
        doc: "What every key in Redis begins with; the same on every node. Clusters with other names may share it.",
    },
    Setting {
        path: "redis.connect_timeout",
        kind: millis(10, 60_000),
        fallback: Is("1s"),
        doc: "Limit for a connection to Redis, TLS and the check of the server included.",
    },
    Setting {
        path: "redis.response_timeout",
        kind: millis(10, 60_000),
        fallback: Is("1s"),
        doc: "Limit for an answer of Redis.",
    },
    Setting {
        path: "redis.log_entries",
        kind: Kind::Count {
            min: 128,
            max: 1_000_000,
        },
        fallback: Is("4096"),
        doc: "Entries that each of the 64 logs keeps. A node that was away for longer loads all revocations anew.",
    },
    Setting {
        path: "gossip.bind",
        kind: Kind::Address { off: true },
        fallback: Unset {
            example: "0.0.0.0:7946",
        },
        doc: "Where this node listens for the others, by UDP and TCP alike; what it sends leaves from here. Without it, or where \
              it is \"\", gossip is off.",
    },
    Setting {
        path: "gossip.advertise",
        kind: Kind::Address { off: true },
        fallback: Unset {
            example: "10.0.0.7:7946",
        },
        doc: "Where others reach this node, if that is not where it listens; port 0 stands for the port of bind. Without it, the \
              address that this machine would write to a seed from.",
    },
    Setting {
        path: "gossip.seeds",
        kind: words("host names or addresses with a port", 0, 64, gossip::seed),
        fallback: Is(""),
        doc: "Where other nodes may be: HOST:PORT each. A host name stands for all its addresses, as that of a headless service \
              does, and is looked up again while few are found. The node's own address may be among them. With Redis no seed is \
              needed: members are found by their registration.",
    },
    Setting {
        path: "gossip.expect",
        kind: Kind::Count { min: 1, max: 1024 },
        fallback: Unset { example: "3" },
        doc: "Without Redis: how many nodes found the cluster, this one included. None of them is coherent before so many have found \
              each other; later ones join those. The same on every node.",
    },
    Setting {
        path: "gossip.probe_period",
        kind: millis(50, 60_000),
        fallback: Is("1s"),
        doc: "How often this node probes a member. Shorter finds a dead one sooner and costs more packets.",
    },
    Setting {
        path: "gossip.probe_rtt",
        kind: millis(5, 59_999),
        fallback: Is("300ms"),
        doc: "How long the direct answer to a probe may take; the rest of the period others probe on this node's behalf. Less than \
              probe_period.",
    },
    Setting {
        path: "gossip.suspicion",
        kind: millis(50, 600_000),
        fallback: Is("3s"),
        doc: "How long a suspect may take to speak up before it is given up. At least probe_period.",
    },
    Setting {
        path: "marks.snapshot",
        kind: word("an absolute path", rules::absolute_path),
        fallback: Unset {
            example: "/var/lib/authmesh/marks",
        },
        doc: "File in which this node keeps all revocations, sealed with the key ring, for its next start. With it they \
              come back even where Redis was emptied while no node ran. Every node needs one of its own. It is written a \
              second after a change (with very many of them at most 30 seconds), and takes about 100 bytes for each.",
    },
    Setting {
        path: "cache.verdict_bytes",
        kind: Kind::Size {
            min: MIB,
            max: 64 * GIB,
        },
        fallback: Is("64MiB"),
        doc: "Memory for verdicts. A verdict takes about 200 bytes and its claims.",
    },
    Setting {
        path: "cache.entry_bytes",
        kind: Kind::Size {
            min: MIB,
            max: 64 * GIB,
        },
        fallback: Is("64MiB"),
        doc: "Memory for all other entries.",
    },
    Setting {
        path: "cache.max_token_bytes",
        kind: Kind::Size { min: KIB, max: MIB },
        fallback: Is("16KiB"),
        doc: "The longest token that is looked at. A longer one is refused before any work.",
    },
    Setting {
        path: "cache.max_verdict_age",
        kind: seconds(1, 24 * HOUR),
        fallback: Is("5m"),
        doc: "How long a verdict may be served without a new check of the signature; never beyond exp. Revocation, \
              expiry and key changes count at once whatever stands here.",
    },
    Setting {
        path: "issuers[].url",
        kind: word("a URL", rules::issuer_url),
        fallback: Required {
            why: "name the issuer exactly as its tokens do in \"iss\", such as \"https://login.example.com\".",
            unless: None,
            example: "https://login.example.com",
        },
        doc: "The issuer, byte for byte as its tokens name it in \"iss\", a slash at the end included.",
    },
    Setting {
        path: "issuers[].audience",
        kind: words("audiences", 0, 64, rules::audience),
        fallback: Required {
            why: "a token for any service would be accepted. Name your audience, or set danger.any_audience = true.",
            unless: Some("danger.any_audience"),
            example: "orders-api",
        },
        doc: "Your service's name at the issuer. A token must name one of these in \"aud\".",
    },
    Setting {
        path: "issuers[].jwks_url",
        kind: word("a URL", rules::url),
        fallback: Unset {
            example: "https://login.example.com/keys",
        },
        doc: "Where the key set is. Without it, it is found by discovery (/.well-known/openid-configuration).",
    },
    Setting {
        path: "issuers[].algorithms",
        kind: words("algorithm names", 1, 9, rules::algorithm),
        fallback: Is("RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA"),
        doc: "Accepted signature algorithms. Unsigned (none) and symmetric (HS*) tokens are never accepted.",
    },
    Setting {
        path: "issuers[].typ",
        kind: words("media types", 0, 16, rules::typ),
        fallback: Is(""),
        doc: "Accepted values of the \"typ\" header. An empty list accepts \"JWT\", \"at+jwt\" and none at all. Name \
              \"at+jwt\" alone to accept access tokens (RFC 9068) and refuse ID tokens.",
    },
    Setting {
        path: "issuers[].leeway",
        kind: seconds(0, 300),
        fallback: Is("30s"),
        doc: "Tolerance for the issuer's clock in exp, nbf and iat.",
    },
    Setting {
        path: "issuers[].max_token_lifetime",
        kind: seconds(60, 168 * HOUR),
        fallback: Is("24h"),
        doc: "The longest span from iat to exp. Longer-lived tokens are refused, since a revocation must outlive them.",
    },
    Setting {
        path: "issuers[].required_claims",
        kind: words("claim names", 0, 64, rules::claim_name),
        fallback: Is(""),
        doc: "Claims that every token must carry, beyond those that are always required.",
    },
    Setting {
        path: "issuers[].keys.soft_lifetime",
        kind: seconds(30, 24 * HOUR),
        fallback: Is("10m"),
        doc: "Age at which the key set is fetched again, in the background.",
    },
    Setting {
        path: "issuers[].keys.max_trust_age",
        kind: seconds(31, 168 * HOUR),
        fallback: Is("24h"),
        doc: "Age beyond which keys are not trusted, even while the issuer is down. More than soft_lifetime.",
    },
    Setting {
        path: "issuers[].http.connect_timeout",
        kind: millis(50, 60_000),
        fallback: Is("2s"),
        doc: "Limit for a connection to the issuer, TLS included.",
    },
    Setting {
        path: "issuers[].http.total_timeout",
        kind: millis(50, 60_000),
        fallback: Is("5s"),
        doc: "Limit for a whole request to the issuer, connection and body included.",
    },
    Setting {
        path: "issuers[].http.ca_file",
        kind: Kind::File,
        fallback: Unset {
            example: "/etc/ssl/private-ca.pem",
        },
        doc: "PEM file with root certificates to trust in addition, for an issuer behind a private authority.",
    },
    Setting {
        path: "issuers[].logout.client_ids",
        kind: words("client IDs", 0, 64, rules::audience),
        fallback: Is(""),
        doc: "The client_id under which your application is registered with the issuer. A logout token must name one of these \
              in \"aud\". An empty list takes no logout token of the issuer.",
    },
    Setting {
        path: "issuers[].logout.require_typ",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether a logout token must have the \"typ\" \"logout+jwt\". Otherwise \"JWT\" and none at all are accepted too, \
              since some issuers send them. Turn it on where yours sends the type.",
    },
    Setting {
        path: "issuers[].logout.require_exp",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether a logout token must have an \"exp\", as the specification asks. Otherwise one without counts for 2 minutes \
              from its \"iat\". Turn it off where your issuer sends none.",
    },
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
        path: "danger.any_audience",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Issuers may go without an audience. A token that was made for any other service is then accepted here.",
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
