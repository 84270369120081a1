//! Announces over HTTP, the client's half: the query that is asked and the reply that is read (BEP
//! 3, 7, 23, 31).
//!
//! Decides what an announce says and what a reply means, each within bounds. **Invariant:** it
//! knows no tracker, no timing and no HTTP: [`crate::tracker`] decides when to ask, [`super::http`]
//! frames the bytes. The other half, a tracker's own, is [`super::tracker_serve`].

use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::bencode::{self, Dict, Limits, Value};
use super::compact::{self, CompactError, MAX_PEERS};
use crate::id::{InfoHash, PeerId};
use crate::time::Duration;

/// The most bytes of a reply's body. A thousand peers in the long form take some 100 KiB.
pub const MAX_REPLY_LEN: usize = bencode::MAX_MESSAGE_LEN;
/// The most peers of a reply that are given by name: each costs a lookup, and a reply must not be
/// able to make us flood a name server. Real trackers give none.
pub const MAX_REPLY_HOSTS: usize = 20;
/// The most bytes that are kept of a failure reason or a warning.
pub const MAX_REPLY_TEXT: usize = 1024;
/// The most bytes of a `tracker id`; it goes into the next announce's request line.
pub const MAX_TRACKER_ID: usize = 256;
/// The most bytes of a host name (RFC 1035 2.3.4).
const MAX_HOST_NAME: usize = 253;

/// The interval of a reply that names none: what most trackers use.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Shorter intervals count as this: a tracker that says 0 must not make us flood it.
pub const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Longer intervals count as this: a tracker's overflow must not silence us for years.
pub const MAX_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The bounds of BEP 31's `retry in`: its unit is the minute, and after a day asking again does no
/// harm.
const RETRY_MINUTES: std::ops::RangeInclusive<u64> = 1..=24 * 60;

/// The `event` of an announce (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnnounceEvent {
    /// The first announce of a torrent to a tracker.
    Started,
    /// A regular one: the key is left out.
    Periodic,
    /// A regular one of a partial seed, who misses something and wants nothing (BEP 21).
    Paused,
    /// A download finished just now; never sent when the torrent was complete at the start.
    Completed,
    /// The torrent stops.
    Stopped,
}

/// What an announce says (BEP 3, BEP 23).
#[derive(Clone, Copy, Debug)]
pub struct AnnounceQuery<'a> {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// The port that we listen on.
    pub port: u16,
    /// The address that peers are to be told, if it is not the one that the tracker sees us at
    /// (`ip` of BEP 3, which most trackers ignore).
    pub ip: Option<IpAddr>,
    /// Payload sent since `started`, in bytes.
    pub uploaded: u64,
    /// Payload received since `started`, in bytes.
    pub downloaded: u64,
    /// Payload that is missing, in bytes; 0 makes us a seed.
    pub left: u64,
    /// Why now.
    pub event: AnnounceEvent,
    /// How many peers we want to hear of.
    pub num_want: u32,
    /// Tells the tracker that we are still the same when our address has changed; secret to others
    /// (BEP 7).
    pub key: u32,
    /// What this tracker gave us as `tracker id`; may be empty, which is not sent.
    pub tracker_id: &'a [u8],
}

/// A tracker's answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It took the announce.
    Reply(AnnounceReply),
    /// It refused it.
    Failure(Failure),
}

/// What a tracker says to an announce that it took.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct AnnounceReply {
    /// Until the next regular announce; [`MIN_INTERVAL`] to [`MAX_INTERVAL`].
    pub interval: Duration,
    /// No announce but an event's may come sooner; up to [`MAX_INTERVAL`].
    pub min_interval: Option<Duration>,
    /// `warning message`, at most [`MAX_REPLY_TEXT`] bytes. Foreign text.
    pub warning: Option<String>,
    /// To be sent back with the next announce; at most [`MAX_TRACKER_ID`] bytes.
    pub tracker_id: Option<Vec<u8>>,
    /// How many seeds there are.
    pub complete: Option<u32>,
    /// How many other peers there are.
    pub incomplete: Option<u32>,
    /// Our own address as the tracker sees it (BEP 24). It may be wrong, or a lie.
    pub external_ip: Option<IpAddr>,
    /// Peers by address, IPv4 first; with `hosts` at most [`MAX_PEERS`]. Not checked against any
    /// address policy.
    pub peers: Vec<SocketAddr>,
    /// Peers by name and port (BEP 3 allows it); at most [`MAX_REPLY_HOSTS`]. ASCII.
    pub hosts: Vec<(String, u16)>,
}

