//! A trace in Chrome's trace-event format, which <https://ui.perfetto.dev> and `chrome://tracing`
//! draw.
//!
//! ```text
//! process  torrent 1            what belongs to it: announces, rechokes
//!   thread   connection 3       connecting, handshaking, peer: slices; messages: instants
//!   async    blocks, conn. 3    from each request that we sent to the block's last byte
//!   async    verify             from a piece's last block to its place on disk
//! ```
//!
//! Times are microseconds since the session began. Requests overlap, so their slices are
//! asynchronous ones, in groups of their own. What began before the trace's first record has no
//! slice; what had not ended with the last one ends there, as `open`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::{Value, json};
use swarmloop::id::{Block, ConnId, TorrentId};
use swarmloop::proto::message::Message;
use swarmloop::session::trace::{Ending, Note, Record, Said, Trace, What};

/// Writes a whole trace as one JSON object, its events in the order of their times.
pub(super) fn export(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    let about = json!({
        "program": concat!("swarmloop ", env!("CARGO_PKG_VERSION")),
        "records": trace.len(),
        "lost": trace.lost(),
    });
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[")?;
    let mut exporter = Exporter::new(out);
    exporter.look_ahead(trace);
    for (number, record) in trace.iter().enumerate() {
        exporter.record(number, record)?;
    }
    exporter.close_all()?;
    out.write_all(b"\n]}\n")
}

/// What has begun and not ended yet, on the way through the records.
struct Exporter<'a, W> {
    out: &'a mut W,
    has_events: bool,
    /// The time of the record at hand.
    at: u64,
    /// The torrent of each connection that ever says: those of its first records may not yet.
    torrents: BTreeMap<ConnId, TorrentId>,
    /// Processes and threads that have been named.
    named: BTreeSet<(u32, u64)>,
    /// Threads of connections, in the order in which they come; 0 is no connection's.
    threads: BTreeMap<ConnId, u64>,
    /// Connections in a phase of their lives that has not ended.
    phases: BTreeSet<ConnId>,
    /// Requests of ours that are not answered, by connection, piece and offset; and their slices.
    requests: BTreeMap<(ConnId, u32, u32), Slice>,
    /// The records of blocks that were the last of a piece which was then verified.
    completing: BTreeSet<usize>,
    /// Pieces that are complete and not verified yet.
    verifying: BTreeMap<(Option<TorrentId>, u32), Slice>,
    slices: u64,
}

/// An asynchronous slice: its number, and where it belongs.
#[derive(Clone, Copy)]
struct Slice {
    id: u64,
    place: Place,
}

/// A thread of a process.
#[derive(Clone, Copy)]
struct Place {
    process: u32,
    thread: u64,
}

impl<'a, W: Write> Exporter<'a, W> {
    const fn new(out: &'a mut W) -> Self {
        Self {
            out,
            has_events: false,
            at: 0,
            torrents: BTreeMap::new(),
            named: BTreeSet::new(),
            threads: BTreeMap::new(),
            phases: BTreeSet::new(),
            requests: BTreeMap::new(),
            completing: BTreeSet::new(),
            verifying: BTreeMap::new(),
            slices: 0,
        }
    }

    /// Looks ahead for the torrent of each connection, so that all of it is in one process, and for
    /// the blocks that completed a piece, which only shows when the piece is verified.
    fn look_ahead(&mut self, trace: &Trace) {
        let mut landed = BTreeMap::new();
        for (number, record) in trace.iter().enumerate() {
            if let (Some(conn), Some(torrent)) = (record.conn, record.torrent) {
                self.torrents.insert(conn, torrent);
            }
            match record.what {
                What::Wire(Note::Landed(block)) => {
                    landed.insert((record.torrent, block.piece), number);
                }
                What::PieceVerified(piece) | What::PieceCorrupt(piece) => {
                    self.completing.extend(landed.remove(&(record.torrent, piece)));
                }
                _ => {}
            }
        }
    }

