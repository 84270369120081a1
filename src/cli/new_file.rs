//! Files that the command line itself writes: new ones only, and whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::exit::{Exit, Failure};
use super::input::escaped_path;

/// A file that did not exist before. It is removed again unless [`NewFile::finish`] is called.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    /// `None` once it is finished.
    file: Option<BufWriter<File>>,
}

impl NewFile {
    /// Makes the file; one that exists is left as it is and in the way.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        match File::create_new(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(BufWriter::new(file)) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(in_the_way(path)),
            Err(error) => Err(Failure::io(&format!("create '{}'", escaped_path(path)), &error)),
        }
    }

    /// Adds to the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_with(|file| file.write_all(bytes))
    }

    /// Hands everything to the system now, so that an end without warning does not lose it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.write_with(Write::flush)
    }

    /// Adds what `write` writes.
    pub(crate) fn write_with(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        write(file)
            .map_err(|error| Failure::io(&format!("write '{}'", escaped_path(&self.path)), &error))
    }

    /// Ends the file, which stays.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.keep();
        Ok(())
    }

    /// Ends the file, of which everything has been written.
    fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // It is ours and not whole; if it cannot be removed, nobody is left to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a whole new file.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = NewFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// Puts a whole file in the place of another, or, unless `replace`, where none is: whoever looks
/// finds the old one or the new one, after a crash too.
pub(crate) fn put(path: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    // Nobody knows the file beside it: what is wrong is told of the one that it is to become.
    let failed = |what: &str, error: &io::Error| {
        Failure::io(&format!("{what} '{}'", escaped_path(path)), error)
    };
    let (temporary, file) = create_beside(path).map_err(|error| failed("create", &error))?;
    let mut writer = BufWriter::new(file);
    let written = fill(&mut writer, bytes, path);
    let file = NewFile { path: temporary.clone(), file: Some(writer) };
    written.map_err(|error| failed("write", &error))?;
    let how = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, &temporary, CWD, path, how) {
        Err(Errno::EXIST) => return Err(in_the_way(path)),
        // Not every file system can promise not to replace.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(path).is_err() => {
            fs::rename(&temporary, path).map_err(|error| failed("create", &error))?;
        }
        result => result.map_err(|error| failed("create", &error.into()))?,
    }
    file.keep();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(|error| failed("save", &error))
}

/// Writes a whole file to the disk, with the permissions of the one whose place it takes.
fn fill(file: &mut BufWriter<File>, bytes: &[u8], path: &Path) -> io::Result<()> {
    file.write_all(bytes)?;
    file.flush()?;
    if let Ok(there) = fs::metadata(path) {
        file.get_ref().set_permissions(there.permissions())?;
    }
    file.get_ref().sync_all()
}

/// Makes a file in the folder of another, by a name that nobody has: a process that was killed may
/// have left some, and its number comes back soon in a container.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    /// Names that are tried: a folder with more leftovers needs another remedy.
    const MAX_NAMES: u32 = 1000;

    let mut number = 0;
    loop {
        // Not made of the file's own name, to which nothing might fit any more.
        let name = format!(".swarmloop-{}-{number}.tmp", process::id());
        let temporary = path.with_file_name(name);
        number += 1;
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NAMES => {}
            created => return created.map(|file| (temporary, file)),
        }
    }
}

/// Something is where a file is to be made.
pub(crate) fn in_the_way(path: &Path) -> Failure {
    let message = format!("'{}' exists already. Nothing was written", escaped_path(path));
    Failure::new(Exit::Disk, "in_the_way", message)
        .hint("nothing is overwritten: name another place, or move what is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a\n");
        std::fs::write(&path, "mine").unwrap();
        let failure = NewFile::create(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Disk);
        assert!(failure.message.ends_with("a\\x0a' exists already. Nothing was written"));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_is_not_finished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert!(!path.exists());
        write_new(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_file_is_put_where_none_is_or_over_one_that_is() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        put(&path, b"first", false).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let failure = put(&path, b"second", false).unwrap_err();
        assert_eq!(failure.exit, Exit::Disk);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        put(&path, b"third", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left over");
        assert!(put(&folder.path().join("none/a"), b"x", false).is_err());
    }

    #[test]
    fn what_a_killed_process_of_the_same_number_has_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        // As long as a name can be.
        let path = folder.path().join("a".repeat(255));
        let (left, _) = create_beside(&path).unwrap();
        fs::write(&left, "half").unwrap();
        put(&path, b"first", false).unwrap();
        put(&path, b"second", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read(&left).unwrap(), b"half");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_of_the_file_that_was_asked_for() {
        let failure = put(Path::new("/proc/a"), b"x", false).unwrap_err();
        assert!(failure.message.starts_with("cannot create '/proc/a': "), "{}", failure.message);
    }

    #[test]
    fn what_the_disk_refuses_is_told() {
        let missing = NewFile::create(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.message.starts_with("cannot create '/nowhere/at/all': No such file"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let path = PathBuf::from("/dev/full");
        let mut file = NewFile { path, file: Some(BufWriter::new(full)) };
        file.write(b"x").unwrap();
        let failure = file.flush().unwrap_err();
        // It must not be removed.
        file.file = None;
        assert_eq!(failure.exit, Exit::Disk);
        assert!(failure.message.starts_with("cannot write '/dev/full': No space left"));
    }
}
