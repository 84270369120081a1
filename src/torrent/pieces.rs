//! The payload of open pieces: which blocks are here, in whose frames, and who sent them.
//!
//! A piece is a row of slots, one a block. A slot's credit was reserved when the piece was opened;
//! it is lent to the connection that the block is landing on, and comes back with the block or when
//! the landing is aborted. Pieces that are longer than the window leave in runs: what has been
//! flushed to disk is no longer here.

use std::net::SocketAddr;

use crate::disk::hash::Midstate;
use crate::geometry::Geometry;
use crate::id::{Block, PieceIndex};
use crate::time::{Duration, Instant};
use crate::wire::frame::Frame;

/// The open pieces of one torrent.
#[derive(Debug)]
pub struct OpenPieces {
    /// In piece order. Bounded by the credits of the frame pool: each piece holds at least one.
    open: Vec<OpenPiece>,
    /// Records of closed pieces, emptied, kept for their capacity.
    spare: Vec<Row>,
    /// The most blocks of a streamed piece that one job takes.
    run_blocks: usize,
}

/// One open piece.
#[derive(Debug)]
pub struct OpenPiece {
    /// Which piece.
    pub piece: PieceIndex,
    /// Everybody who sent a block of it that was kept, each once.
    pub contributors: Vec<SocketAddr>,
    /// The credit that was reserved for it, in blocks.
    pub credit: u32,
    /// When its last block came; meaningless before.
    pub whole_at: Instant,
    /// When blocks of it were last handed over to the disk; meaningless before.
    pub handed_over_at: Instant,
    /// Whether a job has blocks of it; the record stays until the outcome is in.
    in_job: bool,
    slots: Vec<Slot>,
    /// The state of a piece that leaves in runs; `None` for one that is kept whole.
    stream: Option<Stream>,
}

/// The lists of an open piece.
#[derive(Debug, Default)]
struct Row {
    slots: Vec<Slot>,
    contributors: Vec<SocketAddr>,
}

/// How far a piece that leaves in runs is.
#[derive(Debug)]
struct Stream {
    /// The most blocks that one job takes.
    run_blocks: usize,
    /// Blocks that are on disk or in the job that is under way.
    handed_over: usize,
    /// The hash so far; `None` while a job has it.
    midstate: Option<Box<Midstate>>,
    block_hashes: Vec<[u8; 20]>,
}

#[derive(Debug, Default)]
struct Slot {
    frame: Option<Frame>,
    /// Whether its credit is lent to a connection on which the block is landing.
    lent: bool,
    /// Who sent the block, by place in `contributors`; meaningless before it is here.
    by: u16,
}

/// A run of blocks of a streamed piece that is ready to be hashed and written.
#[derive(Debug)]
pub struct StreamRun {
    /// Bytes from the start of the piece.
    pub begin: u32,
    /// The blocks in order.
    pub frames: Vec<Frame>,
    /// The hash of everything before.
    pub midstate: Box<Midstate>,
    /// Whether the run ends the piece.
    pub last: bool,
}

/// The most blocks of a streamed piece that one job takes: 1 MiB.
pub const STREAM_RUN_BLOCKS: usize = 64;

impl OpenPieces {
    /// Returns no open pieces; of a streamed piece, up to `window` blocks may be here at a time.
    pub fn new(window: u32) -> Self {
        let half = usize::try_from(window / 2).unwrap_or(1);
        let run_blocks = half.clamp(1, STREAM_RUN_BLOCKS);
        Self { open: Vec::new(), spare: Vec::new(), run_blocks }
    }