    fn record(&mut self, number: usize, record: &Record) -> io::Result<()> {
        self.at = record.at.as_micros();
        let place = self.place(record)?;
        match (record.what, record.conn) {
            (What::Dialled, Some(conn)) => self.begin_phase(conn, place, "connecting"),
            (What::Connected | What::Accepted, Some(conn)) => {
                self.begin_phase(conn, place, "handshaking")
            }
            (What::Established, Some(conn)) => self.begin_phase(conn, place, "peer"),
            (What::Closed(ending), Some(conn)) => self.close(conn, place, ending),
            (What::Wire(Note::Landed(block)), Some(conn)) => {
                self.end_request(conn, block, "landed")?;
                if self.completing.contains(&number) {
                    self.begin_verify(record.torrent, block.piece.0, place)?;
                }
                Ok(())
            }
            (What::Wire(note), Some(conn)) => self.wire(conn, place, note),
            (What::PieceVerified(piece), _) => {
                self.verified(record.torrent, piece.0, place, "verified")
            }
            (What::PieceCorrupt(piece), _) => {
                self.verified(record.torrent, piece.0, place, "corrupt")
            }
            (What::Rechoked { choked, unchoked }, _) => {
                let args = json!({ "choked": choked, "unchoked": unchoked });
                self.instant(place, "rechoked", &args)
            }
            (What::Snubbed, _) => self.instant(place, "snubbed", &json!({})),
            (What::AnnounceBegun, _) => self.instant(place, "announce begun", &json!({})),
            (What::AnnounceAnswered, _) => self.instant(place, "announce answered", &json!({})),
            (What::AnnounceFailed, _) => self.instant(place, "announce failed", &json!({})),
            (other, _) => self.instant(place, &format!("{other:?}"), &json!({})),
        }
    }

    /// Returns where a record is shown, which is named the first time.
    fn place(&mut self, record: &Record) -> io::Result<Place> {
        let of_conn = record.conn.and_then(|conn| self.torrents.get(&conn).copied());
        let torrent = record.torrent.or(of_conn);
        // Process 0 is for what has no torrent.
        let process = torrent.map_or(0, |torrent| torrent.0.saturating_add(1));
        let next = u64::try_from(self.threads.len()).unwrap_or(u64::MAX).saturating_add(1);
        let thread = record.conn.map_or(0, |conn| *self.threads.entry(conn).or_insert(next));
        if self.named.insert((process, 0)) {
            let name = match process {
                0 => "session".to_owned(),
                number => format!("torrent {number}"),
            };
            let place = Place { process, thread: 0 };
            self.event("M", place, "process_name", &[("args", json!({ "name": name }))])?;
            self.event("M", place, "thread_name", &[("args", json!({ "name": name }))])?;
        }
        let place = Place { process, thread };
        if self.named.insert((process, thread)) {
            let name = json!({ "name": format!("connection {thread}") });
            self.event("M", place, "thread_name", &[("args", name)])?;
        }
        Ok(place)
    }

    /// Begins a phase of a connection's life, and so ends the one before.
    fn begin_phase(&mut self, conn: ConnId, place: Place, name: &str) -> io::Result<()> {
        self.end_phase(conn, place, json!({}))?;
        self.phases.insert(conn);
        self.event("B", place, name, &[])
    }

    fn end_phase(&mut self, conn: ConnId, place: Place, args: Value) -> io::Result<()> {
        if self.phases.remove(&conn) {
            self.event("E", place, "", &[("args", args)])?;
        }
        Ok(())
    }

    fn close(&mut self, conn: ConnId, place: Place, ending: Ending) -> io::Result<()> {
        let range = (conn, 0, 0)..=(conn, u32::MAX, u32::MAX);
        let left: Vec<_> = self.requests.range(range).map(|(key, slice)| (*key, *slice)).collect();
        for (key, slice) in left {
            self.requests.remove(&key);
            self.end_slice(slice, "connection closed")?;
        }
        let args = json!({ "because": because(ending) });
        self.instant(place, "closed", &args)?;
        self.end_phase(conn, place, args)
    }

    fn wire(&mut self, conn: ConnId, place: Place, note: Note) -> io::Result<()> {
        let (way, said) = match note {
            Note::Landed(_) => return Ok(()),
            Note::Received(said) => ("received", said),
            Note::Sent(said) => ("sent", said),
        };
        let (name, args) = describe(said);
        self.instant(place, &format!("{way} {name}"), &args)?;
        match note {
            Note::Sent(Said::Message(Message::Request(block))) => {
                self.begin_request(conn, place, block)
            }
            Note::Sent(Said::Message(Message::Cancel(block))) => {
                self.end_request(conn, block, "cancelled")
            }
            Note::Received(Said::Message(Message::RejectRequest(block))) => {
                self.end_request(conn, block, "rejected")
            }
            _ => Ok(()),
        }
    }

