//! What must hold while a simulation runs, and the fingerprint of everything that happened.

use std::fmt::Write;

use super::host::Host;
use super::{HostId, Sim};
use crate::session::io::Event;

/// A running hash over everything that went into sessions and came out of them (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(u64);

/// What an entry of the trace is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Turn,
    Accept,
    Connected,
    Refused,
    Disk,
    Resolved,
    Received,
    Closed,
    Sent,
    Connect,
    Close,
    Job,
    Resolve,
    Event,
    Actor,
    DatagramSent,
    DatagramReceived,
}

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Adds an entry: when, on which host, and up to two numbers that tell it from others.
    pub(super) fn add(&mut self, at: u64, host: HostId, entry: Entry, a: u64, b: u64) {
        for word in [at, host.0 as u64, entry as u64, a, b] {
            for byte in word.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }

    pub(super) const fn hash(self) -> u64 {
        self.0
    }
}

/// Returns which kind of event it is, for the trace.
pub(super) fn event_number(event: &Event) -> u64 {
    match event {
        Event::Phase { .. } => 0,
        Event::PieceVerified { piece, .. } => 0x100 + u64::from(piece.0),
        Event::PieceCorrupt { .. } => 1,
        Event::Complete { .. } => 2,
        Event::Tracker { .. } => 3,
        Event::PeerConnected { .. } => 4,
        Event::PeerClosed { .. } => 5,
        Event::PeerBanned { .. } => 6,
        Event::Disk { .. } => 7,
        Event::PiecesLost { .. } => 8,
        Event::SyncFailed { .. } => 9,
        Event::StateFailed { .. } => 10,
        Event::Metadata { .. } => 11,
        Event::Answered { .. } => 12,
        Event::DhtJoined { .. } => 13,
        Event::LsdFailed { .. } => 14,
    }
}

/// Returns what an event claims that is not so, if anything: a verified piece is on disk, a
/// complete torrent is the source byte by byte, metadata is the source's.
pub(super) fn false_claim(host: &Host, event: &Event) -> Option<String> {
    match event {
        Event::PieceVerified { torrent, piece } => {
            host.torrent(*torrent)?.0.piece_fault(&host.disk, &host.root, *piece)
        }
        Event::Metadata { torrent, metainfo } => {
            let (source, _) = host.torrent(*torrent)?;
            let is_right = metainfo.info == source.metainfo.info;
            (!is_right).then(|| "the metadata is another torrent's".to_owned())
        }
        Event::Complete { torrent, .. } => {
            let (source, options) = host.torrent(*torrent)?;
            source.fault(&host.disk, &host.root, &options.selection)
        }
        _ => None,
    }
}

impl Sim {
    /// Returns the state of every host in words, for whoever has to find out what went wrong.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        let now = self.now();
        let _ = writeln!(out, "seed {}, at {now:?}", self.options.seed);
        for (index, host) in self.hosts.iter().enumerate() {
            let driver = &host.driver;
            let _ = writeln!(
                out,
                "host {index} {}: {} turns, timer {:?}, {} streams, {} ready, {} waiting to write",
                host.ip,
                driver.turns,
                driver.timer,
                driver.conns.len(),
                driver.ready.len(),
                driver.writable.len(),
            );
            let Some(session) = &host.session else { continue };
            for torrent in 0..host.torrents.len() {
                let id = crate::id::TorrentId(u32::try_from(torrent).unwrap_or(u32::MAX));
                let _ = writeln!(out, "  {:?}", session.torrent(id, now));
                for peer in session.peers(id, now) {
                    let _ = writeln!(out, "    {peer:?}");
                }
            }
            for (at, event) in host.log.iter().rev().take(8) {
                let _ = writeln!(out, "  {at:?} {event:?}");
            }
        }
        out
    }
}
