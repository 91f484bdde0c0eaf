//! The configuration file as bytes: read with a limit, and its lines counted.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Location, Problem, shown};

/// The greatest size of a configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration file in memory. No `Debug`: it may hold a secret that was put in the wrong place.
pub(super) struct Document {
    /// The path as it was given, fit for a terminal.
    pub(super) name: Arc<str>,
    /// The folder of the file: relative paths in the file begin here.
    pub(super) folder: PathBuf,
    pub(super) text: String,
    line_starts: Vec<usize>,
}

impl Document {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name_of(path),
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            text,
            line_starts,
        }
    }

    /// The line that holds a byte.
    pub(super) fn location(&self, offset: usize) -> Location {
        Location::File {
            path: Arc::clone(&self.name),
            line: Some(self.line(offset)),
            column: None,
        }
    }

    /// The line and the column that hold a byte.
    pub(super) fn exact_location(&self, offset: usize) -> Location {
        let line = self.line(offset);
        let start = self.line_starts.get(line as usize - 1).copied().unwrap_or(0);
        // A parser may point into a character, or one past the end.
        let column = self
            .text
            .char_indices()
            .skip_while(|(at, _)| *at < start)
            .take_while(|(at, _)| *at < offset)
            .count();
        Location::File {
            path: Arc::clone(&self.name),
            line: Some(line),
            column: Some(u32::try_from(column + 1).unwrap_or(u32::MAX)),
        }
    }

    fn line(&self, offset: usize) -> u32 {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

fn name_of(path: &Path) -> Arc<str> {
    shown_path(path).into()
}

/// A path in full, without control characters. Unlike other names it is not cut: its end is what matters.
fn shown_path(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Reads the configuration file.
pub(super) fn read(path: &Path) -> Result<Document, Problem> {
    let problem = |line, message: String| {
        let location = Location::File {
            path: name_of(path),
            line,
            column: None,
        };
        Problem::new(location, "", message)
    };
    let bytes = read_regular(path, MAX_BYTES).map_err(|error| {
        let advice = match error {
            ReadError::Absent => {
                " Name another file with --config or AUTHMESH_CONFIG, or write a first one: `authmesh config default > authmesh.toml`."
            }
            _ => "",
        };
        problem(None, format!("the configuration file {error}.{advice}"))
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Document::new(path, text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let newlines = error.as_bytes().iter().take(valid).filter(|b| **b == b'\n').count();
            Err(problem(
                u32::try_from(newlines + 1).ok(),
                "the configuration file is not UTF-8 text: save it as UTF-8.".into(),
            ))
        }
    }
}

/// Why a file could not be read. The text goes on after "the file".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("does not exist")]
    Absent,
    #[error("is a directory")]
    Directory,
    /// A pipe would block the start, and could be read only once.
    #[error("is not a regular file")]
    NotRegular,
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    #[error("cannot be read ({0})")]
    Io(String),
}

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::Io(shown(&error.to_string())))?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Opens a regular file, to learn that it can be read.
pub(super) fn open_regular(path: &Path) -> Result<File, ReadError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => ReadError::Absent,
        _ => ReadError::Io(shown(&error.to_string())),
    };
    // Asked before opening: opening a pipe waits for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(ReadError::Directory);
    }
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    File::open(path).map_err(io)
}
