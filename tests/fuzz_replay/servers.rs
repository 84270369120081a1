//! Files that are fetched from servers which say anything: redirects, heads, chunks and gzip, whole,
//! cut, damaged and dripping, at addresses of every kind.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use swarmloop::net_policy::Reach;
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::rng::Rng;
use swarmloop::session::Question;
use swarmloop::session::io::{Event, QuestionId};
use swarmloop::time::Duration;
use swarmloop::tracker::{Answer, MAX_REDIRECTS};

use super::common::{Remote, Setup, World};

const WALKS: u64 = 1_000;
const STEPS: usize = 60;
/// The most bytes that the file may have.
const LIMIT: usize = 5_000;

const ADDRS: [&str; 8] = [
    "203.0.113.7",
    "198.51.100.1",
    "10.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "2001:db8::1",
    "::1",
    "224.0.0.1",
];

/// One file on its way.
struct Fetch {
    world: World,
    rng: Rng,
    question: QuestionId,
    stream: Option<(Remote, SocketAddr)>,
    /// What the server of this stream will send, as far as it has not.
    to_send: Vec<u8>,
    /// How far those reach who have redirected us.
    redirected_by: Option<Reach>,
    lookups: u32,
}

impl Fetch {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut world = Setup::default().build();
        world.chunk = [1, 50, usize::MAX][rng.below(3)];
        let url = AnnounceUrl::of_file("http://site.example/x.torrent").expect("a url");
        let question = Question::Fetch { url, max_len: LIMIT };
        let question = world.session.ask_question(question, world.now).expect("it can be asked");
        world.settle();
        let (stream, to_send, redirected_by) = (None, Vec::new(), None);
        Self { world, rng, question, stream, to_send, redirected_by, lookups: 0 }
    }

    /// Returns what came of it: how many bytes, or why there are none.
    fn run(mut self) -> String {
        for _ in 0..STEPS {
            self.step();
        }
        // Whatever is still under way is left in time: six legs, each with its lookup, the
        // addresses of the answer, and its server.
        for _ in 0..60 {
            self.world.advance_s(30);
            self.world.dials.clear();
        }
        assert!(self.stream.is_none_or(|(stream, _)| !self.world.is_open(stream)));
        let answers = self.world.events.iter().filter_map(|event| match event {
            Event::Answered { question, answer } if *question == self.question => Some(answer),
            _ => None,
        });
        let said: Vec<String> = answers
            .map(|answer| match &**answer {
                Ok(Answer::File(bytes)) => {
                    assert!(bytes.len() <= LIMIT);
                    format!("{} bytes", bytes.len())
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => error.to_string(),
            })
            .collect();
        assert_eq!(said.len(), 1, "{said:?}");
        said[0].clone()
    }

    fn step(&mut self) {
        if !self.world.lookups.is_empty() {
            return self.resolve();
        }
        if !self.world.dials.is_empty() {
            return self.dial();
        }
        let Some((stream, addr)) = self.stream.filter(|(it, _)| self.world.is_open(*it)) else {
            return self.world.advance_s(1);
        };
        match self.rng.below(12) {
            0 => self.world.hang_up(stream),
            1 if self.rng.below(3) == 0 => self.world.reset(stream),
            1 | 2 => self.world.advance_s([1, 20, 130][self.rng.below(3)]),
            _ if self.to_send.is_empty() => self.to_send = self.response(addr),
            _ => {
                let n = 1 + self.rng.below(self.to_send.len());
                let rest = self.to_send.split_off(n);
                let bytes = std::mem::replace(&mut self.to_send, rest);
                self.world.send(stream, &bytes);
            }
        }
    }

    fn resolve(&mut self) {
        self.lookups += 1;
        assert!(self.lookups <= 1 + MAX_REDIRECTS, "{} lookups", self.lookups);
        let some = self.rng.below(4);
        let addrs: Vec<&str> = (0..some).map(|_| ADDRS[self.rng.below(ADDRS.len())]).collect();
        self.world.resolve(&addrs);
    }

    fn dial(&mut self) {
        let (_, addr) = *self.world.dials.front().expect("looked at");
        let reach = Reach::of(addr.ip());
        assert_ne!(reach, Reach::Martian, "{addr}");
        assert!(
            self.redirected_by.is_none_or(|by| reach >= by),
            "{addr} by {:?}",
            self.redirected_by
        );
        match self.rng.below(6) {
            0 => self.world.fail_dial(),
            1 => {
                self.world.advance_s(31);
                self.world.dials.pop_front();
            }
            _ => {
                let stream = self.world.answer_dial();
                assert!(self.world.text(stream).starts_with("GET /"), "it asks for a file");
                self.stream = Some((stream, addr));
                self.to_send.clear();
            }
        }
    }

    /// What a server says: mostly something that a server could say.
    fn response(&mut self, addr: SocketAddr) -> Vec<u8> {
        const LOCATIONS: [&str; 9] = [
            "/y",
            "y?z",
            "//other.example/x",
            "http://inside.example:8000/x",
            "http://127.0.0.1/x",
            "http://[fd00::1]/x",
            "https://site.example/x",
            "udp://site.example:1",
            "http://me:secret@site.example/",
        ];
        if self.rng.below(3) == 0 {
            let to = LOCATIONS[self.rng.below(LOCATIONS.len())];
            let reach = Reach::of(addr.ip());
            self.redirected_by = Some(self.redirected_by.map_or(reach, |by| by.max(reach)));
            return format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n").into_bytes();
        }
        let len = [0, 10, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT][self.rng.below(6)];
        let mut body = vec![b'x'; len];
        let status = [200, 200, 200, 404, 503][self.rng.below(5)];
        let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
        if self.rng.below(4) == 0 {
            head.push_str("Content-Encoding: gzip\r\n");
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&body).expect("into memory");
            body = encoder.finish().expect("into memory");
        }
        match self.rng.below(3) {
            0 => head = format!("{head}Content-Length: {}\r\n", body.len()),
            1 => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                let size = 1 + self.rng.below(700);
                let chunks = body.chunks(size).flat_map(|chunk| {
                    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
                });
                body = chunks.chain(*b"0\r\n\r\n").collect();
            }
            _ => {}
        }
        let mut bytes = [head.as_bytes(), b"\r\n", &body].concat();
        if self.rng.below(5) == 0 {
            let at = self.rng.below(bytes.len());
            bytes[at] ^= 1 << self.rng.below(8);
        }
        bytes
    }
}

