//! One HTTP connection of the embedded tracker: requests in, responses out, one after the other.
//!
//! Decides what each path answers and whether the connection goes on. **Invariant:** nothing that
//! the client sent gets into a response's head; there is one response at a time, and while it is on
//! its way nothing is read, so that a client can neither pile up answers nor, by ending its own
//! half of the stream, lose the one that it waits for.

use std::net::SocketAddr;

use bytes::Bytes;

use super::gate::Standing;
use super::swarms::Hears;
use super::{AnnounceError, TrackerServer};
use crate::proto::http::{HttpError, RequestHead, parse_request_head};
use crate::proto::tracker_serve::{
    AnnounceRequest, RequestError, encode_failure, encode_scrape, parse_scrape,
};
use crate::rng::Rng;
use crate::time::Instant;

/// A client's connection. How long its request may take is the owner's decision.
#[derive(Debug)]
pub struct HttpServerConn {
    from: SocketAddr,
    /// What has come and was not answered. Bounded: a head that is too long is answered, and while
    /// there is an answer nothing is read.
    seen: Vec<u8>,
    answer: Option<Answer>,
}

/// What is to happen to the connection after some of an answer was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// There is more to send.
    More,
    /// All of it was sent, and the next request may come: call [`HttpServerConn::proceed`].
    Next,
    /// All of it was sent; the stream is to be closed.
    Close,
}

/// A response on its way.
#[derive(Debug)]
struct Answer {
    head: Vec<u8>,
    body: Bytes,
    /// Bytes of both that were sent.
    sent: usize,
    then: Sent,
}

impl HttpServerConn {
    /// Returns the connection of a client at `from`.
    pub const fn new(from: SocketAddr) -> Self {
        Self { from, seen: Vec::new(), answer: None }
    }

    /// Takes the client's next bytes, in portions of any size. Not to be called while
    /// [`HttpServerConn::is_answering`].
    pub fn feed(
        &mut self,
        bytes: &[u8],
        server: &mut TrackerServer,
        keep_alive: bool,
        rng: &mut Rng,
        now: Instant,
    ) {
        self.seen.extend_from_slice(bytes);
        self.proceed(server, keep_alive, rng, now);
    }

    /// Answers the next request, if all of it is here and no other is being answered. With
    /// `keep_alive` false, the connection ends with it.
    pub fn proceed(
        &mut self,
        server: &mut TrackerServer,
        keep_alive: bool,
        rng: &mut Rng,
        now: Instant,
    ) {
        if self.is_answering() || self.seen.is_empty() {
            return;
        }
        let (response, len, goes_on) = match parse_request_head(&self.seen) {
            Ok(None) => return,
            Ok(Some(head)) => {
                // A body would have to be found the end of; nobody sends one with a GET.
                let goes_on = keep_alive && head.keeps_alive && !head.has_body;
                let response = server.respond(&head, self.from, rng, now);
                (response, head.len, goes_on)
            }
            Err(HttpError::HeadTooLong { .. } | HttpError::TooManyFields { .. }) => {
                let status = "431 Request Header Fields Too Large";
                (Response::text(status, "the request is too long\n"), self.seen.len(), false)
            }
            Err(_) => {
                let response = Response::text("400 Bad Request", "not an http request\n");
                (response, self.seen.len(), false)
            }
        };
        self.seen.drain(..len);
        self.answer = Some(response.into_answer(goes_on));
    }

    /// Tells whether there is something to send. Nothing is to be read meanwhile.
    pub const fn is_answering(&self) -> bool {
        self.answer.is_some()
    }

    /// Returns what is to be sent next: head and body, or what is left of them.
    pub fn unsent(&self) -> [&[u8]; 2] {
        let Some(answer) = &self.answer else { return [&[], &[]] };
        let of_head = answer.sent.min(answer.head.len());
        [&answer.head[of_head..], &answer.body[answer.sent - of_head..]]
    }

    /// Takes in that `n` bytes of that were sent.
    pub fn sent(&mut self, n: usize) -> Sent {
        let Some(answer) = &mut self.answer else { return Sent::Next };
        answer.sent += n;
        if answer.sent < answer.head.len() + answer.body.len() {
            return Sent::More;
        }
        let then = answer.then;
        self.answer = None;
        then
    }
}

