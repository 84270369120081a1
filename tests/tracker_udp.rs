//! Exchanges with trackers over UDP in virtual time: what is sent when, and which answers count
//! (BEP 15, BEP 41).

use std::net::SocketAddr;

use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::{AnnounceEvent, MAX_INTERVAL, MIN_INTERVAL};
use swarmloop::proto::tracker_serve::SwarmCounts;
use swarmloop::proto::tracker_udp::{
    MAX_ANSWER_LEN, MAX_SCRAPE_ASKED, Request, UdpAnnounce, parse_request, write_announced,
    write_connected, write_failed, write_scraped,
};
use swarmloop::time::{Duration, Instant};
use swarmloop::tracker::{AskId, MAX_TARGET_LEN, UdpAsk, UdpProgress, UdpTrackers};

const TRACKER: &str = "198.51.100.1:6969";
const OTHER: &str = "198.51.100.2:6969";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn hash(n: u8) -> InfoHash {
    InfoHash([n; 20])
}

fn announce(n: u8) -> UdpAsk {
    let announce = UdpAnnounce {
        info_hash: hash(n),
        peer_id: PeerId([b'p'; 20]),
        downloaded: 1,
        left: 2,
        uploaded: 3,
        event: AnnounceEvent::Started,
        ip: None,
        key: 4,
        num_want: Some(50),
        port: 6881,
    };
    UdpAsk::Announce { announce, url_data: Vec::new() }
}

/// What was sent, in short.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Sent {
    Connect,
    Announce(InfoHash, u64),
    Scrape(Vec<InfoHash>, u64),
}

/// The machine with its owner's part: clock and network.
struct Talk {
    udp: UdpTrackers,
    now: Instant,
    /// What was sent: when in seconds, where to, what, and its transaction.
    log: Vec<(u64, SocketAddr, Sent, u32)>,
}

impl Talk {
    fn new() -> Self {
        Self { udp: UdpTrackers::new([7; 32]), now: Instant::ZERO, log: Vec::new() }
    }

    fn ask(&mut self, to: &str, what: UdpAsk) -> AskId {
        let id = self.udp.ask(addr(to), what, self.now);
        self.collect();
        id
    }

    fn collect(&mut self) {
        let mut bytes = Vec::new();
        while let Some(transmit) = self.udp.poll_transmit() {
            bytes.clear();
            self.udp.write(transmit, &mut bytes);
            if bytes.is_empty() {
                continue;
            }
            let (sent, transaction) = match parse_request(&bytes).expect("a question") {
                Request::Connect { transaction } => (Sent::Connect, transaction),
                Request::Announce { connection, transaction, announce, .. } => {
                    (Sent::Announce(announce.info_hash, connection), transaction)
                }
                Request::Scrape { connection, transaction, hashes } => {
                    (Sent::Scrape(hashes.iter().collect(), connection), transaction)
                }
            };
            self.log.push((self.now.as_micros() / 1_000_000, transmit.to, sent, transaction));
        }
    }

