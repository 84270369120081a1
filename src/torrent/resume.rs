//! The resume record: what one process tells the next of a torrent.
//!
//! A bencoded dictionary, so that later versions can add keys and earlier ones pass over them. What
//! it claims is durable: [`super::keep`] sees to that before it is written. **Invariant:** a record
//! that is cut, changed or of another torrent is none; whatever bytes there are, nothing is claimed
//! beyond the pieces that the torrent has.

use crate::bitfield::Bitfield;
use crate::disk::job::{FolderId, Folders, OnDisk};
use crate::geometry::Geometry;
use crate::id::InfoHash;
use crate::proto::bencode::{self, Dict, Limits, Writer};

/// What is known of a torrent from one process to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Pieces that are verified and durable.
    pub claimed: Bitfield,
    /// Those among them that have come since the last record that was clean: a process that did not
    /// end as it should has them hashed. Empty, of no length, if there are none.
    pub recent: Bitfield,
    /// Each file of the layout as it was when the claims were made; `None` for what was not there
    /// and for pad files.
    pub files: Vec<Option<OnDisk>>,
    /// The folders that the files were in then; of a record of an earlier version nothing is known
    /// of them.
    pub folders: Folders,
    /// Whether nothing was to be written after this record: then every piece that is right is
    /// claimed, and every file is as it says.
    pub clean: bool,
    /// Payload received over the torrent's life, in bytes.
    pub downloaded: u64,
    /// Payload sent over the torrent's life, in bytes.
    pub uploaded: u64,
    /// When the torrent was first added, in seconds since 1970; 0 if that was not said.
    pub added_at: u64,
    /// When all of it was here, in seconds since 1970; 0 if it is not.
    pub completed_at: u64,
}

/// Bytes of one file in the record: length, time, inode and device, and a byte that says whether it
/// was made for the torrent.
const FILE_LEN: usize = 33;
/// Bytes of the folders in the record: device and inode of each.
const FOLDERS_LEN: usize = 32;
/// The record's own version, for a change that keys cannot express.
const VERSION: i64 = 1;
/// The most values in a record: a dictionary of no depth, with room for keys that come later.
const LIMITS: Limits =
    Limits { max_depth: 4, max_tokens: 1 << 16, max_len: crate::disk::slots::MAX_RECORD_LEN };

impl Record {
    /// Returns what a torrent that nobody has seen before has: nothing.
    pub fn empty(pieces: u32, files: usize) -> Self {
        Self {
            claimed: Bitfield::new(pieces),
            recent: Bitfield::default(),
            files: vec![None; files],
            folders: Folders::default(),
            clean: false,
            downloaded: 0,
            uploaded: 0,
            added_at: 0,
            completed_at: 0,
        }
    }

    /// Returns what is known of a torrent whose pieces have all been found right while its files
    /// were these; that they are durable is not.
    pub(super) fn of_hashed(geometry: &Geometry, files: Vec<Option<OnDisk>>) -> Self {
        let claimed = Bitfield::full(geometry.pieces());
        Self { claimed, files, clean: true, ..Self::empty(geometry.pieces(), 0) }
    }

    /// Writes the record of the torrent `info_hash`.
    pub fn encode(&self, info_hash: InfoHash) -> Vec<u8> {
        let mut claimed = Vec::with_capacity(Bitfield::wire_len(self.claimed.len()));
        self.claimed.write_wire(&mut claimed);
        let mut files = Vec::with_capacity(self.files.len() * FILE_LEN);
        for file in &self.files {
            let file = file.unwrap_or_default();
            for number in [file.len, file.modified_ns.cast_unsigned(), file.inode, file.device] {
                files.extend_from_slice(&number.to_be_bytes());
            }
            files.push(file.ours.into());
        }
        let mut out = Vec::with_capacity(claimed.len() + files.len() + 256);
        Writer::new(&mut out).dict(|record| {
            record.key(b"added").int(as_int(self.added_at));
            record.key(b"claimed").bytes(&claimed);
            record.key(b"clean").int(self.clean.into());
            record.key(b"completed").int(as_int(self.completed_at));
            record.key(b"downloaded").int(as_int(self.downloaded));
            record.key(b"files").bytes(&files);
            record.key(b"folders").bytes(&write_folders(&self.folders));
            record.key(b"hash").bytes(&info_hash.0);
            let mut recent = Vec::new();
            self.recent.write_wire(&mut recent);
            record.key(b"recent").bytes(&recent);
            record.key(b"uploaded").int(as_int(self.uploaded));
            record.key(b"version").int(VERSION);
        });
        out
    }

    /// Reads the record of the torrent `info_hash`, of so many pieces and files; `None` if `bytes`
    /// are anything else. Never panics, whatever they are.
    pub fn decode(bytes: &[u8], info_hash: InfoHash, pieces: u32, files: usize) -> Option<Self> {
        let tree = bencode::decode(bytes, &LIMITS).ok()?;
        let record = tree.root().as_dict()?;
        let is_ours = record.get(b"hash")?.as_bytes()? == info_hash.0;
        if !is_ours || record.get(b"version")?.as_int()? != VERSION {
            return None;
        }
        let rows = record.get(b"files")?.as_bytes()?;
        if rows.len() != files.checked_mul(FILE_LEN)? {
            return None;
        }
        let claimed = Bitfield::from_wire(record.get(b"claimed")?.as_bytes()?, pieces).ok()?;
        let clean = record.get(b"clean")?.as_int()? == 1;
        let recent = match record.get(b"recent") {
            Some(recent) if recent.as_bytes()?.is_empty() => Bitfield::default(),
            Some(recent) => Bitfield::from_wire(recent.as_bytes()?, pieces).ok()?,
            // An earlier version does not say.
            None if clean => Bitfield::default(),
            None => claimed.clone(),
        };
        Some(Self {
            claimed,
            recent,
            files: rows.chunks_exact(FILE_LEN).map(read_file).collect(),
            folders: match record.get(b"folders") {
                Some(folders) => read_folders(folders.as_bytes()?)?,
                None => Folders::default(),
            },
            clean,
            downloaded: count(record, b"downloaded")?,
            uploaded: count(record, b"uploaded")?,
            added_at: count(record, b"added")?,
            completed_at: count(record, b"completed")?,
        })
    }
}

