//! Torrents made up in memory: their bytes follow from a seed, their metainfo from the bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::disk::SimDisk;
use crate::disk::hash;
use crate::disk::hash::Midstate;
use crate::disk::job::Storage;
use crate::disk::layout::{FileSpec, Layout, Span};
use crate::disk::parts::Parts;
use crate::disk::selection::Selection;
use crate::id::{PieceIndex, TorrentId};
use crate::proto::bencode::Writer;
use crate::proto::metainfo::Metainfo;
use crate::rng::Rng;

/// A file of a torrent to be made up.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile {
    /// Its name below the torrent's folder.
    pub name: &'static str,
    /// Bytes; may be 0.
    pub len: usize,
    /// Whether it is a pad file (BEP 47): zeros, and never on disk.
    pub pad: bool,
}

/// A made-up torrent and all of its bytes.
#[derive(Debug)]
pub struct Source {
    /// What sessions are given.
    pub metainfo: Metainfo,
    /// The torrent's bytes, those of pad files included.
    content: Vec<u8>,
    layout: Arc<Layout>,
}

impl Source {
    /// Returns a torrent of one file of `len` bytes.
    pub fn single(seed: u64, len: usize, piece_len: u32, tracker: Option<&str>) -> Self {
        let file = SourceFile { name: "file", len, pad: false };
        Self::new(seed, &[file], piece_len, tracker)
    }

    /// Returns a torrent of several files in a folder. Panics if they have no byte: a caller's bug.
    pub fn new(seed: u64, files: &[SourceFile], piece_len: u32, tracker: Option<&str>) -> Self {
        let mut rng = Rng::new(seed);
        let mut content = Vec::new();
        for file in files {
            let start = content.len();
            content.resize(start + file.len, 0);
            if !file.pad {
                rng.fill(&mut content[start..]);
            }
        }
        let pieces = content.chunks(piece_len as usize).flat_map(|piece| {
            let mut midstate = Midstate::default();
            hash::update_bytes(&mut midstate, piece);
            hash::finish(midstate)
        });
        let torrent = write(seed, files, piece_len, &pieces.collect::<Vec<u8>>(), tracker);
        let metainfo = Metainfo::parse(&Bytes::from(torrent)).expect("a well-formed torrent");
        let specs = metainfo.files.iter();
        let specs = specs.map(|f| FileSpec { path: f.path.clone(), len: f.len, pad: f.pad });
        let layout = Layout::new(specs, metainfo.piece_len);
        Self { metainfo, content, layout: Arc::new(layout) }
    }

    /// Returns the bytes of a piece.
    pub fn piece(&self, piece: PieceIndex) -> &[u8] {
        let start = piece.0 as usize * self.metainfo.piece_len as usize;
        &self.content[start..start + self.layout.piece_len(piece) as usize]
    }

    /// Returns the path below the download folder and the bytes of each file that is on disk.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.layout.files().iter().filter(|file| !file.pad).map(|file| {
            let start = usize::try_from(file.offset).expect("in memory");
            let len = usize::try_from(file.len).expect("in memory");
            (file.path.as_path(), &self.content[start..start + len])
        })
    }

    /// Returns where the torrent's bytes are if what files share is in the parts file.
    fn all_in_parts(&self, root: &Path) -> Storage {
        Storage {
            torrent: TorrentId(0),
            info_hash: self.metainfo.info_hash,
            root: root.to_owned(),
            parts: Parts::new(&self.layout, 0..self.layout.files().len()),
            layout: Arc::clone(&self.layout),
            hashes: self.metainfo.pieces.clone(),
            writable: true,
            rules: crate::disk::job::Rules::default(),
            state: None,
        }
    }

    /// Returns what is wrong with a piece on `disk`, if anything is.
    pub fn piece_fault(&self, disk: &SimDisk, root: &Path, piece: PieceIndex) -> Option<String> {
        let mut rest = self.piece(piece);
        let (storage, len) = (self.all_in_parts(root), self.layout.piece_len(piece));
        let kept_apart = storage.spans(piece, 0, len);
        for spans in self.layout.spans(piece, 0, len).zip(kept_apart) {
            let (right, behind) = rest.split_at(usize::try_from(spans.0.len).expect("in memory"));
            rest = behind;
            let is_right = |span: Span| {
                let from = usize::try_from(span.offset).expect("in memory");
                let file = disk.file(&storage.path_of(span.file));
                file.and_then(|file| file.get(from..from + right.len())) == Some(right)
            };
            if !spans.0.pad && !is_right(spans.0) && !is_right(spans.1) {
                let path = storage.path_of(spans.0.file);
                return Some(format!("piece {} is wrong in {}", piece.0, path.display()));
            }
        }
        None
    }

    /// Returns what is wrong with the files on `disk` that are wanted, if anything is.
    pub(super) fn fault(
        &self,
        disk: &SimDisk,
        root: &Path,
        selection: &Selection,
    ) -> Option<String> {
        let layout = self.layout.files().iter().enumerate().filter(|(_, file)| !file.pad);
        let wanted = layout.map(|(at, _)| selection.wants(at));
        for ((path, bytes), _) in self.files().zip(wanted).filter(|(_, wanted)| *wanted) {
            let path: PathBuf = root.join(path);
            match disk.file(&path) {
                None => return Some(format!("{} is not there", path.display())),
                Some(there) if there != bytes => {
                    return Some(format!("{} differs from the source", path.display()));
                }
                Some(_) => {}
            }
        }
        let parts = self.all_in_parts(root).path_of(self.layout.files().len());
        if selection.wants_all() && disk.file(&parts).is_some() {
            return Some(format!("{} is there still", parts.display()));
        }
        let pads = self.layout.files().iter().filter(|file| file.pad);
        let mut pads = pads.map(|file| root.join(&file.path));
        pads.find(|path| disk.file(path).is_some())
            .map(|path| format!("{}, a pad file, is on disk", path.display()))
    }
}

/// Writes a metainfo file (BEP 3, BEP 47).
fn write(
    seed: u64,
    files: &[SourceFile],
    piece_len: u32,
    pieces: &[u8],
    tracker: Option<&str>,
) -> Vec<u8> {
    let int = |n: usize| i64::try_from(n).expect("a simulated file is small");
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|root| {
        if let Some(url) = tracker {
            root.key(b"announce").bytes(url.as_bytes());
        }
        root.key(b"info").dict(|info| {
            info.key(b"files").list(|list| {
                for file in files {
                    list.dict(|entry| {
                        if file.pad {
                            entry.key(b"attr").bytes(b"p");
                        }
                        entry.key(b"length").int(int(file.len));
                        entry.key(b"path").list(|path| {
                            file.name.split('/').for_each(|name| path.bytes(name.as_bytes()));
                        });
                    });
                }
            });
            info.key(b"name").bytes(format!("torrent-{seed}").as_bytes());
            info.key(b"piece length").int(i64::from(piece_len));
            info.key(b"pieces").bytes(pieces);
        });
    });
    out
}
