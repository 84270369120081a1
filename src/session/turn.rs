//! The end of a turn: what was marked is looked at, each connection once, and only now is anything
//! asked, told or dialled.

use crate::choker::{ChokeFacts, ChokeState, RECHOKE_INTERVAL};
use crate::disk::job::Job;
use crate::id::{ConnId, TorrentId};
use crate::peer::Peer;
use crate::time::Instant;
use crate::torrent::{Ctx, Refill, Torrent};
use crate::wire::frame::Share;

use super::conns::{Conn, Kind};
use super::entry::Entry;
use super::io::Action;
use super::throttle::{Throttle, Way};
use super::trace::What;
use super::{MAX_SPARE, Session, WheelKey};

/// How many hungry peers of a torrent in a row may find nothing before the rest wait for the next
/// turn.
const MAX_VAIN_TRIES: usize = 32;

impl Session {
    pub(super) fn decide(&mut self, now: Instant) {
        self.mark_to_be_told(now);
        self.release_throttled(now);
        self.serve_upload_waiters(now);
        // Before those who are served anyhow: else a busy torrent takes back what it has given.
        self.share_credit(now);
        self.serve_marked(now);
        self.serve_hungry(now);
        self.credit_left = self.free_credit();
        self.call_next(now);
        let mut touched = std::mem::take(&mut self.queues.touched);
        for torrent in touched.drain(..) {
            self.look_at(torrent, now);
        }
        // Keep the list's capacity, unless looking has touched others meanwhile.
        if self.queues.touched.is_empty() {
            self.queues.touched = touched;
        }
        self.announce_next(now);
        // Announces and dials have opened connections.
        self.serve_marked(now);
        self.credit_left = self.credit_left.min(self.free_credit());
        self.hand_out_jobs();
    }

    /// Tells whether something was left for the next turn, which is due at once.
    pub(super) fn has_unfinished_work(&self) -> bool {
        let queues = &self.queues;
        let entries = |line: &[TorrentId], holds: fn(&Torrent) -> bool| {
            line.iter().filter_map(|id| self.entry(*id)).any(|entry| holds(&entry.torrent))
        };
        let stirred = entries(&self.work.lines.stirred, Torrent::is_stirred);
        let shared = self.free_credit() > self.credit_left;
        if shared && entries(&self.work.lines.short, Torrent::is_short_of_credit) {
            return true;
        }
        let feedable = self.read_due() == Some(Instant::ZERO);
        stirred || feedable || !queues.dirty.is_empty() || !queues.touched.is_empty()
    }

    fn serve_marked(&mut self, now: Instant) {
        while !self.queues.dirty.is_empty() {
            let mut dirty = std::mem::take(&mut self.queues.dirty);
            for id in dirty.drain(..) {
                if let Some(conn) = self.conns.find_mut(id) {
                    conn.dirty = false;
                    self.serve(id, now);
                    self.settle(id, now);
                }
            }
            // Keep the list's capacity, unless serving has marked others meanwhile.
            if self.queues.dirty.is_empty() {
                self.queues.dirty = dirty;
                break;
            }
        }
    }

