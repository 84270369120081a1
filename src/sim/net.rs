//! Byte streams between hosts: latency, rate, bounded windows, and everything that goes wrong.
//!
//! ```text
//!  write ──▶ uplink (rate, shared by a host's streams) ──▶ latency ──▶ arrived ──▶ read
//!    ▲                                                                              │
//!    └───────────── room in the window again ◀────────── latency ◀──────────────────┘
//! ```
//!
//! Knows hosts by number and bytes by count. **Invariant:** bytes come out in the order in which
//! they went in, or not at all from some point on; what is lost is never only the middle.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use super::HostId;
use super::agenda::{Agenda, Happening};
use crate::id::ConnId;
use crate::rng::Rng;
use crate::session::io::Closed;
use crate::time::{Duration, Instant};

/// How a host is connected to the rest of the world.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LinkOptions {
    /// From the host to the middle of the network.
    pub up_latency: Duration,
    /// From the middle of the network to the host.
    pub down_latency: Duration,
    /// Bytes a second that all streams of the host send together; at least 1.
    pub up_rate: u64,
    /// The most bytes of one stream that are on their way or unread at the other side; more are
    /// not taken, so writes are short. At least 1.
    pub window: usize,
    /// The most bytes that one read returns; how many it is, is random. 1 cuts a stream into bytes.
    pub max_read: usize,
    /// Of a thousand writes, how many are cut short though there is room.
    pub short_writes_per_mille: u32,
    /// Of a thousand datagrams that the host sends, how many never arrive.
    pub lost_datagrams_per_mille: u32,
    /// Of a thousand datagrams that the host sends, how many arrive twice.
    pub doubled_datagrams_per_mille: u32,
    /// How much later than others a datagram that the host sends may arrive: by chance anything up
    /// to this, so that they overtake each other.
    pub datagram_jitter: Duration,
}

impl Default for LinkOptions {
    /// A good line: 5 ms to the middle, 10 MB/s, windows of 256 KiB, reads of any length, and every
    /// datagram arrives.
    fn default() -> Self {
        Self {
            up_latency: Duration::from_millis(5),
            down_latency: Duration::from_millis(5),
            up_rate: 10_000_000,
            window: 256 << 10,
            max_read: 64 << 10,
            short_writes_per_mille: 20,
            lost_datagrams_per_mille: 0,
            doubled_datagrams_per_mille: 0,
            datagram_jitter: Duration::ZERO,
        }
    }
}

/// The name of a stream; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub(super) u32);

/// One of the two ends of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// All streams, and the hosts' lines.
#[derive(Debug, Default)]
pub(super) struct Net {
    streams: BTreeMap<StreamId, Stream>,
    next: u32,
    lines: Vec<Line>,
}

/// The line of one host.
#[derive(Debug)]
struct Line {
    options: LinkOptions,
    /// When the uplink has sent what it was given.
    free_at: Instant,
    /// Whether everything to and from the host vanishes without a word.
    dead: bool,
}

#[derive(Debug)]
struct Stream {
    ends: [End; 2],
    /// By the side that writes.
    pipes: [Pipe; 2],
}

/// One end of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub host: HostId,
    /// Where it is seen from the other side.
    pub addr: SocketAddr,
    /// What its session calls it; `None` for an actor's, and before it was accepted.
    pub conn: Option<ConnId>,
    pub open: bool,
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    /// Bytes written and not known to be taken. Invariant: at most the window.
    unacked: usize,
    /// Bytes that were read since the writer was last told.
    read: usize,
    last_arrival: Instant,
    /// The writer had more than there was room for.
    writer_waits: bool,
    ending: Option<(Instant, Closed)>,
    /// Whatever is written vanishes.
    cut: bool,
}

#[derive(Debug)]
struct Segment {
    at: Instant,
    bytes: Vec<u8>,
    read: usize,
}

/// The most bytes that arrive at one time: a large write comes in over some time.
const MAX_SEGMENT_LEN: usize = 16 << 10;
/// The part of a second that a segment takes on a slow line.
const SEGMENTS_PER_S: u64 = 20;
/// How long a write that was cut short for no reason waits until it is told to go on.
const SHORT_WRITE_PAUSE: Duration = Duration::from_millis(1);

impl Net {
    /// Connects another host.
    pub(super) fn add_line(&mut self, options: LinkOptions) {
        self.lines.push(Line { options, free_at: Instant::ZERO, dead: false });
    }

    /// Returns the options of a host's line, to be changed.
    pub(super) fn link_mut(&mut self, host: HostId) -> &mut LinkOptions {
        &mut self.lines[host.0].options
    }

    /// Makes a stream that is not open yet. `from.addr` is the dialler's address.
    pub(super) fn dial(&mut self, from: End, to: End) -> StreamId {
        let id = StreamId(self.next);
        self.next += 1;
        let pipes = [Pipe::default(), Pipe::default()];
        self.streams.insert(id, Stream { ends: [from, to], pipes });
        id
    }

