//! Some files of a torrent: what is asked for, what is on disk, and what a change of mind costs.

use std::path::PathBuf;

use super::random::{Named, random_peer, random_source, seeds};
use super::*;
use swarmloop::disk::selection::FilePriority::{High, Low, Normal, Skip};
use swarmloop::disk::selection::{FilePriority, Selection};
use swarmloop::sim::SourceFile;

const PIECE_LEN: u32 = 32 << 10;

/// Five files of which every neighbour shares a piece with the next; and an empty one.
fn five_files(seed: u64) -> Arc<Source> {
    let lens = [100_000, 150_000, 20_000, 5_000, 0, 200_000];
    let names = ["a", "b/c", "b/d", "e", "empty", "f"];
    let file = |(name, len)| SourceFile { name, len, pad: false };
    let files: Vec<SourceFile> = names.into_iter().zip(lens).map(file).collect();
    Arc::new(Source::new(seed, &files, PIECE_LEN, None))
}

fn path(sim: &Sim, host: HostId, source: &Source, file: usize) -> PathBuf {
    sim.root(host).join(source.metainfo.files[file].path.clone())
}

fn parts_path(sim: &Sim, host: HostId, source: &Source) -> PathBuf {
    sim.root(host).join(format!(".{}.parts", source.metainfo.name))
}

/// Which files of a torrent are on a host's disk.
fn there(sim: &Sim, host: HostId, source: &Source) -> Vec<usize> {
    let files = 0..source.metainfo.files.len();
    files.filter(|file| sim.disk(host).file(&path(sim, host, source, *file)).is_some()).collect()
}

fn add(sim: &mut Sim, source: &Arc<Source>, from: &[HostId], selection: &Selection) -> HostId {
    let host = sim.add_host(peer());
    let selection = selection.clone();
    sim.add_torrent(host, source, AddOptions { selection, ..AddOptions::from_peers(from) });
    host
}

/// Kills a host and starts it again with other files wanted.
fn start_again(
    sim: &mut Sim,
    host: HostId,
    source: &Arc<Source>,
    from: &[HostId],
    selection: &Selection,
) {
    start_again_with(sim, host, source, AddOptions::from_peers(from), selection);
}

fn start_again_with(
    sim: &mut Sim,
    host: HostId,
    source: &Arc<Source>,
    add: AddOptions,
    selection: &Selection,
) {
    sim.kill(host);
    sim.run_for(Duration::from_secs(1));
    sim.restart_without(host);
    sim.add_torrent(host, source, AddOptions { selection: selection.clone(), ..add });
}

/// The bytes of the pieces that are of these files.
fn piece_bytes(source: &Source, files: &[usize]) -> u64 {
    let mut pieces: Vec<u32> = Vec::new();
    let mut at = 0;
    for (index, file) in source.metainfo.files.iter().enumerate() {
        let piece = |byte: u64| u32::try_from(byte / u64::from(PIECE_LEN)).unwrap();
        if files.contains(&index) && file.len > 0 {
            pieces.extend(piece(at)..=piece(at + file.len - 1));
        }
        at += file.len;
    }
    pieces.dedup();
    let len = |piece: u32| u64::from(PIECE_LEN).min(at - u64::from(piece) * u64::from(PIECE_LEN));
    pieces.into_iter().map(len).sum()
}

fn downloaded(sim: &Sim, host: HostId) -> u64 {
    sim.torrent(host, ONLY).unwrap().downloaded
}

#[test]
fn only_wanted_files_are_asked_for_and_made() {
    let mut sim = Sim::new(SimOptions::new(1));
    let source = five_files(1);
    let seeder = sim.add_seed(peer(), &source);
    let leecher = add(&mut sim, &source, &[seeder], &Selection::new([Skip, Normal, Skip, High]));
    let others = Selection::new([Skip, Skip, Skip, Skip, Skip, Low]);
    let other = add(&mut sim, &source, &[seeder], &others);
    sim.run_until_complete(&[leecher, other], 5 * MINUTE);
    sim.run_for(MINUTE);
    for (host, files, len) in [(leecher, vec![1, 3, 4, 5], 355_000), (other, vec![5], 200_000)] {
        assert_eq!(completions(&sim, host), [true], "{}", sim.dump());
        let status = sim.torrent(host, ONLY).unwrap();
        assert_eq!(status.phase, Phase::PartialSeeding);
        assert_eq!((status.wanted, status.wanted_have), (len, len));
        assert_eq!(status.downloaded, piece_bytes(&source, &files));
        assert_eq!(there(&sim, host, &source), files);
        assert!(sim.disk(host).file(&parts_path(&sim, host, &source)).is_some());
        assert_eq!(status.peers, 0, "there is nothing to be had of a seed any more");
        assert_at_rest(&sim, host);
    }
}