    /// Opens `piece` of `blocks` blocks, for which `credit` has been reserved: to be kept whole,
    /// or, if that is less than its blocks, to leave in runs.
    pub fn open(&mut self, piece: PieceIndex, blocks: u32, credit: u32) {
        let Err(at) = self.open.binary_search_by_key(&piece, |open| open.piece) else { return };
        let Row { mut slots, contributors } = self.spare.pop().unwrap_or_default();
        slots.resize_with(blocks as usize, Slot::default);
        let stream = (credit < blocks).then(|| Stream {
            run_blocks: self.run_blocks,
            handed_over: 0,
            midstate: Some(Box::default()),
            block_hashes: Vec::new(),
        });
        let open = OpenPiece {
            piece,
            contributors,
            credit,
            whole_at: Instant::ZERO,
            handed_over_at: Instant::ZERO,
            in_job: false,
            slots,
            stream,
        };
        self.open.insert(at, open);
    }

    /// Returns an open piece.
    pub fn find(&mut self, piece: PieceIndex) -> Option<&mut OpenPiece> {
        let at = self.open.binary_search_by_key(&piece, |open| open.piece).ok()?;
        self.open.get_mut(at)
    }

    /// Tells whether `piece` is open.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.open.binary_search_by_key(&piece, |open| open.piece).is_ok()
    }

    /// Tells whether no piece is open.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns how many pieces are open.
    pub const fn len(&self) -> usize {
        self.open.len()
    }

    /// Closes `piece` and gives its frames to `frames`; the rest of the record is returned, and
    /// is best given back to [`OpenPieces::recycle`].
    pub fn close(&mut self, piece: PieceIndex, frames: &mut Vec<Frame>) -> Option<OpenPiece> {
        let at = self.open.binary_search_by_key(&piece, |open| open.piece).ok()?;
        let mut open = self.open.remove(at);
        frames.extend(open.slots.drain(..).filter_map(|slot| slot.frame));
        Some(open)
    }

    /// Takes back the record of a closed piece, so that the next one costs no allocation.
    pub fn recycle(&mut self, closed: OpenPiece) {
        let OpenPiece { mut slots, mut contributors, .. } = closed;
        slots.clear();
        contributors.clear();
        self.spare.push(Row { slots, contributors });
    }

    /// Gives back the memory that is kept for pieces to come.
    pub fn shrink(&mut self) {
        self.open.shrink_to_fit();
        self.spare = Vec::new();
    }

    /// Returns the open pieces of which no job has blocks.
    pub fn idle(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.open.iter().filter(|open| !open.in_job).map(|open| open.piece)
    }

    /// Returns the open pieces of which a job has blocks.
    pub fn in_jobs(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.open.iter().filter(|open| open.in_job).map(|open| open.piece)
    }

    /// Takes blocks out of all pieces that no job has, at most `most`, for one that puts them
    /// aside; pieces that leave in runs have none that could be.
    pub fn take_blocks(
        &mut self,
        torrent: &Geometry,
        most: usize,
        blocks: &mut Vec<Block>,
        frames: &mut Vec<Frame>,
    ) {
        for open in self.open.iter_mut().filter(|open| !open.in_job) {
            open.in_job = true;
            for (slot, state) in (0..).zip(&mut open.slots) {
                if blocks.len() < most
                    && let Some(frame) = state.frame.take()
                {
                    blocks.push(torrent.block(open.piece, slot));
                    frames.push(frame);
                }
            }
        }
    }

    /// Returns the open pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &OpenPiece> {
        self.open.iter()
    }
}

impl OpenPiece {
    /// Lends the credit of `block`'s slot to a connection and tells whether it was free: neither
    /// filled nor lent.
    pub fn lend(&mut self, block: Block) -> bool {
        let Some(slot) = self.slots.get_mut(block.slot() as usize) else { return false };
        let free = slot.frame.is_none() && !slot.lent;
        slot.lent |= free;
        free
    }

    /// Tells whether `block` is here already, or has left for the disk.
    pub fn holds(&self, block: Block) -> bool {
        let slot = block.slot() as usize;
        let gone = self.stream.as_ref().map_or(0, |stream| stream.handed_over);
        slot < gone || self.slots.get(slot).is_none_or(|slot| slot.frame.is_some())
    }

