//! Seeded fuzzing of what an earlier process has left: state files and blocks that were put aside,
//! cut, spoiled, mixed, and forged with hashes that are right. Whatever they hold, the loader comes
//! to an end; nothing is claimed that a hash does not cover, and nothing that the torrent lacks.
//!
//! A failure names its seed; `SWARMLOOP_FUZZ_SEEDS=7..8 cargo test --test resume_load` runs that
//! one again, `0..1000000` more of them.
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

use std::ops::Range;

use sha1::{Digest, Sha1};
use swarmloop::bitfield::Bitfield;
use swarmloop::disk::job::{FolderId, Folders, OnDisk};
use swarmloop::disk::{slots, spill};
use swarmloop::id::{BLOCK_LEN, Block, InfoHash, PieceIndex};
use swarmloop::rng::Rng;
use swarmloop::torrent::resume::Record;
use swarmloop::wire::frame::Frame;

const HASH: InfoHash = InfoHash([7; 20]);

fn seeds() -> Range<u64> {
    let asked = std::env::var("SWARMLOOP_FUZZ_SEEDS").unwrap_or_else(|_| "0..3000".to_owned());
    let (from, until) = asked.split_once("..").expect("SWARMLOOP_FUZZ_SEEDS is a range");
    let number = |text: &str| text.parse().expect("SWARMLOOP_FUZZ_SEEDS is a range of numbers");
    number(from)..number(until)
}

fn each_seed(run: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| run(&mut Rng::new(seed)));
        assert!(run.is_ok(), "seed {seed}");
    }
}

fn random_bits(rng: &mut Rng, len: u32) -> Bitfield {
    let mut bits = Bitfield::new(len);
    for piece in 0..len {
        if rng.below(3) > 0 {
            bits.insert(piece);
        }
    }
    bits
}

fn random_record(rng: &mut Rng, pieces: u32, files: usize) -> Record {
    let number = |rng: &mut Rng| rng.below_u32(u32::MAX).into();
    let file = |rng: &mut Rng| {
        let (len, inode, device) = (number(rng), 1 + number(rng), number(rng));
        let there = OnDisk { len, inode, device, modified_ns: -5, ours: rng.below(2) == 0 };
        (rng.below(3) > 0).then_some(there)
    };
    let folder = |rng: &mut Rng| {
        let (device, inode) = (number(rng), 1 + number(rng));
        (rng.below(3) > 0).then_some(FolderId { device, inode })
    };
    Record {
        claimed: random_bits(rng, pieces),
        recent: if rng.below(2) == 0 { random_bits(rng, pieces) } else { Bitfield::default() },
        files: (0..files).map(|_| file(rng)).collect(),
        folders: Folders { root: folder(rng), own: folder(rng) },
        clean: rng.below(2) == 0,
        downloaded: number(rng),
        uploaded: number(rng),
        added_at: number(rng),
        completed_at: number(rng),
    }
}

/// Returns a state file with these generations and records.
fn state_file(records: &[(u64, Vec<u8>); 2]) -> Vec<u8> {
    let longest = records.iter().map(|(_, record)| record.len()).max().unwrap();
    let mut file = Vec::new();
    for (generation, record) in records {
        let mut slot = slots::encode(*generation, record);
        slot.resize(slots::slot_len(longest), 0);
        file.extend(slot);
    }
    file
}

/// Does to bytes what a disk, a crash or an enemy may do.
fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let (from, to) = (rng.below(bytes.len() + 1), rng.below(bytes.len() + 1));
        match rng.below(7) {
            0 => bytes.truncate(from),
            1 => bytes.extend(std::iter::repeat_n(0xaa, rng.below(9_000))),
            2 => bytes.rotate_left(from),
            3 => bytes[from.min(to)..from.max(to)].fill(0),
            4 => {
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                let at = rng.below(bytes.len() + 1);
                bytes.splice(at..at, part);
            }
            _ if bytes.is_empty() => {}
            // Where numbers are, as a rule.
            5 => {
                let at = rng.below(bytes.len().min(64));
                bytes[at] ^= 1 << rng.below(8);
            }
            _ => {
                let at = rng.below(bytes.len());
                bytes[at] = u8::try_from(rng.below(256)).unwrap();
            }
        }
    }
}