    /// Returns how long a byte takes from one host to the other.
    pub(super) fn latency(&self, from: HostId, to: HostId) -> Duration {
        self.lines[from.0].options.up_latency + self.lines[to.0].options.down_latency
    }

    pub(super) fn end(&self, id: StreamId, side: Side) -> Option<&End> {
        Some(&self.streams.get(&id)?.ends[side as usize])
    }

    pub(super) fn end_mut(&mut self, id: StreamId, side: Side) -> Option<&mut End> {
        Some(&mut self.streams.get_mut(&id)?.ends[side as usize])
    }

    /// Tells whether what passes between two hosts gets through.
    pub(super) fn is_reachable(&self, from: HostId, to: HostId) -> bool {
        !self.lines[from.0].dead && !self.lines[to.0].dead
    }

    /// Tells whether what passes between the two ends gets through.
    pub(super) fn is_alive(&self, id: StreamId) -> bool {
        let dead = |end: &End| self.lines[end.host.0].dead;
        self.streams.get(&id).is_some_and(|stream| !stream.ends.iter().any(dead))
    }

    /// Returns the streams of which both ends are open, in the order in which they were dialled.
    pub(super) fn open_streams(&self) -> Vec<StreamId> {
        let open = |stream: &Stream| stream.ends.iter().all(|end| end.open);
        self.streams.iter().filter(|(_, stream)| open(stream)).map(|(id, _)| *id).collect()
    }

    /// Writes as much of `slices` as there is room for and returns how much that was.
    pub(super) fn write(
        &mut self,
        id: StreamId,
        side: Side,
        slices: &[IoSlice<'_>],
        rng: &mut Rng,
        agenda: &mut Agenda,
    ) -> usize {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let Some(stream) = self.streams.get_mut(&id) else { return total };
        let [from, to] = [side, side.other()].map(|side| stream.ends[side as usize]);
        let latency =
            self.lines[from.host.0].options.up_latency + self.lines[to.host.0].options.down_latency;
        let line = &mut self.lines[from.host.0];
        let pipe = &mut stream.pipes[side as usize];
        if !to.open {
            // The other side is gone; its farewell is on its way.
            return total;
        }
        let mut n = total.min(line.options.window.saturating_sub(pipe.unacked));
        if n > 1 && rng.below_u32(1_000) < line.options.short_writes_per_mille {
            n = 1 + rng.below(n - 1);
            agenda.enter_in(SHORT_WRITE_PAUSE, Happening::Taken(id, side, 0));
        }
        pipe.writer_waits = n < total;
        pipe.unacked += n;
        if pipe.cut {
            return n;
        }
        let per_segment = (line.options.up_rate / SEGMENTS_PER_S).max(1);
        let per_segment = usize::try_from(per_segment).unwrap_or(MAX_SEGMENT_LEN);
        for bytes in cut(slices, n, per_segment.min(MAX_SEGMENT_LEN)) {
            let us = (bytes.len() as u64).saturating_mul(1_000_000) / line.options.up_rate.max(1);
            line.free_at = line.free_at.max(agenda.now()) + Duration::from_micros(us);
            pipe.last_arrival = pipe.last_arrival.max(line.free_at + latency);
            let at = pipe.last_arrival;
            pipe.segments.push_back(Segment { at, bytes, read: 0 });
            agenda.enter(at, Happening::Arrived(id, side.other()));
        }
        n
    }

    /// Returns how many bytes wait to be read at `side`.
    pub(super) fn available(&self, id: StreamId, side: Side, now: Instant) -> usize {
        let Some(stream) = self.streams.get(&id) else { return 0 };
        let pipe = &stream.pipes[side.other() as usize];
        let here = pipe.segments.iter().take_while(|segment| segment.at <= now);
        here.map(|segment| segment.bytes.len() - segment.read).sum()
    }

    /// Tells whether and how the stream has ended for `side`, once all is read.
    pub(super) fn ending(&self, id: StreamId, side: Side, now: Instant) -> Option<Closed> {
        let (at, closed) = self.streams.get(&id)?.pipes[side.other() as usize].ending?;
        let reset = closed != Closed::Eof;
        (at <= now && (reset || self.available(id, side, now) == 0)).then_some(closed)
    }

    /// Reads at most `max` bytes that wait at `side` into `slices` and returns their number.
    pub(super) fn read(
        &mut self,
        id: StreamId,
        side: Side,
        slices: &mut [IoSliceMut<'_>],
        max: usize,
        agenda: &mut Agenda,
    ) -> usize {
        let now = agenda.now();
        let Some(stream) = self.streams.get_mut(&id) else { return 0 };
        let pipe = &mut stream.pipes[side.other() as usize];
        let mut n = 0;
        for slice in slices {
            let mut at = 0;
            while at < slice.len()
                && n < max
                && let Some(segment) = pipe.segments.front_mut().filter(|s| s.at <= now)
            {
                let rest = &segment.bytes[segment.read..];
                let take = rest.len().min(slice.len() - at).min(max - n);
                slice[at..at + take].copy_from_slice(&rest[..take]);
                (at, n) = (at + take, n + take);
                segment.read += take;
                if segment.read == segment.bytes.len() {
                    pipe.segments.pop_front();
                }
            }
        }
        pipe.read += n;
        n
    }

    /// Sends word to the writer that what `side` has read was taken. To be called once after some
    /// reads.
    pub(super) fn acknowledge(&mut self, id: StreamId, side: Side, agenda: &mut Agenda) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let n = std::mem::take(&mut stream.pipes[side.other() as usize].read);
        let [reader, writer] = [side, side.other()].map(|side| stream.ends[side as usize].host);
        if n > 0 {
            let back = self.latency(reader, writer);
            agenda.enter_in(back, Happening::Taken(id, side.other(), n));
        }
    }

    /// Takes in that `n` bytes were taken and tells whether `side`, which waits to write, is to
    /// go on: half of its window is free, as sockets do it, or its pause is over.
    pub(super) fn taken(&mut self, id: StreamId, side: Side, n: usize) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let end = stream.ends[side as usize];
        let pipe = &mut stream.pipes[side as usize];
        pipe.unacked -= n.min(pipe.unacked);
        let room = n == 0 || pipe.unacked <= self.lines[end.host.0].options.window / 2;
        let goes_on = pipe.writer_waits && room;
        pipe.writer_waits &= !goes_on;
        goes_on && end.open
    }

