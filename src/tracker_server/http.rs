//! One HTTP connection of the embedded tracker: a request in, a response out, and the end.
//!
//! Decides what each path answers. **Invariant:** nothing that the client sent gets into a
//! response's head, and every response ends its connection: an announce every half hour has no use
//! for a kept one.

use std::net::SocketAddr;

use super::Swarms;
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
    state: State,
}

/// What is to happen to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// Wait for more bytes.
    More,
    /// Send what has been answered, then close.
    Close,
}

#[derive(Debug)]
enum State {
    /// What has come so far, less than a head.
    Head(Vec<u8>),
    Answered,
}

impl HttpServerConn {
    /// Returns the connection of a client at `from`.
    pub fn new(from: SocketAddr) -> Self {
        Self { from, state: State::Head(Vec::new()) }
    }

    /// Takes the client's next bytes, in portions of any size, and appends the response to `out`
    /// once the request is complete; what follows it is ignored.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        swarms: &mut Swarms,
        out: &mut Vec<u8>,
        rng: &mut Rng,
        now: Instant,
    ) -> Served {
        let State::Head(seen) = &mut self.state else { return Served::Close };
        seen.extend_from_slice(bytes);
        let response = match parse_request_head(seen) {
            Ok(None) => return Served::More,
            Ok(Some(head)) => respond(&head, self.from, swarms, rng, now),
            Err(HttpError::HeadTooLong { .. } | HttpError::TooManyFields { .. }) => {
                Response::text("431 Request Header Fields Too Large", "the request is too long\n")
            }
            Err(_) => Response::text("400 Bad Request", "not an http request\n"),
        };
        response.write_to(out);
        self.state = State::Answered;
        Served::Close
    }
}

struct Response {
    status: &'static str,
    /// Whole lines.
    fields: &'static str,
    body: Vec<u8>,
}

impl Response {
    fn text(status: &'static str, body: &'static str) -> Self {
        Self { status, fields: "", body: body.into() }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        let Self { status, fields, body } = self;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{fields}\
             Connection: close\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
    }
}

fn respond(
    head: &RequestHead<'_>,
    from: SocketAddr,
    swarms: &mut Swarms,
    rng: &mut Rng,
    now: Instant,
) -> Response {
    if head.method != "GET" {
        let response = Response::text("405 Method Not Allowed", "only GET is served\n");
        return Response { fields: "Allow: GET\r\n", ..response };
    }
    let target = origin_form(head.target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut body = Vec::new();
    match path {
        "/announce" => announce(query, from, swarms, &mut body, rng, now),
        "/scrape" => scrape(query, swarms, &mut body, now),
        "/" => return Response::text("200 OK", "A BitTorrent tracker: announce to /announce\n"),
        _ => return Response::text("404 Not Found", "only /announce and /scrape are served\n"),
    }
    Response { status: "200 OK", fields: "", body }
}

fn announce(
    query: &str,
    from: SocketAddr,
    swarms: &mut Swarms,
    body: &mut Vec<u8>,
    rng: &mut Rng,
    now: Instant,
) {
    let request = match AnnounceRequest::parse(query) {
        Ok(request) => request,
        Err(error) => return refuse(error, body),
    };
    match swarms.announce(&request, from, rng, now) {
        Ok(answer) => answer.encode(body),
        Err(error) => encode_failure(&error.to_string(), body),
    }
}

fn scrape(query: &str, swarms: &mut Swarms, body: &mut Vec<u8>, now: Instant) {
    match parse_scrape(query) {
        Ok(torrents) => encode_scrape(&swarms.scrape(&torrents, now), body),
        Err(error) => refuse(error, body),
    }
}

/// Answers in bencode with status 200, which is where clients look for the reason (BEP 3).
fn refuse(error: RequestError, body: &mut Vec<u8>) {
    encode_failure(&error.to_string(), body);
}

/// Returns path and query of a target; one in absolute form names its host again (RFC 9112 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some(behind) = target.strip_prefix("http://") else { return target };
    behind.find('/').map_or("/", |path| &behind[path..])
}