#[test]
fn what_is_kept_apart_is_served_and_found_again() {
    let mut sim = Sim::new(SimOptions::new(2));
    let source = five_files(2);
    let seeder = sim.add_seed(peer(), &source);
    let selection = Selection::new([Skip, Normal, Skip, Skip, Skip, Skip]);
    let leecher = add(&mut sim, &source, &[seeder], &selection);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    start_again(&mut sim, leecher, &source, &[], &selection);
    sim.run_for(MINUTE);
    assert_eq!(downloaded(&sim, leecher), 0);
    assert_eq!(completions(&sim, leecher), [true, false], "{}", sim.dump());
    // Nobody else has it for this one.
    let third = add(&mut sim, &source, &[leecher], &selection);
    sim.run_until_complete(&[third], 5 * MINUTE);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().uploaded, piece_bytes(&source, &[1]));
}

#[test]
fn what_a_deleted_file_had_is_not_believed_to_be_in_the_parts_file() {
    for wants_it_again in [true, false] {
        let mut sim = Sim::new(SimOptions::new(8));
        let source = five_files(8);
        let seeder = sim.add_seed(peer(), &source);
        let leecher = sim.add_host(peer());
        let add = |selection: &Selection| AddOptions {
            selection: selection.clone(),
            resume: true,
            ..AddOptions::from_peers(&[seeder])
        };
        let first = Selection::new([Normal, Normal, Skip, Skip, Skip, Skip]);
        sim.add_torrent(leecher, &source, add(&first));
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        sim.run_for(MINUTE);
        sim.command(leecher, swarmloop::session::Session::shutdown);
        sim.run_for(MINUTE);
        sim.kill(leecher);
        // It shares a piece with the second file, and the parts file has room for that piece.
        let gone = path(&sim, leecher, &source, 0);
        sim.disk_mut(leecher).remove(&gone);
        sim.restart_without(leecher);
        let second = Selection::new([Skip, Normal, Skip, Skip, Skip, Skip]);
        let wanted = if wants_it_again { &first } else { &second };
        sim.add_torrent(leecher, &source, add(wanted));
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        sim.set_selection(leecher, ONLY, Selection::all());
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        sim.run_for(MINUTE);
        let (_, bytes) = source.files().next().unwrap();
        assert_eq!(sim.disk(leecher).file(&gone), Some(bytes), "wanted again: {wants_it_again}");
    }
}

#[test]
fn more_files_later_cost_only_what_was_not_there() {
    let mut sim = Sim::new(SimOptions::new(3));
    let source = five_files(3);
    let seeder = sim.add_seed(peer(), &source);
    let first = Selection::new([Skip, Normal, Skip, Skip, Skip, Skip]);
    let leecher = add(&mut sim, &source, &[seeder], &first);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    let mut had = downloaded(&sim, leecher);
    assert_eq!(had, piece_bytes(&source, &[1]));
    for wanted in [vec![1, 2], vec![0, 2], vec![0, 1, 2, 3, 4, 5]] {
        let files = (0..6).map(|file| if wanted.contains(&file) { Normal } else { Skip });
        start_again(&mut sim, leecher, &source, &[seeder], &Selection::new(files));
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        sim.run_for(MINUTE);
        had += downloaded(&sim, leecher);
        let files: Vec<usize> = (0..6).filter(|file| *file < 3 || wanted.len() == 6).collect();
        let expected = if wanted.contains(&0) { files } else { vec![1, 2] };
        assert_eq!(there(&sim, leecher, &source), expected, "{wanted:?}");
        assert_eq!(had, piece_bytes(&source, &expected), "{wanted:?}");
    }
    assert!(sim.disk(leecher).file(&parts_path(&sim, leecher, &source)).is_none());
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().phase, Phase::Seeding);
}