    fn begin_request(&mut self, conn: ConnId, place: Place, block: Block) -> io::Result<()> {
        // A choke takes requests back without a word.
        self.end_request(conn, block, "asked for again")?;
        self.slices += 1;
        let slice = Slice { id: self.slices, place };
        self.requests.insert((conn, block.piece.0, block.begin), slice);
        self.async_event("b", slice, "block", &blocks(place), args_of(block))
    }

    fn end_request(&mut self, conn: ConnId, block: Block, how: &str) -> io::Result<()> {
        match self.requests.remove(&(conn, block.piece.0, block.begin)) {
            Some(slice) => self.end_slice(slice, how),
            // It was made before the first record.
            None => Ok(()),
        }
    }

    fn end_slice(&mut self, slice: Slice, how: &str) -> io::Result<()> {
        self.async_event("e", slice, "block", &blocks(slice.place), json!({ "how": how }))
    }

    /// Begins the slice from a piece's last block to its verdict, which is on no connection.
    fn begin_verify(
        &mut self,
        torrent: Option<TorrentId>,
        piece: u32,
        place: Place,
    ) -> io::Result<()> {
        self.slices += 1;
        let slice = Slice { id: self.slices, place: Place { thread: 0, ..place } };
        self.verifying.insert((torrent, piece), slice);
        self.async_event("b", slice, "verify", "verify", json!({ "piece": piece }))
    }

    fn verified(
        &mut self,
        torrent: Option<TorrentId>,
        piece: u32,
        place: Place,
        how: &str,
    ) -> io::Result<()> {
        self.instant(place, &format!("piece {how}"), &json!({ "piece": piece }))?;
        match self.verifying.remove(&(torrent, piece)) {
            Some(slice) => self.async_event("e", slice, "verify", "verify", json!({ "how": how })),
            // Its last block came before the first record.
            None => Ok(()),
        }
    }

    /// Ends what is open with the last record.
    fn close_all(&mut self) -> io::Result<()> {
        for slice in std::mem::take(&mut self.requests).into_values() {
            self.end_slice(slice, "open")?;
        }
        for conn in std::mem::take(&mut self.phases) {
            let process = self.torrents.get(&conn).map_or(0, |torrent| torrent.0.saturating_add(1));
            let thread = self.threads.get(&conn).copied().unwrap_or_default();
            let args = json!({ "because": "the trace ends" });
            self.event("E", Place { process, thread }, "", &[("args", args)])?;
        }
        Ok(())
    }

    fn instant(&mut self, place: Place, name: &str, args: &Value) -> io::Result<()> {
        self.event("i", place, name, &[("s", "t".into()), ("args", args.clone())])
    }

    fn async_event(
        &mut self,
        kind: &str,
        slice: Slice,
        category: &str,
        name: &str,
        args: Value,
    ) -> io::Result<()> {
        let fields = [("cat", category.into()), ("id", slice.id.into()), ("args", args)];
        self.event(kind, slice.place, name, &fields)
    }

    fn event(
        &mut self,
        kind: &str,
        place: Place,
        name: &str,
        fields: &[(&str, Value)],
    ) -> io::Result<()> {
        let start = if self.has_events { ",\n" } else { "\n" };
        self.has_events = true;
        let Place { process, thread } = place;
        let (name, ts) = (Value::from(name), self.at);
        write!(
            self.out,
            "{start}{{\"ph\":\"{kind}\",\"ts\":{ts},\"pid\":{process},\"tid\":{thread},\
             \"name\":{name}"
        )?;
        for (key, value) in fields {
            write!(self.out, ",\"{key}\":{value}")?;
        }
        self.out.write_all(b"}")
    }
}

/// Names the group of a connection's requests.
fn blocks(place: Place) -> String {
    format!("blocks, connection {}", place.thread)
}

fn args_of(block: Block) -> Value {
    json!({ "piece": block.piece.0, "begin": block.begin, "len": block.len })
}

fn because(ending: Ending) -> String {
    match ending {
        Ending::Invalid => "it sent no BitTorrent".to_owned(),
        Ending::Misbehaved(what) => what.to_string(),
        Ending::TimedOut(timer) => format!("timed out {timer}"),
        Ending::Closed(reason) => reason.to_string(),
    }
}

