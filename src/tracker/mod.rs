//! Announces: which tracker is asked when, with what, and what its answer means (BEP 3, 12).
//!
//! [`Announcer`] decides, one a torrent; [`Exchange`] is one HTTP exchange over a stream that
//! somebody else owns, and [`UdpTrackers`] has the exchanges over UDP. A round of an announce:
//!
//! ```text
//! announcer.poll(facts, now)      -> Announce{url, target}
//! owner: look up url.host()       -> an address, or handle_failure(Resolve)
//! Exchange::new(&announce, addr)  -> may be refused: next address, or handle_failure
//! owner: connect, write exchange.request(), read into exchange.feed(..)
//!   Progress::Reply(reply)        -> announcer.handle_reply(&reply, now); use its peers
//!   Progress::Redirect(url)       -> announcer.handle_redirect(url) -> the Announce to go on with
//!   Err(error), end, timeout      -> announcer.handle_failure(error, rng, now)
//! ```
//!
//! **Invariant:** nothing here knows a torrent, a socket or a name server. Go on with
//! [`Announcer`].

mod announcer;
mod body;
mod errand;
mod gzip;
mod http;
mod tiers;
mod udp;

use std::io;
use std::net::IpAddr;

pub use self::announcer::{Announce, AnnounceFacts, Announcer, Report};
pub use self::errand::{Answer, Errand, Request};
pub use self::http::{Exchange, Progress};
pub use self::tiers::MAX_TRACKERS;
pub use self::udp::{
    AskId, CONNECTION_LIFE, FIRST_REPEAT, MAX_TARGET_LEN, UdpAsk, UdpProgress, UdpTrackers,
    UdpTransmit,
};
use crate::proto::http::HttpError;
pub use crate::proto::tracker_http::AnnounceEvent;
use crate::proto::tracker_http::{Failure, ReplyError};
use crate::proto::url::{Scheme, UrlError};
use crate::text::Escaped;
use crate::time::Duration;

/// How long an owner should wait for the answer to a `stopped` (libtorrent `stop_tracker_timeout`:
/// 5 s). Nothing depends on the answer but the tracker's tidiness.
pub const TRACKER_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The most redirects that one announce follows; more are a loop.
pub const MAX_REDIRECTS: u32 = 5;

/// What came of an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackerEvent {
    /// The tracker answered.
    Replied {
        /// What had been announced.
        event: AnnounceEvent,
        /// Peers in the answer.
        peers: usize,
        /// Until the next regular announce.
        interval: Duration,
        /// `warning message`. Foreign text.
        warning: Option<String>,
        /// Our own address as the tracker sees it (BEP 24). It may be wrong, or a lie.
        external_ip: Option<IpAddr>,
    },
    /// The announce failed.
    Failed {
        /// What had been announced.
        event: AnnounceEvent,
        /// Why.
        error: TrackerError,
        /// Until this tracker is tried again at the earliest; [`Duration::MAX`] if it is not.
        retry_in: Duration,
    },
}