    /// Lets the torrents that were short of credit for open pieces have what came free, whichever
    /// of them has given it back.
    fn share_credit(&mut self, now: Instant) {
        if self.free_credit() > self.credit_left {
            let mut short = std::mem::take(&mut self.work.lines.short);
            for torrent in short.drain(..) {
                if let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) {
                    entry.torrent.credit_came_free(&mut self.work.lines);
                }
            }
            // Empty again, and its capacity is kept: what came free adds to the other line.
            self.work.lines.short = short;
            self.serve_hungry(now);
        }
    }

    const fn free_credit(&self) -> u32 {
        self.work.pool.free(Share::Pieces)
    }

    /// Lets connections that wait for the credit of an upload, or for leave to read for it, have
    /// what there is, before others can take it. A waiter that has gone or wants nothing any more
    /// costs the next one nothing.
    fn serve_upload_waiters(&mut self, now: Instant) {
        for _ in 0..self.queues.upload_waiters.len() {
            if !self.has_upload_credit() || self.is_reading_held(now) {
                return;
            }
            let Some(id) = self.queues.upload_waiters.pop_front() else { return };
            let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else {
                continue;
            };
            let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { continue };
            let wants_metadata = peer.wants_metadata();
            let ctx = &mut self.work.ctx(now);
            peer.in_upload_line = feed(&mut self.throttle, &mut entry.torrent, id, peer, ctx);
            if peer.in_upload_line {
                self.queues.upload_waiters.push_back(id);
            }
            // No disk has to be waited for: it is to be sent in this turn.
            if wants_metadata {
                self.mark(id);
            }
        }
    }

    /// Tells whether no upload may be read for now, whoever's it is.
    fn is_reading_held(&mut self, now: Instant) -> bool {
        self.throttle.as_mut().is_some_and(|throttle| throttle.is_reading_held(now))
    }

    /// Returns when the next upload can be read for those that wait; [`Instant::ZERO`] is at once.
    pub(super) fn read_due(&self) -> Option<Instant> {
        if self.queues.upload_waiters.is_empty() || !self.has_upload_credit() {
            return None;
        }
        let at = self.throttle.as_ref().and_then(|throttle| throttle.reads_at);
        Some(at.unwrap_or(Instant::ZERO))
    }

    const fn has_upload_credit(&self) -> bool {
        self.work.pool.free(Share::Uploads) > 0
    }

    /// Tells, asks and feeds one connection.
    fn serve(&mut self, id: ConnId, now: Instant) -> Refill {
        let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else {
            return Refill::Satisfied;
        };
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else {
            return Refill::Satisfied;
        };
        let ctx = &mut self.work.ctx(now);
        entry.torrent.tell_completions(peer);
        let refill = entry.torrent.refill(id, peer, ctx);
        let asked_metadata = entry.torrent.ask_for_metadata(id, peer, now);
        entry.torrent.exchange_peers(id, peer, now);
        // Whoever has just sent a block must not take its credit past those in line.
        let waits = if self.queues.upload_waiters.is_empty() {
            feed(&mut self.throttle, &mut entry.torrent, id, peer, ctx)
        } else {
            if self.throttle.is_none() {
                entry.torrent.feed_metadata(peer, usize::MAX);
            }
            wants_feeding(peer)
        };
        // A rechoke also looks for credit that snubbed peers hold, which must not depend on
        // somebody's being interested in us.
        let wants_rechoke = entry.torrent.is_starved() && entry.rechoke_at().is_none();
        if wants_rechoke {
            entry.rechoke_next(Some(now + RECHOKE_INTERVAL), &mut self.rechoking);
        }
        if waits && !std::mem::replace(&mut peer.in_upload_line, true) {
            self.queues.upload_waiters.push_back(id);
        }
        // A block of metadata is waited for by the torrent.
        if wants_rechoke || asked_metadata {
            self.touch(torrent);
        }
        if !self.work.cancels.is_empty() {
            self.apply_cancels();
        }
        refill
    }

    /// Lets peers that went hungry try again if something has changed for them.
    fn serve_hungry(&mut self, now: Instant) {
        let mut line = std::mem::take(&mut self.work.lines.stirred);
        line.retain(|torrent| self.serve_stirred(*torrent, now));
        // Serving one torrent may have stirred another.
        line.append(&mut self.work.lines.stirred);
        self.work.lines.stirred = line;
    }

    /// Lets the hungry peers of one torrent try again; tells whether some are left for later.
    fn serve_stirred(&mut self, torrent: TorrentId, now: Instant) -> bool {
        let mut vain = 0;
        while vain < MAX_VAIN_TRIES
            && let Some(id) = self.entry_mut(torrent).and_then(|e| e.torrent.next_stirred())
        {
            if let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) {
                peer.in_hungry_line = false;
            }
            vain = if self.serve(id, now) == Refill::Hungry { vain + 1 } else { 0 };
            self.settle(id, now);
        }
        self.entry_mut(torrent).is_some_and(|entry| entry.torrent.stays_in_stirred_line())
    }

    /// Puts a connection that was looked at where it belongs: among those that want to send, and
    /// into the wheel.
    fn settle(&mut self, id: ConnId, now: Instant) {
        self.note_wire(id, now);
        let Some(conn) = self.conns.find_mut(id) else { return };
        if let Some((torrent, peer)) = conn.as_peer()
            && let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize)
        {
            entry.torrent.recount(peer);
        }
        let may_send = conn.wants_send() && !conn.waits_up;
        if may_send && !std::mem::replace(&mut conn.queued, true) {
            self.queues.writable.push_back(id);
        }
        self.schedule(id, now);
    }

    /// Looks at one torrent: its announces, its dials, its choker, its removal.
    fn look_at(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        entry.touched = false;
        if entry.rechoke_at().is_some_and(|at| at <= now) {
            self.rechoke(torrent, now);
        }
        self.seek_in_dht(torrent, now);
        self.seek_on_lan(torrent, now);
        self.look_for_metadata(torrent, now);
        self.look_for_contacts(torrent, now);
        if let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) {
            entry.torrent.look_for_space(&mut self.work.ctx(now));
            entry.torrent.keep_state(&mut self.work.ctx(now));
            // Whoever goes rests without it.
            if !self.shutting_down && !entry.removing {
                entry.torrent.come_to_rest(&mut self.work.ctx(now));
            }
        }
        self.pass_on_news(torrent, now);
        self.look_or_wait(torrent, now);
        self.look_up_again(torrent, now);
        self.line_up(torrent, now);
        self.turn_over(torrent, now);
        self.dial(torrent, now);
        self.count_restless(torrent);
        if self.remove_if_done(torrent, now) {
            return;
        }
        self.schedule_torrent(torrent);
    }

    fn count_restless(&mut self, torrent: TorrentId) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let is = !entry.is_quiet();
        let was = std::mem::replace(&mut entry.restless, is);
        self.restless = self.restless + usize::from(is) - usize::from(was);
    }

    pub(super) fn torrent_timeout(&mut self, torrent: TorrentId, at: Instant, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        if entry.wheel_at == Some(at) {
            entry.wheel_at = None;
        }
        let late = entry.announcing.as_ref().is_some_and(|announcing| announcing.deadline <= now);
        if late {
            self.announce_timed_out(torrent, now);
        }
        self.touch(torrent);
    }

    pub(super) fn schedule_torrent(&mut self, torrent: TorrentId) {
        if let Some(at) = self.entry(torrent).and_then(Entry::next_timeout) {
            self.wake_torrent(torrent, at);
        }
    }

    /// Enters a deadline of a torrent into the wheel, if no earlier entry stands.
    pub(super) fn wake_torrent(&mut self, torrent: TorrentId, at: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        if entry.wheel_at.is_none_or(|entered| at < entered) {
            entry.wheel_at = Some(at);
            self.wheel.insert(at, WheelKey::Torrent(torrent));
        }
    }

    /// Ranks a torrent's peers and chokes and unchokes them (BEP 3).
    fn rechoke(&mut self, torrent: TorrentId, now: Instant) {
        self.update_slots(torrent);
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        if !entry.torrent.is_active() {
            // Nobody is let request before it is known what there is.
            entry.rechoke_next(None, &mut self.rechoking);
            return;
        }
        let mut facts = Vec::with_capacity(entry.torrent.peers.len());
        for id in entry.torrent.peers.values() {
            let Some(Conn { kind: Kind::Peer { peer, .. }, .. }) = self.conns.find(*id) else {
                continue;
            };
            let (uploaded_since_unchoke, unchoked_at) = peer.since_unchoke();
            facts.push(ChokeFacts {
                conn: *id,
                interested: peer.is_interested(),
                choke: match (peer.is_choked(), entry.optimistic.contains(id)) {
                    (true, _) => ChokeState::Choked,
                    (false, true) => ChokeState::Optimistic,
                    (false, false) => ChokeState::Unchoked,
                },
                snubbed: peer.is_snubbed(),
                is_seed: peer.is_seed(),
                down_rate: peer.down_rate(now),
                uploaded_since_unchoke,
                connected_at: peer.connected_at,
                unchoked_at,
            });
        }
        let conns = &self.conns;
        let is_snubbed = |id| {
            let kind = conns.find(id).map(|conn| &conn.kind);
            matches!(kind, Some(Kind::Peer { peer, .. }) if peer.is_snubbed())
        };
        entry.torrent.reclaim(is_snubbed, &mut self.work.ctx(now));
        entry.choker.set_config(entry.choke_config());
        let decisions = entry.choker.rechoke(&facts, &mut self.work.rng, now);
        entry.optimistic = decisions.optimistic;
        let anybody = facts.iter().any(|peer| peer.interested);
        entry.rechoke_next(anybody.then(|| now + RECHOKE_INTERVAL), &mut self.rechoking);
        let count = |ids: &[ConnId]| u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let (choked, unchoked) = (count(&decisions.choke), count(&decisions.unchoke));
        self.note(None, torrent, What::Rechoked { choked, unchoked }, now);
        for (ids, choke) in [(decisions.choke, true), (decisions.unchoke, false)] {
            for id in ids {
                self.set_choked(torrent, id, choke, now);
            }
        }
        self.apply_cancels();
    }

    fn set_choked(&mut self, torrent: TorrentId, id: ConnId, choke: bool, now: Instant) {
        self.mark(id);
        let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { return };
        if choke {
            peer.choke(now);
        } else {
            peer.unchoke(now);
        }
        if let Some(entry) = self.entry_mut(torrent) {
            entry.torrent.note_choke(id, choke);
        }
    }

    /// Passes the jobs of this turn on to the driver.
    fn hand_out_jobs(&mut self) {
        while let Some(job) = self.work.jobs.pop_front() {
            self.jobs_out += usize::from(!matches!(job, Job::Close { .. }));
            self.queues.actions.push_back(Action::Disk(job));
        }
        self.work.jobs.shrink_to(MAX_SPARE);
    }
}

