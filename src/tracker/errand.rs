//! Questions that are no torrent's: how swarms stand, one announce, a file (BEP 48, BEP 3).
//!
//! Decides how each is asked of an address, where it may be redirected to, and what its answer is.
//! **Invariant:** it knows no socket and no time; whoever runs an [`Errand`] looks up the host,
//! bounds how long it takes, and asks one address after the other.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{Announce, Exchange, MAX_REDIRECTS, Progress, TrackerError, UdpAsk, UdpProgress};
use crate::id::InfoHash;
use crate::proto::tracker_http::AnnounceReply;
use crate::proto::tracker_scrape::{append_query, scrape_target};
use crate::proto::tracker_serve::{MAX_SCRAPE_HASHES, SwarmCounts};
use crate::proto::tracker_udp::MAX_SCRAPE_ASKED;
use crate::proto::url::{AnnounceUrl, Scheme};

/// How something is asked of one address.
#[derive(Debug)]
pub enum Request {
    /// Over a stream.
    Http(Exchange),
    /// In datagrams.
    Udp(UdpAsk),
}

/// What a question came to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The tracker took the announce.
    Announced(AnnounceReply),
    /// How the swarms stand, in the order in which they were asked for; `None` for one that the
    /// tracker does not know. Over UDP that cannot be told from an empty one.
    Scraped(Vec<Option<SwarmCounts>>),
    /// The file. Foreign bytes.
    File(Bytes),
}

/// A question on its way.
#[derive(Debug)]
pub struct Errand {
    what: What,
    redirects: u32,
}

#[derive(Debug)]
enum What {
    Announce(Announce),
    /// Path and query are those of the announce, with the one word replaced.
    Scrape {
        url: AnnounceUrl,
        target: String,
        hashes: Vec<InfoHash>,
    },
    /// At most so many bytes.
    File {
        url: AnnounceUrl,
        limit: usize,
    },
}

impl Errand {
    /// Announces once.
    ///
    /// # Errors
    /// [`TrackerError::Unsupported`]: the user's fault.
    pub fn announce(announce: Announce) -> Result<Self, TrackerError> {
        Self::new(What::Announce(announce))
    }

    /// Asks the tracker of an announce URL how the swarms of `hashes` stand: at most
    /// [`MAX_SCRAPE_HASHES`], over UDP [`MAX_SCRAPE_ASKED`]; the rest is left out.
    ///
    /// # Errors
    /// [`TrackerError::NoScrape`] if its path says that it cannot be asked so (BEP 48), and
    /// [`TrackerError::Unsupported`]: the user's fault, or the torrent's.
    pub fn scrape(url: AnnounceUrl, mut hashes: Vec<InfoHash>) -> Result<Self, TrackerError> {
        let is_udp = url.scheme() == Scheme::Udp;
        hashes.truncate(if is_udp { MAX_SCRAPE_ASKED } else { MAX_SCRAPE_HASHES });
        let mut target = String::new();
        if matches!(url.scheme(), Scheme::Http | Scheme::Https) {
            target = scrape_target(url.target()).ok_or(TrackerError::NoScrape)?;
            append_query(&mut target, &hashes);
        }
        Self::new(What::Scrape { url, target, hashes })
    }

    /// Fetches a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`TrackerError::Unsupported`]: the user's fault.
    pub fn fetch(url: AnnounceUrl, limit: usize) -> Result<Self, TrackerError> {
        if url.scheme() == Scheme::Udp {
            return Err(TrackerError::Unsupported(Scheme::Udp));
        }
        Self::new(What::File { url, limit })
    }

    fn new(what: What) -> Result<Self, TrackerError> {
        let errand = Self { what, redirects: 0 };
        let scheme = errand.url().scheme();
        if scheme.is_supported() { Ok(errand) } else { Err(TrackerError::Unsupported(scheme)) }
    }

    /// Returns whom to ask.
    pub fn url(&self) -> &AnnounceUrl {
        match &self.what {
            What::Announce(announce) => &announce.url,
            What::Scrape { url, .. } | What::File { url, .. } => url,
        }
    }

    /// Tells whether a file is fetched, which may be large.
    pub fn is_fetch(&self) -> bool {
        matches!(self.what, What::File { .. })
    }

    /// Returns how it is asked at `addr`, one of the addresses of its host.
    ///
    /// # Errors
    /// [`TrackerError::BadUrl`]: another address may be fine.
    pub fn request(&self, addr: SocketAddr) -> Result<Request, TrackerError> {
        match &self.what {
            What::Announce(announce) => announce.request(addr),
            What::Scrape { url, hashes, .. } if url.scheme() == Scheme::Udp => {
                url.permits(addr.ip()).map_err(TrackerError::BadUrl)?;
                Ok(Request::Udp(UdpAsk::Scrape(hashes.clone())))
            }
            What::Scrape { url, target, hashes } => {
                Exchange::scrape(url, target, hashes.clone(), addr.ip()).map(Request::Http)
            }
            What::File { url, limit } => Exchange::fetch(url, *limit, addr.ip()).map(Request::Http),
        }
    }

    /// Goes on where a server redirects to. It is asked as it stands: a server that redirects has
    /// put the query into it, or does not want it there.
    ///
    /// # Errors
    /// [`TrackerError::TooManyRedirects`] and [`TrackerError::Unsupported`]: the server's fault.
    pub fn redirect(&mut self, to: AnnounceUrl) -> Result<(), TrackerError> {
        follow(&to, &mut self.redirects)?;
        match &mut self.what {
            What::Announce(announce) => {
                to.target().clone_into(&mut announce.target);
                announce.url = to;
            }
            What::Scrape { url, target, .. } => {
                to.target().clone_into(target);
                *url = to;
            }
            What::File { url, .. } => *url = to,
        }
        Ok(())
    }

    /// Returns what an exchange over a stream came to; `None` if it goes on.
    pub fn answer(progress: Progress) -> Option<Answer> {
        match progress {
            Progress::Reply(reply) => Some(Answer::Announced(reply)),
            Progress::Scraped(swarms) => Some(Answer::Scraped(swarms)),
            Progress::File(bytes) => Some(Answer::File(bytes.into())),
            Progress::More | Progress::Redirect(_) => None,
        }
    }

    /// Returns what an exchange in datagrams came to; `None` if it goes on.
    pub fn answer_by_datagram(progress: UdpProgress) -> Option<Result<Answer, TrackerError>> {
        match progress {
            UdpProgress::Reached => None,
            UdpProgress::Announced(reply) => Some(Ok(Answer::Announced(reply))),
            UdpProgress::Scraped(swarms) => {
                Some(Ok(Answer::Scraped(swarms.into_iter().map(Some).collect())))
            }
            UdpProgress::Refused(failure) => Some(Err(TrackerError::Failure(failure))),
        }
    }
}

/// Counts a redirect to `url`, if it may be followed.
pub(super) fn follow(url: &AnnounceUrl, redirects: &mut u32) -> Result<(), TrackerError> {
    // From one protocol into another: nobody needs that but whoever looks for a way in.
    if url.scheme() == Scheme::Udp || !url.scheme().is_supported() {
        return Err(TrackerError::Unsupported(url.scheme()));
    }
    if *redirects == MAX_REDIRECTS {
        return Err(TrackerError::TooManyRedirects { limit: MAX_REDIRECTS });
    }
    *redirects += 1;
    Ok(())
}