    /// Takes back the credit of `block`'s slot: the landing was aborted.
    pub fn unlend(&mut self, block: Block) {
        if let Some(slot) = self.slots.get_mut(block.slot() as usize) {
            slot.lent = false;
        }
    }

    /// Puts `block` into its slot.
    ///
    /// Panics if the slot is filled: the picker has said that the block was missing.
    pub fn fill(&mut self, block: Block, frame: Frame, from: SocketAddr) {
        let slot = &mut self.slots[block.slot() as usize];
        assert!(slot.frame.is_none(), "block {block:?} is here already");
        slot.lent = false;
        slot.frame = Some(frame);
        let at = self.contributors.iter().position(|known| *known == from).unwrap_or_else(|| {
            self.contributors.push(from);
            self.contributors.len() - 1
        });
        // A piece has at most 32 768 blocks (512 MiB), so at most as many contributors.
        slot.by = u16::try_from(at).unwrap_or(u16::MAX);
    }

    /// Takes all frames of a whole piece out, in order, for the job that verifies it.
    pub fn take_frames(&mut self, frames: &mut Vec<Frame>) {
        self.in_job = true;
        frames.extend(self.slots.iter_mut().filter_map(|slot| slot.frame.take()));
    }

    /// Returns who sent the block in `slot`.
    pub fn sender_of(&self, slot: usize) -> Option<SocketAddr> {
        self.contributors.get(usize::from(self.slots.get(slot)?.by)).copied()
    }

    /// Tells whether blocks of a piece that is kept whole are here, so that they can be put aside.
    pub fn is_worth_keeping(&self) -> bool {
        !self.in_job && !self.is_streamed() && self.slots.iter().any(|slot| slot.frame.is_some())
    }

    /// Tells whether a job has blocks of it.
    pub const fn is_in_job(&self) -> bool {
        self.in_job
    }

    /// Tells whether the piece leaves in runs.
    pub const fn is_streamed(&self) -> bool {
        self.stream.is_some()
    }

    /// Returns how long the last block of a piece that is whole had to wait for the disk to be done
    /// with the run before.
    pub fn held_back(&self) -> Duration {
        self.handed_over_at - self.whole_at
    }

    /// Takes out the next run of a streamed piece, if no job of it is under way and either a full
    /// run or the end of the piece is here.
    pub fn next_run(&mut self, block_len: u32) -> Option<StreamRun> {
        let stream = self.stream.as_mut()?;
        stream.midstate.as_ref()?;
        let from = stream.handed_over;
        let ready = self.slots[from..].iter().take_while(|slot| slot.frame.is_some()).count();
        let ends = from + ready == self.slots.len();
        let take = ready.min(stream.run_blocks);
        if take == 0 || (take < stream.run_blocks && !ends) {
            return None;
        }
        let run = self.slots[from..from + take].iter_mut();
        let frames: Vec<Frame> = run.filter_map(|slot| slot.frame.take()).collect();
        self.in_job = true;
        stream.handed_over += take;
        Some(StreamRun {
            begin: u32::try_from(from).ok()? * block_len,
            frames,
            midstate: stream.midstate.take()?,
            last: stream.handed_over == self.slots.len(),
        })
    }

    /// Records that a run of a streamed piece was hashed and written.
    pub fn run_done(&mut self, midstate: Option<Box<Midstate>>, hashes: Vec<[u8; 20]>) {
        self.in_job = false;
        if let Some(stream) = &mut self.stream {
            stream.midstate = midstate;
            stream.block_hashes.extend(hashes);
        }
    }

