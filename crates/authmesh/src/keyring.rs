//! Key ring files: the secrets that the nodes of a cluster share, at rest.
//!
//! ```toml
//! naming  = "<32 random bytes, base64>"
//! sealing = ["<32 random bytes, base64>", "<an older key that still opens>"]
//! ```
//!
//! `authmesh keyring generate` makes one; a node reads it with [`Builder::key_ring_file`](crate::Builder::key_ring_file).

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use authmesh_proto::crypto::{KeyRing, SECRET_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The longest file that is read, in bytes. A full ring takes about 1,500.
const MAX_BYTES: u64 = 64 * 1024;

type Key = [u8; SECRET_BYTES];

/// Why a key ring file cannot be used. It repeats nothing of the file's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key ring {file}: {why}")]
pub struct RingError {
    file: String,
    why: String,
}

impl RingError {
    fn new(path: &Path, why: impl Into<String>) -> Self {
        let file = path.to_string_lossy().replace(char::is_control, "?");
        Self { file, why: why.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    naming: String,
    sealing: Vec<String>,
}

/// Where a new key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It seals from now on.
    First,
    /// It opens, so that nodes can learn it before one of them seals under it.
    Last,
}

/// The secrets of a file. `Debug` tells none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct RingFile {
    naming: Key,
    sealing: Vec<Key>,
}

impl fmt::Debug for RingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingFile({} sealing keys)", self.sealing.len())
    }
}

impl RingFile {
    /// New keys from the random source of the system: one that names, one that seals.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, String> {
        Ok(Self {
            naming: random()?,
            sealing: vec![random()?],
        })
    }

    /// Reads a file of at most 64 KiB. Blocks the thread for as long as the file system takes.
    ///
    /// # Errors
    /// When it cannot be read, or is no key ring.
    pub fn read(path: &Path) -> Result<Self, RingError> {
        let refuse = |why: &str| RingError::new(path, why);
        let io = |error: io::Error| refuse(&format!("cannot be read: {error}"));
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(refuse("is not a regular file"));
        }
        let mut text = String::new();
        let length = File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(io)?;
        if length as u64 > MAX_BYTES {
            return Err(refuse("is longer than 64 KiB; no key ring is"));
        }
        let encoded: Encoded = toml::from_str(&text).map_err(|_| {
            refuse(
                "is not TOML with `naming = \"...\"` and `sealing = [\"...\"]`; `authmesh keyring generate` makes one",
            )
        })?;
        let key = |text: &str| -> Option<Key> { STANDARD.decode(text).ok()?.try_into().ok() };
        let naming = key(&encoded.naming).ok_or_else(|| refuse("`naming` is not 32 bytes in base64"))?;
        let sealing: Option<Vec<Key>> = encoded.sealing.iter().map(|text| key(text)).collect();
        let sealing = sealing.ok_or_else(|| refuse("a key of `sealing` is not 32 bytes in base64"))?;
        let ring = Self { naming, sealing };
        ring.ring().map_err(|why| refuse(&why))?;
        Ok(ring)
    }

    /// The ring that nodes use.
    ///
    /// # Errors
    /// When there is no sealing key, more than 16, or one twice.
    pub fn ring(&self) -> Result<KeyRing, String> {
        KeyRing::new(self.naming, self.sealing.iter().copied()).map_err(|error| error.to_string())
    }

    /// Adds a new sealing key.
    ///
    /// # Errors
    /// When there are 16 already, or the system gives no random bytes.
    pub fn add(&mut self, place: Place) -> Result<(), String> {
        let at = match place {
            Place::First => 0,
            Place::Last => self.sealing.len(),
        };
        self.sealing.insert(at, random()?);
        self.ring().map(drop)
    }

    /// Makes the key with this ID the one that seals. `false`: there is none.
    ///
    /// # Errors
    /// As [`RingFile::ring`].
    pub fn promote(&mut self, id: &str) -> Result<bool, String> {
        let at = self.position(id)?;
        if let Some(at) = at {
            self.sealing[..=at].rotate_right(1);
        }
        Ok(at.is_some())
    }

    /// Takes the key with this ID out. `false`: there is none.
    ///
    /// # Errors
    /// As [`RingFile::ring`].
    pub fn remove(&mut self, id: &str) -> Result<bool, String> {
        let at = self.position(id)?;
        if let Some(at) = at {
            self.sealing.remove(at);
        }
        Ok(at.is_some())
    }

    fn position(&self, id: &str) -> Result<Option<usize>, String> {
        Ok(self.ring()?.key_ids().position(|own| own.to_string() == id))
    }

    /// The file's text, with the ID of each key in a comment. Secret.
    ///
    /// # Errors
    /// As [`RingFile::ring`].
    pub fn to_toml(&self) -> Result<String, String> {
        let ring = self.ring()?;
        let mut text = String::from(
            "# Key ring of an authmesh cluster. Secret: whoever has it can read and forge what the nodes share.\n\
             # Every node has the same. `naming` never changes. The first key of `sealing` seals, every one opens.\n",
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "naming = \"{}\"   # {}",
            STANDARD.encode(self.naming),
            ring.naming_id()
        );
        text.push_str("sealing = [\n");
        for (id, key) in ring.key_ids().zip(&self.sealing) {
            let _ = writeln!(text, "    \"{}\",   # {id}", STANDARD.encode(key));
        }
        text.push_str("]\n");
        Ok(text)
    }

    /// Writes a file that only its owner may read. It must not exist.
    ///
    /// # Errors
    /// When it exists, or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), RingError> {
        let text = self.to_toml().map_err(|why| RingError::new(path, why))?;
        write_new(path, &text, 0o600).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RingError::new(
                path,
                "exists already, and is left as it is: its keys open what the cluster holds. Name another file, or \
                 put a new key into this one with --add",
            ),
            _ => RingError::new(path, format!("cannot be written: {error}")),
        })
    }

    /// Puts this ring in place of the file, at one instant: a node that reads it meanwhile sees the old one or the new one.
    /// Who may read it stays as it was.
    ///
    /// # Errors
    /// When it cannot be written; the old one is there as it was then.
    pub fn replace(&self, path: &Path) -> Result<(), RingError> {
        let refuse = |error: io::Error| RingError::new(path, format!("cannot be written: {error}"));
        let text = self.to_toml().map_err(|why| RingError::new(path, why))?;
        // A link stays a link.
        let path = fs::canonicalize(path).map_err(refuse)?;
        let mode = mode(&fs::metadata(&path).map_err(refuse)?);
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        let done = write_new(&beside, &text, mode).and_then(|()| fs::rename(&beside, &path));
        done.map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&beside);
            }
            refuse(error)
        })
    }
}

