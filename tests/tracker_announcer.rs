//! Announces in virtual time: whom, when, and what is said (BEP 3, BEP 12).

use std::collections::BTreeMap;
use std::io::ErrorKind;

use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::{AnnounceReply, Failure, Retry};
use swarmloop::proto::url::{AnnounceUrl, Scheme};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};
use swarmloop::tracker::AnnounceEvent::{self, Completed, Paused, Periodic, Started, Stopped};
use swarmloop::tracker::{
    Announce, AnnounceFacts, Announcer, MAX_REDIRECTS, TrackerError, TrackerEvent, TrackerState,
};

const FACTS: AnnounceFacts = AnnounceFacts {
    info_hash: InfoHash([b'h'; 20]),
    peer_id: PeerId(*b"-SL0100-abcdefghijkl"),
    key: 0x0102_0304,
    port: 6881,
    ip: None,
    uploaded: 1,
    downloaded: 2,
    left: 3,
    is_partial_seed: false,
    num_want: 80,
};

/// An announcer with its owner's part: the clock, the dice, and what trackers say.
struct Conversation {
    announcer: Announcer,
    rng: Rng,
    now: Instant,
}

impl Conversation {
    /// Tiers of one tracker each, so that no dice decide; started.
    fn start(urls: &[&str]) -> Self {
        let tiers: Vec<Vec<String>> = urls.iter().map(|&url| vec![url.to_owned()]).collect();
        Self::start_tiers(&tiers)
    }

    fn start_tiers(tiers: &[Vec<String>]) -> Self {
        let mut rng = Rng::new(11);
        let mut announcer = Announcer::new(tiers, &mut rng);
        let now = Instant::from_secs(1_000);
        announcer.start(now);
        Self { announcer, rng, now }
    }

    /// Waits as long as the announcer wants; the announce that begins then must be this one.
    fn expect(&mut self, host: &str, event: AnnounceEvent) -> Announce {
        let due = self.announcer.poll_timeout().expect("an announce is due some time");
        if due > self.now {
            assert_eq!(self.announcer.poll(&FACTS, self.now), None, "not before it is due");
            self.now = due;
        }
        let announce = self.announcer.poll(&FACTS, self.now).expect("an announce is due");
        assert_eq!((announce.url.host(), announce.event), (host, event));
        assert_eq!(self.announcer.poll(&FACTS, self.now), None, "one in flight");
        assert_eq!(self.announcer.poll_timeout(), None, "one in flight");
        announce
    }

    /// The same, and it must be as long after the last one as this.
    fn expect_after(&mut self, seconds: u64, host: &str, event: AnnounceEvent) -> Announce {
        let due = self.now + Duration::from_secs(seconds);
        let announce = self.expect(host, event);
        assert_eq!(self.now, due);
        announce
    }

    fn reply(&mut self, reply: &AnnounceReply) -> TrackerEvent {
        self.announcer.handle_reply(reply, self.now).expect("in flight").event
    }

    fn answer(&mut self) {
        self.reply(&reply(1800, None, 2));
    }

    /// Lets the announce in flight fail and returns when its tracker may be tried again.
    fn fail(&mut self) -> Duration {
        self.fail_with(TrackerError::TimedOut)
    }

    fn fail_with(&mut self, error: TrackerError) -> Duration {
        let report = self.announcer.handle_failure(error, &mut self.rng, self.now);
        match report.expect("in flight").event {
            TrackerEvent::Failed { retry_in, .. } => retry_in,
            other => panic!("{other:?}"),
        }
    }

    fn states(&self) -> Vec<TrackerState> {
        self.announcer.views(self.now).into_iter().map(|view| view.state).collect()
    }

    fn expect_nothing(&mut self) {
        assert_eq!(self.announcer.poll_timeout(), None);
        assert_eq!(self.announcer.poll(&FACTS, self.now), None);
    }
}