struct Response {
    status: &'static str,
    media_type: &'static str,
    /// Whole lines.
    fields: &'static str,
    body: Bytes,
    /// Whether only the head is sent.
    head_only: bool,
}

impl Response {
    const fn text(status: &'static str, body: &'static str) -> Self {
        let body = Bytes::from_static(body.as_bytes());
        Self { status, media_type: "text/plain", fields: "", body, head_only: false }
    }

    fn bencoded(body: Vec<u8>) -> Self {
        Self { body: body.into(), ..Self::text("200 OK", "") }
    }

    fn into_answer(self, goes_on: bool) -> Answer {
        let Self { status, media_type, fields, body, head_only } = self;
        let connection = if goes_on { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{fields}\
             Connection: {connection}\r\n\r\n",
            body.len()
        );
        let body = if head_only { Bytes::new() } else { body };
        let then = if goes_on { Sent::Next } else { Sent::Close };
        Answer { head: head.into(), body, sent: 0, then }
    }
}

impl TrackerServer {
    fn respond(
        &mut self,
        head: &RequestHead<'_>,
        from: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Response {
        if !self.gate.admits(Standing::Proven, from.ip().to_canonical(), now) {
            self.counters.refused += 1;
            let text = "too many requests from this address\n";
            let response = Response::text("429 Too Many Requests", text);
            return Response { fields: "Retry-After: 60\r\n", ..response };
        }
        if head.method != "GET" && head.method != "HEAD" {
            let response = Response::text("405 Method Not Allowed", "only GET is served\n");
            return Response { fields: "Allow: GET, HEAD\r\n", ..response };
        }
        let target = origin_form(head.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let response = match path {
            "/announce" => Response::bencoded(self.announce_by_http(query, from, rng, now)),
            "/scrape" => Response::bencoded(self.scrape_by_http(query, now)),
            "/" => Response::text("200 OK", "A BitTorrent tracker: announce to /announce\n"),
            _ => self.file(path).unwrap_or_else(|| {
                Response::text("404 Not Found", "only /announce and /scrape are served\n")
            }),
        };
        Response { head_only: head.method == "HEAD", ..response }
    }

    fn file(&mut self, path: &str) -> Option<Response> {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
        let file = self.files.iter().find(|file| file.path == decoded)?;
        self.counters.files += 1;
        let (media_type, body) = (file.media_type, file.body.clone());
        Some(Response { media_type, body, ..Response::text("200 OK", "") })
    }

    fn announce_by_http(
        &mut self,
        query: &str,
        from: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Vec<u8> {
        self.counters.announces_http += 1;
        let mut body = Vec::new();
        let answer = AnnounceRequest::parse(query)
            .map_err(Refused::from)
            .and_then(|request| Ok(self.swarms.announce(&request, from, Hears::Both, rng, now)?));
        match answer {
            Ok(answer) => answer.encode(&mut body),
            Err(error) => self.refuse(&error, &mut body),
        }
        body
    }

    fn scrape_by_http(&mut self, query: &str, now: Instant) -> Vec<u8> {
        self.counters.scrapes += 1;
        let mut body = Vec::new();
        match parse_scrape(query) {
            Ok(mut torrents) => {
                // A dictionary has each key once, in order.
                torrents.sort_unstable();
                torrents.dedup();
                let swarms = torrents.into_iter();
                let found = swarms.filter_map(|hash| Some((hash, self.swarms.scrape(hash, now)?)));
                encode_scrape(&found.collect::<Vec<_>>(), &mut body);
            }
            Err(error) => self.refuse(&error.into(), &mut body),
        }
        body
    }

    /// Answers in bencode with status 200, which is where clients look for the reason (BEP 3).
    fn refuse(&mut self, error: &Refused, body: &mut Vec<u8>) {
        self.counters.refused += 1;
        encode_failure(&error.to_string(), body);
    }
}

/// Why a request over HTTP is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Announce(#[from] AnnounceError),
}

/// Returns path and query of a target; one in absolute form names its host again (RFC 9112 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some(behind) = target.strip_prefix("http://") else { return target };
    behind.find('/').map_or("/", |path| &behind[path..])
}
