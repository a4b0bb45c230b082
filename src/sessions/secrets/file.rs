//! The file that holds the service's key for secrets.
//!
//! It is read once, at start, and refused where whoever has the data folder, or an agent, would have the key as well.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{SecretKey, new_key_text};
use crate::sessions::reach::SYSTEM;

/// Bytes of the largest file that is read as a key.
const MAX_FILE: u64 = 4096;
/// Permissions that the file must not give: others none, the group nothing but to read, as mounted secrets have it.
const FORBIDDEN_MODE: u32 = 0o037;

/// Why a file is not taken as the key, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the secret key file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It lies where the data lie.
    #[error(
        "the secret key file {path} lies in the data folder {data}, so that a copy of the data would hold its key: move \
         it elsewhere"
    )]
    InData {
        /// Which file.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// Agents are shown it.
    #[error("the secret key file {path} lies in {shown}, which agents may read: move it elsewhere")]
    Shown {
        /// Which file.
        path: PathBuf,
        /// What they are shown.
        shown: PathBuf,
    },
    /// It is no regular file, or has several names.
    #[error("the secret key file {path} is not a regular file with one name")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the secret key file {path} is open to others (mode {mode:03o}): `chmod 600` it")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "the file {path} holds no secret key, which is 32 bytes in hexadecimal digits or base64: make one with `satchel \
         secret-key FILE`"
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// A key could not be written.
    #[error("the secret key cannot be written to {path}")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SecretKey {
    /// Reads the key of a service. `data`: its data folder; `read_paths`: what agents may read besides the system's
    /// programs. Links on the way are followed, and where they end counts.
    ///
    /// # Errors
    /// The file cannot be read, lies in one of these, is open to others or holds no key.
    pub fn read(path: &Path, data: &Path, read_paths: &[PathBuf]) -> Result<Self, KeyFileError> {
        let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
        let real = path.canonicalize().map_err(unreadable)?;
        let path = path.to_owned();
        if real.starts_with(data.canonicalize().map_err(unreadable)?) {
            return Err(KeyFileError::InData { path, data: data.to_owned() });
        }
        let shown = SYSTEM.iter().map(Path::new).chain(read_paths.iter().map(PathBuf::as_path));
        for shown in shown {
            if shown.canonicalize().is_ok_and(|shown| real.starts_with(shown)) {
                return Err(KeyFileError::Shown { path, shown: shown.to_owned() });
            }
        }
        let file = File::open(&real).map_err(unreadable)?;
        let stat = file.metadata().map_err(unreadable)?;
        if !stat.is_file() || stat.nlink() != 1 {
            return Err(KeyFileError::NotAFile { path });
        }
        if stat.mode() & FORBIDDEN_MODE != 0 {
            return Err(KeyFileError::Open { path, mode: stat.mode() & 0o777 });
        }
        let mut text = String::new();
        let read = file.take(MAX_FILE).read_to_string(&mut text);
        let text = SecretString::from(text);
        match read {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(unreadable(error)),
            _ => Self::parse(text.expose_secret()).ok_or(KeyFileError::NoKey { path }),
        }
    }
}

/// Makes a file with a new key, for its owner alone; answers with the key's name.
///
/// # Errors
/// There is something of that name, or the file cannot be written.
pub fn make_key_file(path: &Path) -> Result<String, KeyFileError> {
    let unwritable = |source| KeyFileError::Unwritable { path: path.to_owned(), source };
    let text = new_key_text().map_err(|error| unwritable(io::Error::other(error)))?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    let written = file
        .write_all(text.expose_secret().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    written.map_err(unwritable)?;
    let key = SecretKey::parse(text.expose_secret());
    key.map(|key| key.id().to_owned()).ok_or(KeyFileError::NoKey { path: path.to_owned() })
}