    /// Takes out the SHA-1 of every block of a streamed piece that is complete.
    pub fn take_block_hashes(&mut self) -> Vec<[u8; 20]> {
        self.stream.as_mut().map(|s| std::mem::take(&mut s.block_hashes)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BLOCK_LEN;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1))
    }

    #[test]
    fn a_slot_is_lent_once_and_remembers_who_filled_it() {
        let torrent = Geometry::new(4 * u64::from(BLOCK_LEN), 4 * BLOCK_LEN);
        let (mut pieces, piece) = (OpenPieces::new(256), PieceIndex(0));
        pieces.open(piece, 4, 4);
        let open = pieces.find(piece).expect("open");
        let block = |slot| torrent.block(piece, slot);
        assert!(open.lend(block(1)) && !open.lend(block(1)));
        open.unlend(block(1));
        assert!(open.lend(block(1)));
        for (slot, from) in [(1, 7), (0, 8), (2, 7), (3, 9)] {
            open.fill(block(slot), Frame::unpooled(), addr(from));
            assert!(!open.lend(block(slot)));
        }
        assert_eq!(open.contributors, [addr(7), addr(8), addr(9)]);
        assert_eq!([0, 1, 2, 3].map(|s| open.sender_of(s)), [8, 7, 7, 9].map(|a| Some(addr(a))));
        let mut frames = Vec::new();
        open.take_frames(&mut frames);
        assert_eq!(frames.len(), 4);
        assert!(pieces.close(piece, &mut frames).is_some() && pieces.is_empty());
    }

    #[test]
    fn no_more_blocks_are_taken_out_than_can_be_put_aside() {
        let torrent = Geometry::new(8 * u64::from(BLOCK_LEN), 4 * BLOCK_LEN);
        let mut pieces = OpenPieces::new(256);
        for piece in [PieceIndex(0), PieceIndex(1)] {
            pieces.open(piece, 4, 4);
            let open = pieces.find(piece).expect("open");
            (1..4).for_each(|slot| {
                open.fill(torrent.block(piece, slot), Frame::unpooled(), addr(1));
            });
        }
        let (mut blocks, mut frames) = (Vec::new(), Vec::new());
        pieces.take_blocks(&torrent, 4, &mut blocks, &mut frames);
        let expected = [(0, 1), (0, 2), (0, 3), (1, 1)];
        assert_eq!(blocks, expected.map(|(piece, slot)| torrent.block(PieceIndex(piece), slot)));
        assert_eq!((frames.len(), pieces.idle().count()), (4, 0));
        pieces.close(PieceIndex(1), &mut frames);
        assert_eq!(frames.len(), 6, "those that are left come back with their pieces");
    }

    #[test]
    fn a_streamed_piece_leaves_in_order_in_full_runs_one_at_a_time() {
        let blocks = 2 * u32::try_from(STREAM_RUN_BLOCKS).expect("small") + 5;
        let torrent = Geometry::new(u64::from(blocks * BLOCK_LEN), blocks * BLOCK_LEN);
        let (mut pieces, piece) = (OpenPieces::new(256), PieceIndex(0));
        pieces.open(piece, blocks, 128);
        let open = pieces.find(piece).expect("open");
        let fill = |open: &mut OpenPiece, slots: std::ops::Range<u32>| {
            for slot in slots {
                open.fill(torrent.block(piece, slot), Frame::unpooled(), addr(1));
            }
        };
        fill(open, 1..70);
        assert!(open.next_run(BLOCK_LEN).is_none(), "the first block is missing");
        fill(open, 0..1);
        let run = open.next_run(BLOCK_LEN).expect("64 blocks");
        assert_eq!((run.begin, run.frames.len(), run.last), (0, 64, false));
        fill(open, 70..blocks);
        assert!(open.next_run(BLOCK_LEN).is_none(), "the first run is still being written");
        open.run_done(Some(run.midstate), vec![[0; 20]; 64]);
        let run = open.next_run(BLOCK_LEN).expect("64 more");
        assert_eq!((run.begin, run.frames.len(), run.last), (64 * BLOCK_LEN, 64, false));
        open.run_done(Some(run.midstate), vec![[0; 20]; 64]);
        let run = open.next_run(BLOCK_LEN).expect("the end");
        assert_eq!((run.begin, run.frames.len(), run.last), (128 * BLOCK_LEN, 5, true));
        open.run_done(None, vec![[0; 20]; 5]);
        assert_eq!(open.take_block_hashes().len(), 133);
    }
}