fn write_folders(folders: &Folders) -> Vec<u8> {
    let both = [folders.root, folders.own];
    // No folder has the inode 0.
    let numbers = both.map(|folder| folder.map_or([0; 2], |it| [it.device, it.inode]));
    numbers.as_flattened().iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn read_folders(bytes: &[u8]) -> Option<Folders> {
    let bytes: &[u8; FOLDERS_LEN] = bytes.try_into().ok()?;
    let mut numbers = read_numbers(bytes);
    let mut next = || {
        let (device, inode) = (numbers.next()?, numbers.next()?);
        (inode != 0).then_some(FolderId { device, inode })
    };
    Some(Folders { root: next(), own: next() })
}

/// Reads big-endian numbers of eight bytes each.
fn read_numbers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    bytes.chunks_exact(8).map(number)
}

/// Reads one file; all zeros are none, for no file has the inode 0.
fn read_file(row: &[u8]) -> Option<OnDisk> {
    let mut numbers = read_numbers(row);
    let mut next = || numbers.next().unwrap_or(0);
    let (len, modified_ns) = (next(), next().cast_signed());
    let (inode, device) = (next(), next());
    let ours = row.last() == Some(&1);
    let file = OnDisk { len, modified_ns, inode, device, ours };
    (file != OnDisk::default()).then_some(file)
}

/// Reads a number that counts something.
fn count(record: Dict<'_, '_>, key: &[u8]) -> Option<u64> {
    u64::try_from(record.get(key)?.as_int()?).ok()
}

/// Counts of bytes and seconds stay far below the bound.
fn as_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: InfoHash = InfoHash([7; 20]);

    fn record() -> Record {
        let mut claimed = Bitfield::new(21);
        for piece in [0, 3, 20] {
            claimed.insert(piece);
        }
        let file = |len| {
            let (modified_ns, inode, device) = (1_700_000_000_123_456_789, 42, 2049);
            Some(OnDisk { len, modified_ns, inode, device, ours: len > 0 })
        };
        let mut recent = Bitfield::new(21);
        recent.insert(3);
        Record {
            claimed,
            recent,
            files: vec![file(100), None, file(0)],
            folders: Folders { root: Some(FolderId { device: 2049, inode: 2 }), own: None },
            clean: true,
            downloaded: 1 << 40,
            uploaded: 3,
            added_at: 1_700_000_000,
            completed_at: 0,
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for clean in [false, true] {
            let record = Record { clean, ..record() };
            let bytes = record.encode(HASH);
            assert_eq!(Record::decode(&bytes, HASH, 21, 3), Some(record));
        }
        let empty = Record::empty(21, 3);
        assert_eq!(Record::decode(&empty.encode(HASH), HASH, 21, 3), Some(empty));
    }

    #[test]
    fn a_record_of_another_torrent_is_none() {
        let bytes = record().encode(HASH);
        assert_eq!(Record::decode(&bytes, InfoHash([8; 20]), 21, 3), None);
        for (pieces, files) in [(20, 3), (25, 3), (21, 2), (21, 4), (0, 0)] {
            assert_eq!(Record::decode(&bytes, HASH, pieces, files), None, "{pieces} {files}");
        }
    }

    #[test]
    fn a_record_that_was_cut_is_none() {
        let bytes = record().encode(HASH);
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len], HASH, 21, 3), None, "{len} bytes");
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let record = record();
        for clean in [false, true] {
            let record = Record { clean, ..record.clone() };
            let mut bytes = record.encode(HASH);
            for (key, len) in [(&b"7:folders"[..], "32:".len() + FOLDERS_LEN), (b"6:recent", 5)] {
                let at = bytes.windows(key.len()).position(|there| there == key).unwrap();
                bytes.drain(at..at + key.len() + len);
            }
            let recent = if clean { Bitfield::default() } else { record.claimed.clone() };
            let expected = Record { folders: Folders::default(), recent, ..record };
            assert_eq!(Record::decode(&bytes, HASH, 21, 3), Some(expected));
        }
    }

    #[test]
    fn keys_of_later_versions_are_passed_over() {
        let mut bytes = record().encode(HASH);
        bytes.pop();
        bytes.extend_from_slice(b"10:wantednessd1:xi1eee");
        assert_eq!(Record::decode(&bytes, HASH, 21, 3), Some(record()));
    }

    proptest! {
        /// The slots' hash finds every change; this is what holds without it.
        #[test]
        fn whatever_the_bytes_are_no_piece_is_claimed_that_the_torrent_lacks(
            at in 0..400_usize, byte: u8, noise in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let mut bytes = record().encode(HASH);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            for bytes in [&bytes[..], &noise[..]] {
                if let Some(record) = Record::decode(bytes, HASH, 21, 3) {
                    prop_assert_eq!(record.claimed.len(), 21);
                    prop_assert!(record.claimed.ones().all(|piece| piece < 21));
                    prop_assert_eq!(record.files.len(), 3);
                }
            }
        }
    }
}
