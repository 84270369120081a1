//! The files of a torrent: as a table, and which are complete, counted from its verified pieces.

use swarmloop::client::Selection;
use swarmloop::id::PieceIndex;
use swarmloop::proto::metainfo::Metainfo;

use super::input::escaped_path;
use super::size::Size;

/// Returns the files of a torrent as a table: number, size, path; safe to print. Pad files have no
/// line and no number.
///
/// Numbers are those that `--select` takes. `in_bytes` shows sizes in bytes and not in the unit
/// that suits each.
pub(crate) fn table(metainfo: &Metainfo, in_bytes: bool) -> Vec<String> {
    let files = metainfo.files.iter().filter(|file| !file.pad);
    let size = |len: u64| if in_bytes { len.to_string() } else { Size(len).to_string() };
    let rows: Vec<(String, String, String)> = (1..)
        .zip(files)
        .map(|(number, file): (usize, _)| {
            (number.to_string(), size(file.len), escaped_path(&file.path))
        })
        .collect();
    let numbers = rows.iter().map(|(number, ..)| number.len()).max().unwrap_or(0);
    let sizes = rows.iter().map(|(_, size, _)| size.len()).max().unwrap_or(0);
    let line = |(number, size, path): &(String, String, String)| {
        format!("{number:>numbers$}  {size:>sizes$}  {path}")
    };
    rows.iter().map(line).collect()
}

/// The files of one torrent and what each still lacks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Bytes in every piece but the last; at least 1.
    piece_len: u64,
    /// In torrent order, without pad files.
    files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug)]
struct File {
    /// Zero-based, as `show` counts them from 1, pad files not counted.
    index: usize,
    /// Its path as the metainfo has it, lossily decoded. Foreign text.
    path: String,
    /// Offset in the torrent of its first byte and of the byte after its last.
    span: (u64, u64),
    /// Pieces that overlap it and are not known to be verified.
    missing: u64,
    /// Whether it has been told of, or is not to be.
    told: bool,
}

/// A file that is complete: one-based index and path. Foreign text.
pub(crate) type DoneFile = (usize, String);

impl Files {
    /// Counts the pieces of every file; of those that are not wanted, nothing is ever told.
    /// O(files).
    pub(crate) fn new(metainfo: &Metainfo, selection: &Selection) -> Self {
        let piece_len = u64::from(metainfo.piece_len.max(1));
        let mut at = 0u64;
        let mut files = Vec::new();
        for (place, file) in metainfo.files.iter().enumerate() {
            let span = (at, at.saturating_add(file.len));
            at = span.1;
            if file.pad {
                continue;
            }
            let missing =
                if file.len == 0 { 0 } else { (span.1 - 1) / piece_len - span.0 / piece_len + 1 };
            let path = file.path.to_string_lossy().into_owned();
            let told = !selection.wants(place);
            files.push(File { index: files.len(), path, span, missing, told });
        }
        Self { piece_len, files }
    }

    /// Records a verified piece, each at most once, and returns the files that it completes. Empty
    /// files wait for [`Files::complete`]: they are made last.
    pub(crate) fn verified(&mut self, piece: PieceIndex) -> Vec<DoneFile> {
        let start = u64::from(piece.0).saturating_mul(self.piece_len);
        let end = start.saturating_add(self.piece_len);
        let first = self.files.partition_point(|file| file.span.1 <= start);
        let mut done = Vec::new();
        for file in self.files[first..].iter_mut().take_while(|file| file.span.0 < end) {
            if file.missing > 0 {
                file.missing -= 1;
                if file.missing == 0 && !file.told {
                    done.push(file.tell());
                }
            }
        }
        done
    }

    /// Records that everything is there and returns the files not told of yet.
    pub(crate) fn complete(&mut self) -> Vec<DoneFile> {
        self.files.iter_mut().filter(|file| !file.told).map(File::tell).collect()
    }
}

impl File {
    fn tell(&mut self) -> DoneFile {
        self.told = true;
        (self.index + 1, self.path.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use swarmloop::client::FilePriority::{Normal, Skip};
    use swarmloop::id::InfoHash;
    use swarmloop::proto::metainfo::MetainfoFile;

    use super::*;

    /// A torrent of these files (path, length, pad) in pieces of 10 bytes.
    pub(crate) fn metainfo(files: &[(&str, u64, bool)]) -> Metainfo {
        let files =
            files.iter().map(|&(path, len, pad)| MetainfoFile { path: path.into(), len, pad });
        Metainfo {
            info_hash: InfoHash([0x5a; 20]),
            info: Bytes::new(),
            name: "top".to_owned(),
            piece_len: 10,
            pieces: Bytes::new(),
            files: files.collect(),
            multi_file: true,
            private: false,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            nodes: Vec::new(),
            creation_date: None,
            comment: None,
            created_by: None,
            notes: Vec::new(),
        }
    }

    fn indices(done: &[DoneFile]) -> Vec<usize> {
        done.iter().map(|(index, _)| *index).collect()
    }

    #[test]
    fn files_are_listed_with_their_numbers() {
        let metainfo = metainfo(&[
            ("top/a\x1b", 4, false),
            ("top/pad", 8, true),
            ("top/b", 70_000, false),
            ("top/empty", 0, false),
        ]);
        assert_eq!(
            table(&metainfo, false),
            ["1       4 B  top/a\\x1b", "2  68.4 KiB  top/b", "3       0 B  top/empty"]
        );
        assert_eq!(table(&metainfo, true)[1], "2  70000  top/b");
    }

    #[test]
    fn a_file_is_done_with_its_last_piece() {
        // Pieces: 0 = a, b; 1 = b, pad; 2 = pad, c; 3 = c.
        let torrent = metainfo(&[
            ("top/a", 4, false),
            ("top/empty", 0, false),
            ("top/b", 12, false),
            ("top/pad", 8, true),
            ("top/c", 11, false),
        ]);
        let mut files = Files::new(&torrent, &Selection::all());
        assert!(indices(&files.verified(PieceIndex(1))).is_empty());
        assert_eq!(files.verified(PieceIndex(0)), [(1, "top/a".into()), (3, "top/b".into())]);
        assert!(indices(&files.verified(PieceIndex(3))).is_empty());
        assert_eq!(indices(&files.verified(PieceIndex(2))), [4]);
        assert_eq!(indices(&files.complete()), [2]);
        assert!(indices(&files.complete()).is_empty());
    }

    #[test]
    fn pieces_that_were_there_before_come_with_the_end() {
        let torrent = metainfo(&[("top/a", 10, false), ("top/b", 20, false)]);
        let mut files = Files::new(&torrent, &Selection::all());
        assert!(indices(&files.verified(PieceIndex(2))).is_empty());
        assert!(indices(&files.verified(PieceIndex(99))).is_empty());
        assert_eq!(indices(&files.complete()), [1, 2]);
    }

    #[test]
    fn nothing_is_told_of_files_that_are_not_wanted() {
        let torrent = metainfo(&[
            ("top/a", 4, false),
            ("top/pad", 3, true),
            ("top/b", 3, false),
            ("top/empty", 0, false),
            ("top/c", 10, false),
        ]);
        let priorities = [Skip, Normal, Normal, Skip, Normal];
        let mut files = Files::new(&torrent, &Selection::new(priorities));
        assert_eq!(indices(&files.verified(PieceIndex(0))), [2]);
        assert_eq!(indices(&files.complete()), [4]);
    }
}
