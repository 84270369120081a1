//! Magnet links (BEP 9, 53): `magnet:?xt=urn:btih:…` and what comes with it.
//!
//! A link names a torrent by its info-hash, and perhaps where peers may be found. All but the hash
//! is a hint: what is unusable in it is left out. **Invariant:** nothing here knows a torrent; a
//! name from a link is for display and no path.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::metainfo::{MAX_TRACKERS, MAX_WEB_SEEDS, Metainfo, looks_like_url};
use crate::id::InfoHash;

/// Bytes of a link at most. The longest in the wild bring a few dozen trackers, some 5 KiB.
pub const MAX_MAGNET_LEN: usize = 64 << 10;
/// Peers kept; a link is typed or shared by hand, and the first of them leads to more.
pub const MAX_MAGNET_PEERS: usize = 64;
/// Files are numbered below this; a metainfo file of 32 MiB cannot list as many.
pub const MAX_FILE_INDEX: u32 = 1_000_000;

/// A magnet link (BEP 9). Its texts are foreign: print them through [`crate::text::Escaped`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Magnet {
    /// `xt=urn:btih:`: the first, if there are several.
    pub info_hash: InfoHash,
    /// `dn`: a name for display, decoded (`+` is a space), lossily.
    pub name: Option<String>,
    /// `tr` and `tr.N`: announce URLs in the order of the link, each once, each a tier by itself;
    /// at most [`MAX_TRACKERS`].
    pub trackers: Vec<String>,
    /// `ws`: web seeds (BEP 19), each once; at most [`MAX_WEB_SEEDS`].
    pub web_seeds: Vec<String>,
    /// `x.pe`: host names or addresses (IPv6 without brackets) and ports; at most
    /// [`MAX_MAGNET_PEERS`].
    pub peers: Vec<(String, u16)>,
    /// `so` (BEP 53): zero-based files that are wanted, rising, neither touching nor overlapping;
    /// empty if nothing was said, which means all.
    pub selected: Vec<RangeInclusive<u32>>,
}

/// Why a text is no magnet link that this engine can follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetError {
    /// More than [`MAX_MAGNET_LEN`] bytes.
    #[error("the link is longer than {MAX_MAGNET_LEN} bytes")]
    TooLong,
    /// It does not begin with `magnet:?`.
    #[error("a magnet link begins with magnet:?")]
    NotMagnet,
    /// A `%` without two hexadecimal digits.
    #[error("'%' without two hexadecimal digits")]
    BadEscape,
    /// No `xt` that names a torrent.
    #[error("there is no info-hash (xt=urn:btih:...)")]
    NoInfoHash,
    /// An `xt` names a torrent by something else than 40 hexadecimal or 32 base32 digits.
    #[error("the info-hash is neither 40 hexadecimal nor 32 base32 digits")]
    BadInfoHash,
    /// Only the hash of a v2 torrent is there (BEP 52); well formed, but not followed.
    #[error("not supported: only a v2 info-hash (xt=urn:btmh:...)")]
    V2Only,
}

/// Everything is encoded but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Magnet {
    /// Makes the link to a torrent, without peers and with all of its files.
    pub fn of(metainfo: &Metainfo) -> Self {
        Self {
            info_hash: metainfo.info_hash,
            name: Some(metainfo.name.clone()),
            trackers: metainfo.trackers.concat(),
            web_seeds: metainfo.web_seeds.clone(),
            peers: Vec::new(),
            selected: Vec::new(),
        }
    }
}

impl fmt::Display for Magnet {
    /// Writes the link: ASCII without spaces, and safe to print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        let mut add =
            |key: &str, value: &str| write!(f, "&{key}={}", utf8_percent_encode(value, RESERVED));
        self.name.iter().try_for_each(|name| add("dn", name))?;
        self.trackers.iter().try_for_each(|url| add("tr", url))?;
        self.web_seeds.iter().try_for_each(|url| add("ws", url))?;
        for (host, port) in &self.peers {
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "&x.pe={open}{host}{close}:{port}")?;
        }
        for (range, at) in self.selected.iter().zip(0..) {
            f.write_str(if at == 0 { "&so=" } else { "," })?;
            write!(f, "{}", range.start())?;
            if range.end() > range.start() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    /// Reads a link. Keys may be in any case and order, unknown ones are passed over. Never panics
    /// on foreign input.
    fn from_str(text: &str) -> Result<Self, MagnetError> {
        if text.len() > MAX_MAGNET_LEN {
            return Err(MagnetError::TooLong);
        }
        let mut found = Found::default();
        for parameter in query(text).ok_or(MagnetError::NotMagnet)?.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            check_escapes(key)?;
            check_escapes(value)?;
            found.take(&key.to_ascii_lowercase(), value)?;
        }
        found.finish()
    }
}

