//! The life of torrents within the session: added, fed with the disk's answers, stopped, removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::job::{Alloc, Job, OnDisk, Outcome, Rules, Storage};
use crate::disk::layout::{FileSpec, Layout};
use crate::disk::selection::Selection;
use crate::id::{ConnId, TorrentId};
use crate::peer::error::CloseReason;
use crate::picker::Order;
use crate::proto::metainfo::Metainfo;
use crate::rate::RateLimits;
use crate::time::Instant;
use crate::torrent::keep::{Resume, SyncLimits};
use crate::torrent::phase::{Mode, TorrentEvent};
use crate::torrent::verify::After;
use crate::torrent::{Torrent, TorrentParams};
use crate::wire::frame::{self, Share};

use super::Session;
use super::conns::{Conn, Kind};
use super::entry::{Entry, identity};
use super::io::{Action, Event};
use super::trace::What;

/// A torrent to work on.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct NewTorrent {
    /// What it is.
    pub metainfo: Metainfo,
    /// The folder that its files are below.
    pub dir: PathBuf,
    /// What to do with it.
    pub mode: Mode,
    /// Ask for pieces in order, not rarest first.
    pub sequential: bool,
    /// Which files are wanted.
    pub selection: Selection,
    /// Stop a download at once if what is missing does not fit on the disk.
    pub check_space: bool,
    /// Stop once its files were looked at, before anything is hashed or asked for.
    pub stopped: bool,
    /// How room is made for its files.
    pub alloc: Alloc,
    /// Ask its trackers for peers.
    pub use_trackers: bool,
    /// How fast its payload may flow, beside the limit in all.
    pub limits: RateLimits,
    /// Where its state is kept from one process to the next; `None` keeps and believes nothing.
    pub resume: Option<Resume>,
    /// What each of the metainfo's files was when all pieces were hashed and right, `None` for what
    /// has no bytes of its own: pieces of files that are still the same (length, time, inode and
    /// device) are not hashed again. `None` if nobody has hashed them.
    pub hashed: Option<Vec<Option<OnDisk>>>,
    /// Peers to dial besides those that trackers name: host names or addresses, and ports.
    pub peers: Vec<(String, u16)>,
    /// Peers that its magnet link names (`x.pe`), as those; of no use if it is private (BEP 27).
    pub link_peers: Vec<(String, u16)>,
}

impl NewTorrent {
    /// Returns a torrent to work on below `dir`: rarest first, with its own trackers, and with no
    /// other peers than theirs.
    pub const fn new(metainfo: Metainfo, dir: PathBuf, mode: Mode) -> Self {
        Self {
            metainfo,
            dir,
            mode,
            sequential: false,
            selection: Selection::all(),
            check_space: true,
            stopped: false,
            alloc: Alloc::Sparse,
            use_trackers: true,
            limits: RateLimits { down: 0, up: 0 },
            resume: None,
            hashed: None,
            peers: Vec::new(),
            link_peers: Vec::new(),
        }
    }
}

/// A torrent cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddTorrentError {
    /// A torrent with this info-hash is in the session.
    #[error("this torrent is already being worked on")]
    Duplicate,
    /// Another torrent of the session has a file at this path, and one of the two would write to
    /// it.
    #[error("another torrent has the file {}", crate::text::Escaped(&.0.to_string_lossy()))]
    PathTaken(PathBuf),
    /// The session is shutting down.
    #[error("shutting down")]
    ShuttingDown,
}

