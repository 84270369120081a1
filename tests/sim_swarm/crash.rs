//! Downloads that are killed, lose their power or are stopped, again and again. The simulated disk
//! asserts of every record that a power cut at that moment would leave what it claims; here it is
//! asserted that nothing that was claimed is ever lost, that little is downloaded twice, and that
//! every byte is right in the end.

use std::path::PathBuf;

use super::random::{Named, seeds_or};
use super::*;
use swarmloop::bitfield::Bitfield;
use swarmloop::disk::job::DiskErrorKind;
use swarmloop::disk::slots;
use swarmloop::id::PieceIndex;
use swarmloop::session::io::StopReason;
use swarmloop::sim::{DiskOptions, SimDisk, SourceFile};
use swarmloop::torrent::resume::Record;

/// Payload of the torrents, in bytes.
const LEN: u64 = 1_500_000;
const POOL: u64 = 512 << 10;
const UNSYNCED: u64 = 128 << 10;

const fn file(name: &'static str, len: usize) -> SourceFile {
    SourceFile { name, len, pad: false }
}

fn source(seed: u64, piece_len: u32) -> Arc<Source> {
    let files = [file("a", 700_000), file("sub/b", 3), file("empty", 0), file("sub/c", 799_997)];
    Arc::new(Source::new(seed, &files, piece_len, None))
}

/// A swarm of a seed and a leecher that keeps its state.
struct Swarm {
    sim: Sim,
    source: Arc<Source>,
    leecher: HostId,
    /// Useful payload that the lives before this one have received.
    downloaded: u64,
}

impl Swarm {
    fn new(seed: u64, piece_len: u32) -> Self {
        Self::of(seed, source(seed, piece_len), (300_000, Duration::from_secs(1)))
    }

    /// Returns one that is cheap to copy.
    fn small(seed: u64) -> Self {
        let files = [file("a", 70_000), file("sub/b", 3), file("sub/c", 59_997)];
        let source = Arc::new(Source::new(seed, &files, 16 << 10, None));
        Self::of(seed, source, (60_000, Duration::from_millis(300)))
    }