    /// Lets time pass until this second.
    fn at(&mut self, second: u64) {
        let until = Instant::from_secs(second);
        while let Some(due) = self.udp.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.udp.handle_timeout(self.now);
            self.collect();
            let next = self.udp.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "it would be called for ever");
        }
        self.now = until;
    }

    /// Takes the last that was sent, which must be this, and returns its transaction.
    fn last(&mut self, expected: &Sent) -> u32 {
        let (_, _, sent, transaction) = self.log.last().expect("something was sent");
        assert_eq!(sent, expected);
        *transaction
    }

    fn times(&self) -> Vec<(u64, &Sent)> {
        self.log.iter().map(|(at, _, sent, _)| (*at, sent)).collect()
    }

    fn hears(&mut self, from: &str, bytes: &[u8]) -> bool {
        let counts = self.udp.handle_datagram(addr(from), bytes, self.now);
        self.collect();
        counts
    }

    /// The tracker answers the connect that was sent last.
    fn connected(&mut self, from: &str, connection: u64) {
        let is_connect = |entry: &&(u64, SocketAddr, Sent, u32)| {
            entry.1 == addr(from) && entry.2 == Sent::Connect
        };
        let transaction = self.log.iter().rev().find(is_connect).expect("a connect").3;
        let mut out = Vec::new();
        write_connected(&mut out, transaction, connection);
        assert!(self.hears(from, &out));
    }

    fn announced(&mut self, from: &str, transaction: u32) -> bool {
        let bytes = announced(transaction, 1_800, &["192.0.2.1:6881"], from);
        self.hears(from, &bytes)
    }

    fn failed(&mut self, from: &str, transaction: u32, message: &str) -> bool {
        let mut out = Vec::new();
        write_failed(&mut out, transaction, message);
        self.hears(from, &out)
    }

    /// Returns what became of exchanges since it was last asked.
    fn news(&mut self) -> Vec<(AskId, UdpProgress)> {
        std::iter::from_fn(|| self.udp.poll()).collect()
    }
}

fn announced(transaction: u32, interval: u64, peers: &[&str], to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let counts = SwarmCounts { complete: 5, incomplete: 6, downloaded: 7 };
    let interval = Duration::from_secs(interval);
    let peers = peers.iter().map(|peer| addr(peer));
    write_announced(&mut out, transaction, interval, counts, peers, addr(to));
    out
}

#[test]
fn an_announce_is_a_connect_and_then_itself() {
    let mut talk = Talk::new();
    let id = talk.ask(TRACKER, announce(1));
    talk.last(&Sent::Connect);
    assert!(!talk.udp.is_reached(id));
    talk.at(1);
    talk.connected(TRACKER, 99);
    let transaction = talk.last(&Sent::Announce(hash(1), 99));
    assert!(talk.udp.is_reached(id));
    assert_eq!(talk.news(), [(id, UdpProgress::Reached)]);
    talk.at(2);
    assert!(talk.announced(TRACKER, transaction));
    let [(of, UdpProgress::Announced(reply))] = &talk.news()[..] else { panic!("an answer") };
    assert_eq!((*of, reply.interval.as_secs()), (id, 1_800));
    assert_eq!((reply.complete, reply.incomplete), (Some(5), Some(6)));
    assert_eq!(reply.peers, [addr("192.0.2.1:6881")]);
    assert!(!talk.announced(TRACKER, transaction), "it came twice");
    talk.at(10_000);
    assert_eq!((talk.news(), talk.log.len()), (vec![], 2), "nothing more is sent");
    assert_eq!(talk.udp.poll_timeout(), None);
}

#[test]
fn a_connect_that_is_not_answered_is_repeated_after_15_times_2_to_the_n() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.at(20_000);
    let times: Vec<u64> = talk.times().iter().map(|(at, _)| *at).collect();
    let expected: Vec<u64> = [0, 15, 45, 105, 225, 465, 945, 1_905, 3_825, 7_665, 11_505]
        .into_iter()
        .chain([15_345, 19_185])
        .collect();
    assert_eq!(times, expected, "up to 3,840 s, as BEP 15 has it");
    let transactions: Vec<u32> = talk.log.iter().map(|entry| entry.3).collect();
    assert!(transactions.iter().all(|id| *id == transactions[0]), "a late answer still counts");
}

#[test]
fn an_announce_whose_id_grows_too_old_while_it_waits_connects_again() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.at(2);
    talk.connected(TRACKER, 99);
    talk.at(300);
    let asked = Sent::Announce(hash(1), 99);
    let expected = [
        (0, &Sent::Connect),
        (2, &asked),
        (17, &asked),
        (47, &asked),
        (107, &Sent::Connect),
        (227, &Sent::Connect),
    ];
    assert_eq!(talk.times(), expected, "the example of BEP 15");
    talk.connected(TRACKER, 100);
    let transaction = talk.last(&Sent::Announce(hash(1), 100));
    talk.at(330);
    assert_eq!(talk.log[7].0, 315, "who has answered is taken to be there again");
    assert!(talk.announced(TRACKER, transaction));
}