#[test]
fn files_are_fetched_from_servers_that_say_anything() {
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..WALKS {
        let run = std::panic::catch_unwind(|| Fetch::new(seed).run());
        let outcome = run.unwrap_or_else(|_| panic!("seed {seed}"));
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    // It is no test of one way out.
    for outcome in [
        format!("{LIMIT} bytes"),
        "timed out".to_owned(),
        format!("the reply is longer than {LIMIT} bytes"),
        "bad redirect: a redirect to a more local address is refused".to_owned(),
        "a redirect to a more local address is refused".to_owned(),
    ] {
        assert!(outcomes.contains_key(&outcome), "{outcome} is not among {outcomes:#?}");
    }
    assert!(outcomes.len() >= 15, "{outcomes:#?}");
}

#[test]
fn a_seed_fetches_the_same_twice() {
    for seed in 0..20 {
        assert_eq!(Fetch::new(seed).run(), Fetch::new(seed).run(), "seed {seed}");
    }
}

/// The longest that a question of the application takes, however it is answered.
#[test]
fn a_question_has_an_end() {
    let mut fetch = Fetch::new(1);
    for _ in 0..=MAX_REDIRECTS {
        fetch.world.advance(Duration::from_secs(29));
        fetch.world.resolve(&["203.0.113.7"]);
        fetch.world.advance(Duration::from_secs(29));
        let server = fetch.world.answer_dial();
        fetch.world.advance(Duration::from_secs(119));
        fetch.world.send(server, b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n");
    }
    assert!(fetch.world.lookups.is_empty() && fetch.world.dials.is_empty());
}
