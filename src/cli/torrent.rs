//! One torrent of a run: what is known of it, and how it ended.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use swarmloop::client::Selection;
use swarmloop::id::{PeerId, TorrentId};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::io::Phase;
use swarmloop::text::Escaped;

use super::exit::Failure;
use super::files::Files;
use super::goals::{Pace, Seeding};
use super::snapshot::Snapshot;

/// The most peers that are told apart when they are counted; beyond it the count stands still.
const MAX_PEERS_COUNTED: usize = 100_000;

/// How a torrent ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Everything is there and verified.
    Complete,
    /// It is given up.
    Failed(Failure),
}

/// Whether the engine has a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    Here,
    Away,
}

/// One torrent of a run.
#[derive(Debug)]
pub(crate) struct Torrent {
    /// Counted from 1, in the order of the command line.
    pub(crate) number: usize,
    /// Its name in the engine.
    pub(crate) id: TorrentId,
    /// Its name, safe to print.
    pub(crate) name: String,
    /// What stdout is told when it is complete.
    pub(crate) path: Option<PathBuf>,
    /// Its files, for telling which are complete.
    pub(crate) files: Files,
    /// How it stood last.
    pub(crate) snapshot: Snapshot,
    /// How it ended; `None` while it runs.
    pub(crate) outcome: Option<Outcome>,
    /// Whether somebody was told that it is being seeded.
    pub(crate) is_seeding_told: bool,
    /// How far its seeding is; `None` before it has begun.
    pub(crate) seeding: Option<Seeding>,
    /// Whether it was seeded enough and has ended.
    pub(crate) is_seeded: bool,
    /// Payload that it had sent when it was taken out of the engine: in this run, and in all.
    sent_before: (u64, u64),
    presence: Presence,
    /// How fast it came lately; kept while somebody asks for it.
    pub(crate) pace: Pace,
    /// Whether somebody was told that there is no space, and nothing was written since.
    pub(crate) is_disk_full_told: bool,
    /// Pieces that were lost and that nobody was told of, and when somebody last was told.
    pub(crate) lost: (u64, Option<Instant>),
    peers: BTreeSet<PeerId>,
    /// The last [`Snapshot::progress_mark`], and when it last grew.
    mark: u64,
    moved_at: Instant,
}

impl Torrent {
    /// Begins to follow a torrent that was just added.
    pub(crate) fn new(
        number: usize,
        id: TorrentId,
        metainfo: &Metainfo,
        path: Option<PathBuf>,
        snapshot: Snapshot,
        now: Instant,
    ) -> Self {
        let mut torrent = Self::sought(number, id, &metainfo.name, snapshot, now);
        torrent.files = Files::new(metainfo, &Selection::all());
        torrent.path = path;
        torrent
    }

    /// Begins to follow a torrent of which only the info-hash is known; `name` is foreign text.
    pub(crate) fn sought(
        number: usize,
        id: TorrentId,
        name: &str,
        snapshot: Snapshot,
        now: Instant,
    ) -> Self {
        Self {
            number,
            id,
            name: Escaped(name).to_string(),
            path: None,
            files: Files::default(),
            mark: snapshot.progress_mark(),
            snapshot,
            outcome: None,
            is_seeding_told: false,
            seeding: None,
            is_seeded: false,
            sent_before: (0, 0),
            presence: Presence::Here,
            pace: Pace::default(),
            is_disk_full_told: false,
            lost: (0, None),
            peers: BTreeSet::new(),
            moved_at: now,
        }
    }

    /// Takes in the metadata that was looked for.
    pub(crate) fn found(&mut self, metainfo: &Metainfo, selection: &Selection, path: PathBuf) {
        self.name = Escaped(&metainfo.name).to_string();
        self.files = Files::new(metainfo, selection);
        self.path = Some(path);
    }

    /// Returns the same torrent of which only these files are wanted, and told of.
    pub(crate) fn wanting(self, metainfo: &Metainfo, selection: &Selection) -> Self {
        Self { files: Files::new(metainfo, selection), ..self }
    }

    /// Takes in how the torrent stands at `now`.
    pub(crate) fn observe(&mut self, snapshot: Snapshot, now: Instant) {
        // Compared with the last look, not with the best one: payload that turns out to be wasted
        // must not hide the useful bytes that follow it.
        if snapshot.progress_mark() > self.mark {
            self.moved_at = now;
        }
        self.mark = snapshot.progress_mark();
        self.replace(snapshot);
    }

    /// Takes in how the torrent stands, which is no look at its progress.
    pub(crate) fn replace(&mut self, snapshot: Snapshot) {
        if self.is_away() {
            // The engine is still letting go of it.
            return;
        }
        let until = self.snapshot.until.take();
        let (in_run, in_all) = self.sent_before;
        let uploaded = snapshot.uploaded.saturating_add(in_run);
        // Its state may know of what was sent before, or not be kept.
        let uploaded_total = snapshot.uploaded_total.max(snapshot.uploaded.saturating_add(in_all));
        self.snapshot = Snapshot { uploaded, uploaded_total, until, ..snapshot };
    }

