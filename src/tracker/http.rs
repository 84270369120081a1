//! One HTTP/1.1 exchange with a tracker, or with whoever has a file, over an abstract byte stream
//! (BEP 3, BEP 48, RFC 9112).
//!
//! Decides what is sent and when the answer is complete. **Invariant:** it knows no socket and no
//! clock: its owner moves the bytes and bounds the time. A TLS layer goes between it and the
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
use crate::id::InfoHash;
use crate::proto::http::{HttpError, MAX_RESPONSE_HEAD, ResponseHead, parse_response_head};
use crate::proto::tracker_http::{AnnounceReply, Answer, MAX_REPLY_LEN, decode_reply};
use crate::proto::tracker_scrape::{ScrapeAnswer, decode_scrape};
use crate::proto::tracker_serve::SwarmCounts;
use crate::proto::url::{AnnounceUrl, UrlError};

/// A question on its way to one address of its server.
#[derive(Debug)]
pub struct Exchange {
    url: AnnounceUrl,
    want: Want,
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
    /// How the swarms stand that were asked for; the connection may be closed.
    Scraped(Vec<Option<SwarmCounts>>),
    /// The file that was asked for; the connection may be closed. Foreign bytes.
    File(Vec<u8>),
    /// The server wants to be asked elsewhere; the connection may be closed.
    Redirect(AnnounceUrl),
}

/// What is asked for, and so what the answer is read as.
#[derive(Debug)]
enum Want {
    Announce,
    Scrape(Vec<InfoHash>),
    /// At most so many bytes.
    File(usize),
}

impl Want {
    /// Returns the most bytes that the answer may have, unpacked.
    const fn limit(&self) -> usize {
        match self {
            Self::Announce | Self::Scrape(_) => MAX_REPLY_LEN,
            Self::File(limit) => *limit,
        }
    }
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
        Self::open(Want::Announce, &announce.url, &announce.target, remote)
    }

    /// Prepares to ask for `target` how the swarms of `hashes` stand (BEP 48).
    ///
    /// # Errors
    /// As [`Exchange::new`].
    pub fn scrape(
        url: &AnnounceUrl,
        target: &str,
        hashes: Vec<InfoHash>,
        remote: IpAddr,
    ) -> Result<Self, TrackerError> {
        Self::open(Want::Scrape(hashes), url, target, remote)
    }

    /// Prepares to fetch the file at `url`, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Exchange::new`].
    pub fn fetch(url: &AnnounceUrl, limit: usize, remote: IpAddr) -> Result<Self, TrackerError> {
        Self::open(Want::File(limit), url, url.target(), remote)
    }

    fn open(
        want: Want,
        url: &AnnounceUrl,
        target: &str,
        remote: IpAddr,
    ) -> Result<Self, TrackerError> {
        url.permits(remote).map_err(TrackerError::BadUrl)?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
            host = url.host_field(),
        );
        Ok(Self {
            url: url.clone(),
            want,
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
            // A tracker says why in the body; what a site says is for people.
            if matches!(self.want, Want::File(_)) && status != 200 {
                return Err(TrackerError::Status(status));
            }
            let is_gzip = head.content_encoding.is_some_and(gzip::is_gzip);
            let mut body = match Body::new(head.framing, self.want.limit()) {
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
            bytes = gzip::unpack(&bytes, self.want.limit()).map_err(of_status)?.into();
        }
        let answer = match &self.want {
            Want::Announce => decode_reply(&bytes).map(|answer| match answer {
                Answer::Reply(reply) => Ok(Progress::Reply(reply)),
                Answer::Failure(failure) => Err(failure),
            }),
            Want::Scrape(hashes) => decode_scrape(&bytes, hashes).map(|answer| match answer {
                ScrapeAnswer::Swarms(swarms) => Ok(Progress::Scraped(swarms)),
                ScrapeAnswer::Failure(failure) => Err(failure),
            }),
            Want::File(_) => Ok(Ok(Progress::File(bytes.into_owned()))),
        };
        match answer {
            Ok(Err(failure)) => Err(TrackerError::Failure(failure)),
            _ if status != 200 => Err(TrackerError::Status(status)),
            Ok(Ok(progress)) => Ok(progress),
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