/// `mode` counts where files have one.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Who may do what with a file; only its owner, where files have no mode.
fn mode(file: &fs::Metadata) -> u32 {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777;
    #[cfg(not(unix))]
    {
        let _ = file;
        0o600
    }
}

fn random() -> Result<Key, String> {
    let mut key = [0; SECRET_BYTES];
    getrandom::fill(&mut key).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(key)
}

/// Whether others than those who must may read or write the file. `false` where that cannot be told.
///
/// Must: its owner; and its group may read it where the file is not this process's own. So a secret is mounted for a process that
/// is not root (`fsGroup` in Kubernetes: owner root, mode 0440).
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| {
        let for_us = if is_ours(&file) { 0o700 } else { 0o740 };
        mode(&file) & 0o777 & !for_us != 0
    })
}

fn is_ours(file: &fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::uid(file) == rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    {
        let _ = file;
        true
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_ring_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let mut ring = RingFile::generate().unwrap();
        ring.create(&path).unwrap();
        assert!(RingFile::read(&path).unwrap() == ring);
        assert!(!is_open_to_others(&path));

        // A second time it must not be written.
        let other = RingFile::generate().unwrap();
        let refused = other.create(&path).unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        assert!(RingFile::read(&path).unwrap() == ring);

        let naming = ring.ring().unwrap().naming_id();
        let first = ring.ring().unwrap().key_ids().next().unwrap().to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        ring.add(Place::First).unwrap();
        ring.add(Place::Last).unwrap();
        ring.replace(&path).unwrap();
        let read = RingFile::read(&path).unwrap();
        assert!(read == ring && is_open_to_others(&path), "the mode stays");
        let read = read.ring().unwrap();
        assert_eq!(read.naming_id(), naming);
        assert_eq!(read.key_ids().position(|id| id.to_string() == first), Some(1));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn keys_change_their_places_by_their_ids() {
        let mut ring = RingFile::generate().unwrap();
        ring.add(Place::Last).unwrap();
        ring.add(Place::Last).unwrap();
        let ids =
            |ring: &RingFile| -> Vec<String> { ring.ring().unwrap().key_ids().map(|id| id.to_string()).collect() };
        let before = ids(&ring);
        assert!(ring.promote(&before[2]).unwrap());
        assert_eq!(ids(&ring), [&*before[2], &before[0], &before[1]]);
        assert!(!ring.promote("0000000000000000").unwrap());
        assert!(ring.remove(&before[0]).unwrap() && !ring.remove(&before[0]).unwrap());
        assert_eq!(ids(&ring), [&*before[2], &before[1]]);
    }

    #[test]
    fn a_ring_has_at_most_sixteen_sealing_keys() {
        let mut ring = RingFile::generate().unwrap();
        for _ in 1..16 {
            ring.add(Place::First).unwrap();
        }
        assert!(ring.add(Place::First).unwrap_err().contains("more than 16"));
    }

    #[test]
    fn a_broken_file_is_refused_and_nothing_of_it_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let good = STANDARD.encode([7; 32]);
        for (text, part) in [
            ("s3cret".to_owned(), "is not TOML"),
            (
                "naming = \"s3cret\"\nsealing = []\n".to_owned(),
                "`naming` is not 32 bytes",
            ),
            (
                format!("naming = \"{good}\"\nsealing = [\"s3cret\"]\n"),
                "a key of `sealing`",
            ),
            (format!("naming = \"{good}\"\nsealing = []\n"), "no sealing key"),
            (format!("naming = \"{good}\"\nsealing = [\"{good}\"]\n"), "stands twice"),
            (
                format!("naming = \"{good}\"\nsealing = []\ns3cret = 1\n"),
                "is not TOML",
            ),
            ("#".repeat(70_000), "64 KiB"),
        ] {
            fs::write(&path, &text).unwrap();
            let refused = RingFile::read(&path).map(drop).unwrap_err().to_string();
            assert!(refused.contains(part) && refused.contains("/ring: "), "{refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        let refused = RingFile::read(folder.path()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("is not a regular file"), "{refused}");
    }

    #[test]
    fn a_secret_that_is_mounted_for_our_group_is_open_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        fs::write(&path, "").unwrap();
        let open = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            is_open_to_others(&path)
        };
        assert_eq!([0o400, 0o600, 0o440, 0o404].map(open), [false, false, true, true]);
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            assert_eq!([0o440, 0o640, 0o460, 0o444].map(open), [false, false, true, true]);
        }
    }
}
