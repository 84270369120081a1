//! Which files `create` takes, and whether they are still the same when they have been hashed.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use swarmloop::disk::job::OnDisk;
use swarmloop::disk::layout::FileSpec;
use swarmloop::proto::metainfo::MAX_PATH_LEVELS;

use crate::cli::exit::{Exit, Failure};
use crate::cli::glob::Glob;
use crate::cli::input::escaped_path;

/// What is taken and what is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// Left out: what matches one of these.
    pub(super) exclude: &'a [Glob],
    /// Whether links are followed instead of left out.
    pub(super) follow_symlinks: bool,
    /// The torrent that is about to be replaced, which cannot be in itself.
    pub(super) output: Option<&'a Path>,
}

/// The files of a new torrent.
#[derive(Debug)]
pub(super) struct Source {
    /// The folder that the files' paths are relative to.
    pub(super) root: PathBuf,
    /// The name of the file or of the folder that it is made of.
    pub(super) name: OsString,
    /// Whether it is made of a file alone.
    pub(super) is_file: bool,
    /// In the order of their paths' bytes.
    pub(super) files: Vec<SourceFile>,
    /// What was left out without being asked for: links, and what is neither file nor folder.
    pub(super) skipped: Vec<PathBuf>,
}

/// One file.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to [`Source::root`].
    pub(super) path: PathBuf,
    stamp: Stamp,
}

impl SourceFile {
    /// Returns what it was when it was found, as a check of what there is would say it.
    pub(super) fn on_disk(&self) -> OnDisk {
        let Stamp { id: (device, inode), len, mtime: (s, ns) } = self.stamp;
        let modified_ns = s.saturating_mul(1_000_000_000).saturating_add(ns);
        OnDisk { len, modified_ns, inode, device, ours: false }
    }
}

/// By what a change of a file shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    id: (u64, u64),
    len: u64,
    mtime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let mtime = (metadata.mtime(), metadata.mtime_nsec());
        Self { id: id(metadata), len: metadata.len(), mtime }
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Source {
    /// Finds the files that are or are below `path`, which may be a link itself.
    pub(super) fn find(path: &Path, rules: Rules<'_>) -> Result<Self, Failure> {
        let metadata = fs::metadata(path).map_err(|error| not_readable(path, &error))?;
        let name = name_of(path)?;
        if metadata.is_file() {
            let root = path.parent().filter(|root| !root.as_os_str().is_empty());
            let root = root.unwrap_or(Path::new(".")).to_owned();
            let files =
                vec![SourceFile { path: name_of(path)?.into(), stamp: Stamp::of(&metadata) }];
            return Ok(Self { root, name, is_file: true, files, skipped: Vec::new() });
        }
        if !metadata.is_dir() {
            let message = format!("'{}' is neither a file nor a folder", escaped_path(path));
            return Err(Failure::new(Exit::Input, "cannot_read", message));
        }
        let (root, files, skipped) = (path.to_owned(), Vec::new(), Vec::new());
        let mut source = Self { root, name, is_file: false, files, skipped };
        let output = rules.output.and_then(|path| fs::metadata(path).ok());
        let output = output.map(|metadata| id(&metadata));
        let walk = Walk { rules, output };
        walk.folder(Path::new(""), &mut vec![id(&metadata)], &mut source)?;
        source
            .files
            .sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        source.skipped.sort();
        Ok(source)
    }

    /// Returns the bytes of all files.
    pub(super) fn total_len(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.stamp.len))
    }

    /// Returns the files as a torrent lays them out.
    pub(super) fn specs(&self) -> impl Iterator<Item = FileSpec> + '_ {
        self.files.iter().map(|file| FileSpec {
            path: file.path.clone(),
            len: file.stamp.len,
            pad: false,
        })
    }

    /// Returns the names on the path to each file, and its bytes, as a torrent has them.
    pub(super) fn names(&self) -> Vec<(Vec<Vec<u8>>, u64)> {
        let names = |file: &SourceFile| {
            let names = file.path.iter().map(|name| name.as_bytes().to_vec());
            (names.collect(), file.stamp.len)
        };
        self.files.iter().map(names).collect()
    }

    /// Makes sure that no file has changed since it was found.
    pub(super) fn check_unchanged(&self) -> Result<(), Failure> {
        let changed = |file: &&SourceFile| {
            let now = fs::metadata(self.root.join(&file.path));
            now.map(|metadata| Stamp::of(&metadata)).ok() != Some(file.stamp)
        };
        match self.files.iter().find(changed) {
            Some(file) => Err(self.has_changed(file)),
            None => Ok(()),
        }
    }

    /// The error for a file that is not what it was.
    pub(super) fn has_changed(&self, file: &SourceFile) -> Failure {
        let path = escaped_path(&self.root.join(&file.path));
        let message = format!("'{path}' changed while it was being hashed. Nothing was written");
        Failure::new(Exit::Failed, "changed", message)
            .hint("run the same command again when nothing writes to it any more")
    }
}