#[test]
fn a_change_of_mind_while_downloading_and_after() {
    let mut sim = Sim::new(SimOptions::new(4));
    let source = five_files(4);
    let mut slow = peer();
    slow.link.up_rate = 100_000;
    let seeder = sim.add_seed(slow, &source);
    let leecher = add(&mut sim, &source, &[seeder], &Selection::new([Normal, Skip, Normal, Skip]));
    sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().pieces_have > 2);
    // The second file instead of the last one: what is there of the first stays.
    let second = Selection::new([Normal, Normal, Skip, Skip, Skip, Skip]);
    sim.set_selection(leecher, ONLY, second);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().wanted, 250_000);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(MINUTE);
    assert_eq!(completions(&sim, leecher), [true], "{}", sim.dump());
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().phase, Phase::PartialSeeding);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().peers, 0);
    // Everything after all: the seed that was of no use is dialled again.
    sim.set_selection(leecher, ONLY, Selection::all());
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(MINUTE);
    assert_eq!(completions(&sim, leecher), [true, true], "{}", sim.dump());
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().phase, Phase::Seeding);
    assert!(sim.disk(leecher).file(&parts_path(&sim, leecher, &source)).is_none());
    let wasted = downloaded(&sim, leecher) - piece_bytes(&source, &[0, 1, 2, 3, 4, 5]);
    assert!(wasted <= 6 * u64::from(PIECE_LEN), "{wasted} bytes came twice");
}

#[test]
fn wanting_an_empty_file_more_makes_it() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = five_files(5);
    let seeder = sim.add_seed(peer(), &source);
    let leecher =
        add(&mut sim, &source, &[seeder], &Selection::new([Normal, Skip, Skip, Skip, Skip, Skip]));
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(MINUTE);
    assert_eq!(there(&sim, leecher, &source), [0]);
    sim.set_selection(leecher, ONLY, Selection::new([Normal, Skip, Skip, Skip, Normal, Skip]));
    sim.run_for(MINUTE);
    assert_eq!(there(&sim, leecher, &source), [0, 4]);
    assert_eq!(completions(&sim, leecher), [true, true]);
}

#[test]
fn a_stranger_in_the_place_of_an_unwanted_file_is_left_alone() {
    [false, true].into_iter().for_each(with_strangers);
}

fn with_strangers(resume: bool) {
    let mut sim = Sim::new(SimOptions::new(6));
    let source = five_files(6);
    let seeder = sim.add_seed(peer(), &source);
    let leecher = sim.add_host(peer());
    let strangers = [vec![0xee; 100_000], vec![0xdd; 7]];
    for (file, bytes) in [0, 2].into_iter().zip(&strangers) {
        let path = path(&sim, leecher, &source, file);
        sim.disk_mut(leecher).put(path, bytes.clone());
    }
    let selection = Selection::new([Skip, Normal, Skip, Skip, Skip, Skip]);
    let add = |from: &[HostId]| AddOptions { resume, ..AddOptions::from_peers(from) };
    let first = AddOptions { selection: selection.clone(), ..add(&[seeder]) };
    sim.add_torrent(leecher, &source, first);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(MINUTE);
    assert_eq!(downloaded(&sim, leecher), piece_bytes(&source, &[1]));
    start_again_with(&mut sim, leecher, &source, add(&[seeder]), &selection);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    assert_eq!(downloaded(&sim, leecher), 0, "all is found again\n{}", sim.dump());
    // And it is what it should be.
    let third = sim.add_host(peer());
    let wants = AddOptions { selection: selection.clone(), ..AddOptions::from_peers(&[leecher]) };
    sim.add_torrent(third, &source, wants);
    sim.run_until_complete(&[third], 5 * MINUTE);
    assert_eq!(sim.torrent(third, ONLY).unwrap().corrupt_pieces, 0);
    for (file, bytes) in [0, 2].into_iter().zip(&strangers) {
        assert_eq!(sim.disk(leecher).file(&path(&sim, leecher, &source, file)), Some(&bytes[..]));
    }
    start_again_with(&mut sim, leecher, &source, add(&[seeder]), &Selection::all());
    sim.run_for(MINUTE);
    assert!(matches!(sim.torrent(leecher, ONLY).unwrap().phase, Phase::Stopped(Some(_))));
}

