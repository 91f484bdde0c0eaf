//! Errors, and what each says about state.

use authmesh::ports::PortError;
use redis::{ErrorKind, RedisError};

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

/// An error of a request that may have been sent, and whether its connection is of no more use.
pub(crate) fn asking(peer: &str, error: &RedisError) -> (PortError, bool) {
    let Some((code, details)) = answer(error) else {
        let why = match error.kind() {
            _ if error.is_timeout() => "gave no answer in time",
            ErrorKind::Io => "went away before it answered",
            _ => "gave an answer that could not be read",
        };
        return (PortError::Unknown(format!("{peer} {why}")), true);
    };
    let error = match code.as_str() {
        "OOM" => PortError::Full(format!(
            "{peer} has reached its maxmemory: raise it, or choose a volatile-* eviction policy"
        )),
        "HALFWAY" => PortError::Unknown(format!(
            "{peer} stopped in the middle of a commit: {}",
            refused_inside(&details)
        )),
        _ => PortError::Refused(refused(&code, &details)),
    };
    (error, false)
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
        "MASTERDOWN" | "CLUSTERDOWN" => "Redis has no primary at the moment: see its log".into(),
        "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" => {
            "this Redis is part of a Redis Cluster, which this adapter does not follow: use a single server".into()
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
            let (error, broken) = asking("r", &RedisError::from(io::Error::from(kind)));
            assert!(matches!(error, PortError::Unknown(_)) && broken, "{error:?}");
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