/// A tracker's refusal of an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// `failure reason`, at most [`MAX_REPLY_TEXT`] bytes. Foreign text.
    pub reason: String,
    /// When it wants to be asked again.
    pub retry: Retry,
}

/// `retry in` of a refusal (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It says nothing about it.
    Unsaid,
    /// After this time; 1 minute to 24 hours.
    After(Duration),
    /// Not at all.
    Never,
}

/// Why a reply is not understood. The tracker's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The body is not bencode, or more of it than is accepted.
    #[error("not bencode: {0}")]
    Bencode(#[from] bencode::DecodeError),
    /// The body is not a dictionary.
    #[error("not a dictionary")]
    NotADictionary,
    /// The dictionary has nothing that a reply has.
    #[error("neither an interval nor peers in it")]
    NothingInIt,
    /// The answer to a scrape has no list of torrents.
    #[error("no files in it")]
    NoFiles,
    /// `peers` or `peers6` is of a kind that no BEP knows.
    #[error("\"{key}\" is not a list of peers")]
    BadPeers {
        /// Which of the two.
        key: &'static str,
    },
    /// An entry of `peers` has no `ip` or no `port`.
    #[error("peer {index} has no address")]
    BadPeer {
        /// Its zero-based place in the list.
        index: usize,
    },
    /// A compact string is not whole peers.
    #[error(transparent)]
    Compact(#[from] CompactError),
}

impl AnnounceQuery<'_> {
    /// Appends the query to `target`, an announce URL's path and query, with the `?` or `&` that it
    /// needs.
    ///
    /// What `target` has already is not touched (a passkey may be in it).
    pub fn append_to(&self, target: &mut String) {
        match target.split_once('?') {
            None => target.push('?'),
            Some((_, query)) if query.is_empty() || query.ends_with('&') => {}
            Some(_) => target.push('&'),
        }
        let info_hash = percent_encode(&self.info_hash.0, RAW);
        let peer_id = percent_encode(&self.peer_id.0, RAW);
        let Self { port, uploaded, downloaded, left, num_want, key, .. } = self;
        // A write to a string does not fail. Peer ids are of no use to us, so the long form may
        // leave them out.
        let _ = write!(
            target,
            "info_hash={info_hash}&peer_id={peer_id}&port={port}&uploaded={uploaded}\
             &downloaded={downloaded}&left={left}&compact=1&no_peer_id=1&numwant={num_want}\
             &key={key:08X}"
        );
        if let Some(event) = self.event.word() {
            let _ = write!(target, "&event={event}");
        }
        if let Some(ip) = self.ip {
            let _ = write!(target, "&ip={ip}");
        }
        if !self.tracker_id.is_empty() {
            let _ = write!(target, "&trackerid={}", percent_encode(self.tracker_id, RAW));
        }
    }
}

impl AnnounceEvent {
    /// Returns the value of `event`, or `None` for a regular announce, which has none.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Started => Some("started"),
            Self::Periodic => None,
            Self::Paused => Some("paused"),
            Self::Completed => Some("completed"),
            Self::Stopped => Some("stopped"),
        }
    }
}

