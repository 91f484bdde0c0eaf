//! Settings of issuers, but for their keys and what they are asked about tokens.

use super::super::schema::Fallback::{Is, Required, Unset};
use super::super::schema::Setting;
use super::super::typed::Validate;
use super::*;

const PARAMETER: Kind = word("a value of the preset", rules::preset_value);

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        path: "issuers[].url",
        kind: word("a URL", rules::issuer_url),
        fallback: Required {
            why: "name the issuer exactly as its tokens do in \"iss\", such as \"https://login.example.com\", or a preset.",
            unless: None,
            example: "https://login.example.com",
        },
        doc: "The issuer, byte for byte as its tokens name it in \"iss\", a slash at the end included.",
    },
    Setting {
        path: "issuers[].validate",
        kind: Kind::OneOf(Validate::WORDS),
        fallback: Is("signature"),
        doc: "How its tokens are checked: by their \"signature\", here, or by asking the issuer about each, by \"introspection\" \
              (RFC 7662) or at its \"userinfo\" endpoint. Answers are cached.",
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
        path: "issuers[].require_bound",
        kind: ON_OFF,
        fallback: Is("false"),
        doc: "Whether every token must be bound to a key (DPoP) or a client certificate (mutual TLS), so that a stolen one is worth \
              nothing. Otherwise one that is bound to nothing is a bearer token.",
    },
    Setting {
        path: "issuers[].preset.name",
        kind: word("the name of a preset", rules::preset_value),
        fallback: Unset { example: "auth0" },
        doc: "What is known of a provider, in place of url and rules: `authmesh presets` lists them with their parameters. What is \
              set beside it wins.",
    },
    Setting {
        path: "issuers[].preset.issuer",
        kind: PARAMETER,
        fallback: Unset {
            example: "https://login.example.com",
        },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.tenant",
        kind: PARAMETER,
        fallback: Unset {
            example: "acme.eu.auth0.com",
        },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.domain",
        kind: PARAMETER,
        fallback: Unset {
            example: "acme.okta.com",
        },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.server",
        kind: PARAMETER,
        fallback: Unset { example: "default" },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.realm",
        kind: PARAMETER,
        fallback: Unset { example: "prod" },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.region",
        kind: PARAMETER,
        fallback: Unset {
            example: "eu-central-1",
        },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.pool",
        kind: PARAMETER,
        fallback: Unset {
            example: "eu-central-1_AbCdEf123",
        },
        doc: "A parameter of the preset, where it has one of that name.",
    },
    Setting {
        path: "issuers[].preset.frontend_api",
        kind: PARAMETER,
        fallback: Unset {
            example: "clerk.acme.com",
        },
        doc: "A parameter of the preset, where it has one of that name.",
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
];
