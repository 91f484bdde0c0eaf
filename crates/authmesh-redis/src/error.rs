//! Errors, and what each says about state.

use authmesh::ports::PortError;
use redis::{ErrorKind, RedisError, ServerError};

use crate::address::Address;
use crate::link::map::target;

/// Why an adapter could not be made. Nothing runs, and nothing in Redis was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting cannot be right, wherever Redis is.
    #[error("redis.{setting}: {what}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Redis could not be reached in time.
    #[error("{0}")]
    Unavailable(String),
    /// Redis answered, but this node must not work with it: credentials, permissions, version, role, eviction policy.
    #[error("{0}")]
    Refused(String),
}

impl ConnectError {
    pub(crate) fn setting(setting: &'static str, what: impl Into<String>) -> Self {
        Self::Setting {
            setting,
            what: what.into(),
        }
    }
}

impl From<PortError> for ConnectError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Refused(what) => Self::Refused(what),
            PortError::Unavailable(what) | PortError::Unknown(what) | PortError::Full(what) => Self::Unavailable(what),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Why a server did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another server serves the slot. Nothing was done.
    Moved(Address),
    /// The slot is moving, and the keys are at this server already, or belong there. Nothing was done.
    Ask(Address),
    /// The slot is moving, and the keys are in two places. Nothing was done.
    TryAgain,
    /// The server does not know the script. Nothing was done.
    NoScript,
    /// Everything else.
    Failed(Failure),
}

/// What a caller is told, and what it says of the server.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: PortError,
    /// The connection is of no more use.
    pub(crate) broken: bool,
    /// Somebody else may serve the slots of this server by now.
    pub(crate) deposed: bool,
}

impl From<PortError> for Failure {
    /// Nothing was sent.
    fn from(error: PortError) -> Self {
        let deposed = matches!(error, PortError::Unavailable(_));
        Self {
            error,
            broken: false,
            deposed,
        }
    }
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Failed(error.into())
    }
}

/// The code and the text of the first error that Redis answered with, if it answered at all.
fn answer(error: &RedisError) -> Option<(String, String)> {
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    Some((first.code().to_owned(), first.details().unwrap_or_default().to_owned()))
}

/// An error from before any request was sent.
pub(crate) fn connecting(peer: &str, error: &RedisError) -> PortError {
    if let Some((code, details)) = answer(error) {
        return PortError::Refused(refused(&code, &details));
    }
    let why = match error.kind() {
        ErrorKind::AuthenticationFailed => return PortError::Refused(refused("WRONGPASS", "")),
        _ if error.to_string().contains("switch database") => {
            return PortError::Refused(format!(
                "{peer} has no such database, and a Redis Cluster has 0 only: leave the database out of redis.url"
            ));
        }
        ErrorKind::RESP3NotSupported => {
            return PortError::Refused(format!("{peer} speaks no RESP3: Redis 7.0 or newer is needed"));
        }
        _ if error.is_connection_refusal() => "the connection was refused".to_owned(),
        _ if error.is_timeout() => "no answer in time".to_owned(),
        // Words of the operating system or of TLS; neither knows our secrets.
        ErrorKind::Io => error.to_string(),
        _ => error.category().to_owned(),
    };
    PortError::Unavailable(format!("{peer} cannot be reached: {why}"))
}

/// No answer to a request that may have been sent.
pub(crate) fn unanswered(peer: &str, error: &RedisError) -> Failure {
    if let Some((code, details)) = answer(error) {
        // It ends with the connection: while that was being set up.
        return Failure {
            error: PortError::Refused(refused(&code, &details)),
            broken: true,
            deposed: false,
        };
    }
    let why = match error.kind() {
        _ if error.is_timeout() => "gave no answer in time",
        ErrorKind::Io => "went away before it answered",
        _ => "gave an answer that could not be read",
    };
    Failure {
        error: PortError::Unknown(format!("{peer} {why}")),
        broken: true,
        deposed: true,
    }
}