    /// Notes that it is taken out of the engine for a while.
    pub(crate) fn leave(&mut self) {
        self.presence = Presence::Away;
        self.sent_before = (self.snapshot.uploaded, self.snapshot.uploaded_total);
    }

    /// Notes that it has ended and is taken out of the engine for good.
    pub(crate) fn let_go(&mut self) {
        self.presence = Presence::Away;
        let snapshot = &mut self.snapshot;
        (snapshot.down_rate, snapshot.up_rate, snapshot.peers) = (0, 0, 0);
        snapshot.phase = Phase::Stopped(None);
    }

    /// Notes that it is in the engine again, under another name.
    pub(crate) fn come_back(&mut self, id: TorrentId) {
        self.presence = Presence::Here;
        self.id = id;
    }

    /// Tells whether it is out of the engine, which knows nothing of it then.
    pub(crate) fn is_away(&self) -> bool {
        self.presence == Presence::Away
    }

    /// Tells whether its data is there and being uploaded, and nothing has ended that.
    pub(crate) fn is_to_be_seeded(&self) -> bool {
        let has_data = match &self.outcome {
            Some(Outcome::Complete) => true,
            Some(Outcome::Failed(_)) => false,
            None => self.is_seeding_told,
        };
        has_data && !self.is_seeded
    }

    /// Returns for how long nothing useful has happened.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved_at)
    }

    /// Counts a peer that connected; one that comes again is counted once.
    pub(crate) fn count_peer(&mut self, peer_id: PeerId) {
        if self.peers.len() < MAX_PEERS_COUNTED {
            self.peers.insert(peer_id);
        }
    }

    /// Returns how many peers have been connected.
    pub(crate) fn peers_counted(&self) -> usize {
        self.peers.len()
    }

    /// Tells whether everything that was asked for is there: downloaded, or found complete for
    /// seeding.
    pub(crate) fn is_done(&self) -> bool {
        match &self.outcome {
            Some(Outcome::Complete) => true,
            Some(Outcome::Failed(_)) => false,
            // A signal may come before the next look that would tell of it.
            None => {
                let phase = &self.snapshot.phase;
                let is_seeding = matches!(phase, Phase::Seeding | Phase::PartialSeeding);
                (is_seeding || self.is_seeding_told) && self.snapshot.is_complete()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use crate::cli::files::tests::metainfo;
    use crate::cli::snapshot::sample;

    fn torrent(now: Instant) -> Torrent {
        let mut metainfo = metainfo(&[("top/a", 25, false)]);
        metainfo.name = "a\x1b[2J".to_owned();
        Torrent::new(1, TorrentId(7), &metainfo, None, sample(), now)
    }

    #[test]
    fn idle_time_begins_with_the_last_useful_byte() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut torrent = torrent(start);
        let wasted = Snapshot { downloaded: 312_000_000, wasted: 1_000_000, ..sample() };
        torrent.observe(wasted, after(5));
        assert_eq!(torrent.idle_for(after(9)), Duration::from_secs(9));
        torrent.observe(Snapshot { downloaded: 311_000_001, ..sample() }, after(10));
        assert_eq!(torrent.idle_for(after(14)), Duration::from_secs(4));
        let spoilt = Snapshot { downloaded: 312_000_000, wasted: 5_000_000, ..sample() };
        torrent.observe(spoilt.clone(), after(20));
        assert_eq!(torrent.idle_for(after(25)), Duration::from_secs(15));
        torrent.observe(Snapshot { downloaded: 312_000_001, ..spoilt }, after(30));
        assert_eq!(torrent.idle_for(after(31)), Duration::from_secs(1));
    }

    #[test]
    fn peers_are_counted_once() {
        let mut torrent = torrent(Instant::now());
        for id in [b"-qB5000-aaaaaaaaaaaa", b"-qB5000-bbbbbbbbbbbb", b"-qB5000-aaaaaaaaaaaa"] {
            torrent.count_peer(PeerId(*id));
        }
        assert_eq!(torrent.peers_counted(), 2);
    }

    #[test]
    fn done_is_complete_or_seeding_everything() {
        let mut torrent = torrent(Instant::now());
        assert_eq!(torrent.name, "a\\x1b[2J");
        torrent.snapshot.have = torrent.snapshot.size;
        assert!(!torrent.is_done());
        torrent.is_seeding_told = true;
        assert!(torrent.is_done());
        torrent.outcome = Some(Outcome::Failed(Failure::new(Exit::Failed, "x", "x")));
        assert!(!torrent.is_done());
        torrent.outcome = Some(Outcome::Complete);
        assert!(torrent.is_done());
    }
}
