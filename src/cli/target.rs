//! Where a torrent goes that is made or changed: into a file, or to stdout.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::new_file::{in_the_way, put};
use super::ui::Ui;

/// Where a torrent goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    File(PathBuf),
    /// To whoever reads what the program prints.
    Stdout,
}

impl Target {
    /// Returns what `-o` names, of which `-` is stdout.
    pub(crate) fn named(output: &Path) -> Self {
        if output == "-" { Self::Stdout } else { Self::File(output.to_owned()) }
    }

    /// Refuses a place that is taken, unless what is there may be replaced, one where nothing can
    /// be made, and a terminal: before there is any work that would be lost.
    pub(crate) fn check(&self, replace: bool) -> Result<(), Failure> {
        match self {
            Self::File(path) if !replace && path.symlink_metadata().is_ok() => {
                Err(in_the_way(path).hint("-f replaces it; -o names another place"))
            }
            Self::File(path) => check_folder(path),
            Self::Stdout if io::stdout().is_terminal() => {
                let message = "a torrent is no text for a terminal. Nothing was written";
                let failure = Failure::new(Exit::Usage, "stdout_is_terminal", message);
                Err(failure.hint("give stdout to a file or a program, as in -o - >x.torrent"))
            }
            Self::Stdout => Ok(()),
        }
    }

    /// Refuses flags, if they are given, that would mix something with a torrent on stdout.
    pub(crate) fn check_alone(&self, flags: &[(&str, bool)]) -> Result<(), Failure> {
        match flags.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if *self == Self::Stdout => {
                let message =
                    format!("-o - and {flag} would both write to stdout. Nothing was written");
                let hint = "name a file with -o; `swarmloop magnet -` links a torrent on stdin";
                Err(Failure::new(Exit::Usage, "stdout_twice", message).hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Writes a torrent, whole or not at all; over what is there only to `replace` it.
    pub(crate) fn write(&self, torrent: &[u8], replace: bool, ui: &mut Ui) -> Result<(), Failure> {
        match self {
            Self::File(path) => put(path, torrent, replace),
            Self::Stdout => {
                ui.result_bytes(torrent);
                Ok(())
            }
        }
    }

    /// Returns the file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout => None,
        }
    }

    /// Names it for people; safe to print.
    pub(crate) fn shown(&self) -> String {
        self.path().map_or_else(|| "stdout".to_owned(), escaped_path)
    }
}

/// Refuses a file that could not be made because of the folder that it would be in.
pub(crate) fn check_folder(path: &Path) -> Result<(), Failure> {
    // Behind a name that is none of a folder, there is no `.`.
    let folder = path.parent().unwrap_or(Path::new("")).join(".");
    access(&folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| Failure::io(&format!("create '{}'", escaped_path(path)), &error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_place_where_nothing_can_be_made_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| Target::named(&folder.path().join(path));
        fs::write(folder.path().join("file"), "x").expect("written");
        assert!(at("new").check(false).is_ok() && at("file").check(true).is_ok());
        assert!(Target::named(Path::new("no such file here")).check(false).is_ok());
        assert_eq!(at("file").check(false).map_err(|failure| failure.exit), Err(Exit::Disk));
        for (path, why) in [("no/new", "No such file"), ("file/new", "Not a directory")] {
            let failure = at(path).check(true).expect_err("there is no such folder");
            let end = format!("{path}': {why} ");
            assert!(failure.message.contains(&end), "{}", failure.message);
        }
    }

    #[test]
    fn stdout_is_for_one_thing() {
        let flags = |json| [("--json", json), ("--magnet", true)];
        let failure = Target::Stdout.check_alone(&flags(true)).expect_err("two");
        assert!(failure.message.starts_with("-o - and --json would both"), "{}", failure.message);
        let failure = Target::Stdout.check_alone(&flags(false)).expect_err("two");
        assert!(failure.message.contains(" --magnet "), "{}", failure.message);
        assert!(Target::Stdout.check_alone(&[("--json", false)]).is_ok());
        assert!(Target::named(Path::new("x")).check_alone(&flags(true)).is_ok());
    }
}
