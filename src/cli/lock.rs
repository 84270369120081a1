//! One process a torrent and folder.
//!
//! ```text
//! locks/gate           locked while somebody looks and claims
//! locks/1234.claims    locked for the life of process 1234: a key a line
//! ```
//!
//! The system gives up a process's locks however it ends, so what a killed one has claimed is no
//! obstacle: a file of claims that nobody has locked is removed by who comes next. A process holds
//! two files open, however many torrents it has.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use swarmloop::id::InfoHash;
use swarmloop::proto::metainfo::Metainfo;

use super::exit::Failure;
use super::state_dir;

/// The most of another process's claims that is read, in bytes: of 400,000 torrents.
const MAX_CLAIMS_LEN: u64 = 16 << 20;

/// The claims of this process.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// Where all processes of the user keep their claims; `None` for nowhere.
    dir: Option<PathBuf>,
    /// Made with the first claim.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    gate: File,
    claims: File,
    path: PathBuf,
}

/// What came of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Claim {
    /// It is ours, or there is nowhere to say so.
    Ours,
    /// Another process, by its number, has it.
    Taken(String),
}

impl Locks {
    /// Returns no claims, to be kept below `state_dir`; nothing is made yet.
    pub(crate) fn new(state_dir: Option<PathBuf>) -> Self {
        Self { dir: state_dir.map(|dir| dir.join("locks")), own: None }
    }

    /// Claims a torrent in a folder for as long as this lives. What is returned is why that could
    /// not be made known to others.
    ///
    /// # Errors
    /// [`Failure::taken`]: another process works on it there.
    pub(crate) fn claim_torrent(
        &mut self,
        metainfo: &Metainfo,
        dir: &Path,
    ) -> Result<Option<io::Error>, Failure> {
        match self.claim(state_dir::key(metainfo.info_hash, dir)) {
            Ok(Claim::Ours) => Ok(None),
            Ok(Claim::Taken(process)) => Err(Failure::taken(&metainfo.name, dir, &process)),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Claims `key` for as long as this lives, unless another process has it.
    fn claim(&mut self, key: [u8; 20]) -> io::Result<Claim> {
        let Some(dir) = &self.dir else { return Ok(Claim::Ours) };
        let own = match &mut self.own {
            Some(own) => own,
            empty => empty.insert(Own::create(dir)?),
        };
        let name = InfoHash(key).to_string();
        own.gate.lock()?;
        let claimed = own.claim(dir, &name);
        own.gate.unlock()?;
        claimed
    }
}

impl Own {
    fn create(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let gate = options.open(dir.join("gate"))?;
        gate.lock()?;
        // Process numbers are of a container as a rule, and a home may be shared by several.
        let mut number = 0;
        let created = loop {
            let path = dir.join(format!("{}-{number}.claims", process::id()));
            let claims = options.open(&path)?;
            match claims.try_lock() {
                Ok(()) => break Ok((claims, path)),
                Err(TryLockError::WouldBlock) => number += 1,
                Err(TryLockError::Error(error)) => break Err(error),
            }
        };
        let (claims, path) = created?;
        // What a dead process of the same number has left.
        claims.set_len(0)?;
        gate.unlock()?;
        Ok(Self { gate, claims, path })
    }

    fn claim(&mut self, dir: &Path, name: &str) -> io::Result<Claim> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path == self.path || path.extension().is_none_or(|it| it != "claims") {
                continue;
            }
            if let Some(other) = claims_of_the_living(&path)?
                && other.lines().any(|line| line == name)
            {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let process = stem.split('-').next().unwrap_or_default();
                return Ok(Claim::Taken(process.to_owned()));
            }
        }
        self.claims.write_all(format!("{name}\n").as_bytes())?;
        Ok(Claim::Ours)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Who cannot remove it leaves what a killed process would.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns what another process has claimed; the file of one that has ended is removed.
fn claims_of_the_living(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => match fs::remove_file(path) {
            // It ended well, and has removed it itself since it was opened here.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        },
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.take(MAX_CLAIMS_LEN).read_to_string(&mut text)?;
            Ok(Some(text))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(claim: io::Result<Claim>) -> bool {
        match claim.expect("a writable folder") {
            Claim::Ours => false,
            Claim::Taken(process) => {
                assert_eq!(process, process::id().to_string());
                true
            }
        }
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join("locks")).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_is_claimed_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let new = || Locks::new(Some(dir.path().to_owned()));
        let (mut first, mut second, mut third) = (new(), new(), new());
        assert!(!taken(first.claim([1; 20])));
        assert!(!taken(first.claim([2; 20])));
        assert!(taken(second.claim([1; 20])) && taken(third.claim([2; 20])));
        assert!(!taken(second.claim([3; 20])));
        assert!(taken(first.claim([3; 20])));
        drop(first);
        assert!(!taken(third.claim([1; 20])));
        drop((second, third));
        assert_eq!(files(dir.path()), ["gate"]);
    }

    #[test]
    fn what_a_killed_process_has_left_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("locks")).expect("writable");
        let at = |name: &str| dir.path().join("locks").join(name);
        let key = "01".repeat(20) + "\n";
        fs::write(at("999999-0.claims"), &key).expect("writable");
        fs::write(at(&format!("{}-0.claims", process::id())), &key).expect("writable");
        fs::write(at("another.file"), &key).expect("writable");
        let mut locks = Locks::new(Some(dir.path().to_owned()));
        assert!(!taken(locks.claim([1; 20])));
        let own = format!("{}-0.claims", process::id());
        assert_eq!(files(dir.path()), [own.as_str(), "another.file", "gate"]);
        assert_eq!(fs::read_to_string(at(&own)).expect("there"), key);
    }

    #[test]
    fn without_a_place_for_state_nothing_is_locked() {
        let mut locks = Locks::new(None);
        assert!(!taken(locks.claim([1; 20])) && !taken(locks.claim([1; 20])));
    }
}
