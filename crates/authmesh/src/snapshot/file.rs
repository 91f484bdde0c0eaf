//! The file of a snapshot: written beside its place and moved there, read part by part.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use authmesh_proto::crypto::Sealer;
use authmesh_proto::ident::ChannelId;
use authmesh_proto::snapshot::{self, HEADER, MARKS, MAX_PART, Part, SnapshotError};
use authmesh_proto::statement::Mark;

/// The most parts that are read: far more than a node holds marks.
const MAX_PARTS: u64 = 65_536;

/// Where a file stands while it is written.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Replaces the file, as a whole or not at all: it is on the disk before it takes the other's place. `marks_of` gives those
/// of one channel.
pub(super) fn write(
    path: &Path,
    sealer: &Sealer,
    mut random: impl FnMut(&mut [u8]),
    marks_of: impl Fn(ChannelId) -> Vec<Mark>,
) -> io::Result<usize> {
    let unfinished = beside(path, ".tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = BufWriter::new(options.open(&unfinished)?);
    let (mut id, mut number, mut count) = ([0; 16], 0, 0);
    random(&mut id);
    out.write_all(&snapshot::header(&id))?;
    let mut put = |part: Part, out: &mut BufWriter<File>| {
        let mut nonce = [0; authmesh_proto::crypto::NONCE_BYTES];
        random(&mut nonce);
        out.write_all(&part.seal(sealer, &id, number, nonce))?;
        number += 1;
        io::Result::Ok(())
    };
    for channel in ChannelId::all() {
        let mut marks = marks_of(channel);
        count += marks.len();
        while !marks.is_empty() {
            let rest = marks.split_off(marks.len().min(MARKS));
            put(Part { last: false, marks }, &mut out)?;
            marks = rest;
        }
    }
    put(
        Part {
            last: true,
            marks: Vec::new(),
        },
        &mut out,
    )?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&unfinished, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // The move itself, too.
        File::open(folder)?.sync_all()?;
    }
    Ok(count)
}

/// What a file was found to be.
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// It was read to its end.
    Whole,
    /// It is no whole snapshot; what came before this was handed on.
    Broken(SnapshotError),
}

/// Hands the marks on, part by part.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) fn read(path: &Path, sealer: &Sealer, mut take: impl FnMut(Vec<Mark>)) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    match read_parts(&mut file, sealer, &mut take) {
        Ok(()) => Ok(Found::Whole),
        Err(Unread::Broken(error)) => Ok(Found::Broken(error)),
        Err(Unread::Io(error)) => Err(error),
    }
}

enum Unread {
    Broken(SnapshotError),
    Io(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Broken(SnapshotError::Truncated),
            _ => Self::Io(error),
        }
    }
}

fn read_parts(file: &mut impl Read, sealer: &Sealer, take: &mut impl FnMut(Vec<Mark>)) -> Result<(), Unread> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let id = snapshot::read_header(&header).map_err(Unread::Broken)?;
    for number in 0..MAX_PARTS {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PART {
            return Err(Unread::Broken(SnapshotError::Truncated));
        }
        let mut envelope = vec![0; length];
        file.read_exact(&mut envelope)?;
        let part = Part::open(sealer, &id, number, &envelope).map_err(Unread::Broken)?;
        take(part.marks);
        if part.last {
            let behind = file.read(&mut [0])?;
            return if behind == 0 {
                Ok(())
            } else {
                Err(Unread::Broken(SnapshotError::TrailingBytes))
            };
        }
    }
    Err(Unread::Broken(SnapshotError::TrailingBytes))
}

/// Moves a file that is refused out of the way, under a name that nothing has yet. Where it is now.
pub(super) fn set_aside(path: &Path, now: u64) -> io::Result<PathBuf> {
    for n in 0..1000 {
        let aside = beside(path, &format!(".refused-{now}-{n}"));
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::from(ErrorKind::AlreadyExists))
}