fn reply(interval: u64, min_interval: Option<u64>, peers: usize) -> AnnounceReply {
    AnnounceReply {
        interval: Duration::from_secs(interval),
        min_interval: min_interval.map(Duration::from_secs),
        warning: None,
        tracker_id: None,
        complete: None,
        incomplete: None,
        external_ip: None,
        peers: vec!["192.0.2.1:6881".parse().expect("an address"); peers],
        hosts: vec![],
    }
}

fn failure(reason: &str, retry: Retry) -> TrackerError {
    TrackerError::Failure(Failure { reason: reason.to_owned(), retry })
}

#[test]
fn the_first_announce_is_at_once_and_the_next_after_the_interval() {
    let mut talk = Conversation::start(&["http://a/announce?k=1"]);
    let first = talk.expect_after(0, "a", Started);
    assert_eq!(
        first.target,
        "/announce?k=1&info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=-SL0100-abcdefghijkl&port=6881\
         &uploaded=1&downloaded=2&left=3&compact=1&no_peer_id=1&numwant=80&key=01020304\
         &event=started"
    );
    let event = talk.reply(&reply(900, None, 2));
    let interval = Duration::from_secs(900);
    let (warning, external_ip) = (None, None);
    let expected =
        TrackerEvent::Replied { event: Started, peers: 2, interval, warning, external_ip };
    assert_eq!(event, expected);
    let second = talk.expect_after(900, "a", Periodic);
    assert!(!second.target.contains("event="), "{}", second.target);
    talk.answer();
    talk.expect_after(1800, "a", Periodic);
}

#[test]
fn a_min_interval_above_the_interval_counts() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.reply(&reply(60, Some(600), 2));
    talk.expect_after(600, "a", Periodic);
}

#[test]
fn all_trackers_of_all_tiers_are_tried_at_once_until_one_works() {
    let mut talk = Conversation::start(&["http://a/", "http://b/", "http://c/"]);
    talk.expect_after(0, "a", Started);
    talk.fail();
    talk.expect_after(0, "b", Started);
    talk.fail_with(TrackerError::Connect(ErrorKind::ConnectionRefused));
    talk.expect_after(0, "c", Started);
    talk.answer();
    // The rest is tried again in the next round, first tier first, and not sooner.
    talk.expect_after(1800, "a", Started);
    talk.fail();
    talk.expect_after(0, "b", Started);
    talk.answer();
    talk.expect_after(1800, "a", Started);
}

#[test]
fn a_tracker_that_works_goes_to_the_front_of_its_tier() {
    let urls: Vec<String> = (0..5).map(|n| format!("http://t{n}/")).collect();
    let mut talk = Conversation::start_tiers(&[urls]);
    let mut hosts = Vec::new();
    for _ in 0..3 {
        let announce = talk.announcer.poll(&FACTS, talk.now).expect("due");
        hosts.push(announce.url.host().to_owned());
        if hosts.len() < 3 {
            talk.fail();
        }
    }
    talk.answer();
    let order: Vec<String> =
        talk.announcer.views(talk.now).into_iter().map(|view| view.url).collect();
    assert_eq!(order[..3], [&hosts[2], &hosts[0], &hosts[1]].map(|host| format!("http://{host}/")));
    talk.expect_after(1800, &hosts[2], Periodic);
}

#[test]
fn while_none_works_each_is_tried_again_after_its_back_off() {
    let mut talk = Conversation::start(&["http://a/", "http://b/"]);
    talk.expect("a", Started);
    let first = talk.fail();
    talk.expect_after(0, "b", Started);
    talk.fail();
    assert!((15..=19).contains(&first.as_secs()), "{first:?}");
    let mut last = BTreeMap::new();
    for _ in 0..40 {
        let due = talk.announcer.poll_timeout().expect("never given up");
        talk.now = due.max(talk.now);
        let announce = talk.announcer.poll(&FACTS, talk.now).expect("due");
        assert_eq!(announce.event, Started);
        let delay = talk.fail();
        let before = last.insert(announce.url.host().to_owned(), delay).unwrap_or_default();
        assert!(delay > before || delay.as_secs() == 3600, "{before:?} {delay:?}");
    }
    assert!(last.values().all(|delay| delay.as_secs() == 3600), "{last:?}");
    // An answer ends it: the next failure starts small.
    talk.now = talk.announcer.poll_timeout().expect("never given up");
    let works = talk.announcer.poll(&FACTS, talk.now).expect("due");
    talk.answer();
    loop {
        talk.now = talk.announcer.poll_timeout().expect("never given up").max(talk.now);
        let next = talk.announcer.poll(&FACTS, talk.now).expect("due");
        let delay = talk.fail().as_secs();
        if next.url == works.url {
            assert!((15..=19).contains(&delay), "{delay}");
            break;
        }
        assert_eq!(delay, 3600);
    }
}