/// Returns the name of what was said, in BEP words, and its arguments.
fn describe(said: Said) -> (&'static str, Value) {
    let of_piece = |piece: u32| json!({ "piece": piece });
    let message = match said {
        Said::Handshake => return ("handshake", json!({})),
        Said::Bitfield(len) => return ("bitfield", json!({ "bytes": len })),
        Said::Piece(block) => return ("piece", args_of(block)),
        Said::Extended(id, len) => return ("extended", json!({ "id": id, "bytes": len })),
        Said::Message(message) => message,
    };
    match message {
        Message::KeepAlive => ("keep-alive", json!({})),
        Message::Choke => ("choke", json!({})),
        Message::Unchoke => ("unchoke", json!({})),
        Message::Interested => ("interested", json!({})),
        Message::NotInterested => ("not interested", json!({})),
        Message::Have(piece) => ("have", of_piece(piece.0)),
        Message::Request(block) => ("request", args_of(block)),
        Message::Cancel(block) => ("cancel", args_of(block)),
        Message::Port(port) => ("port", json!({ "port": port })),
        Message::SuggestPiece(piece) => ("suggest piece", of_piece(piece.0)),
        Message::HaveAll => ("have all", json!({})),
        Message::HaveNone => ("have none", json!({})),
        Message::RejectRequest(block) => ("reject request", args_of(block)),
        Message::AllowedFast(piece) => ("allowed fast", of_piece(piece.0)),
    }
}

#[cfg(test)]
mod tests {
    use swarmloop::id::PieceIndex;
    use swarmloop::peer::error::CloseReason;
    use swarmloop::time::Instant;

    use super::*;

    const CONN: ConnId = ConnId { index: 7, generation: 2 };
    const OTHER: ConnId = ConnId { index: 7, generation: 3 };
    const TORRENT: TorrentId = TorrentId(0);

    fn block(piece: u32, begin: u32) -> Block {
        Block { piece: PieceIndex(piece), begin, len: 16_384 }
    }

    fn request(piece: u32, begin: u32) -> What {
        What::Wire(Note::Sent(Said::Message(Message::Request(block(piece, begin)))))
    }

    fn landed(piece: u32, begin: u32) -> What {
        What::Wire(Note::Landed(block(piece, begin)))
    }

    /// The trace of these records (time, connection, what), with room for `capacity`.
    fn trace(capacity: usize, records: &[(u64, Option<ConnId>, What)]) -> Trace {
        let mut trace = Trace::new(capacity);
        for &(at, conn, what) in records {
            // A dial knows its torrent; a stream that was let in not yet.
            let torrent = (what != What::Accepted).then_some(TORRENT);
            trace.push(Record { at: Instant::from_micros(at), conn, torrent, what });
        }
        trace
    }

    fn exported(trace: &Trace) -> (Value, Vec<Value>) {
        let mut out = Vec::new();
        export(trace, &mut out).unwrap();
        let mut value: Value = serde_json::from_slice(&out).unwrap();
        let events = value["traceEvents"].take();
        (value, serde_json::from_value(events).unwrap())
    }

    /// The events but for names of processes and threads: phase, time, name.
    fn brief(events: &[Value]) -> Vec<(&str, u64, &str)> {
        let shown = events.iter().filter(|event| event["ph"] != "M");
        let text = |value: &'_ Value| value.as_str().unwrap().to_owned().leak() as &str;
        shown.map(|e| (text(&e["ph"]), e["ts"].as_u64().unwrap(), text(&e["name"]))).collect()
    }

