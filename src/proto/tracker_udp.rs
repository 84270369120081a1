//! Announces and scrapes over UDP (BEP 15), with the options of BEP 41: both halves, one datagram
//! at a time.
//!
//! ```text
//!  connect   0 protocol     8 action 12 transaction 16
//!  announce  0 connection   8 action 12 transaction 16 info-hash 36 peer id 56 downloaded
//!            64 left 72 uploaded 80 event 84 ip 88 key 92 num_want 96 port 98 options
//!  scrape    0 connection   8 action 12 transaction 16 info-hash 36 info-hash ...
//!
//!  connected 0 action 4 transaction 8 connection 16
//!  announced 0 action 4 transaction 8 interval 12 leechers 16 seeders 20 peers, compact
//!  scraped   0 action 4 transaction 8 (seeders, completed, leechers) of 4 bytes each ...
//!  failed    0 action 4 transaction 8 message
//! ```
//!
//! All numbers are big-endian. Decides what a datagram says. **Invariant:** whether a connection id
//! is good, or a transaction is one of ours, is decided elsewhere; the family of the peers in an
//! answer is that of the socket and stands nowhere in it.

use std::net::{Ipv4Addr, SocketAddr};

use super::compact::{PEER4_LEN, PEER6_LEN, write_peer4, write_peer6};
use super::tracker_http::AnnounceEvent;
use super::tracker_serve::{AnnounceRequest, MAX_SCRAPE_HASHES, SwarmCounts};
use crate::id::{InfoHash, PeerId};
use crate::time::Duration;

/// What a connect begins with in place of a connection id (BEP 15).
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;
/// Bytes of a connect; longer ones are connects, too.
pub const CONNECT_LEN: usize = 16;
/// Bytes of an announce without options.
pub const ANNOUNCE_LEN: usize = 98;
/// Bytes of a scrape before its first info-hash.
const SCRAPE_HEAD_LEN: usize = 16;
/// Bytes of an answer's action and transaction, with which all of them begin.
const ANSWER_HEAD_LEN: usize = 8;
/// Bytes of an announce's answer before its first peer.
const ANNOUNCED_HEAD_LEN: usize = 20;
/// Bytes of an answer that pass every path in one piece: an IPv6 packet of 1,280 bytes, which every
/// link must carry, less its headers. An answer in fragments is lost with any of them.
pub const MAX_ANSWER_LEN: usize = 1_232;
/// The most torrents that are asked for in a scrape, so that it passes every path in one piece,
/// too. A tracker takes more: [`MAX_SCRAPE_HASHES`], which BEP 15 names, are too long for a link of
/// 1,500 bytes.
pub const MAX_SCRAPE_ASKED: usize = (MAX_ANSWER_LEN - SCRAPE_HEAD_LEN) / 20;
/// The most bytes of a path and query that options bring; a real one has some hundred, and whoever
/// reads it takes memory for it.
pub const MAX_URL_DATA: usize = 2_048;
/// The most bytes of an error's message that are written.
const MAX_MESSAGE_LEN: usize = 200;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// The option that ends the options, without a length (BEP 41).
const END_OF_OPTIONS: u8 = 0;
/// The option that means nothing, without a length (BEP 41).
const NOP: u8 = 1;
/// The option that brings a part of the announce URL's path and query (BEP 41).
const URL_DATA: u8 = 2;

/// What a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Asks for a connection id.
    Connect {
        /// Comes back in the answer.
        transaction: u32,
    },
    /// Announces.
    Announce {
        /// Proves that the client receives at its address.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// What it says.
        announce: UdpAnnounce,
        /// What follows it.
        options: Options<'a>,
    },
    /// Asks how swarms stand.
    Scrape {
        /// Proves that the client receives at its address.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// Which swarms.
        hashes: ScrapeHashes<'a>,
    },
}

/// An announce as UDP has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpAnnounce {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What the client calls itself.
    pub peer_id: PeerId,
    /// Payload received since `started`, in bytes.
    pub downloaded: u64,
    /// Payload that it misses, in bytes.
    pub left: u64,
    /// Payload sent since `started`, in bytes.
    pub uploaded: u64,
    /// Why now. Numbers that BEP 15 does not have count as a regular announce.
    pub event: AnnounceEvent,
    /// The address that it wants to be listed with; `None` for the one that it sends from. Always
    /// `None` over IPv6, where the field is too small for one.
    pub ip: Option<Ipv4Addr>,
    /// Stays the same when its address changes; a secret between it and the tracker.
    pub key: u32,
    /// How many peers it wants to hear of; `None` leaves it to the tracker.
    pub num_want: Option<u32>,
    /// The port that it says it listens on; 0 if it does not.
    pub port: u16,
}