#[test]
fn completed_is_said_at_once_and_once() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.answer();
    talk.now += Duration::from_secs(7);
    talk.announcer.completed(talk.now);
    talk.expect_after(0, "a", Completed);
    talk.answer();
    talk.expect_after(1800, "a", Periodic);
}

#[test]
fn a_download_that_finishes_during_an_announce_is_told_right_behind_it() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.announcer.completed(talk.now);
    talk.answer();
    talk.expect_after(0, "a", Completed);
    talk.answer();
    talk.expect_after(1800, "a", Periodic);
}

#[test]
fn who_never_knew_us_as_a_downloader_hears_started_not_completed() {
    let mut talk = Conversation::start(&["http://a/", "http://b/"]);
    talk.expect("a", Started);
    talk.announcer.completed(talk.now);
    talk.fail();
    talk.expect_after(0, "b", Started);
    talk.answer();
    talk.expect_after(1800, "a", Started);
}

#[test]
fn completed_goes_to_the_tracker_that_knows_us_before_a_higher_tier_that_may_be_back() {
    let mut talk = Conversation::start(&["http://a/", "http://b/"]);
    talk.expect("a", Started);
    talk.fail();
    talk.expect("b", Started);
    talk.answer();
    talk.now += Duration::from_secs(600);
    talk.announcer.completed(talk.now);
    talk.expect_after(0, "b", Completed);
    talk.fail();
    talk.expect_after(0, "a", Started);
    talk.answer();
    // It failed to hear it and still has to.
    talk.announcer.request_peers(talk.now);
    talk.expect_after(300, "a", Periodic);
    talk.fail();
    talk.expect_after(0, "b", Completed);
}

#[test]
fn stopped_goes_to_those_whose_last_announce_was_answered() {
    let mut talk = Conversation::start(&["http://a/", "http://b/", "http://c/"]);
    talk.expect("a", Started);
    talk.answer();
    talk.expect("a", Periodic);
    talk.fail();
    talk.expect("b", Started);
    talk.answer();
    assert!(!talk.announcer.stop(), "none was in flight");
    assert!(!talk.announcer.is_stopped());
    let last = talk.expect_after(0, "b", Stopped);
    assert!(last.target.contains("&numwant=0&"), "{}", last.target);
    talk.answer();
    assert!(talk.announcer.is_stopped());
    talk.expect_nothing();
}

#[test]
fn several_trackers_are_told_stopped_one_after_the_other_and_failures_are_final() {
    let mut talk = Conversation::start(&["http://a/", "http://b/"]);
    talk.expect("a", Started);
    talk.fail();
    talk.expect("b", Started);
    talk.answer();
    talk.expect("a", Started);
    talk.answer();
    talk.announcer.stop();
    talk.expect_after(0, "a", Stopped);
    assert_eq!(talk.fail(), Duration::MAX);
    talk.expect_after(0, "b", Stopped);
    talk.answer();
    talk.expect_nothing();
    let never = Duration::MAX;
    let error = "timed out".to_owned();
    assert_eq!(
        talk.states(),
        [TrackerState::Failed { error, retry_in: never }, TrackerState::Idle]
    );
}

