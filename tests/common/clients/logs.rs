//! One test's folder, and what is shown of it when the test fails.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

/// A folder with one for each program, gone with its value. Declare it after the programs of a
/// struct: when the test fails it prints their logs, after they have ended.
/// `SWARMLOOP_KEEP` in the environment keeps the folder of a failed test.
pub(crate) struct Scratch {
    folder: TempDir,
    made: usize,
}

impl Scratch {
    /// Makes the folder.
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("swarmloop-clients-").expect("a temporary folder");
        Self { folder, made: 0 }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder inside; numbered, because a test may start a client twice.
    pub(crate) fn folder(&mut self, name: &str) -> PathBuf {
        self.made += 1;
        let path = self.path().join(format!("{:02}-{name}", self.made));
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut folders: Vec<_> =
            fs::read_dir(self.path()).into_iter().flatten().flatten().collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        for folder in folders {
            print_logs(&folder.path());
        }
        if env::var_os("SWARMLOOP_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            println!("kept: {}", self.path().display());
        }
    }
}

/// The end of every log in `folder`, to libtest's record of the failed test.
fn print_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            println!("---- {}", path.display());
            for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
                println!("{line}");
            }
        }
    }
}

/// Of each log; the cause is nearly always at its end.
const MAX_LOG_LINES: usize = 60;