/// Returns the name that a path has on disk.
pub(super) fn name_of(path: &Path) -> Result<OsString, Failure> {
    if let Some(name) = path.file_name() {
        return Ok(name.to_owned());
    }
    let real = path.canonicalize().map_err(|error| not_readable(path, &error))?;
    real.file_name().map(ToOwned::to_owned).ok_or_else(|| {
        let message = format!("'{}' has no name", escaped_path(path));
        Failure::new(Exit::Usage, "no_name", message)
    })
}

fn not_readable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot read '{}': {error}", escaped_path(path));
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(Exit::Input, "cannot_read", message);
    }
    Failure::io(&format!("read '{}'", escaped_path(path)), error)
}

struct Walk<'a> {
    rules: Rules<'a>,
    /// The file system and number of the file that is to be replaced.
    output: Option<(u64, u64)>,
}

impl Walk<'_> {
    /// Takes what is in a folder of the source. `above` are the folders from the source down to
    /// this one; a link to one of them would have no end.
    fn folder(
        &self,
        below: &Path,
        above: &mut Vec<(u64, u64)>,
        source: &mut Source,
    ) -> Result<(), Failure> {
        if above.len() > MAX_PATH_LEVELS {
            let path = escaped_path(&source.root.join(below));
            let message = format!("'{path}' is more than {MAX_PATH_LEVELS} folders deep");
            return Err(Failure::new(Exit::Input, "too_deep", message));
        }
        let folder = source.root.join(below);
        let entries = fs::read_dir(&folder).map_err(|error| not_readable(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| not_readable(&folder, &error))?;
            self.entry(&below.join(entry.file_name()), above, source)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        path: &Path,
        above: &mut Vec<(u64, u64)>,
        source: &mut Source,
    ) -> Result<(), Failure> {
        let text = path.to_string_lossy();
        if self.rules.exclude.iter().any(|glob| glob.matches(&text)) {
            return Ok(());
        }
        let full = source.root.join(path);
        let metadata =
            if self.rules.follow_symlinks { fs::metadata(&full) } else { full.symlink_metadata() };
        let metadata = metadata.map_err(|error| not_readable(&full, &error))?;
        if metadata.is_dir() {
            let this = id(&metadata);
            if above.contains(&this) {
                let message = format!("'{}' is a link to a folder above it", escaped_path(&full));
                return Err(Failure::new(Exit::Input, "link_loop", message));
            }
            above.push(this);
            self.folder(path, above, source)?;
            above.pop();
        } else if !metadata.is_file() || Some(id(&metadata)) == self.output {
            source.skipped.push(full);
        } else {
            let stamp = Stamp::of(&metadata);
            source.files.push(SourceFile { path: path.to_owned(), stamp });
        }
        Ok(())
    }
}