#[test]
fn an_answer_that_comes_while_it_connects_again_is_not_too_late() {
    let mut talk = Talk::new();
    let id = talk.ask(TRACKER, announce(1));
    talk.connected(TRACKER, 99);
    let transaction = talk.last(&Sent::Announce(hash(1), 99));
    talk.at(106);
    talk.last(&Sent::Connect);
    assert!(talk.announced(TRACKER, transaction));
    assert!(matches!(talk.news().last(), Some((of, UdpProgress::Announced(_))) if *of == id));
    talk.at(10_000);
    assert_eq!(talk.udp.poll_timeout(), None);
    assert_eq!(talk.log.len(), 5);
}

#[test]
fn a_connection_id_is_shared_by_all_torrents_for_a_minute() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.at(2);
    talk.connected(TRACKER, 99);
    talk.at(61);
    let second = talk.ask(TRACKER, announce(2));
    talk.last(&Sent::Announce(hash(2), 99));
    assert!(talk.udp.is_reached(second));
    talk.ask(OTHER, announce(2));
    talk.last(&Sent::Connect);
    talk.at(62);
    let before = talk.log.len();
    talk.ask(TRACKER, announce(3));
    talk.last(&Sent::Connect);
    assert_eq!(talk.log.len(), before + 1);
}

#[test]
fn who_begins_while_another_connects_waits_for_the_same_answer() {
    let mut talk = Talk::new();
    let asks: Vec<AskId> = (0..100).map(|n| talk.ask(TRACKER, announce(n))).collect();
    assert_eq!(talk.times(), [(0, &Sent::Connect)]);
    // The one for whom it was sent is given up; the others still want the answer.
    talk.udp.give_up(asks[0]);
    talk.connected(TRACKER, 5);
    assert_eq!(talk.log.len(), 1 + 99);
    let mut asked: Vec<u8> = talk.log[1..]
        .iter()
        .map(|entry| match entry.2 {
            Sent::Announce(hash, 5) => hash.0[0],
            ref other => panic!("{other:?}"),
        })
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, (1..100).collect::<Vec<u8>>());
    let mut transactions: Vec<u32> = talk.log.iter().map(|entry| entry.3).collect();
    transactions.sort_unstable();
    transactions.dedup();
    assert_eq!(transactions.len(), 100, "each has its own transaction");
}

/// With thousands of torrents at one tracker somebody always asks, each for half a minute.
#[test]
fn who_joins_a_long_wait_for_a_connection_waits_no_longer_than_alone() {
    let mut talk = Talk::new();
    let mut asks = vec![talk.ask(TRACKER, announce(0))];
    for n in 1..40 {
        talk.at(20 * u64::from(n));
        asks.push(talk.ask(TRACKER, announce(n)));
        talk.udp.give_up(asks.remove(0));
    }
    let times: Vec<u64> = talk.times().iter().map(|(at, _)| *at).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().all(|gap| (15..=30).contains(&gap)), "{times:?}");
    // It is back, and whoever asks now is answered in time.
    talk.connected(TRACKER, 5);
    talk.last(&Sent::Announce(hash(39), 5));
}

#[test]
fn nothing_is_sent_for_what_was_given_up() {
    let mut talk = Talk::new();
    let waiting = talk.ask(TRACKER, announce(1));
    talk.udp.give_up(waiting);
    talk.at(10_000);
    assert_eq!((talk.log.len(), talk.udp.poll_timeout()), (1, None));
    // Not even what was on its way to the socket.
    let ask = talk.udp.ask(addr(TRACKER), announce(2), talk.now);
    talk.collect();
    talk.connected(TRACKER, 1);
    let at = talk.log.len();
    let third = talk.udp.ask(addr(TRACKER), announce(3), talk.now);
    talk.udp.give_up(third);
    talk.collect();
    assert_eq!(talk.log.len(), at);
    talk.udp.give_up(ask);
    talk.udp.give_up(ask);
    assert_eq!(talk.news(), []);
}