/// Queues metadata and reads blocks for a peer, as much as it may have, and tells whether it has to
/// wait for more.
fn feed(
    throttle: &mut Option<Box<Throttle>>,
    torrent: &mut Torrent,
    conn: ConnId,
    peer: &mut Peer,
    ctx: &mut Ctx<'_>,
) -> bool {
    let Some(throttle) = throttle else {
        torrent.feed_metadata(peer, usize::MAX);
        return torrent.feed_uploads(conn, peer, usize::MAX, ctx).waits;
    };
    if peer.wants_metadata()
        && let Some(blocks) = throttle.reads(torrent.id, ctx.now)
    {
        let bytes = torrent.feed_metadata(peer, blocks) as u64;
        // It leaves like a message, at once: what it is too much for the limit, is a debt.
        throttle.read(torrent.id, bytes);
        throttle.spend(Way::Up, (conn, torrent.id), bytes, ctx.now);
    }
    let Some(blocks) = throttle.reads(torrent.id, ctx.now) else { return wants_feeding(peer) };
    let fed = torrent.feed_uploads(conn, peer, blocks, ctx);
    throttle.read(torrent.id, fed.bytes);
    fed.waits || peer.wants_metadata()
}

/// Tells whether something is to be sent to a peer that is neither queued nor read yet.
fn wants_feeding(peer: &Peer) -> bool {
    peer.wants_upload() || peer.wants_metadata()
}
