//! The resolver with scripted look-ups.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

const ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Far more than any test needs; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A resolver of names that a test makes up, and the wakes that it has given.
struct Driver {
    resolver: Resolver,
    wakes: mpsc::Receiver<()>,
    lookups: Arc<AtomicUsize>,
}

impl Driver {
    fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let (tx, wakes) = mpsc::channel();
        let lookups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lookups);
        let counted = move |host: &str| {
            count.fetch_add(1, Ordering::SeqCst);
            lookup(host)
        };
        let wake = move || tx.send(()).unwrap_or(());
        Self { resolver: Resolver::with_lookup(wake, counted), wakes, lookups }
    }

    /// Waits until there are `count` answers, as the loop does: woken, it drains.
    fn answers(&mut self, count: usize) -> Vec<Resolved> {
        let mut answers = Vec::new();
        while answers.len() < count {
            self.wakes.recv_timeout(PATIENCE).expect("the resolver wakes the loop");
            self.resolver.drain(&mut answers);
        }
        answers
    }

    fn answer(&mut self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.resolver.resolve(ResolveId(1), host, port);
        self.answers(1).pop().unwrap().1
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

#[test]
fn an_address_is_answered_without_a_lookup() {
    let mut driver = Driver::new(|host| panic!("{host} was looked up"));
    for (host, addr) in
        [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("[2001:db8::7]", "[2001:db8::7]:80")]
    {
        driver.resolver.resolve(ResolveId(3), host, 80);
        let mut answers = Vec::new();
        driver.resolver.drain(&mut answers);
        let (id, addrs) = answers.pop().expect("at once");
        assert_eq!((id, addrs.unwrap()), (ResolveId(3), vec![addr.parse().unwrap()]));
        driver.wakes.try_recv().expect("a loop about to sleep is woken");
    }
}

#[test]
fn an_answer_is_remembered_for_every_port_and_spelling() {
    let mut driver = Driver::new(|host| {
        assert_eq!(host, "tracker.example");
        Ok(vec![ADDR])
    });
    let host = "Tracker.Example";
    assert_eq!(driver.answer(host, 80).unwrap(), [SocketAddr::new(ADDR, 80)]);
    assert_eq!(driver.answer("tracker.example", 6969).unwrap(), [SocketAddr::new(ADDR, 6969)]);
    assert_eq!(driver.lookups(), 1);
}

#[test]
fn a_failure_is_remembered_with_its_words() {
    let mut driver = Driver::new(|_| Err(io::Error::other("name server on fire")));
    for _ in 0..2 {
        let error = driver.answer("gone.example", 1).unwrap_err();
        let text = (error.kind(), error.to_string());
        assert_eq!(text, (io::ErrorKind::Other, "name server on fire".to_owned()));
    }
    assert_eq!(driver.lookups(), 1);
}

#[test]
fn a_name_without_addresses_is_an_error_and_one_with_very_many_is_cut() {
    let mut driver = Driver::new(|host| Ok(vec![ADDR; if host == "none" { 0 } else { 5_000 }]));
    assert_eq!(driver.answer("none", 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(driver.answer("many", 1).unwrap().len(), MAX_ADDRS);
}

#[test]
fn a_few_threads_look_up_many_names() {
    let (let_go, gate) = mpsc::channel::<()>();
    let (reached, at_gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let mut driver = Driver::new(move |_| {
        reached.send(()).unwrap();
        gate.lock().unwrap().recv_timeout(PATIENCE).expect("let go");
        Ok(vec![ADDR])
    });
    for id in 0..20 {
        driver.resolver.resolve(ResolveId(id), &format!("{id}.example"), 1);
    }
    for _ in 0..MAX_THREADS {
        at_gate.recv_timeout(PATIENCE).expect("a thread for each of the first");
    }
    assert_eq!(driver.resolver.shared.queue().living, MAX_THREADS);
    assert_eq!(driver.resolver.shared.queue().queries.len(), 20 - MAX_THREADS);
    for _ in 0..20 {
        let_go.send(()).unwrap();
    }
    let mut ids: Vec<u32> = driver.answers(20).iter().map(|(id, _)| id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_waits_is_bounded() {
    let (let_go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut driver = Driver::new(move |_| {
        // An error is the end of the test.
        let _ = gate.lock().unwrap().recv();
        Ok(vec![ADDR])
    });
    let bound = u32::try_from(MAX_THREADS + MAX_QUEUED).unwrap();
    for id in 0..=bound {
        driver.resolver.resolve(ResolveId(id), &format!("{id}.example"), 1);
    }
    let refused = driver.answers(1).pop().unwrap().1;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    drop(let_go);
}

#[test]
fn an_idle_thread_takes_the_next_name_and_ends_with_the_resolver() {
    let mut driver = Driver::new(|_| Ok(vec![ADDR]));
    let shared = Arc::clone(&driver.resolver.shared);
    driver.answer("one.example", 1).unwrap();
    while shared.queue().idle == 0 {
        std::thread::yield_now();
    }
    driver.answer("two.example", 1).unwrap();
    assert_eq!(shared.queue().living, 1);
    drop(driver);
    while shared.queue().living > 0 {
        std::thread::yield_now();
    }
    assert_eq!(shared.queue().idle, 0);
}

#[test]
fn answers_age_and_failures_age_faster() {
    let mut cache = Cache::default();
    let start = Instant::now();
    let failure = Failure::no_address();
    cache.insert("good".to_owned(), &Ok(vec![ADDR]), start);
    cache.insert("bad".to_owned(), &Err(failure), start);
    let second = Duration::from_secs(1);
    for (host, ttl) in [("good", POSITIVE_TTL), ("bad", NEGATIVE_TTL)] {
        assert!(cache.find(host, start + (ttl.saturating_sub(second))).is_some(), "{host}");
        assert!(cache.find(host, start + ttl).is_none(), "{host}");
    }
}

#[test]
fn the_cache_is_bounded_and_forgets_what_expires_first() {
    let mut cache = Cache::default();
    let start = Instant::now();
    let host = |number: usize| format!("{number}.example");
    for number in 0..MAX_CACHED + 10 {
        let age = Duration::from_secs(number as u64);
        cache.insert(host(number), &Ok(vec![ADDR]), start + age);
    }
    assert_eq!(cache.entries.len(), MAX_CACHED);
    assert!(cache.find(&host(9), start).is_none());
    assert!(cache.find(&host(10), start).is_some());
}

#[test]
fn the_system_knows_localhost() {
    let addrs = system_lookup("localhost").unwrap();
    assert!(addrs.iter().any(IpAddr::is_loopback), "{addrs:?}");
}