#[test]
fn stopping_gives_up_what_is_in_flight() {
    let mut talk = Conversation::start(&["http://a/"]);
    let announce = talk.expect("a", Started);
    assert!(talk.announcer.stop(), "its owner has to close it");
    assert!(talk.announcer.is_stopped(), "it never answered, so nobody has to be told");
    let late = talk.announcer.handle_reply(&reply(1800, None, 1), talk.now);
    assert_eq!(late, None);
    let late = talk.announcer.handle_failure(TrackerError::TimedOut, &mut talk.rng, talk.now);
    assert_eq!(late, None);
    assert_eq!(talk.announcer.handle_redirect(announce.url), Err(TrackerError::GivenUp));
    talk.expect_nothing();
}

#[test]
fn who_stops_right_after_finishing_says_both_in_order() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.answer();
    talk.announcer.completed(talk.now);
    talk.announcer.stop();
    talk.expect_after(0, "a", Completed);
    talk.answer();
    talk.expect_after(0, "a", Stopped);
    talk.answer();
    talk.expect_nothing();

    // Given up on the way, it is not said twice: the tracker would count two downloads.
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.answer();
    talk.announcer.completed(talk.now);
    talk.expect("a", Completed);
    assert!(talk.announcer.stop());
    talk.expect_after(0, "a", Stopped);
}

#[test]
fn a_new_start_says_started_again_also_amid_the_stopping() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.answer();
    assert!(!talk.announcer.start(talk.now), "it has started");
    talk.expect_after(1800, "a", Periodic);
    talk.answer();
    talk.announcer.stop();
    talk.expect("a", Stopped);
    assert!(talk.announcer.start(talk.now), "its owner has to close it");
    talk.expect_after(0, "a", Started);
}

#[test]
fn more_peers_are_asked_for_as_soon_as_the_min_interval_allows() {
    for (min_interval, after) in [(Some(100), 100), (None, 300), (Some(0), 60), (Some(9999), 9999)]
    {
        let mut talk = Conversation::start(&["http://a/"]);
        talk.expect("a", Started);
        talk.reply(&reply(1800, min_interval, 1));
        talk.announcer.request_peers(talk.now);
        talk.announcer.request_peers(talk.now);
        talk.expect_after(after, "a", Periodic);
    }
    // Later than that, it is now.
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    talk.answer();
    talk.now += Duration::from_secs(301);
    talk.announcer.request_peers(talk.now);
    talk.expect_after(0, "a", Periodic);
}

#[test]
fn an_empty_swarm_is_asked_again_soon_but_ever_less_often() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    for after in [1, 2, 4, 8, 16, 32, 64, 128, 200, 200] {
        talk.reply(&reply(200, Some(1), 0));
        talk.announcer.request_peers(talk.now);
        talk.expect_after(after, "a", Periodic);
    }
    talk.reply(&reply(200, Some(1), 1));
    talk.announcer.request_peers(talk.now);
    talk.expect_after(60, "a", Periodic);
    talk.reply(&reply(200, Some(1), 0));
    talk.announcer.request_peers(talk.now);
    talk.expect_after(1, "a", Periodic);
}

#[test]
fn a_refusal_says_itself_when_to_come_back() {
    let mut talk = Conversation::start(&["http://a/"]);
    talk.expect("a", Started);
    let hour = Duration::from_secs(7200);
    assert_eq!(talk.fail_with(failure("busy", Retry::After(hour))), hour);
    talk.expect_after(7200, "a", Started);
    assert_eq!(talk.fail_with(failure("unknown torrent", Retry::Never)), Duration::MAX);
    talk.expect_nothing();
    let error = "refused: unknown torrent".to_owned();
    assert_eq!(talk.states(), [TrackerState::Failed { error, retry_in: Duration::MAX }]);
    // A new start is a new question.
    talk.announcer.stop();
    talk.announcer.start(talk.now);
    talk.expect_after(0, "a", Started);
}