#[test]
fn urgent_files_and_the_ends_of_files_come_first() {
    let mut sim = Sim::new(SimOptions::new(7));
    let files = ["a", "b", "c"].map(|name| SourceFile { name, len: 6 << 20, pad: false });
    let source = Arc::new(Source::new(7, &files, 512 << 10, None));
    let seeder = sim.add_seed(peer(), &source);
    let ends = Selection::new([Low, Normal, High]).with_ends_first(true);
    let leecher = add(&mut sim, &source, &[seeder], &ends);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    let pieces = sim.events(leecher).filter_map(|event| match event {
        Event::PieceVerified { piece, .. } => Some(piece.0),
        _ => None,
    });
    let pieces: Vec<u32> = pieces.collect();
    let level = |piece: u32| match (piece / 12, piece % 12) {
        (_, 0 | 1 | 10 | 11) => 0,
        (file, _) => 3 - file,
    };
    // Some are asked for out of turn while we are choked (BEP 6), and verdicts overtake each other.
    let levels: Vec<u32> = pieces.iter().map(|piece| level(*piece)).collect();
    let middles = [0, 1, 2, 3].map(|level| {
        let places: Vec<usize> = (0..levels.len()).filter(|at| levels[*at] == level).collect();
        places[places.len() / 2]
    });
    assert!(middles.is_sorted() && levels[..12].contains(&0), "{levels:?}");
    assert_eq!(levels.last(), Some(&3), "{levels:?}");
}

fn random_selection(rng: &mut Rng, files: usize) -> Selection {
    const ALL: [FilePriority; 5] = [Skip, Skip, Low, Normal, High];
    let ends_first = rng.below(4) == 0;
    let priorities: Vec<FilePriority> = (0..files).map(|_| ALL[rng.below(ALL.len())]).collect();
    Selection::new(priorities).with_ends_first(ends_first)
}

/// A swarm in which everybody wants something else, some change their minds, and some are killed
/// and start again with yet another wish.
fn random_wishes(seed: u64) {
    let _named = Named(seed);
    let mut rng = Rng::new(seed);
    let mut options = SimOptions::new(seed);
    options.check_every = 1 + rng.below(8) as u64;
    let resume = rng.below(2) == 0;
    let mut sim = Sim::new(options);
    let source = Arc::new(random_source(&mut rng, seed, None));
    let files = source.metainfo.files.len();
    let mut known = vec![sim.add_seed(random_peer(&mut rng), &source)];
    for _ in 0..=rng.below(4) {
        let host = sim.add_host(random_peer(&mut rng));
        let mut add = AddOptions { resume, ..AddOptions::from_peers(&known) };
        add.selection = random_selection(&mut rng, files);
        add.sequential = rng.below(3) == 0;
        sim.add_torrent(host, &source, add);
        known.push(host);
        sim.run_for(Duration::from_millis(rng.below(3_000) as u64));
    }
    for _ in 0..rng.below(8) {
        let host = known[1 + rng.below(known.len() - 1)];
        let selection = random_selection(&mut rng, files);
        if rng.below(3) == 0 {
            let add = AddOptions { resume, ..AddOptions::from_peers(&known) };
            start_again_with(&mut sim, host, &source, add, &selection);
        } else {
            sim.set_selection(host, ONLY, selection);
        }
        sim.run_for(Duration::from_millis(rng.below(4_000) as u64));
    }
    sim.run_until_complete(&known[1..], 6 * HOUR);
    for host in &known[1..] {
        sim.set_selection(*host, ONLY, Selection::all());
    }
    sim.run_until_complete(&known[1..], 6 * HOUR);
    sim.run_for(10 * MINUTE);
    for host in &known[1..] {
        assert_eq!(sim.torrent(*host, ONLY).unwrap().phase, Phase::Seeding, "{}", sim.dump());
        assert!(!completions(&sim, *host).is_empty(), "{}", sim.dump());
        assert_at_rest(&sim, *host);
    }
}

#[test]
fn random_wishes_are_all_fulfilled() {
    seeds().for_each(random_wishes);
}