#[test]
fn only_the_answer_of_who_was_asked_to_what_was_asked_counts() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.ask(OTHER, announce(2));
    let connect = talk.log[0].3;
    let mut good = Vec::new();
    write_connected(&mut good, connect, 9);
    for (from, bytes) in [
        // Another address, another port, another tracker that was asked, too.
        ("198.51.100.3:6969", good.clone()),
        ("198.51.100.1:6970", good.clone()),
        (OTHER, good.clone()),
        (TRACKER, {
            let mut out = Vec::new();
            write_connected(&mut out, connect ^ 1, 9);
            out
        }),
        (TRACKER, good[..15].to_vec()),
        (TRACKER, announced(connect, 60, &[], TRACKER)),
        (TRACKER, vec![]),
        (TRACKER, [&9u32.to_be_bytes()[..], &connect.to_be_bytes(), &[0; 8]].concat()),
    ] {
        assert!(!talk.hears(from, &bytes), "{from} {bytes:?}");
    }
    assert_eq!(talk.log.len(), 2);
    assert!(talk.hears(TRACKER, &good));
    let transaction = talk.last(&Sent::Announce(hash(1), 9));
    let mut scraped = Vec::new();
    write_scraped(&mut scraped, transaction, [SwarmCounts::default()]);
    assert!(!talk.hears(TRACKER, &scraped), "not what was asked");
    assert!(!talk.announced(OTHER, transaction));
    let whole = announced(transaction, 60, &[], TRACKER);
    assert!(!talk.hears(TRACKER, &whole[..19]));
    assert!(talk.hears(TRACKER, &whole));
}

#[test]
fn nobody_can_answer_an_announce_that_was_not_sent_yet() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    for transaction in 0..100_000 {
        assert!(!talk.announced(TRACKER, transaction));
    }
    assert_eq!(talk.news(), []);
}

#[test]
fn longer_answers_are_answers() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    let mut out = Vec::new();
    write_connected(&mut out, talk.log[0].3, 9);
    out.extend([0xff; 10]);
    assert!(talk.hears(TRACKER, &out));
    let transaction = talk.last(&Sent::Announce(hash(1), 9));
    let mut out = announced(transaction, 60, &["192.0.2.1:1", "192.0.2.2:2"], TRACKER);
    out.extend([0xff; 5]);
    assert!(talk.hears(TRACKER, &out));
    let news = talk.news();
    let Some((_, UdpProgress::Announced(reply))) = news.last() else { panic!("{news:?}") };
    assert_eq!(reply.peers, [addr("192.0.2.1:1"), addr("192.0.2.2:2")]);
}

#[test]
fn the_peers_of_an_answer_are_of_the_family_of_the_tracker() {
    let v6 = "[2001:db8::9]:6969";
    let mut talk = Talk::new();
    talk.ask(v6, announce(1));
    talk.connected(v6, 1);
    let transaction = talk.last(&Sent::Announce(hash(1), 1));
    let bytes = announced(transaction, 60, &["[2001:db8::1]:1", "[2001:db8::2]:2"], v6);
    assert_eq!(bytes.len(), 20 + 36);
    assert!(talk.hears(v6, &bytes));
    let news = talk.news();
    let Some((_, UdpProgress::Announced(reply))) = news.last() else { panic!("{news:?}") };
    assert_eq!(reply.peers, [addr("[2001:db8::1]:1"), addr("[2001:db8::2]:2")]);
}

