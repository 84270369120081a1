//! Metadata that came from peers (BEP 9): put together, hashed, read. Pure; the workers do it,
//! because 16 MiB of it would hold up the loop for a hundredth of a second and more.

use bytes::Bytes;

use super::hash::{self, Midstate};
use crate::id::{InfoHash, TorrentId};
use crate::proto::metainfo::{Metainfo, MetainfoError};

/// Metadata of which every block is here.
#[derive(Clone, Debug)]
pub struct Assemble {
    /// Whose it is.
    pub torrent: TorrentId,
    /// What its SHA-1 is to be.
    pub info_hash: InfoHash,
    /// The blocks in order, 16 KiB each but the last.
    pub blocks: Vec<Bytes>,
}

/// What metadata was found to be.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// Whose it is.
    pub torrent: TorrentId,
    /// The torrent, if it is the one that was asked for.
    pub result: Result<Box<Metainfo>, MetadataFault>,
    /// The SHA-1 of each block, in order.
    pub block_hashes: Vec<[u8; 20]>,
}

/// Metadata is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataFault {
    /// Its SHA-1 is not the info-hash: whoever sent it is to blame.
    #[error("its hash is not the info-hash")]
    Corrupt,
    /// It is what the info-hash stands for, and no torrent that this engine can use.
    #[error("{0}")]
    Unusable(#[from] MetainfoError),
    /// A bug of ours.
    #[error("{0}")]
    Panicked(String),
}

/// Puts metadata together, compares its hash, and only then reads it.
pub fn assemble(job: &Assemble) -> Assembled {
    let hash = |bytes: &[u8]| {
        let mut midstate = Midstate::default();
        hash::update_bytes(&mut midstate, bytes);
        hash::finish(midstate)
    };
    let block_hashes = job.blocks.iter().map(|block| hash(block)).collect();
    let info = Bytes::from(job.blocks.concat());
    let result = if hash(&info) == job.info_hash.0 {
        Metainfo::from_info(info).map(Box::new).map_err(MetadataFault::from)
    } else {
        Err(MetadataFault::Corrupt)
    };
    Assembled { torrent: job.torrent, result, block_hashes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::{Digest, Sha1};

    fn job(info: &[u8], info_hash: InfoHash) -> Assemble {
        let blocks = info.chunks(16).map(Bytes::copy_from_slice).collect();
        Assemble { torrent: TorrentId(3), info_hash, blocks }
    }

    #[test]
    fn metadata_is_read_only_if_it_is_what_was_asked_for() {
        let info = [&b"d6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:"[..], &[7; 20], b"e"]
            .concat();
        let right = InfoHash(Sha1::digest(&info).into());
        let done = assemble(&job(&info, right));
        let metainfo = done.result.expect("it is right");
        assert_eq!((metainfo.info_hash, metainfo.total_len()), (right, 5));
        assert_eq!(done.block_hashes.len(), info.len().div_ceil(16));
        assert_eq!(done.block_hashes[0], <[u8; 20]>::from(Sha1::digest(&info[..16])));
        let wrong = assemble(&job(&info, InfoHash([0; 20])));
        assert_eq!(wrong.result.expect_err("another"), MetadataFault::Corrupt);
        let useless = InfoHash(Sha1::digest(b"le").into());
        let fault = assemble(&job(b"le", useless)).result.expect_err("no torrent");
        assert_eq!(fault.to_string(), "info is not a dictionary");
    }
}