/// Why an announce failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerError {
    /// The host name could not be looked up. Nobody's fault that we could tell.
    #[error("the host name lookup failed")]
    Resolve,
    /// The stream could not be opened, or it broke. Nobody's fault that we could tell.
    #[error("connection failed: {0}")]
    Connect(io::ErrorKind),
    /// The stream could not be secured; nothing was asked. The tracker's fault, or whoever sits in
    /// between.
    #[error("tls: {0}")]
    Tls(TlsError),
    /// The exchange took too long.
    #[error("timed out")]
    TimedOut,
    /// What came is not HTTP, or ended early. The tracker's fault, or it is none.
    #[error(transparent)]
    BadHttp(#[from] HttpError),
    /// A status other than 200, and no reason in the body.
    #[error("http status {0}")]
    Status(u16),
    /// The reply is compressed although that was declined, and not by gzip. Foreign text.
    #[error("{} not accepted", Escaped(.0))]
    ContentEncoding(String),
    /// The reply says that it is gzip and is not. The tracker's fault.
    #[error("the reply is broken gzip")]
    BadGzip,
    /// The reply's body is too long. The tracker's fault.
    #[error("the reply is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The reply's body is not understood. The tracker's fault.
    #[error("bad reply: {0}")]
    BadReply(#[from] ReplyError),
    /// The tracker refused the announce. What it says is foreign text.
    #[error("refused: {}", Escaped(&.0.reason))]
    Failure(Failure),
    /// A redirect without a `Location`. The tracker's fault.
    #[error("redirected without saying where")]
    MissingLocation,
    /// A redirect to what is no URL, or may not be followed. The tracker's fault.
    #[error("bad redirect: {0}")]
    BadRedirect(UrlError),
    /// [`MAX_REDIRECTS`]. The tracker's fault.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// The limit.
        limit: u32,
    },
    /// The URL in the torrent, or the address that its host has, is not to be used. The torrent's
    /// fault.
    #[error(transparent)]
    BadUrl(UrlError),
    /// The tracker, or where it redirected to, wants a protocol that this build does not speak.
    #[error("{0} is not supported")]
    Unsupported(Scheme),
    /// The path of the announce URL does not say where the tracker could be asked how a swarm
    /// stands (BEP 48): its last part does not begin with `announce`.
    #[error("the tracker has no scrape: the last part of its path is not \"announce\"")]
    NoScrape,
    /// The announce was given up by [`Announcer::stop`].
    #[error("given up")]
    GivenUp,
}

/// Why a stream could not be secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Nobody who is trusted here has signed the server's certificate.
    #[error("the certificate is not signed by anybody who is trusted")]
    UnknownIssuer,
    /// The certificate is that of an authority, as those are that servers make for themselves.
    #[error("the certificate is self-signed and not trusted")]
    SelfSigned,
    /// The certificate is another server's.
    #[error("the certificate is for another name")]
    WrongName,
    /// The certificate is too old.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate is of the future, or our clock is wrong.
    #[error("the certificate is not valid yet")]
    NotValidYet,
    /// The certificate is not acceptable for another reason.
    #[error("the certificate is not acceptable")]
    BadCertificate,
    /// What the server says is no TLS.
    #[error("the server does not speak it")]
    NotTls,
    /// The server knows no version or cipher that we take.
    #[error("no version or cipher in common")]
    NothingInCommon,
    /// The server does not want us.
    #[error("the server refused the handshake")]
    Refused,
    /// The server does not keep to the protocol.
    #[error("the server broke the protocol")]
    Broken,
}

/// One tracker of a torrent as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerView {
    /// Its URL as the metainfo has it. Foreign text.
    pub url: String,
    /// Zero-based tier (BEP 12).
    pub tier: usize,
    /// How it stands.
    pub state: TrackerState,
}

/// How a tracker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackerState {
    /// Not asked yet.
    Idle,
    /// An announce is under way.
    Announcing,
    /// The last announce was answered.
    Working {
        /// Peers in the answer.
        peers: usize,
        /// Until the next announce.
        next_in: Duration,
    },
    /// The last announce failed.
    Failed {
        /// Why. Foreign text in it is escaped.
        error: String,
        /// Until the next try; [`Duration::MAX`] if there is none.
        retry_in: Duration,
    },
    /// Its scheme is one that this build cannot speak; it is not tried.
    Unsupported,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tracker_http::Retry;

    #[test]
    fn foreign_text_in_errors_is_escaped() {
        let reason = "\x1b[2Jgo\naway".to_owned();
        for (error, text) in [
            (
                TrackerError::Failure(Failure { reason, retry: Retry::Never }),
                "refused: \\x1b[2Jgo\\x0aaway",
            ),
            (TrackerError::ContentEncoding("br".to_owned()), "br not accepted"),
            (TrackerError::ContentEncoding("\u{202e}x".to_owned()), "\\u{202e}x not accepted"),
            (TrackerError::Unsupported(Scheme::Https), "https is not supported"),
            (
                TrackerError::Connect(io::ErrorKind::ConnectionRefused),
                "connection failed: connection refused",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