#[test]
fn redirects_are_followed_so_often_and_no_more() {
    let mut talk = Conversation::start(&["http://a/announce"]);
    talk.expect("a", Started);
    let url = |text: &str| AnnounceUrl::parse(text).expect("a url");
    for hop in 0..MAX_REDIRECTS {
        let next = talk.announcer.handle_redirect(url(&format!("http://r{hop}/x?y=1")));
        let next = next.expect("not too many yet");
        assert_eq!((next.target.as_str(), next.event), ("/x?y=1", Started));
        talk.announcer.poll(&FACTS, talk.now).ok_or(()).expect_err("still the same in flight");
    }
    let error = TrackerError::TooManyRedirects { limit: MAX_REDIRECTS };
    assert_eq!(talk.announcer.handle_redirect(url("http://r/")), Err(error.clone()));
    talk.fail_with(error);
    // The count is of one announce.
    talk.expect("a", Started);
    assert!(talk.announcer.handle_redirect(url("http://r/")).is_ok());
    for (other, scheme) in [("gopher://r/", Scheme::Other), ("udp://r:1/", Scheme::Udp)] {
        let refused = talk.announcer.handle_redirect(url(other));
        assert_eq!(refused, Err(TrackerError::Unsupported(scheme)));
    }
}

#[test]
fn trackers_that_cannot_be_spoken_to_are_shown_and_never_asked() {
    let mut talk = Conversation::start(&[
        "ftp://a/announce",
        "gopher://b:80",
        "not a url",
        "http://d/announce",
        "wss://e/",
    ]);
    let tiers: Vec<usize> = talk.announcer.views(talk.now).iter().map(|view| view.tier).collect();
    assert_eq!(tiers, [0, 1, 2, 3, 4]);
    talk.expect("d", Started);
    let unsupported = || TrackerState::Unsupported;
    let error = "the url has no host".to_owned();
    let malformed = || TrackerState::Failed { error: error.clone(), retry_in: Duration::MAX };
    let others = |state| [unsupported(), unsupported(), malformed(), state, unsupported()];
    assert_eq!(talk.states(), others(TrackerState::Announcing));
    talk.answer();
    talk.now += Duration::from_secs(100);
    let next_in = Duration::from_secs(1700);
    assert_eq!(talk.states(), others(TrackerState::Working { peers: 2, next_in }));

    let mut none = Conversation::start(&["gopher://b:80"]);
    none.expect_nothing();
    none.announcer.stop();
    assert!(none.announcer.is_stopped());
    Conversation::start(&[]).expect_nothing();
}

#[test]
fn what_is_said_over_udp_is_what_is_said_over_http() {
    let mut talk = Conversation::start(&["udp://a:1/announce?k=v", "udp://b:1"]);
    let first = talk.expect("a", Started);
    assert_eq!((first.target.as_str(), first.has_successor), ("/announce?k=v", true));
    let said = first.datagram;
    assert_eq!(
        (said.info_hash, said.peer_id, said.key),
        (FACTS.info_hash, FACTS.peer_id, FACTS.key)
    );
    assert_eq!((said.uploaded, said.downloaded, said.left), (1, 2, 3));
    assert_eq!((said.event, said.num_want, said.port, said.ip), (Started, Some(80), 6881, None));
    talk.fail();
    let second = talk.expect_after(0, "b", Started);
    assert_eq!((second.target.as_str(), second.has_successor), ("", false));
    talk.answer();
    talk.announcer.stop();
    let last = talk.expect_after(0, "b", Stopped);
    assert_eq!((last.datagram.event, last.datagram.num_want), (Stopped, Some(0)));
}

#[test]
fn a_tracker_id_is_sent_back_to_the_tracker_that_gave_it() {
    let mut talk = Conversation::start(&["http://a/", "http://b/"]);
    talk.expect("a", Started);
    talk.reply(&AnnounceReply { tracker_id: Some(b"x y".to_vec()), ..reply(1800, None, 1) });
    let second = talk.expect("a", Periodic);
    assert!(second.target.ends_with("&trackerid=x%20y"), "{}", second.target);
    talk.fail();
    let other = talk.expect("b", Started);
    assert!(!other.target.contains("trackerid"), "{}", other.target);
}