/// Why a datagram is not what it should be. The sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdpError {
    /// Less than its action needs.
    #[error("a datagram of {len} bytes is too short")]
    TooShort {
        /// Its bytes.
        len: usize,
    },
    /// A connect without the protocol's number.
    #[error("not a connect of the udp tracker protocol")]
    NotAConnect,
    /// An action that BEP 15 does not have.
    #[error("unknown action {0}")]
    UnknownAction(u32),
    /// An option that reaches beyond the datagram.
    #[error("an option is cut off")]
    OptionCutOff,
    /// [`MAX_URL_DATA`].
    #[error("the path in the options is longer than {MAX_URL_DATA} bytes")]
    UrlTooLong,
}

/// Reads a client's datagram (BEP 15).
///
/// Bytes beyond what the action needs are ignored, but for an announce's options.
///
/// # Errors
/// [`UdpError`]: the client's fault. Nothing is known of who sent it: it gets no answer.
pub fn parse_request(bytes: &[u8]) -> Result<Request<'_>, UdpError> {
    let short = UdpError::TooShort { len: bytes.len() };
    let mut fields = Fields(bytes);
    let connection = fields.u64().ok_or(short)?;
    let action = fields.u32().ok_or(short)?;
    let transaction = fields.u32().ok_or(short)?;
    match action {
        CONNECT if connection != PROTOCOL_ID => Err(UdpError::NotAConnect),
        CONNECT => Ok(Request::Connect { transaction }),
        ANNOUNCE => {
            let announce = fields.announce().ok_or(short)?;
            Ok(Request::Announce { connection, transaction, announce, options: Options(fields.0) })
        }
        SCRAPE => {
            let (hashes, _) = fields.0.as_chunks();
            if hashes.is_empty() {
                return Err(short);
            }
            Ok(Request::Scrape { connection, transaction, hashes: ScrapeHashes(hashes) })
        }
        _ => Err(UdpError::UnknownAction(action)),
    }
}

/// What follows an announce (BEP 41): read when it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a>(&'a [u8]);

impl Options<'_> {
    /// Returns the path and query of the URL that is announced to, put together from its parts;
    /// empty if there is none. Foreign bytes. Allocates at most [`MAX_URL_DATA`].
    ///
    /// # Errors
    /// [`UdpError::OptionCutOff`], [`UdpError::UrlTooLong`]: the client's fault.
    pub fn url_data(&self) -> Result<Vec<u8>, UdpError> {
        let mut url = Vec::new();
        let mut rest = self.0;
        while let Some((&kind, behind)) = rest.split_first() {
            match kind {
                END_OF_OPTIONS => break,
                NOP => rest = behind,
                _ => {
                    let (&len, behind) = behind.split_first().ok_or(UdpError::OptionCutOff)?;
                    let cut = behind.split_at_checked(len.into());
                    let (data, behind) = cut.ok_or(UdpError::OptionCutOff)?;
                    rest = behind;
                    if kind == URL_DATA {
                        if url.len() + data.len() > MAX_URL_DATA {
                            return Err(UdpError::UrlTooLong);
                        }
                        url.extend_from_slice(data);
                    }
                }
            }
        }
        Ok(url)
    }
}

/// The info-hashes of a scrape, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrapeHashes<'a>(&'a [[u8; 20]]);

impl ScrapeHashes<'_> {
    /// Returns them in order, at most [`MAX_SCRAPE_HASHES`]; the rest is ignored.
    pub fn iter(&self) -> impl Iterator<Item = InfoHash> {
        self.0.iter().take(MAX_SCRAPE_HASHES).map(|hash| InfoHash(*hash))
    }
}

impl From<UdpAnnounce> for AnnounceRequest {
    fn from(announce: UdpAnnounce) -> Self {
        Self {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            port: announce.port,
            left: Some(announce.left),
            event: announce.event,
            num_want: announce.num_want,
            compact: true,
            no_peer_id: true,
            ip: announce.ip.map(Into::into),
        }
    }
}