/// An error that a server answered with.
pub(crate) fn answered(address: &Address, error: &ServerError) -> Trouble {
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    let redirected = || details.split(' ').nth(1).and_then(|to| target(address, to));
    let error = match code {
        "MOVED" => match redirected() {
            Some(to) => return Trouble::Moved(to),
            None => PortError::Refused(refused(code, details)),
        },
        "ASK" => match redirected() {
            Some(to) => return Trouble::Ask(to),
            None => PortError::Refused(refused(code, details)),
        },
        "TRYAGAIN" => return Trouble::TryAgain,
        "NOSCRIPT" => return Trouble::NoScript,
        "CLUSTERDOWN" | "MASTERDOWN" => PortError::Unavailable(format!(
            "Redis at {address} is cut off from its cluster, or nobody serves the slot ({code})"
        )),
        "OOM" => PortError::Full(format!(
            "Redis at {address} has reached its maxmemory: raise it, or choose a volatile-* eviction policy"
        )),
        "HALFWAY" => PortError::Unknown(format!(
            "Redis at {address} stopped in the middle of a commit: {}",
            refused_inside(details)
        )),
        _ => PortError::Refused(refused(code, details)),
    };
    Trouble::Failed(Failure {
        error,
        broken: false,
        deposed: matches!(code, "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "LOADING"),
    })
}

/// The error of a command inside a script: its code is the first word of the text.
fn refused_inside(details: &str) -> String {
    let (code, details) = details.split_once(' ').unwrap_or((details, ""));
    refused(code, details)
}

/// What a refusal means and what to do. The text of Redis itself is shown only where it cannot repeat what was sent.
fn refused(code: &str, details: &str) -> String {
    match code {
        "NOAUTH" => "Redis wants to know who asks (NOAUTH): set redis.username and redis.password".into(),
        "WRONGPASS" => {
            "Redis does not accept the user name or password: check redis.username and redis.password".into()
        }
        "NOPERM" => no_permission(details),
        // How 7.0 says NOPERM inside a script. It names no command, and nothing of the request.
        "ERR" if details.starts_with("The user executing the script") => no_permission(details),
        "READONLY" => "this Redis is a replica and takes no writes: connect to the primary".into(),
        "LOADING" => "Redis is still loading its data: wait until it is done".into(),
        "BUSY" => "Redis is busy with a script of somebody else: wait, or end it by SCRIPT KILL".into(),
        "MISCONF" => "Redis stopped writing since it cannot save to disk: see its log".into(),
        "NOREPLICAS" => "Redis stopped writing since replicas are away (min-replicas-to-write)".into(),
        "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" => {
            "Redis sent the request to another node of its cluster without saying which: check cluster-announce-*"
                .into()
        }
        "WRONGTYPE" => {
            "a key of authmesh holds something of another type: somebody else writes there. Delete it".into()
        }
        "BADKEY" => short(details),
        other => format!("Redis answered with the error {}", short(other)),
    }
}

fn no_permission(details: &str) -> String {
    format!(
        "the Redis user lacks a permission ({}): grant it by ACL SETUSER, for the keys and the channels of authmesh",
        short(details)
    )
}

/// A text of Redis, made fit for a line of a log.
fn short(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(160)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io;

    use super::*;

    #[test]
    fn an_error_from_before_the_request_changed_nothing_and_one_after_it_may_have() {
        let refused = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(matches!(connecting("r", &refused), PortError::Unavailable(_)));
        for kind in [
            io::ErrorKind::TimedOut,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
        ] {
            let failure = unanswered("r", &RedisError::from(io::Error::from(kind)));
            assert!(
                matches!(failure.error, PortError::Unknown(_)) && failure.broken,
                "{failure:?}"
            );
        }
    }

    #[test]
    fn a_text_of_the_server_is_shown_only_where_it_cannot_repeat_what_was_sent() {
        assert!(!refused("ERR", "unknown command with args beginning with: 's3cret'").contains("s3cret"));
        assert!(refused("NOPERM", "No permissions to access a channel\r\n").contains("to access a channel)"));
        assert!(refused_inside("NOPERM no xadd").contains("no xadd"));
        assert!(refused_inside("ERR The user executing the script can't run this").contains("lacks a permission"));
    }
}
