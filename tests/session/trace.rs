//! The trace: a conversation leaves exactly its records, and a session without one does the same.

use swarmloop::id::{Block, ConnId, PieceIndex};
use swarmloop::peer::error::{CloseReason, Misbehaviour};
use swarmloop::peer::timer::Timer;
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::session::trace::{Ending, Note, Record, Said, Trace, What};
use swarmloop::time::{Duration, Instant};

use crate::common::{FAST, PLAIN, Setup, World, bitfield, peer_id};

fn traced(setup: Setup) -> World {
    setup.config(|config| config.trace_records = 10_000).build()
}

/// Takes out what happened since the last time.
fn take(world: &mut World) -> Vec<Record> {
    let trace = world.session.take_trace(Trace::new(10_000)).expect("it was asked for");
    assert_eq!(trace.lost(), 0);
    trace.iter().copied().collect()
}

fn whats(world: &mut World) -> Vec<What> {
    take(world).iter().map(|record| record.what).collect()
}

fn received(message: Message) -> What {
    What::Wire(Note::Received(Said::Message(message)))
}

fn sent(message: Message) -> What {
    What::Wire(Note::Sent(Said::Message(message)))
}

#[test]
fn a_download_of_one_piece_is_told_from_the_first_stream_to_the_last() {
    let mut world = traced(Setup::have([1]).pieces(2));
    world.advance(Duration::from_secs(3));
    let seed = world.join(PLAIN);
    world.send(seed, &bitfield(&[0b1100_0000]));
    world.advance(Duration::from_secs(1));
    world.say(seed, &[Message::Unchoke]);
    let asked = world.asked(seed);
    world.give(seed, &asked);
    let records = take(&mut world);
    let mut expected = vec![
        What::Accepted,
        What::Wire(Note::Sent(Said::Handshake)),
        What::Wire(Note::Received(Said::Handshake)),
        What::Established,
        What::Wire(Note::Sent(Said::Bitfield(1))),
        What::Wire(Note::Received(Said::Bitfield(1))),
        sent(Message::Interested),
        received(Message::Unchoke),
    ];
    expected.extend(asked.iter().map(|block| sent(Message::Request(*block))));
    let arrives = |block: &Block| {
        [What::Wire(Note::Received(Said::Piece(*block))), What::Wire(Note::Landed(*block))]
    };
    expected.extend(asked.iter().flat_map(arrives));
    // Once it has everything itself, the remote is of no use, nor are we to it.
    expected.push(What::PieceVerified(PieceIndex(0)));
    expected.push(sent(Message::NotInterested));
    expected.push(What::Closed(Ending::Closed(CloseReason::BothSeeds)));
    let told: Vec<What> = records.iter().map(|record| record.what).collect();
    assert_eq!(told, expected);
    let times: Vec<Instant> = records.iter().map(|record| record.at).collect();
    assert_eq!((times[0], times[6], times[7]), (at_s(3), at_s(3), at_s(4)));
    assert!(times.is_sorted());
    let of_piece = |record: &&Record| matches!(record.what, What::PieceVerified(_));
    let verified = records.iter().find(of_piece).expect("verified");
    assert_eq!((verified.conn, verified.torrent), (None, Some(world.torrent)));
    let others = records.iter().filter(|record| !of_piece(record));
    assert!(others.clone().all(|record| record.conn == Some(seed.0)));
    assert!(others.skip(1).all(|record| record.torrent == Some(world.torrent)));
}

fn at_s(s: u64) -> Instant {
    Instant::from_secs(s)
}

#[test]
fn an_upload_is_told_with_the_choker_that_allowed_it() {
    let mut world = traced(Setup::seed());
    let leech = world.join(FAST);
    take(&mut world);
    world.say(leech, &[Message::HaveNone, Message::Interested]);
    let block = world.block(2, 1);
    world.say(leech, &[Message::Request(block)]);
    let expected = [
        received(Message::HaveNone),
        received(Message::Interested),
        sent(Message::Unchoke),
        received(Message::Request(block)),
        What::Wire(Note::Sent(Said::Piece(block))),
    ];
    assert_eq!(whats(&mut world), expected);
    world.advance(Duration::from_secs(11));
    assert_eq!(whats(&mut world), [What::Rechoked { choked: 0, unchoked: 0 }]);
}

#[test]
fn a_dial_a_timeout_and_a_bad_end_are_told() {
    let peers = vec![("10.0.9.1".into(), 1), ("10.0.9.2".into(), 1)];
    let mut world = traced(Setup { peers, ..Setup::default() });
    world.fail_dial();
    let silent = world.answer_dial();
    world.advance(Duration::from_secs(11));
    assert!(!world.is_open(silent));
    let refused = CloseReason::Io(std::io::ErrorKind::ConnectionRefused);
    let records = take(&mut world);
    let of = |conn: Option<ConnId>| {
        let of_conn = records.iter().filter(|record| record.conn == conn);
        of_conn.map(|record| record.what).collect::<Vec<_>>()
    };
    assert_eq!(of(records[0].conn), [What::Dialled, What::Closed(Ending::Closed(refused))]);
    let expected = [
        What::Dialled,
        What::Connected,
        What::Wire(Note::Sent(Said::Handshake)),
        What::Closed(Ending::TimedOut(Timer::Handshake)),
    ];
    assert_eq!(of(Some(silent.0)), expected);

    let mut world = traced(Setup::default());
    let rude = world.join(PLAIN);
    take(&mut world);
    world.say(rude, &[Message::HaveAll]);
    let misbehaved = Ending::Misbehaved(Misbehaviour::FastNotNegotiated);
    assert_eq!(whats(&mut world), [received(Message::HaveAll), What::Closed(misbehaved)]);
}

#[test]
fn a_peer_that_is_silent_is_snubbed_and_a_piece_that_is_wrong_is_told() {
    let mut world = traced(Setup::have([1]).pieces(2));
    let seed = world.join_seed();
    let asked = world.asked(seed);
    take(&mut world);
    world.advance(Duration::from_secs(61));
    assert!(whats(&mut world).contains(&What::Snubbed));
    world.give(seed, &asked[1..]);
    world.give_spoiled(seed, asked[0]);
    assert!(whats(&mut world).contains(&What::PieceCorrupt(PieceIndex(0))));
}

#[test]
fn an_announce_is_told_from_its_beginning_to_its_end() {
    let trackers = vec![vec!["http://one.example/announce".to_owned()]];
    let mut world = traced(Setup { trackers, ..Setup::default() });
    world.resolve(&["198.51.100.1"]);
    let stream = world.answer_dial();
    assert_eq!(whats(&mut world), [What::AnnounceBegun]);
    let body = b"d8:intervali1800e5:peers0:e";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    world.send(stream, &[head.as_bytes(), body].concat());
    assert_eq!(whats(&mut world), [What::AnnounceAnswered]);
}

#[test]
fn a_session_does_the_same_with_a_trace_and_without() {
    let mut heard = Vec::new();
    for records in [0, 7] {
        let mut world = Setup::default().config(|config| config.trace_records = records).build();
        let seed = world.join_seed();
        world.serve(seed);
        let late = world.accept();
        world.send(late, &encode(FAST, world.info_hash, peer_id(9)));
        heard.push((world.hear(late), world.events.len(), *world.session.counters()));
        assert_eq!(world.session.trace().map(Trace::len), (records > 0).then_some(7));
        assert!(world.session.trace().is_none_or(|trace| trace.lost() > 30));
    }
    assert_eq!(heard[0], heard[1]);
}