#[test]
fn intervals_are_kept_within_bounds() {
    for (said, taken) in [(0, MIN_INTERVAL), (u64::from(u32::MAX), MAX_INTERVAL)] {
        let mut talk = Talk::new();
        talk.ask(TRACKER, announce(1));
        talk.connected(TRACKER, 1);
        let transaction = talk.log[1].3;
        assert!(talk.hears(TRACKER, &announced(transaction, said, &[], TRACKER)));
        let news = talk.news();
        let Some((_, UdpProgress::Announced(reply))) = news.last() else { panic!("{news:?}") };
        assert_eq!(reply.interval, taken);
    }
}

fn refusal(progress: &UdpProgress) -> &str {
    match progress {
        UdpProgress::Refused(failure) => &failure.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_under_a_new_connection_id_is_one() {
    let mut talk = Talk::new();
    let id = talk.ask(TRACKER, announce(1));
    talk.connected(TRACKER, 1);
    talk.news();
    let transaction = talk.last(&Sent::Announce(hash(1), 1));
    assert!(!talk.failed(OTHER, transaction, "forged"));
    assert!(talk.failed(TRACKER, transaction, "unregistered"));
    let news = talk.news();
    assert_eq!((news[0].0, refusal(&news[0].1), news.len()), (id, "unregistered", 1));
    assert_eq!(talk.log.len(), 2);
}

#[test]
fn a_refusal_under_an_older_id_may_mean_the_id_and_is_asked_for_twice() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.connected(TRACKER, 1);
    let id = talk.ask(TRACKER, announce(2));
    let transaction = talk.last(&Sent::Announce(hash(2), 1));
    talk.news();
    assert!(talk.failed(TRACKER, transaction, "unknown connection id"));
    talk.last(&Sent::Connect);
    assert_eq!(talk.news(), []);
    talk.connected(TRACKER, 2);
    let transaction = talk.last(&Sent::Announce(hash(2), 2));
    assert!(talk.failed(TRACKER, transaction, "really not"));
    let news = talk.news();
    assert_eq!((news[0].0, refusal(&news[0].1)), (id, "really not"));
}

#[test]
fn a_tracker_that_says_nothing_to_an_older_id_is_connected_to_again() {
    let mut talk = Talk::new();
    talk.ask(TRACKER, announce(1));
    talk.connected(TRACKER, 1);
    let transaction = talk.log[1].3;
    assert!(talk.announced(TRACKER, transaction));
    talk.at(10);
    talk.ask(TRACKER, announce(2));
    talk.at(25);
    let asked = Sent::Announce(hash(2), 1);
    assert_eq!(talk.times()[2..], [(10, &asked), (25, &Sent::Connect)]);
}

#[test]
fn a_refused_connect_refuses_all_who_wait_for_it() {
    let mut talk = Talk::new();
    let asks = [1, 2].map(|n| talk.ask(TRACKER, announce(n)));
    let transaction = talk.log[0].3;
    assert!(!talk.failed(OTHER, transaction, "forged"));
    assert!(talk.failed(TRACKER, transaction, "go \x1b[31maway"));
    let mut news = talk.news();
    news.sort_by_key(|(id, _)| *id);
    let mut expected = asks.to_vec();
    expected.sort_unstable();
    assert_eq!(news.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
    assert_eq!(refusal(&news[0].1), "go \x1b[31maway");
    talk.at(10_000);
    assert_eq!((talk.log.len(), talk.udp.poll_timeout()), (1, None));
}

#[test]
fn swarms_are_scraped_in_one_datagram() {
    let mut talk = Talk::new();
    let hashes: Vec<InfoHash> = (0..80).map(hash).collect();
    let id = talk.ask(TRACKER, UdpAsk::Scrape(hashes.clone()));
    talk.connected(TRACKER, 3);
    let transaction = talk.last(&Sent::Scrape(hashes[..MAX_SCRAPE_ASKED].to_vec(), 3));
    talk.news();
    let counts = |n: usize| SwarmCounts { complete: n, incomplete: 2 * n, downloaded: 3 };
    let mut out = Vec::new();
    write_scraped(&mut out, transaction, (0..MAX_SCRAPE_ASKED).map(counts));
    assert!(talk.hears(TRACKER, &out));
    let all = (0..MAX_SCRAPE_ASKED).map(counts).collect();
    assert_eq!(talk.news(), [(id, UdpProgress::Scraped(all))]);

    // More than was asked for is ignored, and less is what it is.
    for (asked, said) in [(1u8, 3), (3, 1), (2, 0)] {
        let id = talk.ask(TRACKER, UdpAsk::Scrape((0..asked).map(hash).collect()));
        let transaction = talk.log.last().expect("sent").3;
        let mut out = Vec::new();
        write_scraped(&mut out, transaction, (0..said).map(counts));
        assert!(talk.hears(TRACKER, &out));
        let most = said.min(asked.into());
        assert_eq!(talk.news(), [(id, UdpProgress::Scraped((0..most).map(counts).collect()))]);
    }
}

#[test]
fn path_and_query_go_along_in_as_many_options_as_they_need() {
    for len in [0, 14, 255, 256, MAX_TARGET_LEN] {
        let mut udp = UdpTrackers::new([1; 32]);
        let target: Vec<u8> = (b'a'..=b'z').cycle().take(len).collect();
        let UdpAsk::Announce { announce, .. } = announce(1) else { panic!("an announce") };
        let what = UdpAsk::Announce { announce, url_data: target.clone() };
        udp.ask(addr(TRACKER), what, Instant::ZERO);
        let mut bytes = Vec::new();
        let transmit = udp.poll_transmit().expect("a connect");
        udp.write(transmit, &mut bytes);
        let Ok(Request::Connect { transaction }) = parse_request(&bytes) else {
            panic!("{bytes:?}")
        };
        bytes.clear();
        write_connected(&mut bytes, transaction, 1);
        assert!(udp.handle_datagram(addr(TRACKER), &bytes, Instant::ZERO));
        bytes.clear();
        let transmit = udp.poll_transmit().expect("an announce");
        udp.write(transmit, &mut bytes);
        assert!(bytes.len() <= MAX_ANSWER_LEN, "{} bytes pass every path", bytes.len());
        let Ok(Request::Announce { options, .. }) = parse_request(&bytes) else {
            panic!("{bytes:?}")
        };
        assert_eq!(options.url_data(), Ok(target));
    }
}

#[test]
fn transactions_follow_from_the_secret_and_do_not_repeat() {
    let drawn = |secret: u8| -> Vec<u32> {
        let mut talk = Talk { udp: UdpTrackers::new([secret; 32]), ..Talk::new() };
        for n in 0..200 {
            talk.ask(&format!("10.0.0.{n}:1"), announce(1));
        }
        talk.log.iter().map(|entry| entry.3).collect()
    };
    let (one, two) = (drawn(1), drawn(2));
    assert_eq!(one, drawn(1));
    let mut all = [one, two].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 400);
}

proptest! {
    /// Whatever strangers send from wherever: nothing panics, nothing is sent, and nothing counts.
    #[test]
    fn garbage_changes_nothing(
        datagrams in prop::collection::vec((0..3u8, prop::collection::vec(any::<u8>(), 0..64)), 0..64)
    ) {
        let mut talk = Talk::new();
        talk.ask(TRACKER, announce(1));
        talk.ask(OTHER, UdpAsk::Scrape(vec![hash(1)]));
        talk.connected(OTHER, 4);
        let (before, known) = (talk.log.len(), talk.news());
        prop_assert_eq!(known.len(), 1);
        for (from, bytes) in datagrams {
            let from = [TRACKER, OTHER, "203.0.113.1:53"][usize::from(from)];
            // Actions that exist, so that more than the first field is looked at.
            let mut bytes = bytes;
            if bytes.len() > 4 {
                bytes[..3].fill(0);
                bytes[3] %= 4;
            }
            prop_assert!(!talk.hears(from, &bytes));
        }
        prop_assert_eq!(talk.log.len(), before);
        prop_assert_eq!(talk.news(), vec![]);
    }
}
