//! The options that say what a revocation is about.

use std::ffi::OsString;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Map, Value};

use super::io::{Failure, Io};
use super::text::plain;

/// The most values in one command: as many as the node takes in one batch.
const MAX_VALUES: usize = 1000;

/// What is revoked, or asked about. One option; values of it may be repeated.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct TargetArgs {
    /// Every token of this subject (`sub`); may be repeated
    #[arg(long, value_name = "SUB", value_parser = NonEmptyStringValueParser::new())]
    subject: Vec<String>,
    /// Every token of this session (`sid`); may be repeated
    #[arg(long, value_name = "SID", value_parser = NonEmptyStringValueParser::new())]
    session: Vec<String>,
    /// The token with this ID (`jti`); may be repeated
    #[arg(long, value_name = "JTI", value_parser = NonEmptyStringValueParser::new())]
    jti: Vec<String>,
    /// Every token of this client (`client_id`, else `azp`); may be repeated
    #[arg(long, value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
    client: Vec<String>,
    /// Every token that this key signed, by its name in the issuer's present key set; may be repeated
    #[arg(long, value_name = "KID", value_parser = NonEmptyStringValueParser::new())]
    kid: Vec<String>,
    /// The same, by the SHA-256 thumbprint of the key (RFC 7638, base64url); may be repeated
    #[arg(long, value_name = "THUMBPRINT", value_parser = NonEmptyStringValueParser::new())]
    thumbprint: Vec<String>,
    /// Every token of the issuer
    #[arg(long)]
    whole_issuer: bool,
    /// `-`: the one token on standard input
    #[arg(long, value_name = "-")]
    pub(super) token: Option<OsString>,
}

/// One thing that is revoked or asked about.
pub(super) struct Target<'a> {
    /// The member of the request that names it.
    pub(super) what: &'static str,
    value: Option<&'a str>,
}

impl TargetArgs {
    /// The targets, in the order of the command line; none for a token, which is on standard input.
    pub(super) fn all(&self) -> Result<Vec<Target<'_>>, Failure> {
        if self.whole_issuer {
            return Ok(vec![Target {
                what: "whole_issuer",
                value: None,
            }]);
        }
        let named = [
            ("subject", &self.subject),
            ("session", &self.session),
            ("jti", &self.jti),
            ("client", &self.client),
            ("kid", &self.kid),
            ("thumbprint", &self.thumbprint),
        ];
        let all: Vec<Target<'_>> = named
            .into_iter()
            .flat_map(|(what, values)| values.iter().map(move |value| (what, value)))
            .map(|(what, value)| Target {
                what,
                value: Some(value),
            })
            .collect();
        if all.len() > MAX_VALUES {
            return Err(Failure::said(format!(
                "there are more than {MAX_VALUES} values: give them in several commands"
            )));
        }
        Ok(all)
    }
}

impl Target<'_> {
    /// Whether it stands for tokens of many people.
    pub(super) fn is_wide(&self) -> bool {
        matches!(self.what, "client" | "kid" | "thumbprint" | "whole_issuer")
    }

    /// The beginning of the request's body.
    pub(super) fn body(&self) -> Map<String, Value> {
        let value = self.value.map_or(Value::Bool(true), Value::from);
        Map::from_iter([(self.what.to_owned(), value)])
    }

    /// Its own name, where the command line tells it.
    pub(super) fn name<'a>(&'a self, issuer: Option<&'a str>) -> Option<&'a str> {
        self.value.or(issuer)
    }

    /// `client c1`, for people.
    pub(super) fn words(&self) -> String {
        match (self.what, self.value) {
            ("kid" | "thumbprint", Some(value)) => format!("signing key {}", plain(value)),
            (what, Some(value)) => format!("{what} {}", plain(value)),
            (_, None) => "whole issuer".to_owned(),
        }
    }
}

/// The token on standard input; `Err` inside is the sentence to refuse with.
pub(super) fn token_from(io: &mut Io<'_>) -> Result<Result<String, &'static str>, Failure> {
    let text = io
        .read_token()?
        .ok()
        .and_then(|token| token.as_text().map(str::to_owned))
        .filter(|text| !text.is_empty());
    Ok(text.ok_or("standard input holds no token"))
}