/// Returns what follows `magnet:?`; some write slashes in it, as if there were a host.
fn query(text: &str) -> Option<&str> {
    const SCHEME: &str = "magnet:";

    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    let rest = rest.trim_start_matches('/').strip_prefix('?')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// What has been read of a link.
#[derive(Default)]
struct Found {
    info_hash: Option<InfoHash>,
    has_v2: bool,
    name: Option<String>,
    trackers: Vec<String>,
    web_seeds: Vec<String>,
    peers: Vec<(String, u16)>,
    selected: Vec<RangeInclusive<u32>>,
}

impl Found {
    /// Takes a parameter in; its key is in lower case, its value as it came.
    fn take(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        match key {
            "xt" => self.topic(&decoded(value))?,
            "dn" if self.name.is_none() && !value.is_empty() => {
                self.name = Some(decoded(&value.replace('+', " ")).into_owned());
            }
            "ws" => keep_url(&decoded(value), &mut self.web_seeds, MAX_WEB_SEEDS),
            "x.pe" => {
                let peer = peer(&decoded(value)).filter(|_| self.peers.len() < MAX_MAGNET_PEERS);
                self.peers.extend(peer);
            }
            "so" => self.selected.extend(decoded(value).split(',').filter_map(files)),
            _ if is_tracker(key) => {
                keep_url(&decoded(value), &mut self.trackers, MAX_TRACKERS);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an `xt` in; those of other networks are passed over.
    fn topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        if let Some(hash) = topic.strip_prefix("urn:btih:") {
            let hash = info_hash(hash).ok_or(MagnetError::BadInfoHash)?;
            self.info_hash.get_or_insert(hash);
        } else if let Some(hash) = topic.strip_prefix("urn:btmh:") {
            // A multihash: 0x12 is SHA-256, 0x20 its length.
            let digits = hash.strip_prefix("1220").ok_or(MagnetError::BadInfoHash)?;
            if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MagnetError::BadInfoHash);
            }
            self.has_v2 = true;
        }
        Ok(())
    }

    fn finish(self) -> Result<Magnet, MagnetError> {
        let Self { info_hash, has_v2, name, trackers, web_seeds, peers, selected } = self;
        let missing = if has_v2 { MagnetError::V2Only } else { MagnetError::NoInfoHash };
        let info_hash = info_hash.ok_or(missing)?;
        let selected = merged(selected);
        Ok(Magnet { info_hash, name, trackers, web_seeds, peers, selected })
    }
}

fn is_tracker(key: &str) -> bool {
    let number = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    key == "tr" || key.strip_prefix("tr.").is_some_and(number)
}

fn check_escapes(text: &str) -> Result<(), MagnetError> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    let all_good = escapes.all(|behind| is_digit(behind.first()) && is_digit(behind.get(1)));
    if all_good { Ok(()) } else { Err(MagnetError::BadEscape) }
}

fn decoded(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

fn keep_url(url: &str, urls: &mut Vec<String>, max: usize) {
    if looks_like_url(url) && urls.len() < max && !urls.iter().any(|kept| kept == url) {
        urls.push(url.to_owned());
    }
}

/// Reads 40 hexadecimal digits, or 32 of base32 (RFC 4648), in any case.
fn info_hash(text: &str) -> Option<InfoHash> {
    if text.len() != 32 {
        return text.parse().ok();
    }
    let mut hash = [0; 20];
    for (bytes, digits) in hash.as_chunks_mut::<5>().0.iter_mut().zip(text.as_bytes().chunks(8)) {
        let mut word = 0u64;
        for digit in digits {
            let value = match digit.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                number @ b'2'..=b'7' => number - b'2' + 26,
                _ => return None,
            };
            word = word << 5 | u64::from(value);
        }
        let [_, _, _, significant @ ..] = word.to_be_bytes();
        *bytes = significant;
    }
    Some(InfoHash(hash))
}

/// Reads `host:port`, an IPv6 address in brackets.
fn peer(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return Some((inner.parse::<Ipv6Addr>().ok()?.to_string(), port));
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!host.is_empty() && host.bytes().all(named)).then(|| (host.to_owned(), port))
}

/// Reads a file's number, or two with a hyphen between them.
fn files(text: &str) -> Option<RangeInclusive<u32>> {
    let number = |text: &str| text.parse().ok().filter(|number| *number < MAX_FILE_INDEX);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

/// Sorts ranges and joins those that touch or overlap.
fn merged(mut ranges: Vec<RangeInclusive<u32>>) -> Vec<RangeInclusive<u32>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= *last.end() + 1 => {
                *last = *last.start()..=*range.end().max(last.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}
