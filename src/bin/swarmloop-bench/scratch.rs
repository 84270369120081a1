//! A folder that is removed when it is no longer needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of this process. Dropping it removes it and everything in it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new folder in `dir`, or in memory if the system has a folder for that, else in the
    /// one for temporary files.
    pub(crate) fn new(dir: Option<&Path>) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        // Clients that change their folder must find it.
        Self::inside(&fs::canonicalize(dir)?)
    }

    /// Makes a new folder in `dir`.
    pub(crate) fn inside(dir: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("swarmloop-bench-{}-{number}", std::process::id()));
        // Not one that is there: it would be removed with everything in it.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_new_and_go_with_what_is_in_them() {
        let outer = Scratch::new(None).expect("a folder");
        let (one, two) = (Scratch::inside(outer.path()), Scratch::inside(outer.path()));
        let (one, two) = (one.expect("a folder"), two.expect("a folder"));
        assert_ne!(one.path(), two.path());
        fs::write(one.path().join("file"), "x").expect("it can be written");
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }
}