/// Reads a reply's body: BEP 3's form and BEP 23's, whichever was asked for.
///
/// A `failure reason` makes it a [`Failure`] whatever else is in it. Of the rest `peers` must be
/// right; what only informs is left out if it is of the wrong kind. Bytes behind the dictionary are
/// ignored (scripts add newlines).
///
/// # Errors
/// [`ReplyError`]: the tracker's fault. Never panics on remote input.
pub fn decode_reply(body: &[u8]) -> Result<Answer, ReplyError> {
    let (tree, _) = bencode::decode_prefix(body, &Limits::NETWORK)?;
    let reply = tree.root().as_dict().ok_or(ReplyError::NotADictionary)?;
    if let Some(failure) = refusal(reply) {
        return Ok(Answer::Failure(failure));
    }
    let known: [&[u8]; 3] = [b"interval", b"peers", b"peers6"];
    if known.iter().all(|key| reply.get(key).is_none()) {
        return Err(ReplyError::NothingInIt);
    }
    let mut peers = Peers::default();
    peers.read(reply)?;
    let count = |key: &[u8]| {
        let count = reply.get(key)?.as_int()?.max(0);
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(Answer::Reply(AnnounceReply {
        interval: seconds(reply, b"interval")
            .map_or(DEFAULT_INTERVAL, |interval| interval.clamp(MIN_INTERVAL, MAX_INTERVAL)),
        min_interval: seconds(reply, b"min interval").map(|interval| interval.min(MAX_INTERVAL)),
        warning: reply.get(b"warning message").and_then(text),
        tracker_id: reply
            .get(b"tracker id")
            .and_then(Value::as_bytes)
            .filter(|id| id.len() <= MAX_TRACKER_ID)
            .map(<[u8]>::to_vec),
        complete: count(b"complete"),
        incomplete: count(b"incomplete"),
        external_ip: reply.get(b"external ip").and_then(Value::as_bytes).and_then(address),
        peers: peers.addrs,
        hosts: peers.hosts,
    }))
}

/// Returns why a tracker refuses, if it does (BEP 3, BEP 31).
pub(super) fn refusal(reply: Dict<'_, '_>) -> Option<Failure> {
    let reason = reply.get(b"failure reason").and_then(text)?;
    let retry = reply.get(b"retry in").map_or(Retry::Unsaid, retry_in);
    Some(Failure { reason, retry })
}

#[derive(Default)]
struct Peers {
    addrs: Vec<SocketAddr>,
    hosts: Vec<(String, u16)>,
}

impl Peers {
    fn read(&mut self, reply: Dict<'_, '_>) -> Result<(), ReplyError> {
        if let Some(peers) = reply.get(b"peers") {
            if let Some(compact) = peers.as_bytes() {
                self.addrs = compact::parse_peers4(compact)?;
            } else {
                let list = peers.as_list().ok_or(ReplyError::BadPeers { key: "peers" })?;
                for (index, peer) in list.take(MAX_PEERS).enumerate() {
                    self.add(peer).ok_or(ReplyError::BadPeer { index })?;
                }
            }
        }
        if let Some(peers) = reply.get(b"peers6") {
            let compact = peers.as_bytes().ok_or(ReplyError::BadPeers { key: "peers6" })?;
            let room = MAX_PEERS - self.addrs.len() - self.hosts.len();
            self.addrs.extend(compact::parse_peers6(compact)?.into_iter().take(room));
        }
        Ok(())
    }

    /// Takes one peer in the long form (BEP 3), or leaves it out if nobody can be reached there;
    /// `None` if it is not a peer at all.
    fn add(&mut self, peer: Value<'_, '_>) -> Option<()> {
        let peer = peer.as_dict()?;
        let host = String::from_utf8_lossy(peer.get(b"ip")?.as_bytes()?);
        let port = peer.get(b"port")?.as_int()?;
        let port = u16::try_from(port).unwrap_or(0);
        if port == 0 {
            return Some(());
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.addrs.push((ip, port).into());
        } else if self.hosts.len() < MAX_REPLY_HOSTS && is_host_name(&host) {
            self.hosts.push((host.into_owned(), port));
        }
        Some(())
    }
}

/// Reads an address of 4 or 16 bytes in network order (BEP 24).
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn seconds(reply: Dict<'_, '_>, key: &[u8]) -> Option<Duration> {
    let seconds = reply.get(key)?.as_int()?.max(0).unsigned_abs();
    Some(Duration::from_secs(seconds))
}

/// Reads BEP 31's `retry in`: minutes, or `never`. The BEP says integer, its example has a string:
/// both are taken.
fn retry_in(value: Value<'_, '_>) -> Retry {
    if value.as_bytes() == Some(b"never") {
        return Retry::Never;
    }
    let written = value.as_str().and_then(|digits| digits.parse().ok());
    let minutes = value.as_int().map(|minutes| minutes.max(0).unsigned_abs()).or(written);
    minutes.map_or(Retry::Unsaid, |minutes| {
        let minutes = minutes.clamp(*RETRY_MINUTES.start(), *RETRY_MINUTES.end());
        Retry::After(Duration::from_secs(minutes * 60))
    })
}

fn text(value: Value<'_, '_>) -> Option<String> {
    value.as_bytes().map(foreign_text)
}

/// Returns the start of a text in whatever encoding, at most [`MAX_REPLY_TEXT`] bytes.
pub(crate) fn foreign_text(bytes: &[u8]) -> String {
    let mut text: Cow<'_, str> = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_REPLY_TEXT)]);
    if text.len() > MAX_REPLY_TEXT {
        let end = (0..=MAX_REPLY_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text = text[..end].to_owned().into();
    }
    text.into_owned()
}

fn is_host_name(host: &str) -> bool {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=MAX_HOST_NAME).contains(&host.len()) && host.bytes().all(named)
}

/// Everything but RFC 3986's unreserved characters is encoded; a space as `%20`, never as `+`.
pub(super) const RAW: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests;
