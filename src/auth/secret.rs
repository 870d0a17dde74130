//! The secret that signs tokens, in a file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::tokens::SECRET_BYTES;
use crate::sys::{Entropy, random};

/// Longest secret that is read, in bytes. More than the hash's block length adds nothing.
const MAX_SECRET_BYTES: u64 = 4096;

/// An error of a secret's file.
#[derive(Debug)]
pub enum SecretError {
    /// The file could not be read or written.
    Io(PathBuf, io::Error),
    /// It is too short or too long.
    Length(PathBuf, usize),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Io(path, error) => {
                write!(f, "cannot use the secret file {}: {error}", path.display())
            }
            SecretError::Length(path, length) => write!(
                f,
                "the secret file {} holds {length} bytes, but must hold {SECRET_BYTES} to \
                 {MAX_SECRET_BYTES}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SecretError {}

/// Reads a secret: every byte of the file.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let failed = |error| SecretError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        log::warn!(
            "the secret file {} can be read by others (mode {:o})",
            path.display(),
            mode & 0o777
        );
    }
    let mut secret = Vec::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret).map_err(failed)?;
    if secret.len() < SECRET_BYTES || secret.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretError::Length(path.to_owned(), secret.len()));
    }
    Ok(secret)
}

/// Reads the secret, or creates one that only its owner can read. The file appears whole or not at
/// all, and is durable before the secret signs a token.
pub fn read_or_create(path: &Path, entropy: &mut dyn Entropy) -> Result<Vec<u8>, SecretError> {
    let sync_dir = || File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all();
    match read(path) {
        Err(SecretError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(secret) => {
            // The process that created it may have been killed before its name was durable.
            sync_dir().map_err(|error| SecretError::Io(path.to_owned(), error))?;
            return Ok(secret);
        }
        unreadable => return unreadable,
    }
    let secret = random::<SECRET_BYTES>(entropy);
    let unfinished = path.with_extension("new");
    let create = || {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_dir()
    };
    create().map_err(|error| SecretError::Io(path.to_owned(), error))?;
    Ok(secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SeededEntropy;

    #[test]
    fn made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let made = read_or_create(&path, &mut SeededEntropy(1)).unwrap();
        assert_eq!(made.len(), SECRET_BYTES);
        assert_eq!(read_or_create(&path, &mut SeededEntropy(2)).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn of_the_right_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (length, good) in [(0, false), (31, false), (32, true), (4096, true), (4097, false)] {
            fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(read(&path).is_ok(), good, "{length}");
        }
        assert!(matches!(read(&dir.path().join("none")), Err(SecretError::Io(..))));
    }
}
