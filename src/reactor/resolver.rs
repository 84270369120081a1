//! Host names to addresses, off the loop.
//!
//! The system's resolver is the only one that knows what the user has configured (hosts file, VPN,
//! mDNS), and it blocks for as long as it likes: so it is asked on a few threads of its own, which
//! nobody ever waits for. They are started when there is something to ask, and end when there is
//! not. Where traffic is bound, the system would ask by any way: there the threads ask name servers
//! themselves, over sockets that are bound as all others (`stub`).

mod conf;
mod lookup;
mod stub;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::egress::Egress;
use crate::session::io::ResolveId;
use crate::time::Duration;

/// Look-ups at one time. More of them only wait for the same few name servers.
pub const MAX_THREADS: usize = 4;

/// Look-ups that wait for a thread; beyond this they fail at once. The trackers of all torrents of
/// a busy session fit in.
pub const MAX_QUEUED: usize = 1024;

/// Host names whose answers are remembered.
pub const MAX_CACHED: usize = 256;

/// Addresses of one host name that are passed on; a name server decides how many there are.
pub const MAX_ADDRS: usize = 64;

/// How long an answer is remembered. The system does not tell a record's own time to live; ten
/// minutes is under the shortest announce interval that is usual.
const POSITIVE_TTL: Duration = Duration::from_secs(600);

/// How long a failure is remembered: long enough for the tiers of one announce, short enough that a
/// network that comes back is noticed.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// How long a thread without work lives on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of one look-up.
pub type Resolved = (ResolveId, io::Result<Vec<SocketAddr>>);

/// Looks up host names for a session. Dropping it abandons what is being looked up.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
    cache: Cache,
}

impl Resolver {
    /// Returns a resolver without threads, which asks the system, or name servers itself if traffic
    /// is bound.
    ///
    /// `wake` is called when an answer is there that no earlier call has told of, at most once
    /// between two calls of [`Resolver::drain`]: on a thread of the resolver, or from within
    /// [`Resolver::resolve`] if the answer is known already.
    pub fn new(wake: impl Fn() + Send + Sync + 'static, egress: &Egress) -> Self {
        if !egress.is_bound() {
            return Self::with_lookup(wake, system_lookup);
        }
        let egress = egress.clone();
        Self::with_lookup(wake, move |host| stub::look_up(host, &egress))
    }

    fn with_lookup(
        wake: impl Fn() + Send + Sync + 'static,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let calls = Calls { wake: Box::new(wake), lookup: Box::new(lookup) };
        let shared = Shared {
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
            answers: Mutex::new(Vec::new()),
            calls,
        };
        Self { shared: Arc::new(shared), cache: Cache::default() }
    }

    /// Looks up `host` and pairs each of its addresses with `port`. Never blocks.
    ///
    /// `host` may be an address, an IPv6 one also in brackets: it is answered without being looked
    /// up, as is a name that was looked up within the last ten minutes, or failed to be within the
    /// last 30 seconds. Each call has exactly one answer in a later [`Resolver::drain`].
    pub fn resolve(&mut self, id: ResolveId, host: &str, port: u16) {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let literal = bare.unwrap_or(host).parse().map(|addr| Ok(vec![addr]));
        let host = host.to_ascii_lowercase();
        let known = literal.ok().or_else(|| self.cache.find(&host, Instant::now()));
        let query = Query { id, host, port };
        match known {
            Some(result) => self.shared.publish(Answer { query, result, fresh: false }),
            None => self.ask(query),
        }
    }

    /// Appends what has been answered to `out`, in no particular order.
    ///
    /// A result holds at least one address; that there is none is [`io::ErrorKind::NotFound`]. Any
    /// error is the name server's or the network's fault, or the name's.
    pub fn drain(&mut self, out: &mut Vec<Resolved>) {
        let answers = std::mem::take(&mut *self.shared.answers());
        if answers.is_empty() {
            return;
        }
        let now = Instant::now();
        for Answer { query: Query { id, host, port }, result, fresh } in answers {
            if fresh {
                self.cache.insert(host, &result, now);
            }
            let with_port = |addr| SocketAddr::new(addr, port);
            let addrs = result.map(|addrs| addrs.into_iter().map(with_port).collect());
            out.push((id, addrs.map_err(Failure::into_error)));
        }
    }

    fn ask(&self, query: Query) {
        let mut queue = self.shared.queue();
        if queue.queries.len() >= MAX_QUEUED {
            drop(queue);
            let result = Err(Failure {
                kind: io::ErrorKind::QuotaExceeded,
                message: "too many names are being looked up".to_owned(),
            });
            self.shared.publish(Answer { query, result, fresh: false });
            return;
        }
        queue.queries.push_back(query);
        if queue.queries.len() <= queue.idle || queue.living >= MAX_THREADS {
            drop(queue);
            self.shared.changed.notify_one();
            return;
        }
        queue.living += 1;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("swarmloop-dns".to_owned());
        if let Err(error) = thread.spawn(move || work(&shared)) {
            self.shared.not_started(&error);
        }
    }
}

