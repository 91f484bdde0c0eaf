//! Whether the Redis user may do what the adapter does.

use redis::{Cmd, RedisError, Value};

use super::{Asked, Missing, Permissions, Silent, Tested};
use crate::answer::bytes;
use crate::keys::Keys;

/// How long the survey's own keys stay if nobody deletes them.
const SECONDS_TO_LIVE: usize = 60;

/// Every command that the adapter and its scripts send, in a form that is harmless on the survey's own keys: the list in the
/// documentation of the crate, without what the survey needs itself (`hello`, `info`) and what a node goes on without
/// (`client|setinfo`).
fn commands(root: &str, cluster: bool) -> Vec<(&'static str, Cmd)> {
    let key = |what: &str| format!("{root}{what}");
    let (stream, hash, value, bell) = (key("log"), key("hash"), key("value"), key("bell"));
    let mut commands: Vec<(&'static str, Vec<&str>)> = vec![
        ("ping", vec!["PING"]),
        ("time", vec!["TIME"]),
        ("xadd", vec!["XADD", &stream, "MAXLEN", "=", "1", "*", "e", "x"]),
        ("xrange", vec!["XRANGE", &stream, "-", "+", "COUNT", "1"]),
        ("xrevrange", vec!["XREVRANGE", &stream, "+", "-", "COUNT", "1"]),
        ("xinfo|stream", vec!["XINFO", "STREAM", &stream]),
        ("exists", vec!["EXISTS", &stream]),
        ("type", vec!["TYPE", &stream]),
        ("hset", vec!["HSET", &hash, "f", "v"]),
        ("hget", vec!["HGET", &hash, "f"]),
        ("hgetall", vec!["HGETALL", &hash]),
        ("hkeys", vec!["HKEYS", &hash]),
        ("hexists", vec!["HEXISTS", &hash, "f"]),
        ("hlen", vec!["HLEN", &hash]),
        ("hdel", vec!["HDEL", &hash, "g"]),
        ("set", vec!["SET", &value, "1", "PX", "60000"]),
        ("get", vec!["GET", &value]),
        ("mget", vec!["MGET", &value]),
        ("incrby", vec!["INCRBY", &value, "1"]),
        ("pexpire", vec!["PEXPIRE", &value, "60000"]),
        ("eval", vec!["EVAL", "return 1", "1", &value]),
        ("evalsha", vec!["EVALSHA", "0", "1", &value]),
        ("del", vec!["DEL", &value]),
        ("spublish", vec!["SPUBLISH", &bell, "x"]),
        // Asked for where there are replicas, and where there may be some tomorrow.
        ("wait", vec!["WAIT", "0", "1"]),
        ("ssubscribe", vec!["SSUBSCRIBE", &bell]),
        ("sunsubscribe", vec!["SUNSUBSCRIBE", &bell]),
    ];
    if cluster {
        commands.push(("cluster|slots", vec!["CLUSTER", "SLOTS"]));
        commands.push(("cluster|info", vec!["CLUSTER", "INFO"]));
        commands.push(("asking", vec!["ASKING"]));
    }
    let built = commands.into_iter().map(|(name, words)| {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        (name, command)
    });
    built.collect()
}

pub(super) async fn ask(asked: &mut Asked, keys: &Keys, cluster: bool) -> Result<Permissions, Silent> {
    let root = keys.survey();
    let user = match redis::cmd("ACL").arg("WHOAMI").query_async(&mut asked.connection).await {
        Ok(user) => Some(user),
        Err(_) => asked.config.username.clone(),
    };
    let commands = commands(&root, cluster);
    let (tested, refusals) = match &user {
        Some(user) => match by_dry_run(asked, user, &commands).await {
            Some(refusals) => (Tested::DryRun, refusals),
            None => by_sending(asked, &root, &commands).await?,
        },
        None => by_sending(asked, &root, &commands).await?,
    };
    let mut missing: Vec<Missing> = Vec::new();
    for (name, text) in refusals {
        let lacks = match what(&text) {
            What::Command => Missing::Command(name.to_owned()),
            What::Keys => Missing::Keys(keys.root().to_owned()),
            What::Channels => Missing::Channels(keys.root().to_owned()),
        };
        if !missing.contains(&lacks) {
            missing.push(lacks);
        }
    }
    Ok(Permissions { user, tested, missing })
}

