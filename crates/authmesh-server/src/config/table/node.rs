//! Settings of the node itself: who it is, where it listens, whom it belongs to, what it keeps.

use super::super::schema::Fallback::{Computed, Is, Unset};
use super::super::schema::Setting;
use super::super::{Secret, gossip, redis};
use super::*;

pub(super) const SETTINGS: &[Setting] = &[
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
        path: "possession.dpop",
        kind: ON_OFF,
        fallback: Is("true"),
        doc: "Whether tokens that are bound to a key are taken, each with its DPoP proof. They are never bearer tokens.",
    },
    Setting {
        path: "possession.window",
        kind: seconds(1, 300),
        fallback: Is("60s"),
        doc: "How old a proof may be. It counts once on each node.",
    },
    Setting {
        path: "possession.require_nonce",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether a proof must hold a nonce of this cluster. Nobody can make proofs in advance then; a client sends its first \
              request twice.",
    },
    Setting {
        path: "possession.nonce_lifetime",
        kind: seconds(10, HOUR),
        fallback: Is("60s"),
        doc: "How long a nonce is handed out; it is taken for as long again. Equal on every node.",
    },
    Setting {
        path: "possession.origins",
        kind: words("URLs", 0, 16, rules::origin),
        fallback: Is(""),
        doc: "Where clients reach the services behind the proxies, such as \"https://api.example.com\". A proof for another origin is \
              refused. An empty list takes the proxy's word: it must not repeat a Host that the client made up.",
    },
    Setting {
        path: "possession.client_cert_header",
        kind: word("a header name", rules::header_name),
        fallback: Unset {
            example: "X-Client-Cert",
        },
        doc: "Header in which the proxy tells the client's certificate: as RFC 9440 says, or PEM with percent-encoding (nginx's \
              $ssl_client_escaped_cert). The proxy must overwrite it. Without it, tokens that are bound to a certificate are refused.",
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
        kind: Kind::Secret {
            least: Secret::MIN_BYTES,
        },
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
        doc: "Memory for verdicts, with all their bookkeeping. One takes about 700 bytes and its claims.",
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
];