#[test]
fn files_on_their_way_out_of_the_parts_file_survive_a_sync_that_fails() {
    // The last ones have found pieces that were carried before they were hashed again, and peers
    // that nobody dialled any more when what they had sent was lost.
    for seed in seeds().chain([840, 1741]) {
        let _named = Named(seed);
        let mut rng = Rng::new(seed);
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = five_files(seed);
        let mut slow = peer();
        slow.link.up_rate = 200_000;
        let seeder = sim.add_seed(slow, &source);
        let mut options = peer();
        options.config.sync_interval = Duration::from_secs(1);
        options.disk.latency.1 = Duration::from_millis(1_500);
        options.disk.fail_syncs = (0, 1);
        let leecher = sim.add_host(options);
        let selection = Selection::new([Normal, Skip, Normal, Skip, Normal, Normal]);
        let add = AddOptions { selection, resume: true, ..AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(leecher, &source, add);
        sim.run_for(Duration::from_millis(500 + rng.below(4_000) as u64));
        sim.set_selection(leecher, ONLY, Selection::all());
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        sim.run_for(MINUTE);
        assert_eq!(there(&sim, leecher, &source), [0, 1, 2, 3, 4, 5]);
        assert_at_rest(&sim, leecher);
    }
}

#[test]
fn a_file_that_is_not_wanted_any_more_is_not_made_for_its_neighbours() {
    // At once, while files are looked at, and when the first pieces are asked for.
    for wait in [0, 45, 90] {
        let mut sim = Sim::new(SimOptions::new(wait));
        let source = five_files(wait);
        let mut slow = peer();
        slow.link.up_rate = 200_000;
        let seeder = sim.add_seed(slow, &source);
        let mut options = peer();
        options.disk.latency = (Duration::from_millis(20), Duration::from_millis(40));
        let leecher = sim.add_host(options);
        let add = AddOptions { sequential: true, ..AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(leecher, &source, add);
        sim.run_for(Duration::from_millis(wait));
        let selection = Selection::new([Normal, Skip, Normal, Skip, Normal, Normal]);
        sim.set_selection(leecher, ONLY, selection);
        sim.run_until_complete(&[leecher], MINUTE);
        sim.run_for(MINUTE);
        assert_eq!(there(&sim, leecher, &source), [0, 2, 4, 5], "after {wait} ms");
        // And back: what is of it in the parts file leaves that.
        sim.set_selection(leecher, ONLY, Selection::all());
        sim.run_until_complete(&[leecher], MINUTE);
        sim.run_for(MINUTE);
        assert_eq!(there(&sim, leecher, &source), [0, 1, 2, 3, 4, 5]);
        assert!(sim.disk(leecher).file(&parts_path(&sim, leecher, &source)).is_none());
    }
}

#[test]
fn a_file_of_which_no_piece_came_is_known_again_where_files_keep_no_mark() {
    let mut sim = Sim::new(SimOptions::new(7));
    // Pieces so long that they leave in runs.
    let file = |name, len| SourceFile { name, len, pad: false };
    let files = [file("a", 1_000_000), file("b", 1_048_576)];
    let source = Arc::new(Source::new(7, &files, 1 << 20, None));
    let mut slow = peer();
    slow.link.up_rate = 300_000;
    let seeder = sim.add_seed(slow, &source);
    let mut options = peer();
    options.config.pool_bytes = 512 << 10;
    options.disk.marks = false;
    let leecher = sim.add_host(options);
    let add = AddOptions { resume: true, sequential: true, ..AddOptions::from_peers(&[seeder]) };
    sim.add_torrent(leecher, &source, add.clone());
    sim.run_until(MINUTE, |sim| there(sim, leecher, &source).contains(&0));
    sim.set_selection(leecher, ONLY, Selection::new([Skip, Normal]));
    sim.run_for(Duration::from_millis(100));
    sim.command(leecher, Session::shutdown);
    sim.run_until(MINUTE, |sim| sim.session(leecher).unwrap().is_idle());
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().pieces_have, 0);
    sim.kill(leecher);
    sim.restart_without(leecher);
    sim.add_torrent(leecher, &source, add);
    sim.run_until_complete(&[leecher], MINUTE);
    assert_eq!(there(&sim, leecher, &source), [0, 1]);
}
