//! `authmesh keyring status`.

use std::path::{Path, PathBuf};

use authmesh::KeyRing;
use authmesh::proto::crypto::SealKeyId;
use authmesh::proto::time::Unix;
use authmesh_redis::RedisAdapter;
use clap::Args;

use super::count::{Count, Use, count};
use crate::cli::config::FILE_VARIABLE;
use crate::cli::io::{Exit, Failure, Io};
use crate::cli::text::{Table, clock, path_name, plain, thousands};
use crate::config::Config;
use crate::redis;
use authmesh::keyring::{self, RingFile};

/// Nobody asks a log for an entry that is older than this: every node has applied it, or starts anew from the marks.
const LOG_MATTERS: Unix = 3600;

const EXAMPLES: &str = "\
Exit codes: 0 every key in Redis is in the file; 1 one is not; 2 the file or Redis could not be read.

Keys are shown by their IDs. Nothing is opened, and no key is shown.

Examples:
  authmesh keyring status /run/secrets/authmesh-keyring
  authmesh keyring status --config authmesh.toml            the file that it names, and what Redis holds";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct StatusArgs {
    /// The key ring file [default: the one that the configuration names]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration, for its Redis and its key ring file [env: AUTHMESH_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &StatusArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let named = args.config.clone().or_else(|| io.var(FILE_VARIABLE).map(PathBuf::from));
    let config = match (&named, &args.file) {
        // A file alone is read without any configuration.
        (None, Some(_)) => None,
        (named, _) => {
            let loaded = Config::load(named.as_deref(), io.env.iter().cloned());
            Some(loaded.map_err(|problems| Failure::said(problems.to_string()))?.config)
        }
    };
    let configured = config.as_ref().and_then(|config| config.cluster.key_ring_file.clone());
    let Some(file) = args.file.clone().or(configured) else {
        return Err(Failure::said(
            "no key ring file: name one, or set cluster.key_ring_file in the configuration",
        ));
    };
    let ring = RingFile::read(&file)
        .map_err(|error| Failure::said(error.to_string()))?
        .ring()
        .map_err(Failure::said)?;
    let count = match &config {
        Some(config) => ask(config, io.now)?,
        None => None,
    };
    show(&file, &ring, count.as_ref(), io)
}

/// Counts what the configured Redis holds; `None` where none is configured.
fn ask(config: &Config, now: Unix) -> Result<Option<Count>, Failure> {
    let said = |error: &dyn std::fmt::Display| Failure::said(plain(&error.to_string()));
    let Some(settings) = redis::settings(config).map_err(|error| said(&error))? else {
        return Ok(None);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| said(&error))?;
    runtime.block_on(async {
        let redis = RedisAdapter::connect(settings).await.map_err(|error| said(&error))?;
        count(&redis, now).await.map(Some).map_err(|error| said(&error))
    })
}

fn show(file: &Path, ring: &KeyRing, count: Option<&Count>, io: &mut Io<'_>) -> Result<Exit, Failure> {
    writeln!(
        io.stdout,
        "key ring {}   naming key {}",
        path_name(file),
        ring.naming_id()
    )?;
    let known: Vec<SealKeyId> = ring.key_ids().collect();
    let mut unknown = Vec::new();
    match count {
        None => {
            let mut table = Table::new(["key", "use"]);
            for (at, id) in known.iter().enumerate() {
                table.row([id.to_string(), role(at).to_owned()]);
            }
            table.print(io.stdout)?;
        }
        Some(count) => {
            unknown = count.keys.keys().copied().filter(|id| !known.contains(id)).collect();
            let mut table = Table::new(["key", "use", "marks", "members", "log", "newest in log", "may leave"]);
            for (at, id) in known.iter().enumerate() {
                let of = count.keys.get(id).copied().unwrap_or_default();
                let leave = match at {
                    0 => "no, it seals",
                    _ if may_leave(&of, io.now) => "yes",
                    _ => "not yet",
                };
                table.row(cells(*id, role(at), &of, leave, io.now));
            }
            for id in &unknown {
                let of = count.keys.get(id).copied().unwrap_or_default();
                table.row(cells(*id, "NOT IN FILE", &of, "", io.now));
            }
            table.print(io.stdout)?;
            if count.garbage > 0 {
                io.note(&format!(
                    "{} values in Redis are no envelopes of authmesh: somebody else writes there",
                    thousands(count.garbage)
                ))?;
            }
        }
    }
    if keyring::is_open_to_others(file) {
        io.note(&format!(
            "{}: others than its owner may read this file; `chmod 600` it",
            path_name(file)
        ))?;
    }
    if unknown.is_empty() {
        return Ok(Exit::Yes);
    }
    io.note(
        "values in Redis are sealed under a key that is not in this file: nodes with this file cannot open them. Add \
         the key, or wait until they have expired",
    )?;
    Ok(Exit::No)
}

fn role(at: usize) -> &'static str {
    if at == 0 { "seals" } else { "opens" }
}

fn may_leave(of: &Use, now: Unix) -> bool {
    of.marks == 0 && of.members == 0 && of.newest.is_none_or(|newest| newest.saturating_add(LOG_MATTERS) < now)
}

fn cells(id: SealKeyId, role: &str, of: &Use, leave: &str, now: Unix) -> [String; 7] {
    [
        id.to_string(),
        role.to_owned(),
        thousands(of.marks),
        thousands(of.members),
        thousands(of.statements),
        of.newest.map_or_else(|| "-".to_owned(), |newest| clock(newest, now)),
        leave.to_owned(),
    ]
}