/// Appends a connect to `out`.
pub fn write_connect(out: &mut Vec<u8>, transaction: u32) {
    write_head(out, PROTOCOL_ID, CONNECT, transaction);
}

/// Appends an announce to `out`, with the path and query of its URL in as many options as they need
/// (BEP 41); none if `url_data` is empty.
pub fn write_announce(
    out: &mut Vec<u8>,
    connection: u64,
    transaction: u32,
    announce: &UdpAnnounce,
    url_data: &[u8],
) {
    write_head(out, connection, ANNOUNCE, transaction);
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for bytes in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&bytes.to_be_bytes());
    }
    let event: u32 = match announce.event {
        // BEP 15 has no number for what BEP 21 has a word for.
        AnnounceEvent::Periodic | AnnounceEvent::Paused => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
    };
    out.extend_from_slice(&event.to_be_bytes());
    out.extend_from_slice(&announce.ip.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    out.extend_from_slice(&announce.key.to_be_bytes());
    // All ones is -1, "as you like".
    out.extend_from_slice(&announce.num_want.unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&announce.port.to_be_bytes());
    for part in url_data.chunks(u8::MAX.into()) {
        let len = u8::try_from(part.len()).expect("a part has at most 255 bytes");
        out.extend_from_slice(&[URL_DATA, len]);
        out.extend_from_slice(part);
    }
}

/// Appends a scrape of up to [`MAX_SCRAPE_ASKED`] torrents to `out`; the rest is left out.
pub fn write_scrape(out: &mut Vec<u8>, connection: u64, transaction: u32, hashes: &[InfoHash]) {
    write_head(out, connection, SCRAPE, transaction);
    for hash in hashes.iter().take(MAX_SCRAPE_ASKED) {
        out.extend_from_slice(&hash.0);
    }
}

/// What a tracker sends; borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// A connection id, good for a minute (BEP 15).
    Connected {
        /// That of the connect.
        transaction: u32,
        /// To be sent with what follows.
        connection: u64,
    },
    /// An announce was taken.
    Announced {
        /// That of the announce.
        transaction: u32,
        /// Until the next regular announce.
        interval: Duration,
        /// Peers that miss something.
        leechers: u32,
        /// Peers that have everything.
        seeders: u32,
        /// Compact peers of the family of the socket: [`super::compact`].
        peers: &'a [u8],
    },
    /// How swarms stand, in the order in which they were asked for.
    Scraped {
        /// That of the scrape.
        transaction: u32,
        /// 12 bytes each.
        swarms: ScrapedSwarms<'a>,
    },
    /// A request was refused.
    Failed {
        /// That of the request.
        transaction: u32,
        /// Why. Foreign text.
        message: &'a [u8],
    },
}

/// How swarms stand, as a tracker's datagram has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrapedSwarms<'a>(&'a [[u8; 12]]);

impl ScrapedSwarms<'_> {
    /// Returns them in order.
    pub fn iter(&self) -> impl Iterator<Item = SwarmCounts> {
        self.0.iter().map(|swarm| {
            let mut fields = Fields(swarm);
            let mut next = || fields.u32().unwrap_or(0);
            let (seeders, downloaded, leechers) = (next(), next(), next());
            let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
            SwarmCounts { complete: count(seeders), downloaded, incomplete: count(leechers) }
        })
    }
}

/// Reads a tracker's datagram (BEP 15); bytes beyond what the action needs are ignored.
///
/// # Errors
/// [`UdpError`]: the sender's fault. Anybody can send one: it counts for nothing.
pub fn parse_reply(bytes: &[u8]) -> Result<Reply<'_>, UdpError> {
    let short = UdpError::TooShort { len: bytes.len() };
    let mut fields = Fields(bytes);
    let action = fields.u32().ok_or(short)?;
    let transaction = fields.u32().ok_or(short)?;
    match action {
        CONNECT => {
            let connection = fields.u64().ok_or(short)?;
            Ok(Reply::Connected { transaction, connection })
        }
        ANNOUNCE => {
            let mut next = || fields.u32().ok_or(short);
            let interval = Duration::from_secs(next()?.into());
            let (leechers, seeders) = (next()?, next()?);
            let peers = fields.0;
            Ok(Reply::Announced { transaction, interval, leechers, seeders, peers })
        }
        SCRAPE => Ok(Reply::Scraped { transaction, swarms: ScrapedSwarms(fields.0.as_chunks().0) }),
        ERROR => Ok(Reply::Failed { transaction, message: fields.0 }),
        _ => Err(UdpError::UnknownAction(action)),
    }
}