#[test]
fn a_warning_is_passed_on_with_the_url_of_the_torrent() {
    let mut talk = Conversation::start(&["http://a/announce"]);
    talk.expect("a", Started);
    let warning = Some("slow".to_owned());
    let external_ip = "192.0.2.9".parse().ok();
    let answer = AnnounceReply { warning: warning.clone(), external_ip, ..reply(60, None, 0) };
    let report = talk.announcer.handle_reply(&answer, talk.now).expect("in flight");
    assert_eq!(report.url, "http://a/announce");
    let interval = Duration::from_secs(60);
    let event = TrackerEvent::Replied { event: Started, peers: 0, interval, warning, external_ip };
    assert_eq!(report.event, event);
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Answer { min_interval: u64, peers: usize },
    Fail,
    Never,
    Completed,
    RequestPeers,
    Stop,
    Start,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        6 => (0u64..4000, 0usize..3)
            .prop_map(|(min_interval, peers)| Turn::Answer { min_interval, peers }),
        6 => Just(Turn::Fail),
        1 => Just(Turn::Never),
        2 => Just(Turn::Completed),
        3 => Just(Turn::RequestPeers),
        1 => Just(Turn::Stop),
        1 => Just(Turn::Start),
    ];
    prop::collection::vec(turn, 0..120)
}

proptest! {
    /// Whatever happens: a tracker hears `started` first and `stopped` last, `completed` only in
    /// between, each as often as it may; and the announcer never wants to be polled without having
    /// something to say.
    #[test]
    fn every_tracker_hears_events_in_order(turns in turns(), seed: u64) {
        let mut rng = swarmloop::rng::Rng::new(seed);
        let tiers: Vec<Vec<String>> = [["a", "b"], ["c", "d"]]
            .iter()
            .map(|tier| tier.iter().map(|host| format!("http://{host}/")).collect())
            .collect();
        let mut announcer = Announcer::new(&tiers, &mut rng);
        let mut now = Instant::ZERO;
        announcer.start(now);
        // What each tracker has answered to last.
        let mut heard: BTreeMap<String, AnnounceEvent> = BTreeMap::new();
        let mut failed: BTreeMap<String, bool> = BTreeMap::new();
        for turn in turns {
            match turn {
                Turn::Completed => announcer.completed(now),
                Turn::RequestPeers => announcer.request_peers(now),
                Turn::Stop => drop(announcer.stop()),
                Turn::Start => {
                    if announcer.is_stopped() {
                        heard.clear();
                        failed.clear();
                        prop_assert!(!announcer.start(now));
                    }
                }
                Turn::Answer { .. } | Turn::Fail | Turn::Never => {
                    let Some(due) = announcer.poll_timeout() else { continue };
                    now = due.max(now);
                    let announce = announcer.poll(&FACTS, now).expect("due means due");
                    let host = announce.url.host().to_owned();
                    let last = heard.get(&host).copied();
                    match announce.event {
                        Started => prop_assert_eq!(last, None),
                        Periodic | Paused | Completed => {
                            prop_assert!(!matches!(last, None | Some(Stopped)), "{:?}", last);
                        }
                        Stopped => {
                            prop_assert!(!matches!(last, None | Some(Stopped)), "{:?}", last);
                            prop_assert_eq!(failed.get(&host), Some(&false));
                        }
                    }
                    failed.insert(host.clone(), !matches!(turn, Turn::Answer { .. }));
                    if let Turn::Answer { min_interval, peers } = turn {
                        let reply = reply(60, Some(min_interval), peers);
                        prop_assert!(announcer.handle_reply(&reply, now).is_some());
                        heard.insert(host, announce.event);
                    } else {
                        let error = match turn {
                            Turn::Never => failure("no", Retry::Never),
                            _ => TrackerError::TimedOut,
                        };
                        let report = announcer.handle_failure(error, &mut rng, now);
                        prop_assert!(report.is_some());
                    }
                }
            }
        }
    }
}
