//! `--trace FILE`: what the engine did last, as a file for a viewer of traces.

use std::path::{Path, PathBuf};

use swarmloop::session::trace::Trace;

use super::chrome;
use super::exit::Failure;
use super::input::escaped_path;
use super::new_file::NewFile;

/// The most records that are kept, 48 bytes each: some 60 000 blocks, a GiB, with what is said
/// around them. The oldest are lost first, because the end of a run is what most need explaining.
pub(super) const MAX_RECORDS: usize = 1 << 18;

/// The file of a run that is being traced.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
    file: NewFile,
    trace: Option<Trace>,
}

impl TraceFile {
    /// Makes the file; one that exists is in the way.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), file: NewFile::create(path)?, trace: None })
    }

    /// Takes over what the engine has recorded.
    pub(super) fn keep(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// Writes it; returns what is said of it. An engine that ended by itself leaves none.
    pub(super) fn finish(mut self) -> Result<Option<String>, Failure> {
        let Some(trace) = self.trace.take() else { return Ok(None) };
        self.file.write_with(|file| chrome::export(&trace, file))?;
        self.file.finish()?;
        let (path, kept) = (escaped_path(&self.path), trace.len());
        Ok(Some(match trace.lost() {
            0 => format!("trace: {path} ({kept} records)"),
            lost => format!("trace: {path} (the last {kept} records; {lost} older ones are lost)"),
        }))
    }
}