type Refusals = Vec<(&'static str, String)>;

/// `None` where the user may not ask so.
async fn by_dry_run(asked: &mut Asked, user: &str, commands: &[(&'static str, Cmd)]) -> Option<Refusals> {
    let mut refusals = Vec::new();
    for (name, command) in commands {
        let mut dry = redis::cmd("ACL");
        dry.arg("DRYRUN").arg(user);
        for arg in command.args_iter() {
            if let redis::Arg::Simple(arg) = arg {
                dry.arg(arg);
            }
        }
        match dry.query_async::<Value>(&mut asked.connection).await {
            Ok(Value::Okay) => {}
            Ok(Value::VerbatimString { text, .. }) => refusals.push((*name, text)),
            Ok(answer) => {
                let text = bytes(answer).and_then(|text| String::from_utf8(text).ok())?;
                if text != "OK" {
                    refusals.push((*name, text));
                }
            }
            Err(_) => return None,
        }
    }
    Some(refusals)
}

/// Sends the commands inside a transaction that is discarded: the server checks permissions as it queues. A user who may not
/// begin one sends them as they are.
async fn by_sending(
    asked: &mut Asked,
    root: &str,
    commands: &[(&'static str, Cmd)],
) -> Result<(Tested, Refusals), Silent> {
    let queued = match redis::cmd("MULTI").exec_async(&mut asked.connection).await {
        Ok(()) => true,
        Err(error) if is_refusal(&error) => false,
        Err(error) => return Err(asked.silent(&error)),
    };
    let mut refusals = Vec::new();
    for (name, command) in commands {
        match command.query_async::<Value>(&mut asked.connection).await {
            Ok(_) => {}
            Err(error) if is_refusal(&error) => {
                refusals.push((*name, error.detail().unwrap_or_default().to_owned()));
            }
            // What it did is of no interest, and a redirection comes after the permission was found.
            Err(error) if error.code().is_some() => {}
            Err(error) => return Err(asked.silent(&error)),
        }
    }
    if queued {
        let _ = redis::cmd("DISCARD").exec_async(&mut asked.connection).await;
        return Ok((Tested::Queued, refusals));
    }
    for what in ["log", "hash", "value"] {
        let key = format!("{root}{what}");
        let deleted = redis::cmd("DEL").arg(&key).exec_async(&mut asked.connection).await;
        if deleted.is_err() {
            let mut expire = redis::cmd("EXPIRE");
            expire.arg(&key).arg(SECONDS_TO_LIVE);
            let _ = expire.exec_async(&mut asked.connection).await;
        }
    }
    Ok((Tested::Executed, refusals))
}

fn is_refusal(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Command,
    Keys,
    Channels,
}

/// What a refusal is about. Its words differ between versions, and between NOPERM and `ACL DRYRUN`.
fn what(text: &str) -> What {
    if text.contains("channel") {
        What::Channels
    } else if text.contains(" key") {
        What::Keys
    } else {
        What::Command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (text, about) in [
            ("this user has no permissions to run the 'xadd' command", What::Command),
            (
                "User node has no permissions to run the 'hgetall' command",
                What::Command,
            ),
            (
                "this user has no permissions to access one of the keys used as arguments",
                What::Keys,
            ),
            ("User node has no permissions to access the 'a:1:c:b' key", What::Keys),
            (
                "this user has no permissions to access one of the channels used as arguments",
                What::Channels,
            ),
            ("User node has no permissions to access the 'a' channel", What::Channels),
        ] {
            assert_eq!(what(text), about, "{text}");
        }
    }
}
