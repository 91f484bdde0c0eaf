//! `authmesh keyring`: the key ring file from its making to the end of its last key.

pub(super) mod count;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::io::{Exit, Failure, Io};
use super::text::{path_name, plain};
use authmesh::keyring::{Place, RingFile};

const ROTATION: &str = "\
Exit codes: 0 done; 1 status found a key in Redis that is not in the file; 2 not done, or Redis could not be asked.

A rotation, without a restart and without a blind node:
  authmesh keyring generate --add --standby FILE   a new key, which opens but does not seal yet
  (give every node the file; a node reads it again within 5 s, or at once on SIGHUP)
  authmesh keyring promote KEY FILE                the new key seals from now on
  (give every node the file)
  authmesh keyring status --config authmesh.toml   says when nothing is sealed under the old key any more
  authmesh keyring remove KEY FILE

Where all nodes read one and the same file, `generate --add FILE` does the first two steps in one.";

/// `authmesh keyring ...`
#[derive(Subcommand)]
pub(super) enum KeyringCommand {
    /// Make a key ring: new random keys
    Generate(GenerateArgs),
    /// Make another key of a key ring file the one that seals
    Promote(KeyArgs),
    /// Take a sealing key out of a key ring file
    Remove(KeyArgs),
    /// Show the keys of a key ring file by their IDs, and how much in Redis is sealed under each
    Status(status::StatusArgs),
}

#[derive(Args)]
#[command(after_help = ROTATION)]
pub(super) struct GenerateArgs {
    /// The file to write, with mode 0600. Without it the ring goes to standard output
    #[arg(value_name = "FILE", required_if_eq("add", "true"))]
    file: Option<PathBuf>,
    /// Put a new sealing key into an existing file; it seals from now on, the others go on opening
    #[arg(long)]
    add: bool,
    /// With --add: the new key opens, and seals only once it is promoted
    #[arg(long, requires = "add")]
    standby: bool,
}

#[derive(Args)]
#[command(after_help = ROTATION)]
pub(super) struct KeyArgs {
    /// The ID of the key, as `authmesh keyring status` shows it
    #[arg(value_name = "KEY")]
    key: String,
    /// The key ring file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(command: &KeyringCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        KeyringCommand::Generate(args) => generate(args, io),
        KeyringCommand::Promote(args) => change(args, io, RingFile::promote, "seals from now on; the others open"),
        KeyringCommand::Remove(args) => change(
            args,
            io,
            RingFile::remove,
            "is out: what is sealed under it opens no more",
        ),
        KeyringCommand::Status(args) => status::run(args, io),
    }
}

fn generate(args: &GenerateArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Some(file) = &args.file else {
        let ring = RingFile::generate().and_then(|ring| ring.to_toml());
        io.stdout.write_all(ring.map_err(Failure::said)?.as_bytes())?;
        return Ok(Exit::Yes);
    };
    if !args.add {
        let ring = RingFile::generate().map_err(Failure::said)?;
        ring.create(file).map_err(|error| Failure::said(error.to_string()))?;
        writeln!(
            io.stdout,
            "{}: a new key ring, mode 0600. Give every node of the cluster a copy, and name it in \
             cluster.key_ring_file.",
            path_name(file)
        )?;
        return Ok(Exit::Yes);
    }
    let mut ring = RingFile::read(file).map_err(|error| Failure::said(error.to_string()))?;
    let place = if args.standby { Place::Last } else { Place::First };
    let id = ring.add(place).and_then(|()| {
        let ids: Vec<_> = ring.ring()?.key_ids().collect();
        let at = if args.standby { ids.last() } else { ids.first() };
        Ok(at.map(ToString::to_string).unwrap_or_default())
    });
    let id = id.map_err(|why| Failure::said(format!("{}: {why}", path_name(file))))?;
    ring.replace(file).map_err(|error| Failure::said(error.to_string()))?;
    let what = if args.standby {
        format!("opens. Once every node has this file, `authmesh keyring promote {id}` makes it seal")
    } else {
        "seals from now on; the others open".to_owned()
    };
    writeln!(io.stdout, "{}: key {id} {what}.", path_name(file))?;
    Ok(Exit::Yes)
}

/// Changes a file by the ID of a key.
fn change(
    args: &KeyArgs,
    io: &mut Io<'_>,
    how: impl FnOnce(&mut RingFile, &str) -> Result<bool, String>,
    done: &str,
) -> Result<Exit, Failure> {
    let name = path_name(&args.file);
    let mut ring = RingFile::read(&args.file).map_err(|error| Failure::said(error.to_string()))?;
    if !how(&mut ring, &args.key).map_err(|why| Failure::said(format!("{name}: {why}")))? {
        return Err(Failure::said(format!(
            "{name}: there is no sealing key with the ID {}; `authmesh keyring status {name}` shows those that there are",
            shown_id(&args.key)
        )));
    }
    ring.replace(&args.file)
        .map_err(|error| Failure::said(error.to_string()))?;
    writeln!(io.stdout, "{name}: key {} {done}.", shown_id(&args.key))?;
    Ok(Exit::Yes)
}

/// An ID has 16 hexadecimal digits. Anything else might be the key itself, put in the wrong place.
fn shown_id(id: &str) -> String {
    if id.len() <= 16 {
        plain(id)
    } else {
        "given (it is no ID: IDs have 16 digits)".to_owned()
    }
}