    fn of(seed: u64, source: Arc<Source>, (rate, interval): (u64, Duration)) -> Self {
        let mut sim = Sim::new(SimOptions::new(seed));
        let mut slow = peer();
        slow.link.up_rate = rate;
        let seeder = sim.add_seed(slow, &source);
        let mut options = peer();
        options.config.pool_bytes = POOL;
        options.config.max_unsynced_bytes = UNSYNCED;
        options.config.sync_interval = interval;
        let leecher = sim.add_host(options);
        let keeps = AddOptions { resume: true, ..AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(leecher, &source, keeps);
        Self { sim, source, leecher, downloaded: 0 }
    }

    /// Returns the pieces that the leecher's newest record claims.
    fn claimed(&self) -> Vec<u32> {
        let record = self.record();
        record.map_or_else(Vec::new, |record| record.claimed.ones().collect())
    }

    fn record(&self) -> Option<Record> {
        self.record_on(self.sim.disk(self.leecher))
    }

    /// Returns where the leecher's state is.
    fn state(&self) -> PathBuf {
        let name = format!("state/{}.resume", self.source.metainfo.info_hash);
        self.sim.root(self.leecher).join(name)
    }

    /// Returns the newest record on a disk.
    fn record_on(&self, disk: &SimDisk) -> Option<Record> {
        let metainfo = &self.source.metainfo;
        let newest = slots::newest(disk.file(&self.state())?)?;
        let pieces = u32::try_from(metainfo.pieces.len() / 20).unwrap();
        // The last one is the parts file.
        Record::decode(newest.record, metainfo.info_hash, pieces, metainfo.files.len() + 1)
    }

    /// Counts what this life has received; call it before it ends.
    fn count(&mut self) {
        let status = self.sim.torrent(self.leecher, ONLY).unwrap();
        self.downloaded += status.downloaded - status.wasted;
    }

    /// Stops as a user does, with all the time that it takes.
    fn stop(&mut self) {
        self.sim.command(self.leecher, swarmloop::session::Session::shutdown);
        let leecher = self.leecher;
        let is_idle = |sim: &Sim| sim.session(leecher).unwrap().is_idle();
        self.sim.run_until(MINUTE, is_idle);
    }

    fn restart(&mut self) {
        self.sim.restart(self.leecher);
    }

    /// Lets the leecher find out what it has.
    fn settle(&mut self) -> u32 {
        let leecher = self.leecher;
        let phase = |sim: &Sim| sim.torrent(leecher, ONLY).unwrap().phase;
        self.sim.run_until(MINUTE, |sim| phase(sim) != Phase::Checking);
        self.sim.torrent(leecher, ONLY).unwrap().pieces_have
    }

    fn finish(mut self) -> u64 {
        self.sim.run_until_complete(&[self.leecher], 5 * MINUTE);
        self.sim.run_for(MINUTE);
        let status = self.sim.torrent(self.leecher, ONLY).unwrap();
        assert_eq!((status.phase, status.have), (Phase::Seeding, LEN));
        assert!(self.record().is_some_and(|record| record.clean && record.claimed.is_full()));
        self.count();
        self.downloaded
    }
}

/// One download through random ends of its process.
fn random_lives(seed: u64) {
    let _named = Named(seed);
    let mut rng = Rng::new(seed);
    let mut swarm = Swarm::new(seed, [16 << 10, 20_000, 64 << 10][rng.below(3)]);
    let (mut ends, mut cuts) = (0, 0);
    for _ in 0..=rng.below(6) {
        swarm.sim.run_for(Duration::from_millis(rng.below(3_000) as u64));
        swarm.count();
        let claimed = match rng.below(4) {
            0 => {
                swarm.stop();
                let claimed = swarm.claimed();
                swarm.sim.kill(swarm.leecher);
                claimed
            }
            1 => {
                // In the middle of a stop.
                swarm.sim.command(swarm.leecher, swarmloop::session::Session::shutdown);
                swarm.sim.run_for(Duration::from_millis(rng.below(60) as u64));
                let claimed = swarm.claimed();
                swarm.sim.kill(swarm.leecher);
                claimed
            }
            2 => {
                let claimed = swarm.claimed();
                swarm.sim.kill(swarm.leecher);
                claimed
            }
            _ => {
                let claimed = swarm.claimed();
                swarm.sim.cut_power(swarm.leecher);
                cuts += 1;
                claimed
            }
        };
        ends += 1;
        swarm.restart();
        swarm.settle();
        // The pieces in question are right on disk: the simulation compares what is claimed.
        let have = swarm.sim.torrent(swarm.leecher, ONLY).unwrap().pieces_have;
        assert!(have as usize >= claimed.len(), "{have} pieces left of {claimed:?}");
    }
    let downloaded = swarm.finish();
    // What was on its way to the disk when a process ended, and for a power cut what waited for a
    // sync or was being synced.
    let lost = ends * POOL + cuts * 3 * UNSYNCED;
    assert!(downloaded <= LEN + lost, "{downloaded} bytes for {LEN}, {ends} ends, {cuts} cuts");
}

#[test]
fn a_download_survives_random_ends_of_its_process() {
    seeds_or("100").for_each(random_lives);
}

/// How many moments of a download are looked at, and how many power cuts at each.
const MOMENTS: usize = 16;
const CUTS: usize = 12;

/// Downloads, is killed now and then, and at random moments looks at what power cuts could leave: a
/// record no older than the one that was durable, and every piece that it claims.
fn crash_states(seed: u64) {
    let _named = Named(seed);
    let mut rng = Rng::new(seed);
    let mut swarm = Swarm::small(seed);
    let state = swarm.state();
    for _ in 0..MOMENTS {
        swarm.sim.run_for(Duration::from_millis(1 + rng.below(300) as u64));
        if rng.below(6) == 0 {
            swarm.sim.kill(swarm.leecher);
            swarm.sim.run_for(Duration::from_millis(rng.below(40) as u64));
            swarm.restart();
        }
        let disk = swarm.sim.disk(swarm.leecher);
        let generation = |file: Option<&[u8]>| Some(slots::newest(file?)?.generation);
        let durable = generation(disk.durable_file(&state));
        for _ in 0..CUTS {
            let left = disk.after_power_cut(&mut rng);
            assert!(generation(left.file(&state)) >= durable, "older than {durable:?}");
            let claimed = swarm.record_on(&left).map(|record| record.claimed);
            for piece in claimed.iter().flat_map(Bitfield::ones) {
                let root = swarm.sim.root(swarm.leecher);
                let fault = swarm.source.piece_fault(&left, root, PieceIndex(piece));
                assert_eq!(fault, None, "piece {piece} is claimed");
            }
        }
    }
}

#[test]
fn what_a_record_claims_is_there_after_a_power_cut_at_any_moment() {
    seeds_or("300").for_each(crash_states);
}

/// 5,000 downloads through the ends of their processes, and 960,000 power cuts.
#[test]
#[ignore = "takes minutes, most of all if it is not optimised: add --release"]
fn thousands_of_crashes_lose_nothing_that_was_claimed() {
    for seed in seeds_or("5000") {
        crash_states(seed);
        random_lives(seed);
    }
}

#[test]
fn what_a_graceful_stop_has_is_not_downloaded_again() {
    for seed in 0..8 {
        let mut swarm = Swarm::new(seed, 64 << 10);
        for _ in 0..5 {
            swarm.sim.run_for(Duration::from_millis(700));
            swarm.count();
            let have = swarm.sim.torrent(swarm.leecher, ONLY).unwrap().pieces_have;
            swarm.stop();
            let record = swarm.record().expect("it has been saved");
            assert!(record.clean && record.claimed.count() >= have, "{record:?}");
            swarm.sim.kill(swarm.leecher);
            swarm.restart();
            assert_eq!(swarm.settle(), record.claimed.count());
        }
        // Open pieces were put aside, so that not a block came twice.
        assert_eq!(swarm.finish(), LEN);
    }
}

#[test]
fn blocks_that_were_put_aside_come_back_within_the_bounds_of_the_pool() {
    for (pool, is_enough) in [(POOL, true), (4 * (16 << 10), false)] {
        let mut swarm = Swarm::new(9, 64 << 10);
        swarm.sim.run_for(Duration::from_millis(700));
        swarm.stop();
        let have = swarm.claimed().len();
        swarm.sim.kill(swarm.leecher);
        swarm.sim.options_mut(swarm.leecher).config.pool_bytes = pool;
        swarm.restart();
        let leecher = swarm.leecher;
        let held = |sim: &Sim| sim.session(leecher).unwrap().memory();
        let mut most = 0;
        swarm.sim.run_until(MINUTE, |sim| {
            most = most.max(held(sim).pieces);
            sim.torrent(leecher, ONLY).unwrap().phase != Phase::Checking
        });
        // The simulation asserts after each turn that what is lent is within what is reserved.
        assert_eq!(most > 0, is_enough, "{most} blocks while it was looked at");
        assert!(swarm.sim.torrent(leecher, ONLY).unwrap().pieces_have as usize >= have);
        swarm.finish();
    }
}

#[test]
fn another_folder_stops_it_and_a_copy_does_not() {
    let mut swarm = Swarm::new(3, 20_000);
    swarm.sim.run_for(Duration::from_secs(3));
    swarm.stop();
    let claimed = swarm.claimed();
    swarm.sim.kill(swarm.leecher);
    swarm.sim.disk_mut(swarm.leecher).replace_folder();
    swarm.restart();
    assert_eq!(swarm.settle() as usize, claimed.len(), "all of it is there");
    swarm.stop();
    swarm.sim.kill(swarm.leecher);
    swarm.sim.disk_mut(swarm.leecher).replace_folder();
    let path = swarm.sim.root(swarm.leecher).join(swarm.source.files().next().unwrap().0);
    let bytes = swarm.sim.disk(swarm.leecher).file(&path).unwrap().to_vec();
    swarm.sim.disk_mut(swarm.leecher).remove(&path);
    let record = swarm.record();
    swarm.restart();
    assert_eq!(swarm.settle() as usize, claimed.len(), "what is with the other folder");
    let status = swarm.sim.torrent(swarm.leecher, ONLY).unwrap();
    assert_eq!(status.phase, Phase::Stopped(Some(StopReason::Disk)));
    let kind = |event: &Event| match event {
        Event::Disk { error, .. } => Some(error.kind),
        _ => None,
    };
    let kinds: Vec<DiskErrorKind> = swarm.sim.events(swarm.leecher).filter_map(kind).collect();
    assert_eq!(kinds, [DiskErrorKind::Vanished]);
    swarm.stop();
    assert_eq!((swarm.record(), swarm.sim.disk(swarm.leecher).file(&path)), (record, None));
    swarm.sim.kill(swarm.leecher);
    swarm.sim.disk_mut(swarm.leecher).put(path, bytes);
    swarm.restart();
    swarm.finish();
}

#[test]
fn a_state_that_is_gone_costs_a_check_and_no_byte() {
    let mut swarm = Swarm::new(3, 20_000);
    swarm.sim.run_for(Duration::from_secs(3));
    swarm.stop();
    let have = swarm.claimed().len();
    assert!(have > 10);
    swarm.sim.kill(swarm.leecher);
    let path = swarm.state();
    swarm.sim.disk_mut(swarm.leecher).remove(&path);
    swarm.restart();
    assert_eq!(swarm.settle() as usize, have);
    swarm.finish();
}

#[test]
fn bytes_that_changed_under_a_claim_are_found() {
    let mut swarm = Swarm::new(4, 20_000);
    swarm.sim.run_for(Duration::from_secs(3));
    swarm.stop();
    let claimed = swarm.claimed();
    swarm.sim.kill(swarm.leecher);
    // Somebody else writes to the first file.
    let path = swarm.sim.root(swarm.leecher).join(swarm.source.files().next().unwrap().0);
    let mut bytes = swarm.sim.disk(swarm.leecher).file(&path).unwrap().to_vec();
    let piece = *claimed.first().unwrap();
    bytes[piece as usize * 20_000 + 7] ^= 1;
    swarm.sim.disk_mut(swarm.leecher).put(path, bytes);
    swarm.restart();
    assert_eq!(swarm.settle() as usize, claimed.len() - 1);
    swarm.finish();
}

#[test]
fn a_sync_that_fails_once_costs_a_check_and_twice_the_torrent() {
    for (fails, is_stopped) in [((1, 2), false), ((1, 3), true)] {
        let mut swarm = Swarm::new(5, 16 << 10);
        let mut options = DiskOptions::default();
        options.fail_syncs = fails;
        swarm.sim.disk_mut(swarm.leecher).set_options(options);
        swarm.sim.run_for(MINUTE);
        let failed = |event: &&Event| matches!(event, Event::SyncFailed { bytes: 1.., .. });
        assert_eq!(swarm.sim.events(swarm.leecher).filter(failed).count(), 1);
        let phase = swarm.sim.torrent(swarm.leecher, ONLY).unwrap().phase;
        if is_stopped {
            assert_eq!(phase, Phase::Stopped(Some(StopReason::Disk)));
            swarm.sim.kill(swarm.leecher);
            swarm.sim.disk_mut(swarm.leecher).set_options(DiskOptions::default());
            swarm.restart();
        }
        swarm.finish();
    }
}

#[test]
fn a_sync_that_fails_in_a_graceful_stop_is_told_and_claims_nothing() {
    let mut swarm = Swarm::new(5, 16 << 10);
    let mut options = DiskOptions::default();
    options.fail_syncs = (0, 9);
    swarm.sim.disk_mut(swarm.leecher).set_options(options);
    // Before the first sync is due.
    swarm.sim.run_for(Duration::from_millis(400));
    assert!(swarm.sim.torrent(swarm.leecher, ONLY).unwrap().pieces_have > 0);
    swarm.stop();
    let failed = |event: &&Event| matches!(event, Event::SyncFailed { bytes: 1.., .. });
    assert_eq!(swarm.sim.events(swarm.leecher).filter(failed).count(), 1);
    assert!(swarm.claimed().is_empty());
    swarm.sim.kill(swarm.leecher);
    swarm.sim.disk_mut(swarm.leecher).set_options(DiskOptions::default());
    swarm.restart();
    swarm.finish();
}

#[test]
fn a_seed_that_keeps_its_state_is_ready_without_hashing() {
    let mut sim = Sim::new(SimOptions::new(6));
    let source = source(6, 16 << 10);
    let host = sim.add_host(peer());
    sim.put_files(host, &source);
    sim.add_torrent(host, &source, AddOptions { resume: true, ..AddOptions::seed() });
    sim.run_for(MINUTE);
    let before = sim.turns(host);
    sim.run_for(HOUR);
    assert_eq!(sim.turns(host), before, "nothing to do and nothing to wake up for");
    sim.kill(host);
    sim.restart(host);
    let state_jobs_and_a_look = 3;
    let before = sim.turns(host);
    sim.run_for(MINUTE);
    assert!(sim.is_complete(host));
    assert!(sim.turns(host) - before <= state_jobs_and_a_look, "it was not hashed");
}

#[test]
fn what_was_uploaded_counts_on_through_kills_and_stops() {
    let mut sim = Sim::new(SimOptions::new(7));
    let source = source(7, 16 << 10);
    let seeder = sim.add_host(peer());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions { resume: true, ..AddOptions::seed() });
    sim.run_for(MINUTE);
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
    sim.run_until_complete(&[leecher], MINUTE);
    sim.run_for(6 * MINUTE);
    let before = sim.turns(seeder);
    sim.run_for(HOUR);
    assert_eq!(sim.turns(seeder), before, "it is saved once, and then nothing wakes up");
    // Whatever was saved by then outlives a kill; and the next session counts on from it.
    for (life, graceful) in [(2, false), (3, true)] {
        if graceful {
            sim.command(seeder, swarmloop::session::Session::shutdown);
            sim.run_until(MINUTE, |sim| sim.session(seeder).unwrap().is_idle());
        }
        sim.kill(seeder);
        sim.restart(seeder);
        sim.run_for(MINUTE);
        let status = sim.torrent(seeder, ONLY).unwrap();
        assert_eq!((status.uploaded, status.uploaded_total), (0, (life - 1) * LEN));
        let other = sim.add_host(peer());
        sim.add_torrent(other, &source, AddOptions::from_peers(&[seeder]));
        sim.run_until_complete(&[other], MINUTE);
        let status = sim.torrent(seeder, ONLY).unwrap();
        assert_eq!((status.uploaded, status.uploaded_total), (LEN, life * LEN));
    }
    let status = sim.torrent(leecher, ONLY).unwrap();
    assert_eq!((status.downloaded, status.downloaded_total), (LEN, LEN), "without a state");
}