impl Session {
    /// Adds a torrent: its existing files are looked at, then it downloads or seeds.
    ///
    /// # Errors
    /// [`AddTorrentError`]: the caller's fault; nothing has changed.
    pub fn add_torrent(
        &mut self,
        new: NewTorrent,
        now: Instant,
    ) -> Result<TorrentId, AddTorrentError> {
        self.input();
        if self.shutting_down {
            return Err(AddTorrentError::ShuttingDown);
        }
        let info_hash = new.metainfo.info_hash;
        if let Some(id) = self.by_hash.get(&info_hash).copied() {
            return self.go_on(id, new, now);
        }
        let id = self.next_id();
        let params = self.params(id, &new)?;
        self.tops.insert(&params.storage);
        let mut torrent = Torrent::new(params, &self.work.ctx(now));
        torrent.candidates.set_vantage(self.seen.vantage);
        let tiers = if new.use_trackers { &new.metainfo.trackers[..] } else { &[] };
        let announcer = self.announcer(tiers);
        let us = identity(self.config.peer_id_prefix, &self.seeds.secret, info_hash);
        self.torrents.push(Some(Box::new(Entry::new(torrent, announcer, us, now))));
        self.by_hash.insert(info_hash, id);
        self.set_dht_hosts(id, &new.metainfo);
        if new.metainfo.private {
            self.keep_to_trackers(id, now);
        }
        self.look_up_peers(id, new.peers, new.link_peers, now);
        self.set_torrent_limits(id, new.limits, now);
        self.look_or_wait(id, now);
        self.touch(id);
        Ok(id)
    }

    /// Returns a name for one more torrent.
    pub(super) fn next_id(&self) -> TorrentId {
        TorrentId(u32::try_from(self.torrents.len()).expect("fewer than 2^32 torrents"))
    }

    /// Returns what a torrent is made from.
    pub(super) fn params(
        &self,
        id: TorrentId,
        new: &NewTorrent,
    ) -> Result<TorrentParams, AddTorrentError> {
        let metainfo = &new.metainfo;
        let files = metainfo.files.iter();
        let specs = files.map(|f| FileSpec { path: f.path.clone(), len: f.len, pad: f.pad });
        let storage = Storage {
            torrent: id,
            info_hash: metainfo.info_hash,
            root: new.dir.clone(),
            layout: Arc::new(Layout::new(specs, metainfo.piece_len)),
            parts: None,
            hashes: metainfo.pieces.clone(),
            writable: matches!(new.mode, Mode::Download { .. }),
            rules: Rules {
                overwrite: new.mode == (Mode::Download { overwrite: true }),
                alloc: new.alloc,
            },
            state: new.resume.as_ref().map(|resume| resume.file.clone()),
        };
        if let Some(path) = self.shared_path(&storage) {
            return Err(AddTorrentError::PathTaken(path));
        }
        Ok(TorrentParams {
            info_hash: metainfo.info_hash,
            storage: Arc::new(storage),
            info: metainfo.info.clone(),
            private: metainfo.private,
            pex: self.config.pex,
            mode: new.mode,
            order: if new.sequential { Order::Sequential } else { Order::RarestFirst },
            selection: new.selection.clone(),
            unchoke_slots: self.config.unchoke_slots,
            check_space: new.check_space,
            stopped: new.stopped,
            resume: new.resume.clone(),
            hashed: new.hashed.clone(),
            sync: SyncLimits {
                interval: self.config.sync_interval,
                bytes: self.config.max_unsynced_bytes,
            },
        })
    }

    /// Returns a file that `new` would share with a torrent of the session, if one of them writes.
    /// O(files of both, log), and of as many torrents as share a first name.
    fn shared_path(&self, new: &Storage) -> Option<PathBuf> {
        let is_rival = |old: &&Arc<Storage>| old.root == new.root && (old.writable || new.writable);
        let olds = self.tops.rivals(new);
        let olds = olds.iter().filter_map(|id| Some(self.entry(*id)?.torrent.storage()));
        let mut rivals = olds.filter(is_rival).peekable();
        rivals.peek()?;
        let files = new.layout.files().iter().filter(|file| !file.pad);
        let ours: BTreeSet<&Path> = files.map(|file| file.path.as_path()).collect();
        let theirs = rivals.flat_map(|old| old.layout.files()).filter(|file| !file.pad);
        theirs.map(|file| &file.path).find(|path| ours.contains(path.as_path())).cloned()
    }

    /// Wants other files of a torrent from now on, in another order perhaps.
    ///
    /// What is missing of them is asked for; what is being received of others is given up. What is
    /// there stays and is served. Pieces of files that were not wanted are asked for when what was
    /// kept of them apart has been put into them, a moment later.
    pub fn set_selection(&mut self, torrent: TorrentId, selection: Selection, now: Instant) {
        self.input();
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        let after = entry.torrent.set_selection(selection, &mut self.work.ctx(now));
        self.apply_cancels();
        self.pass_on_news(torrent, now);
        self.touch(torrent);
        self.follow(torrent, after, now);
    }