#[test]
fn a_state_file_that_was_spoiled_gives_a_record_that_was_written_or_none() {
    each_seed(|rng| {
        let (pieces, files) = (1 + rng.below_u32(3_000), rng.below(40));
        let generation = u64::from(rng.below_u32(1_000));
        let written = [generation, generation + 1]
            .map(|at| (at, random_record(rng, pieces, files).encode(HASH)));
        let whole = state_file(&written);
        assert_eq!(slots::newest(&whole).unwrap().record, written[1].1);
        let mut file = whole;
        spoil(rng, &mut file);
        let Some(newest) = slots::newest(&file) else { return };
        let same = |(generation, record): &(u64, Vec<u8>)| {
            (newest.generation, newest.record) == (*generation, &record[..])
        };
        assert!(written.iter().any(same), "generation {}", newest.generation);
        assert!(Record::decode(newest.record, HASH, pieces, files).is_some());
    });
}

#[test]
fn a_record_that_was_forged_claims_no_more_than_the_torrent_has() {
    each_seed(|rng| {
        let (pieces, files) = (1 + rng.below_u32(3_000), rng.below(40));
        let mut forged = random_record(rng, pieces, files).encode(HASH);
        spoil(rng, &mut forged);
        // Its hash is right: it is believed to be what somebody has written.
        let file = state_file(&[(1, forged.clone()), (0, Vec::new())]);
        let newest = slots::newest(&file).unwrap();
        assert_eq!(newest.record, forged);
        let Some(record) = Record::decode(newest.record, HASH, pieces, files) else { return };
        assert_eq!((record.claimed.len(), record.files.len()), (pieces, files));
        assert!(record.claimed.ones().chain(record.recent.ones()).all(|piece| piece < pieces));
        let again = Record::decode(&record.encode(HASH), HASH, pieces, files);
        assert_eq!(again.as_ref(), Some(&record), "what is read can be written");
    });
}

#[test]
fn a_slot_with_any_numbers_in_its_header_is_read_within_the_file() {
    each_seed(|rng| {
        let mut slot = slots::encode(3, &vec![1; rng.below(100)]);
        let at = 8 + rng.below(16);
        slot[at] = u8::try_from(rng.below(256)).unwrap();
        let len = u32::from_be_bytes(slot[20..24].try_into().unwrap()) as usize;
        let record = slot[44..44 + len.min(slot.len() - 44)].to_vec();
        let hash = Sha1::new().chain_update(&slot[8..24]).chain_update(&record).finalize();
        slot[24..44].copy_from_slice(&hash);
        let file = [&slot[..], &vec![0; slot.len()]].concat();
        if let Some(newest) = slots::newest(&file) {
            assert_eq!(newest.record, record);
            assert_eq!(len, record.len(), "no number goes beyond the slot");
        }
    });
}

/// Reads some blocks of a spill as the loader does.
fn restore(mut file: &[u8], generation: u64, blocks: &[Block]) -> Option<Vec<Vec<u8>>> {
    let frame = |block: &Block| {
        let mut frame = Frame::unpooled();
        frame.set_len(block.len);
        frame
    };
    let mut frames: Vec<Frame> = blocks.iter().map(frame).collect();
    let next = |out: &mut [u8]| spill::read_from(&mut file, out);
    let is_whole = spill::restore(next, generation, blocks, &mut frames);
    is_whole.then(|| frames.iter().map(|frame| frame.payload().to_vec()).collect())
}

#[test]
fn blocks_that_were_put_aside_and_spoiled_are_those_that_were_or_none() {
    each_seed(|rng| {
        let block = |rng: &mut Rng, piece| {
            let begin = BLOCK_LEN * rng.below_u32(4);
            Block { piece: PieceIndex(piece), begin, len: 1 + rng.below_u32(300) }
        };
        let blocks: Vec<Block> = (0..rng.below_u32(20)).map(|piece| block(rng, piece)).collect();
        let payload = |block: &Block| {
            let mut payload = vec![0; block.len as usize];
            rng.fill(&mut payload);
            payload
        };
        let payloads: Vec<Vec<u8>> = blocks.iter().map(payload).collect();
        let mut file = spill::encode_head(7, &blocks, payloads.iter().map(Vec::as_slice));
        for payload in &payloads {
            file.extend_from_slice(payload);
        }
        assert_eq!(restore(&file, 7, &blocks), Some(payloads.clone()));
        spoil(rng, &mut file);
        let named = spill::index(&file, 7);
        assert!(named.len() <= file.len() / 12, "{} blocks in {} bytes", named.len(), file.len());
        // What the loader would ask for: blocks of at most a frame.
        let fits = |block: &&Block| (1..=BLOCK_LEN).contains(&block.len);
        let asked: Vec<Block> = named.iter().filter(fits).copied().collect();
        if let Some(there) = restore(&file, 7, &asked) {
            assert_eq!((asked, there), (blocks, payloads), "the hash covers all of it");
        }
        assert_eq!(restore(&file, 8, &[]), None);
    });
}