    /// Closes one end: what it has written arrives, and then the end of the stream; a reset if it
    /// had not read all that was sent to it, as TCP does.
    pub(super) fn close(&mut self, id: StreamId, side: Side, agenda: &mut Agenda) {
        let unread = self
            .streams
            .get(&id)
            .is_some_and(|stream| !stream.pipes[side.other() as usize].segments.is_empty());
        let closed = if unread { Closed::Failed(ErrorKind::ConnectionReset) } else { Closed::Eof };
        self.shut(id, side, closed, agenda);
    }

    /// Breaks a stream for both sides, after a latency each.
    pub(super) fn reset(&mut self, id: StreamId, agenda: &mut Agenda) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        for side in [Side::Dialler, Side::Acceptor] {
            let pipe = &mut stream.pipes[side as usize];
            pipe.segments.clear();
            pipe.cut = true;
            let reset = Closed::Failed(ErrorKind::ConnectionReset);
            pipe.ending = Some((agenda.now(), reset));
            agenda.enter_in(Duration::ZERO, Happening::Arrived(id, side.other()));
        }
    }

    /// Holds back what is not here yet, in both directions, for `pause`.
    pub(super) fn stall(&mut self, id: StreamId, pause: Duration, agenda: &mut Agenda) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let now = agenda.now();
        for side in [Side::Dialler, Side::Acceptor] {
            let pipe = &mut stream.pipes[side as usize];
            pipe.last_arrival = pipe.last_arrival.max(now + pause);
            for segment in pipe.segments.iter_mut().filter(|segment| segment.at > now) {
                segment.at = pipe.last_arrival;
            }
            agenda.enter(pipe.last_arrival, Happening::Arrived(id, side.other()));
        }
    }

    /// From now on everything to and from `host` vanishes; nobody is told.
    pub(super) fn blackhole(&mut self, host: HostId, now: Instant) {
        self.lines[host.0].dead = true;
        for stream in self.streams.values_mut() {
            if stream.ends.iter().any(|end| end.host == host) {
                for pipe in &mut stream.pipes {
                    pipe.cut = true;
                    pipe.segments.retain(|segment| segment.at <= now);
                    pipe.ending = pipe.ending.filter(|(at, _)| *at <= now);
                }
            }
        }
    }

    /// Lets packets to and from `host` through again; streams that were open stay dead.
    pub(super) fn revive(&mut self, host: HostId) {
        self.lines[host.0].dead = false;
    }

    fn shut(&mut self, id: StreamId, side: Side, closed: Closed, agenda: &mut Agenda) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let [host, peer] = [side, side.other()].map(|side| stream.ends[side as usize].host);
        stream.ends[side as usize].open = false;
        stream.pipes[side.other() as usize].segments.clear();
        if !stream.ends[side.other() as usize].open {
            self.streams.remove(&id);
            return;
        }
        let latency = self.latency(host, peer);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let pipe = &mut stream.pipes[side as usize];
        if !pipe.cut {
            let at = pipe.last_arrival.max(agenda.now() + latency);
            pipe.ending = Some((at, closed));
            agenda.enter(at, Happening::Arrived(id, side.other()));
        }
    }
}

/// Copies the first `n` bytes of `slices`, in parts of at most `most`.
fn cut(slices: &[IoSlice<'_>], n: usize, most: usize) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut left = n;
    for slice in slices {
        let mut rest = &slice[..slice.len().min(left)];
        left -= rest.len();
        while !rest.is_empty() {
            if out.last().is_none_or(|last| last.len() == most) {
                out.push(Vec::with_capacity(most.min(rest.len())));
            }
            let Some(last) = out.last_mut() else { break };
            let take = rest.len().min(most - last.len());
            last.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
        }
    }
    out
}