    /// Stops a torrent, which stays in the session: its connections are closed, its trackers told,
    /// its state saved and its files let go. It takes next to nothing then, and wakes nobody.
    ///
    /// One that is just being looked at stops when it is known what there is of it. Of no effect on
    /// one that has stopped.
    pub fn stop_torrent(&mut self, torrent: TorrentId, now: Instant) {
        self.input();
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        entry.torrent.stop_when_known(&mut self.work.ctx(now));
        if entry.torrent.is_stopped() {
            self.close_down(torrent, CloseReason::TorrentStopped, now);
        }
    }

    /// Starts a torrent that has stopped, on request or by itself, as if it were added now: its
    /// files are looked at, and what of them may have changed is hashed; all of them if its state
    /// is not kept. What has been counted goes on.
    ///
    /// Of no effect on one that runs.
    pub fn start_torrent(&mut self, torrent: TorrentId, now: Instant) {
        self.input();
        let is_ending = self.shutting_down;
        let Some(entry) = self.entry_mut(torrent).filter(|entry| !entry.removing && !is_ending)
        else {
            return;
        };
        entry.torrent.start_again();
        if let Some(unresolved) = &mut entry.unresolved {
            unresolved.again_at = Some(now);
        }
        self.touch(torrent);
    }

    /// Stops a torrent and takes it out of the session once the disk is done with it. Its trackers
    /// are told.
    pub fn remove_torrent(&mut self, torrent: TorrentId, now: Instant) {
        self.input();
        self.stop(torrent, CloseReason::TorrentStopped, now);
        if let Some(entry) = self.entry_mut(torrent) {
            entry.removing = true;
        }
    }

    /// Asks the trackers of all torrents again, each as soon as its `min interval` allows, and
    /// looks for their peers in the DHT and on the local network.
    /// O(torrents).
    pub fn reannounce(&mut self, now: Instant) {
        self.input();
        let ids: Vec<TorrentId> =
            self.torrents.iter().flatten().map(|entry| entry.torrent.id).collect();
        for id in ids {
            if let Some(entry) = self.entry_mut(id) {
                entry.announcer.request_peers(now);
                let info_hash = entry.torrent.info_hash;
                self.hasten_in_dht(info_hash, now);
                self.hasten_on_lan(info_hash, now);
            }
            self.touch(id);
        }
    }