/// Appends the answer to a connect to `out`: 16 bytes, as many as the question has.
pub fn write_connected(out: &mut Vec<u8>, transaction: u32, connection: u64) {
    write_answer_head(out, CONNECT, transaction);
    out.extend_from_slice(&connection.to_be_bytes());
}

/// Appends the answer to an announce to `out`.
///
/// Of `peers` those are written that are of the family of `to`, as many as there is room for in
/// [`MAX_ANSWER_LEN`]: [`most_peers`].
pub fn write_announced(
    out: &mut Vec<u8>,
    transaction: u32,
    interval: Duration,
    counts: SwarmCounts,
    peers: impl Iterator<Item = SocketAddr>,
    to: SocketAddr,
) {
    write_answer_head(out, ANNOUNCE, transaction);
    let interval = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
    for number in [interval, field(counts.incomplete), field(counts.complete)] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for peer in peers.filter(|peer| peer.is_ipv4() == to.is_ipv4()).take(most_peers(to)) {
        match peer {
            SocketAddr::V4(peer) => write_peer4(out, peer),
            SocketAddr::V6(peer) => write_peer6(out, peer),
        }
    }
}

/// Returns how many peers the answer to an announce from `to` has room for.
pub fn most_peers(to: SocketAddr) -> usize {
    let stride = if to.is_ipv4() { PEER4_LEN } else { PEER6_LEN };
    (MAX_ANSWER_LEN - ANNOUNCED_HEAD_LEN) / stride
}

/// Appends the answer to a scrape to `out`; `swarms` in the order in which they were asked for, at
/// most [`MAX_SCRAPE_HASHES`].
pub fn write_scraped(
    out: &mut Vec<u8>,
    transaction: u32,
    swarms: impl IntoIterator<Item = SwarmCounts>,
) {
    write_answer_head(out, SCRAPE, transaction);
    for swarm in swarms.into_iter().take(MAX_SCRAPE_HASHES) {
        for number in [field(swarm.complete), swarm.downloaded, field(swarm.incomplete)] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Appends a refusal to `out`; of a long message the beginning.
pub fn write_failed(out: &mut Vec<u8>, transaction: u32, message: &str) {
    write_answer_head(out, ERROR, transaction);
    let message = message.as_bytes();
    out.extend_from_slice(&message[..message.len().min(MAX_MESSAGE_LEN)]);
}

/// The rest of a datagram, field by field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn announce(&mut self) -> Option<UdpAnnounce> {
        let (info_hash, peer_id) = (InfoHash(self.take()?), PeerId(self.take()?));
        let (downloaded, left, uploaded) = (self.u64()?, self.u64()?, self.u64()?);
        let event = match self.u32()? {
            1 => AnnounceEvent::Completed,
            2 => AnnounceEvent::Started,
            3 => AnnounceEvent::Stopped,
            _ => AnnounceEvent::Periodic,
        };
        let ip = Some(Ipv4Addr::from(self.take::<4>()?)).filter(|ip| !ip.is_unspecified());
        let key = self.u32()?;
        // A negative number leaves it to the tracker.
        let num_want = Some(self.u32()?).filter(|want| i32::try_from(*want).is_ok());
        let port = u16::from_be_bytes(self.take()?);
        Some(UdpAnnounce {
            info_hash,
            peer_id,
            downloaded,
            left,
            uploaded,
            event,
            ip,
            key,
            num_want,
            port,
        })
    }
}

fn write_head(out: &mut Vec<u8>, connection: u64, action: u32, transaction: u32) {
    out.extend_from_slice(&connection.to_be_bytes());
    write_answer_head(out, action, transaction);
}

fn write_answer_head(out: &mut Vec<u8>, action: u32, transaction: u32) {
    out.extend_from_slice(&action.to_be_bytes());
    out.extend_from_slice(&transaction.to_be_bytes());
}

