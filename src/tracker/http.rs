//! One HTTP/1.1 exchange with a tracker over an abstract byte stream (BEP 3, RFC 9112).
//!
//! Decides what is sent and when the answer is complete. **Invariant:** it knows no socket and no
//! clock: its owner moves the bytes and bounds the time. Later a TLS layer goes between it and the
//! socket without its noticing.
//!
//! ```text
//! Head --200, 4xx, 5xx--> Body --complete--> Done
//!   |  \--30x---------------------------------^
//!   \--1xx--> Head
//! ```

use std::borrow::Cow;
use std::net::IpAddr;

use super::TrackerError;
use super::announcer::Announce;
use super::body::Body;
use super::gzip;
use crate::proto::http::{HttpError, MAX_RESPONSE_HEAD, ResponseHead, parse_response_head};
use crate::proto::tracker_http::{AnnounceReply, Answer, decode_reply};
use crate::proto::url::{AnnounceUrl, UrlError};

/// An announce on its way to one address of its tracker.
#[derive(Debug)]
pub struct Exchange {
    url: AnnounceUrl,
    remote: IpAddr,
    request: Vec<u8>,
    state: State,
}

/// How far an [`Exchange`] has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The tracker took the announce; the connection may be closed.
    Reply(AnnounceReply),
    /// The tracker wants to be asked elsewhere; the connection may be closed.
    Redirect(AnnounceUrl),
}

#[derive(Debug)]
enum State {
    /// The bytes since the start of the stream, and how many of them were interim responses.
    Head {
        seen: Vec<u8>,
        interim: usize,
    },
    Body {
        status: u16,
        body: Body,
        is_gzip: bool,
    },
    /// The result has been returned.
    Done,
}

impl Exchange {
    /// Prepares `announce` for `remote`, the very address that will be connected to.
    ///
    /// # Errors
    /// [`TrackerError::BadUrl`] if this URL must not be asked at that address (see
    /// [`AnnounceUrl::permits`]): the fault of the torrent or of a redirect. Another address of the
    /// same host may be fine.
    pub fn new(announce: &Announce, remote: IpAddr) -> Result<Self, TrackerError> {
        let Announce { url, target, .. } = announce;
        url.permits(remote).map_err(TrackerError::BadUrl)?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
            host = url.host_field(),
        );
        Ok(Self {
            url: url.clone(),
            remote,
            request: request.into_bytes(),
            state: State::Head { seen: Vec::new(), interim: 0 },
        })
    }

    /// Returns the bytes to send, all of them, as soon as the stream is open.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes the stream's next bytes, in portions of any size; what follows the answer is ignored.
    ///
    /// # Errors
    /// [`TrackerError`]: the tracker's fault, or its refusal. The connection must be closed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, TrackerError> {
        let result = match &mut self.state {
            State::Head { seen, .. } => {
                seen.extend_from_slice(bytes);
                self.read_head()
            }
            State::Body { status, body, .. } => {
                let (status, fed) = (*status, body.feed(bytes));
                self.read_body(status, fed)
            }
            State::Done => Ok(Progress::More),
        };
        self.settle(result)
    }

    /// Takes the end of the stream; with it an answer without a length is complete.
    ///
    /// # Errors
    /// [`TrackerError`]: the tracker's fault if it ended too early, otherwise as
    /// [`Exchange::feed`].
    pub fn end_of_stream(&mut self) -> Result<Progress, TrackerError> {
        let result = match &mut self.state {
            State::Head { .. } => Err(HttpError::EndInHead.into()),
            State::Body { status, body, .. } => {
                let (status, ended) = (*status, body.end());
                self.read_body(status, ended)
            }
            State::Done => Ok(Progress::More),
        };
        self.settle(result)
    }

    /// Remembers that a result has been returned.
    fn settle(&mut self, result: Result<Progress, TrackerError>) -> Result<Progress, TrackerError> {
        if result != Ok(Progress::More) {
            self.state = State::Done;
        }
        result
    }

    fn read_head(&mut self) -> Result<Progress, TrackerError> {
        let State::Head { seen, interim } = &mut self.state else { return Ok(Progress::More) };
        let end = seen.len().min(MAX_RESPONSE_HEAD);
        while let Some(head) = parse_response_head(&seen[*interim..end])? {
            // 101 is no interim response: it switches to a protocol that we did not ask for.
            if (100..200).contains(&head.status) && head.status != 101 {
                *interim += head.len;
                continue;
            }
            if let Some(result) = without_body(&head, &self.url, self.remote) {
                return result;
            }
            let (status, start) = (head.status, *interim + head.len);
            let is_gzip = head.content_encoding.is_some_and(gzip::is_gzip);
            let mut body = match Body::new(head.framing) {
                Ok(body) => body,
                Err(error) => return self.read_body(status, Err(error)),
            };
            let fed = body.feed(&seen[start..]);
            self.state = State::Body { status, body, is_gzip };
            return self.read_body(status, fed);
        }
        match end {
            MAX_RESPONSE_HEAD => Err(HttpError::HeadTooLong { limit: end }.into()),
            _ => Ok(Progress::More),
        }
    }

    /// Decodes the body if it is complete; `fed` is what came of its last portion.
    fn read_body(
        &mut self,
        status: u16,
        fed: Result<(), TrackerError>,
    ) -> Result<Progress, TrackerError> {
        // Of an error's body only a reason counts; that the rest is broken is no news.
        let of_status = |error| if status == 200 { error } else { TrackerError::Status(status) };
        fed.map_err(of_status)?;
        let State::Body { body, is_gzip, .. } = &self.state else { return Ok(Progress::More) };
        if !body.is_complete() {
            return Ok(Progress::More);
        }
        let mut bytes = Cow::Borrowed(body.bytes());
        if *is_gzip {
            bytes = gzip::unpack(&bytes).map_err(of_status)?.into();
        }
        match decode_reply(&bytes) {
            Ok(Answer::Failure(failure)) => Err(TrackerError::Failure(failure)),
            _ if status != 200 => Err(TrackerError::Status(status)),
            Ok(Answer::Reply(reply)) => Ok(Progress::Reply(reply)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the result of a response whose body does not matter, or `None` if it does.
fn without_body(
    head: &ResponseHead<'_>,
    url: &AnnounceUrl,
    remote: IpAddr,
) -> Option<Result<Progress, TrackerError>> {
    match head.status {
        301 | 302 | 303 | 307 | 308 => {
            let Some(location) = head.location else {
                return Some(Err(TrackerError::MissingLocation));
            };
            let location = std::str::from_utf8(location).map_err(|_| UrlError::Malformed);
            let to = location.and_then(|location| url.redirect(location, remote));
            Some(to.map(Progress::Redirect).map_err(TrackerError::BadRedirect))
        }
        // These have no body, whatever their fields say (RFC 9112 6.3).
        101 | 204 | 304 => Some(Err(TrackerError::Status(head.status))),
        status => {
            head.content_encoding.filter(|encoding| !gzip::is_gzip(encoding)).map(|encoding| {
                let encoding = String::from_utf8_lossy(encoding).into_owned();
                Err(match status {
                    200 => TrackerError::ContentEncoding(encoding),
                    _ => TrackerError::Status(status),
                })
            })
        }
    }
}

/// Some trackers let in clients by name only; ours says what it is.
const USER_AGENT: &str = concat!("swarmloop/", env!("CARGO_PKG_VERSION"));