    /// Begins to end the session: no requests any more, pieces in hand are verified and written,
    /// trackers that know us are told `stopped`. Go on with turns until [`Session::is_idle`], or
    /// for as long as you like.
    pub fn shutdown(&mut self, now: Instant) {
        self.input();
        self.shutting_down = true;
        self.give_up_questions();
        for at in 0..self.torrents.len() {
            let id = TorrentId(u32::try_from(at).unwrap_or(u32::MAX));
            self.stop(id, CloseReason::Shutdown, now);
        }
        let rest: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|conn| !matches!(conn.kind, Kind::Tracker(_)))
            .map(|conn| conn.id)
            .collect();
        for id in rest {
            self.close(id, &CloseReason::Shutdown.into(), now);
        }
    }

    /// Has a session that is being ended wait for the disk alone: trackers are not told that it
    /// leaves. Of no effect before [`Session::shutdown`]. O(torrents).
    pub fn skip_announces(&mut self) {
        self.input();
        if !self.shutting_down {
            return;
        }
        for at in 0..self.torrents.len() {
            let id = TorrentId(u32::try_from(at).unwrap_or(u32::MAX));
            self.give_up_announce(id);
            if let Some(entry) = self.entry_mut(id) {
                entry.announcer.abandon();
            }
            self.touch(id);
        }
    }

    fn stop(&mut self, torrent: TorrentId, reason: CloseReason, now: Instant) {
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        entry.torrent.stop(None, &mut self.work.ctx(now));
        self.close_down(torrent, reason, now);
    }

    /// Does what follows for a torrent that has stopped: its trackers are told, its connections
    /// closed.
    fn close_down(&mut self, torrent: TorrentId, reason: CloseReason, now: Instant) {
        self.stop_announcing(torrent);
        self.close_conns_of(torrent, reason, now);
        if let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) {
            entry.rest(&mut self.rechoking);
        }
        self.pass_on_news(torrent, now);
        self.touch(torrent);
    }

    /// Closes every connection to a peer of a torrent. O(those).
    pub(super) fn close_conns_of(&mut self, torrent: TorrentId, reason: CloseReason, now: Instant) {
        let Some(entry) = self.entry(torrent) else { return };
        let established = entry.torrent.peers.values();
        let doomed: Vec<ConnId> = entry.joining.iter().chain(established).copied().collect();
        for id in doomed {
            self.close(id, &reason.into(), now);
        }
        // What the blocks of a closed piece were asked from is gone.
        self.work.cancels.clear();
    }

    /// Drops a torrent that is to be removed once nothing is under way for it.
    pub(super) fn remove_if_done(&mut self, torrent: TorrentId, now: Instant) -> bool {
        let Some(entry) = self.entry(torrent) else { return true };
        if !entry.removing || !entry.is_quiet() {
            return false;
        }
        let info_hash = entry.torrent.info_hash;
        let storage = Arc::clone(entry.torrent.storage());
        self.tops.remove(&storage);
        self.by_hash.remove(&info_hash);
        self.apply_limits(Some(torrent), RateLimits::default(), now);
        if let Some(mut entry) = self.torrents[torrent.0 as usize].take() {
            entry.rechoke_next(None, &mut self.rechoking);
        }
        self.work.jobs.push_back(Job::Close { torrent });
        true
    }

    pub(super) fn on_disk(&mut self, outcome: Outcome, now: Instant) {
        self.jobs_out = self.jobs_out.saturating_sub(1);
        let torrent = match &outcome {
            Outcome::Verify { torrent, .. }
            | Outcome::Append { torrent, .. }
            | Outcome::Read { torrent, .. }
            | Outcome::Stat { torrent, .. }
            | Outcome::Check { torrent, .. }
            | Outcome::Carry { torrent, .. }
            | Outcome::Finish { torrent, .. }
            | Outcome::Space { torrent, .. }
            | Outcome::LetGo { torrent } => *torrent,
            Outcome::Assembled(done) => done.torrent,
            Outcome::State(outcome) => outcome.torrent(),
        };
        if self.entry_mut(torrent).is_some_and(|entry| entry.torrent.job_done()) {
            self.touch(torrent);
        }
        if let Outcome::Read { .. } = outcome {
            return self.on_read(torrent, outcome, now);
        }
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        let after = entry.torrent.on_outcome(outcome, &mut self.work.ctx(now));
        self.apply_cancels();
        self.pass_on_news(torrent, now);
        self.touch(torrent);
        self.follow(torrent, after, now);
    }

    /// Does for a torrent what follows from an outcome or a command.
    fn follow(&mut self, torrent: TorrentId, after: After, now: Instant) {
        match after {
            After::Nothing => {}
            After::TellPeers => {
                if let Some(entry) = self.entry_mut(torrent) {
                    entry.tell_peers = true;
                }
            }
            After::LookAgain => self.look_at_interest(torrent, now),
            After::Started => {
                self.start_announcing(torrent, now);
                self.take_in_kept(torrent, now);
                self.tell_upload_only(torrent, now);
            }
            After::Known => self.metadata_is_known(torrent, now),
            After::AskAgain => self.mark_peers_of(torrent),
            After::Completed => self.on_complete(torrent, now),
            After::Stopped => self.close_down(torrent, CloseReason::TorrentStopped, now),
            After::Restarted => self.close_conns_of(torrent, CloseReason::TorrentStopped, now),
        }
    }

    /// A run of blocks was read for a peer: send it, or refuse it; if the peer has gone, only the
    /// frames come back.
    fn on_read(&mut self, torrent: TorrentId, outcome: Outcome, now: Instant) {
        let Outcome::Read { conn, piece, begin, mut frames, result, .. } = outcome else { return };
        let credit = frame::count(&frames);
        self.mark(conn);
        if let Some((_, peer)) = self.conns.find_mut(conn).and_then(Conn::as_peer) {
            if result.is_ok() {
                peer.send_run(piece, begin, &mut frames);
                self.work.pool.give_row(frames);
                return;
            }
            peer.refuse_run(piece, begin, &frames);
        }
        if let Some(throttle) = &mut self.throttle {
            throttle.unread(torrent, frames.iter().map(|frame| u64::from(frame.len())).sum());
        }
        self.work.pool.release(Share::Uploads, credit);
        self.work.pool.give_row(frames);
        if let Err(error) = result
            && let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize)
        {
            let after = entry.torrent.on_unreadable(piece, error, &mut self.work.ctx(now));
            self.pass_on_news(torrent, now);
            self.follow(torrent, after, now);
        }
    }

    /// Looks again at what every peer of a torrent has that we want.
    fn look_at_interest(&mut self, torrent: TorrentId, now: Instant) {
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        let peers: Vec<ConnId> = entry.torrent.peers.values().copied().collect();
        for id in &peers {
            if let Some((_, peer)) = self.conns.find_mut(*id).and_then(Conn::as_peer) {
                entry.torrent.update_interest(peer, now);
            }
        }
        for id in peers {
            self.mark(id);
        }
        self.tell_upload_only(torrent, now);
    }

    /// Everything is here: nothing is wanted any more, seeds are of no use, trackers are told.
    fn on_complete(&mut self, torrent: TorrentId, now: Instant) {
        self.look_at_interest(torrent, now);
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        if entry.torrent.has_downloaded() && entry.torrent.is_complete() {
            entry.announcer.completed(now);
        }
        let seeds: Vec<ConnId> = entry
            .torrent
            .peers
            .values()
            .copied()
            .filter(|id| {
                let kind = self.conns.find(*id).map(|conn| &conn.kind);
                matches!(kind, Some(Kind::Peer { peer, .. }) if peer.is_seed())
            })
            .collect();
        for id in seeds {
            self.close(id, &CloseReason::BothSeeds.into(), now);
        }
        self.tell_upload_only(torrent, now);
    }

    /// Turns a torrent's news into events of the session.
    pub(super) fn pass_on_news(&mut self, torrent: TorrentId, now: Instant) {
        if self.work.news.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.work.news);
        for news in all.drain(..) {
            let event = match news {
                TorrentEvent::Phase(phase) => Event::Phase { torrent, phase },
                TorrentEvent::PieceVerified(piece) => {
                    self.note(None, torrent, What::PieceVerified(piece), now);
                    Event::PieceVerified { torrent, piece }
                }
                TorrentEvent::PieceCorrupt(piece, contributors) => {
                    self.note(None, torrent, What::PieceCorrupt(piece), now);
                    Event::PieceCorrupt { torrent, piece, contributors }
                }
                TorrentEvent::Complete(downloaded) => {
                    let added_at = self.entry(torrent).map_or(now, |entry| entry.added_at);
                    Event::Complete { torrent, elapsed: now - added_at, downloaded }
                }
                TorrentEvent::Disk(error) => Event::Disk { torrent, error },
                TorrentEvent::Lost(pieces, error) => {
                    self.tell_lost(torrent, &pieces);
                    let pieces = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
                    Event::PiecesLost { torrent, pieces, error }
                }
                TorrentEvent::SyncFailed(error, bytes) => {
                    Event::SyncFailed { torrent, error, bytes }
                }
                TorrentEvent::StateFailed(error) => Event::StateFailed { torrent, error },
                TorrentEvent::Metadata(metainfo) => Event::Metadata { torrent, metainfo },
                TorrentEvent::Ban(addr, error) => {
                    self.ban(torrent, addr, &error, now);
                    continue;
                }
            };
            self.queues.events.push_back(event);
        }
        // Keep the list's capacity, unless passing them on has made others meanwhile.
        if self.work.news.is_empty() {
            self.work.news = all;
        }
    }

    pub(super) fn action(&mut self, action: Action) {
        self.queues.actions.push_back(action);
    }
}
