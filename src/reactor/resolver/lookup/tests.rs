//! Conversations with name servers that a test plays.

use super::*;

const ONE: &str = "192.0.2.53:53";
const TWO: &str = "198.51.100.53:53";

fn server(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A look-up and the time.
struct Talk {
    lookup: Lookup,
    now: Instant,
    entropy: u64,
}

/// What was asked: of whom, how, and about which names for which record types, in order.
type Asked = (SocketAddr, Transport, Vec<Vec<u8>>);

impl Talk {
    fn new(host: &str, adapt: impl FnOnce(&mut Conf)) -> Self {
        let mut conf = Conf {
            servers: vec![server(ONE), server(TWO)],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        adapt(&mut conf);
        let families = vec![Family::V4, Family::V6];
        let lookup = Lookup::new(host, families, conf, Instant::ZERO).unwrap();
        Self { lookup, now: Instant::ZERO, entropy: 0x0102_0304_0506_0708 }
    }

    fn step(&mut self) -> Step {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.lookup.step(self.entropy, self.now)
    }

    /// The next questions.
    fn asked(&mut self) -> Asked {
        match self.step() {
            Step::Ask { server, transport, messages, .. } => (server, transport, messages),
            other => panic!("{other:?}"),
        }
    }

    /// Says `records` and a response code to a question, from whom it was asked.
    fn answer(&mut self, from: SocketAddr, question: &[u8], code: u8, records: &[Vec<u8>]) {
        self.lookup.handle_message(from, &answer(question, code, records));
    }

    /// Answers the same to both questions of one asking.
    fn answer_both(&mut self, (server, _, messages): &Asked, code: u8, records: &[Vec<u8>]) {
        for message in messages {
            self.answer(*server, message, code, records);
        }
    }

    fn wait(&mut self) {
        match self.step() {
            Step::Wait { until } => self.now = until,
            other => panic!("{other:?}"),
        }
    }

    fn result(&mut self) -> Result<Vec<IpAddr>, LookupError> {
        match self.step() {
            Step::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

fn answer(question: &[u8], code: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut said = question.to_vec();
    (said[2], said[3]) = (0x80, code);
    said[7] = u8::try_from(records.len()).unwrap();
    said.extend(records.concat());
    said
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(data.len()).unwrap();
    [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len][..], data].concat()
}

fn v4(last: u8) -> Vec<u8> {
    record(1, &[192, 0, 2, last])
}

fn alias(to: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for label in to.split('.') {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    record(5, &data)
}

/// The name in a question.
fn name_of(message: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] > 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    labels.join(".")
}

const NO_NAME: u8 = 3;
const BROKEN: u8 = 2;

#[test]
fn both_families_are_asked_for_with_ids_of_their_own() {
    let mut talk = Talk::new("tracker.example", |_| {});
    let asked = talk.asked();
    let (from, transport, messages) = &asked;
    assert_eq!((*from, *transport, messages.len()), (server(ONE), Transport::Datagrams, 2));
    assert_ne!(messages[0][..2], messages[1][..2]);
    let mut octets = [0; 16];
    (octets[0], octets[15]) = (0x20, 1);
    // In any order.
    talk.answer(*from, &messages[1], 0, &[record(28, &octets)]);
    assert!(matches!(talk.step(), Step::Wait { .. }));
    talk.answer(*from, &messages[0], 0, &[v4(7)]);
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.7"), ip("2000::1")]));
}

#[test]
fn what_has_come_is_enough_when_the_rest_does_not() {
    let mut talk = Talk::new("tracker.example", |_| {});
    let (from, _, messages) = talk.asked();
    talk.answer(from, &messages[0], 0, &[v4(7)]);
    talk.wait();
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.7")]));
    assert_eq!(talk.now, Instant::from_secs(5));
}

#[test]
fn silent_servers_are_asked_in_turn_and_given_up_in_time() {
    let mut talk = Talk::new("tracker.example", |conf| conf.timeout = Duration::from_secs(3));
    let mut ids = Vec::new();
    for expected in [ONE, TWO, ONE, TWO] {
        let (from, _, messages) = talk.asked();
        assert_eq!(from, server(expected));
        ids.extend(messages.iter().map(|message| [message[0], message[1]]));
        talk.wait();
    }
    assert_eq!(talk.result(), Err(LookupError::TimedOut));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8, "each asking has ids of its own");

    // A deadline is above all patience.
    let mut talk = Talk::new("tracker.example", |conf| {
        (conf.timeout, conf.attempts) = (Duration::from_secs(30), 5);
    });
    talk.asked();
    talk.wait();
    assert_eq!((talk.result(), talk.now), (Err(LookupError::TimedOut), Instant::from_secs(20)));
}

#[test]
fn a_server_that_cannot_say_is_not_the_last() {
    for broken in [BROKEN, 5] {
        let mut talk = Talk::new("tracker.example", |_| {});
        let first = talk.asked();
        talk.answer_both(&first, broken, &[]);
        let second = talk.asked();
        assert_eq!(second.0, server(TWO));
        talk.answer_both(&second, 0, &[v4(1)]);
        assert_eq!(talk.result(), Ok(vec![ip("192.0.2.1")]));
    }
    let mut talk = Talk::new("tracker.example", |_| {});
    for _ in 0..4 {
        let asked = talk.asked();
        talk.answer_both(&asked, BROKEN, &[]);
    }
    assert_eq!(talk.result(), Err(LookupError::Refused(BROKEN)));
    // Nor is one that cannot be reached.
    let mut talk = Talk::new("tracker.example", |_| {});
    talk.asked();
    talk.lookup.handle_failure();
    assert_eq!(talk.asked().0, server(TWO));
}

#[test]
fn forged_answers_are_not_believed_and_not_many_are_looked_at() {
    let mut talk = Talk::new("tracker.example", |_| {});
    let (from, _, messages) = talk.asked();
    let forged = answer(&messages[0], 0, &[v4(66)]);
    // From elsewhere, with another id, about another name.
    talk.lookup.handle_message(server(TWO), &forged);
    let mut other_id = forged.clone();
    other_id[0] ^= 1;
    talk.lookup.handle_message(from, &other_id);
    let mut other_name = forged.clone();
    other_name[13] = b'x';
    talk.lookup.handle_message(from, &other_name);
    assert!(matches!(talk.step(), Step::Wait { .. }));
    for _ in 3..MAX_STRAYS {
        talk.lookup.handle_message(from, &other_id);
    }
    // From now on another port and id would have to be guessed.
    let (next, _, again) = talk.asked();
    assert_eq!(next, server(TWO));
    assert_ne!(again[0][..2], messages[0][..2]);
    talk.answer(from, &again[0], 0, &[v4(66)]);
    talk.answer_both(&(next, Transport::Datagrams, again), 0, &[v4(1)]);
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.1")]));
}

#[test]
fn what_was_cut_off_is_asked_for_over_a_stream() {
    let mut talk = Talk::new("tracker.example", |_| {});
    let (from, _, messages) = talk.asked();
    let cut = |message: &[u8]| {
        let mut cut = answer(message, 0, &[]);
        cut[2] |= 2;
        cut
    };
    talk.lookup.handle_message(from, &cut(&messages[0]));
    talk.answer(from, &messages[1], 0, &[]);
    let asked = talk.asked();
    assert_eq!((asked.0, asked.1), (from, Transport::Stream));
    assert_ne!(asked.2[0][..2], messages[0][..2]);
    talk.answer_both(&asked, 0, &[v4(1), v4(2)]);
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.1"), ip("192.0.2.2")]));

    // Without a stream, what came in a datagram must do.
    let mut talk = Talk::new("tracker.example", |_| {});
    let (from, _, messages) = talk.asked();
    talk.answer(from, &messages[0], 0, &[v4(9)]);
    talk.lookup.handle_message(from, &cut(&messages[1]));
    assert_eq!(talk.asked().1, Transport::Stream);
    talk.lookup.handle_failure();
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.9")]));
}

#[test]
fn aliases_are_followed_and_not_for_ever() {
    let mut talk = Talk::new("tracker.example", |_| {});
    let asked = talk.asked();
    talk.answer_both(&asked, 0, &[alias("a.example.org")]);
    let asked = talk.asked();
    assert_eq!(name_of(&asked.2[0]), "a.example.org");
    talk.answer_both(&asked, 0, &[v4(1)]);
    assert_eq!(talk.result(), Ok(vec![ip("192.0.2.1")]));

    let mut talk = Talk::new("0.example", |_| {});
    for number in 1..=MAX_ALIASES + 1 {
        let asked = talk.asked();
        talk.answer_both(&asked, 0, &[alias(&format!("{number}.example"))]);
    }
    assert_eq!(talk.result(), Err(DnsError::TooManyAliases.into()));
}

#[test]
fn a_name_is_looked_for_in_the_search_domains() {
    let names = |host: &str| {
        let one = Name::parse("one.example").unwrap();
        let two = Name::parse("two.example").unwrap();
        let mut talk = Talk::new(host, |conf| conf.search = vec![one, two]);
        let mut names = Vec::new();
        while let Step::Ask { server, messages, transport, .. } = talk.step() {
            names.push(name_of(&messages[0]));
            // No such name, or one without addresses.
            let code = if names.len() == 1 { NO_NAME } else { 0 };
            talk.answer_both(&(server, transport, messages), code, &[]);
        }
        assert_eq!(talk.result(), Err(LookupError::NotFound));
        names
    };
    assert_eq!(names("tracker"), ["tracker.one.example", "tracker.two.example", "tracker"]);
    assert_eq!(names("a.b"), ["a.b", "a.b.one.example", "a.b.two.example"]);
    assert_eq!(names("tracker."), ["tracker"]);
}

#[test]
fn what_cannot_be_asked_is_an_error_at_once() {
    let conf = |servers: Vec<SocketAddr>| Conf {
        servers,
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_secs(5),
        attempts: 2,
    };
    let begun = |host: &str, families: Vec<Family>, servers: Vec<SocketAddr>| {
        Lookup::new(host, families, conf(servers), Instant::ZERO).map(|_| ())
    };
    let (both, one) = (vec![Family::V4, Family::V6], vec![server(ONE)]);
    assert_eq!(begun("a..b", both.clone(), one.clone()), Err(LookupError::Name(NameError)));
    assert_eq!(begun("a.b", both, Vec::new()), Err(LookupError::NoServer));
    assert_eq!(begun("a.b", Vec::new(), one), Err(LookupError::NoServer));
}

#[test]
fn whatever_is_said_it_ends() {
    for seed in 0..3_000 {
        let mut rng = crate::rng::Rng::new(seed);
        let mut talk = Talk::new("tracker.example", |conf| {
            conf.search = vec![Name::parse("one.example").unwrap()];
        });
        let mut asked: Option<Asked> = None;
        let mut steps = 0;
        let result = loop {
            steps += 1;
            assert!(steps < 2_000, "seed {seed} goes on and on");
            match talk.step() {
                Step::Done(result) => break result,
                Step::Ask { server, transport, messages, .. } => {
                    asked = Some((server, transport, messages));
                }
                Step::Wait { until } => {
                    let (from, _, messages) = asked.as_ref().expect("first it is asked");
                    let message = &messages[rng.below(2)];
                    let records = [v4(1), alias("b.example"), alias("tracker.example"), vec![0xff]];
                    let records = &records[rng.below(4)..][..rng.below(2)];
                    let mut said = answer(message, [0, 0, 2, 3][rng.below(4)], records);
                    match rng.below(8) {
                        0 => talk.now = until,
                        1 => talk.lookup.handle_failure(),
                        2 => {
                            let at = rng.below(said.len());
                            said[at] = rng.bits().to_be_bytes()[0];
                        }
                        3 => said.truncate(rng.below(said.len())),
                        4 => said[2] |= 2,
                        _ => {}
                    }
                    talk.lookup.handle_message(*from, &said);
                }
            }
        };
        if let Ok(addrs) = result {
            assert!(!addrs.is_empty(), "seed {seed}");
        }
    }
}