fn field(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

// The bounds agree with each other: a scrape's answer and an error fit a datagram.
const _: () = {
    assert!(ANSWER_HEAD_LEN + 12 * MAX_SCRAPE_HASHES <= MAX_ANSWER_LEN);
    assert!(ANSWER_HEAD_LEN + MAX_MESSAGE_LEN <= MAX_ANSWER_LEN);
    assert!(SCRAPE_HEAD_LEN == CONNECT_LEN);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::compact::{parse_peers4, parse_peers6};
    use proptest::prelude::*;

    const ANNOUNCED: UdpAnnounce = UdpAnnounce {
        info_hash: InfoHash([b'h'; 20]),
        peer_id: PeerId([b'p'; 20]),
        downloaded: 1,
        left: 2,
        uploaded: 3,
        event: AnnounceEvent::Started,
        ip: None,
        key: 0x0102_0304,
        num_want: None,
        port: 6881,
    };

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("ascii");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        };
        digits.chunks(2).map(byte).collect()
    }

    fn announce(url_data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_announce(&mut out, 0x1122_3344_5566_7788, 9, &ANNOUNCED, url_data);
        out
    }

    #[test]
    fn a_connect_is_the_one_of_bep_15() {
        let mut out = Vec::new();
        write_connect(&mut out, 0x1234_5678);
        assert_eq!(out, hex("00000417271019800000000012345678"));
        assert_eq!(parse_request(&out), Ok(Request::Connect { transaction: 0x1234_5678 }));
        out[7] ^= 1;
        assert_eq!(parse_request(&out), Err(UdpError::NotAConnect));
    }

    #[test]
    fn every_field_of_an_announce_is_where_bep_15_has_it() {
        let expected = hex("1122334455667788 00000001 00000009
             6868686868686868686868686868686868686868
             7070707070707070707070707070707070707070
             0000000000000001 0000000000000002 0000000000000003
             00000002 00000000 01020304 ffffffff 1ae1");
        assert_eq!(expected.len(), ANNOUNCE_LEN);
        assert_eq!(announce(b""), expected);
        let Ok(Request::Announce { connection, transaction, announce, options }) =
            parse_request(&expected)
        else {
            panic!("an announce")
        };
        assert_eq!((connection, transaction, announce), (0x1122_3344_5566_7788, 9, ANNOUNCED));
        assert_eq!(options.url_data(), Ok(vec![]));
    }

    #[test]
    fn events_have_other_numbers_than_words() {
        for (number, event) in [
            (0, AnnounceEvent::Periodic),
            (1, AnnounceEvent::Completed),
            (2, AnnounceEvent::Started),
            (3, AnnounceEvent::Stopped),
            (4, AnnounceEvent::Periodic),
        ] {
            let mut bytes = announce(b"");
            bytes[83] = number;
            let Ok(Request::Announce { announce, .. }) = parse_request(&bytes) else { panic!() };
            assert_eq!(announce.event, event);
        }
    }

    #[test]
    fn requests_that_are_too_short_are_none() {
        let whole = announce(b"");
        for len in 0..whole.len() {
            assert_eq!(parse_request(&whole[..len]), Err(UdpError::TooShort { len }), "{len}");
        }
        let mut scrape = Vec::new();
        write_scrape(&mut scrape, 1, 2, &[InfoHash([7; 20])]);
        for len in 0..scrape.len() {
            assert_eq!(parse_request(&scrape[..len]), Err(UdpError::TooShort { len }), "{len}");
        }
        scrape.push(1);
        let Ok(Request::Scrape { hashes, .. }) = parse_request(&scrape) else { panic!() };
        assert!(hashes.iter().eq([InfoHash([7; 20])]), "a part of an info-hash is none");
        let mut unknown = announce(b"");
        unknown[11] = 3;
        assert_eq!(parse_request(&unknown), Err(UdpError::UnknownAction(3)));
    }

    #[test]
    fn a_path_comes_in_options() {
        let url = |options: &[u8]| Options(options).url_data();
        // BEP 41's own example.
        let example = b"\x02\x0c/dir?a=b&c=d";
        assert_eq!(announce(b"/dir?a=b&c=d")[ANNOUNCE_LEN..], *example);
        assert_eq!(url(example), Ok(b"/dir?a=b&c=d".to_vec()));
        assert_eq!(url(b"\x01\x02\x02ab\x01\x07\x01x\x02\x01c\0\x02\x01d"), Ok(b"abc".to_vec()));
        assert_eq!(url(b"\x02"), Err(UdpError::OptionCutOff));
        assert_eq!(url(b"\x02\x02a"), Err(UdpError::OptionCutOff));
        assert_eq!(url(b"\x09\x02a"), Err(UdpError::OptionCutOff));
        let long = vec![b'x'; MAX_URL_DATA];
        let bytes = announce(&long);
        assert_eq!(bytes.len(), ANNOUNCE_LEN + MAX_URL_DATA + 2 * 9);
        assert_eq!(url(&bytes[ANNOUNCE_LEN..]), Ok(long));
        let bytes = announce(&[b'x'; MAX_URL_DATA + 1]);
        assert_eq!(url(&bytes[ANNOUNCE_LEN..]), Err(UdpError::UrlTooLong));
    }

    #[test]
    fn answers_are_what_bep_15_has() {
        let mut out = Vec::new();
        write_connected(&mut out, 1, 0x0102_0304_0506_0708);
        assert_eq!(out, hex("00000000 00000001 0102030405060708"));
        out.clear();
        let counts = SwarmCounts { complete: 2, downloaded: 5, incomplete: 3 };
        let peers = ["1.2.3.4:5", "[2001:db8::1]:6"].map(|peer| peer.parse().expect("an address"));
        let interval = Duration::from_secs(1800);
        write_announced(&mut out, 9, interval, counts, peers.into_iter(), peers[0]);
        assert_eq!(out, hex("00000001 00000009 00000708 00000003 00000002 01020304 0005"));
        out.clear();
        write_scraped(&mut out, 9, [counts, SwarmCounts::default()]);
        let zeros = "00000000 00000000 00000000";
        assert_eq!(out, hex(&format!("00000002 00000009 00000002 00000005 00000003 {zeros}")));
        out.clear();
        write_failed(&mut out, 9, "no");
        assert_eq!(out, hex("00000003 00000009 6e6f"));
    }

    #[test]
    fn answers_keep_to_a_packet() {
        for (to, stride) in [("1.2.3.4:5", 6), ("[::1]:5", 18)] {
            let to = to.parse().expect("an address");
            let mut out = Vec::new();
            let peers = std::iter::repeat_n(to, 1_000);
            let counts = SwarmCounts::default();
            write_announced(&mut out, 9, Duration::ZERO, counts, peers, to);
            assert!(out.len() <= MAX_ANSWER_LEN && out.len() + stride > MAX_ANSWER_LEN);
        }
        let mut out = Vec::new();
        write_failed(&mut out, 9, &"x".repeat(10_000));
        assert!(out.len() <= MAX_ANSWER_LEN);
    }

    #[test]
    fn replies_that_are_too_short_are_none() {
        let mut out = Vec::new();
        write_connected(&mut out, 1, 2);
        for len in 0..out.len() {
            assert_eq!(parse_reply(&out[..len]), Err(UdpError::TooShort { len }), "{len}");
        }
        out.push(0);
        assert_eq!(parse_reply(&out), Ok(Reply::Connected { transaction: 1, connection: 2 }));
        let mut out = Vec::new();
        let to: SocketAddr = "1.2.3.4:5".parse().expect("an address");
        let counts = SwarmCounts::default();
        write_announced(&mut out, 1, Duration::ZERO, counts, std::iter::empty(), to);
        for len in 0..out.len() {
            assert_eq!(parse_reply(&out[..len]), Err(UdpError::TooShort { len }), "{len}");
        }
        assert_eq!(parse_reply(&[0, 0, 0, 4, 0, 0, 0, 0]), Err(UdpError::UnknownAction(4)));
    }

    prop_compose! {
        fn any_announce()(
            hash: [u8; 20],
            id: [u8; 20],
            bytes: [u64; 3],
            event in 0usize..4,
            ip: [u8; 4],
            key: u32,
            want in proptest::option::of(0..=i32::MAX.cast_unsigned()),
            port: u16,
        ) -> UdpAnnounce {
            use AnnounceEvent::{Completed, Periodic, Started, Stopped};
            let [downloaded, left, uploaded] = bytes;
            UdpAnnounce {
                info_hash: InfoHash(hash),
                peer_id: PeerId(id),
                downloaded,
                left,
                uploaded,
                event: [Periodic, Completed, Started, Stopped][event],
                ip: Some(Ipv4Addr::from(ip)).filter(|ip| !ip.is_unspecified()),
                key,
                num_want: want,
                port,
            }
        }
    }

    proptest! {
        #[test]
        fn requests_are_read_as_they_were_written(
            connection: u64,
            transaction: u32,
            announce in any_announce(),
            url in prop::collection::vec(any::<u8>(), 0..=MAX_URL_DATA),
            hashes in prop::collection::vec(any::<[u8; 20]>(), 1..100),
        ) {
            let mut out = Vec::new();
            write_announce(&mut out, connection, transaction, &announce, &url);
            match parse_request(&out) {
                Ok(Request::Announce { connection: c, transaction: t, announce: a, options }) => {
                    prop_assert_eq!((c, t, a), (connection, transaction, announce));
                    prop_assert_eq!(options.url_data(), Ok(url));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            out.clear();
            let hashes: Vec<InfoHash> = hashes.into_iter().map(InfoHash).collect();
            write_scrape(&mut out, connection, transaction, &hashes);
            match parse_request(&out) {
                Ok(Request::Scrape { connection: c, transaction: t, hashes: read }) => {
                    prop_assert_eq!((c, t), (connection, transaction));
                    prop_assert!(read.iter().eq(hashes.into_iter().take(MAX_SCRAPE_ASKED)));
                    prop_assert!(out.len() <= MAX_ANSWER_LEN);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn replies_are_read_as_they_were_written(
            transaction: u32,
            numbers: [u32; 3],
            v4 in prop::collection::vec((any::<[u8; 4]>(), 1..=u16::MAX), 0..150),
            v6 in prop::collection::vec((any::<[u8; 16]>(), 1..=u16::MAX), 0..60),
        ) {
            let [interval, complete, incomplete] = numbers;
            let interval = Duration::from_secs(interval.into());
            let count = |count| usize::try_from(count).expect("four bytes");
            let counts = SwarmCounts {
                complete: count(complete),
                downloaded: 7,
                incomplete: count(incomplete),
            };
            let v4: Vec<SocketAddr> = v4.into_iter().map(SocketAddr::from).collect();
            let v6: Vec<SocketAddr> = v6.into_iter().map(SocketAddr::from).collect();
            let both = || v4.iter().chain(&v6).copied();
            for to in ["1.2.3.4:5", "[::1]:5"].map(|to| to.parse::<SocketAddr>().expect("good")) {
                let mut out = Vec::new();
                write_announced(&mut out, transaction, interval, counts, both(), to);
                let Ok(Reply::Announced { transaction: t, interval: i, leechers, seeders, peers }) =
                    parse_reply(&out)
                else {
                    return Err(TestCaseError::fail("an answer"));
                };
                prop_assert_eq!((t, i), (transaction, interval));
                prop_assert_eq!((seeders, leechers), (complete, incomplete));
                let (read, written) = if to.is_ipv4() {
                    (parse_peers4(peers), &v4)
                } else {
                    (parse_peers6(peers), &v6)
                };
                prop_assert_eq!(read.as_ref(), Ok(written));
            }
            let mut out = Vec::new();
            write_scraped(&mut out, transaction, [counts]);
            let Ok(Reply::Scraped { swarms, .. }) = parse_reply(&out) else {
                return Err(TestCaseError::fail("an answer"));
            };
            prop_assert!(swarms.iter().eq([counts]));
        }

        #[test]
        fn noise_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            action in 0u8..5,
        ) {
            let mut request = bytes.clone();
            if request.len() > 11 {
                request[8..11].fill(0);
                request[11] = action;
            }
            if let Ok(Request::Announce { options, .. }) = parse_request(&request) {
                let _ = options.url_data();
            }
            let mut reply = bytes;
            if reply.len() > 3 {
                reply[..3].fill(0);
                reply[3] = action;
            }
            if let Ok(Reply::Scraped { swarms, .. }) = parse_reply(&reply) {
                let _ = swarms.iter().count();
            }
        }
    }
}