    #[test]
    fn a_connections_life_becomes_slices_and_instants() {
        let c = Some(CONN);
        let records = [
            (10, c, What::Dialled),
            (20, c, What::Connected),
            (30, c, What::Established),
            (40, c, request(1, 0)),
            (40, c, request(1, 16_384)),
            (50, c, landed(1, 0)),
            (60, c, landed(1, 16_384)),
            (75, None, What::PieceVerified(PieceIndex(1))),
            (80, c, What::Closed(Ending::Closed(CloseReason::Remote))),
        ];
        let (about, events) = exported(&trace(100, &records));
        assert_eq!(about["otherData"]["lost"], 0);
        let blocks = "blocks, connection 1";
        assert_eq!(
            brief(&events),
            [
                ("B", 10, "connecting"),
                ("E", 20, ""),
                ("B", 20, "handshaking"),
                ("E", 30, ""),
                ("B", 30, "peer"),
                ("i", 40, "sent request"),
                ("b", 40, blocks),
                ("i", 40, "sent request"),
                ("b", 40, blocks),
                ("e", 50, blocks),
                ("e", 60, blocks),
                ("b", 60, "verify"),
                ("i", 75, "piece verified"),
                ("e", 75, "verify"),
                ("i", 80, "closed"),
                ("E", 80, ""),
            ]
        );
        assert!(events.is_sorted_by_key(|event| event["ts"].as_u64()));
        for event in &events {
            assert_eq!(event["pid"], 1, "{event}");
            assert!(event["tid"].is_u64() && event["ts"].is_u64(), "{event}");
        }
        let slices: Vec<&Value> = events.iter().filter(|event| event["cat"] == "block").collect();
        assert_eq!(slices[0]["id"], slices[2]["id"]);
        assert_eq!(slices[1]["id"], slices[3]["id"]);
        assert_ne!(slices[0]["id"], slices[1]["id"]);
        assert_eq!(slices[1]["args"], json!({ "piece": 1, "begin": 16_384, "len": 16_384 }));
        assert_eq!(events.last().unwrap()["args"]["because"], "by the remote");
    }

    #[test]
    fn what_the_ring_lost_is_counted_and_missed_by_nobody() {
        let c = Some(CONN);
        let records = [
            (1, c, What::Dialled),
            (2, c, request(0, 0)),
            (3, c, landed(0, 0)),
            (4, c, What::Snubbed),
        ];
        let (about, events) = exported(&trace(2, &records));
        assert_eq!(
            (&about["otherData"]["records"], &about["otherData"]["lost"]),
            (&2.into(), &2.into())
        );
        assert_eq!(brief(&events), [("i", 4, "snubbed")]);
    }

    #[test]
    fn what_is_open_ends_with_the_trace() {
        let c = Some(CONN);
        let records = [
            (1, c, What::Accepted),
            (2, c, What::Established),
            (3, c, request(0, 0)),
            (4, c, request(0, 0)),
            (9, Some(OTHER), What::Dialled),
        ];
        let (_, events) = exported(&trace(100, &records));
        let ends: Vec<_> = events.iter().filter(|event| event["ph"] == "e").collect();
        assert_eq!(
            (&ends[0]["ts"], &ends[0]["args"]["how"]),
            (&4.into(), &"asked for again".into())
        );
        assert_eq!((&ends[1]["ts"], &ends[1]["args"]["how"]), (&9.into(), &"open".into()));
        // Two connections that had one slot after another are two threads of one process.
        let open: Vec<_> =
            events[events.len() - 2..].iter().map(|e| (&e["pid"], &e["tid"])).collect();
        assert_eq!(open, [(&1.into(), &1.into()), (&1.into(), &2.into())]);
        let begins = events.iter().filter(|event| event["ph"] == "B").count();
        assert_eq!(begins, events.iter().filter(|event| event["ph"] == "E").count());
    }

    #[test]
    fn every_kind_of_record_has_a_name() {
        let say = |said| [What::Wire(Note::Received(said)), What::Wire(Note::Sent(said))];
        let piece = PieceIndex(3);
        let mut what: Vec<What> = [
            Said::Handshake,
            Said::Bitfield(9),
            Said::Piece(block(3, 0)),
            Said::Message(Message::KeepAlive),
            Said::Message(Message::Unchoke),
            Said::Message(Message::Have(piece)),
            Said::Message(Message::RejectRequest(block(3, 0))),
            Said::Message(Message::AllowedFast(piece)),
            Said::Extended(0, 120),
        ]
        .into_iter()
        .flat_map(say)
        .collect();
        what.extend([
            What::Rechoked { choked: 1, unchoked: 2 },
            What::PieceCorrupt(piece),
            What::AnnounceBegun,
            What::AnnounceAnswered,
            What::AnnounceFailed,
        ]);
        let records: Vec<_> = (0..).zip(what).map(|(at, what)| (at, Some(CONN), what)).collect();
        let (_, events) = exported(&trace(100, &records));
        let instants: Vec<_> = events.iter().filter(|event| event["ph"] == "i").collect();
        assert_eq!(instants.len(), records.len());
        assert_eq!(instants[0]["name"], "received handshake");
        assert_eq!(instants[11]["name"], "sent have");
        assert_eq!(instants[11]["args"], json!({ "piece": 3 }));
    }
}