/// Tells whether names can be looked up beyond this machine, if traffic leaves it at all: whether
/// the system names a server that can be asked the way that traffic is bound.
pub fn can_resolve(egress: &Egress) -> bool {
    !egress.is_bound() || egress.is_loopback() || stub::has_server(egress)
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        queue.queries.clear();
        drop(queue);
        self.shared.changed.notify_all();
    }
}

/// What the loop and the threads share. The two locks are never held together or over a look-up.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// A query came, or the end.
    changed: Condvar,
    answers: Mutex<Vec<Answer>>,
    calls: Calls,
}

#[derive(Debug, Default)]
struct Queue {
    queries: VecDeque<Query>,
    /// Threads that have not ended, and those of them that wait for a query.
    living: usize,
    idle: usize,
    /// Nobody wants answers any more.
    closed: bool,
}

#[derive(Debug)]
struct Query {
    id: ResolveId,
    /// In lower case.
    host: String,
    port: u16,
}

#[derive(Debug)]
struct Answer {
    query: Query,
    result: Result<Vec<IpAddr>, Failure>,
    /// Whether a thread has looked the name up, so that it is news to the cache.
    fresh: bool,
}

/// An [`io::Error`] that can be remembered.
#[derive(Clone, Debug)]
struct Failure {
    kind: io::ErrorKind,
    message: String,
}

impl Failure {
    fn no_address() -> Self {
        let message = "the name has no address".to_owned();
        Self { kind: io::ErrorKind::NotFound, message }
    }

    fn into_error(self) -> io::Error {
        io::Error::new(self.kind, self.message)
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

/// What a resolver was given to call.
struct Calls {
    wake: Box<dyn Fn() + Send + Sync>,
    lookup: Box<Lookup>,
}

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calls")
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the locks panics half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, answer: Answer) {
        let mut answers = self.answers();
        answers.push(answer);
        // An answer that was here already has woken the loop, which has not drained since.
        let first = answers.len() == 1;
        drop(answers);
        if first {
            (self.calls.wake)();
        }
    }

    /// Waits for the next query; `None` if the thread is to end.
    fn next(&self) -> Option<Query> {
        let mut queue = self.queue();
        if queue.queries.is_empty() && !queue.closed {
            queue.idle += 1;
            let idle = |queue: &mut Queue| queue.queries.is_empty() && !queue.closed;
            let wait = self.changed.wait_timeout_while(queue, IDLE_TIMEOUT, idle);
            (queue, _) = wait.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
        let query = queue.queries.pop_front();
        // A thread that leaves is counted out under the same lock under which it found nothing to
        // do: a query that comes now finds that it needs a new one.
        queue.living -= usize::from(query.is_none());
        query
    }

    /// Takes back that a thread was counted in; if it would have been the only one, nobody is there
    /// to look up what is queued.
    fn not_started(&self, error: &io::Error) {
        let mut queue = self.queue();
        queue.living -= 1;
        if queue.living > 0 {
            return;
        }
        let orphans = std::mem::take(&mut queue.queries);
        drop(queue);
        for query in orphans {
            self.publish(Answer { query, result: Err(error.into()), fresh: false });
        }
    }
}

/// The life of one thread.
fn work(shared: &Shared) {
    while let Some(query) = shared.next() {
        let result = (shared.calls.lookup)(&query.host).map_err(|error| Failure::from(&error));
        let result = result.and_then(|mut addrs| {
            addrs.truncate(MAX_ADDRS);
            if addrs.is_empty() { Err(Failure::no_address()) } else { Ok(addrs) }
        });
        shared.publish(Answer { query, result, fresh: true });
    }
}

/// Asks the system; blocks.
fn system_lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|addr| addr.ip()).collect())
}

/// Answers of the last minutes, by host name in lower case.
#[derive(Debug, Default)]
struct Cache {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    result: Result<Vec<IpAddr>, Failure>,
    expires: Instant,
}

impl Cache {
    fn find(&self, host: &str, now: Instant) -> Option<Result<Vec<IpAddr>, Failure>> {
        let entry = self.entries.get(host).filter(|entry| now < entry.expires)?;
        Some(entry.result.clone())
    }

    /// O(entries) when the cache is full, which is little against a look-up.
    fn insert(&mut self, host: String, result: &Result<Vec<IpAddr>, Failure>, now: Instant) {
        let ttl = if result.is_ok() { POSITIVE_TTL } else { NEGATIVE_TTL };
        self.entries.insert(host, Entry { result: result.clone(), expires: now + ttl });
        if self.entries.len() > MAX_CACHED {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.expires);
            if let Some(host) = first.map(|(host, _)| host.clone()) {
                self.entries.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
