//! Where a torrent says its peers are: trackers (BEP 3, 12), web seeds (BEP 19) and nodes of the
//! DHT (BEP 5).
//!
//! Nothing here is worth refusing a torrent for: what is unusable is left out with a note, which
//! does not quote it, because announce URLs may hold a user's passkey.

use std::fmt;

use super::Notes;
use crate::proto::bencode::{Dict, Value};

/// Trackers kept, over all tiers: the longest public lists have some 150.
pub const MAX_TRACKERS: usize = 256;
/// Web seeds kept.
pub const MAX_WEB_SEEDS: usize = 256;
/// Nodes of the DHT kept: BEP 5 speaks of the eight closest.
pub const MAX_NODES: usize = 8;
/// Bytes of a host name at most (RFC 1035).
const MAX_HOST_LEN: usize = 253;
/// Bytes of a URL at most; servers take 8 KiB for a whole request line.
const MAX_URL_LEN: usize = 4096;

/// Reads the tiers of `announce-list` or, if no URL of those is usable, `announce`.
///
/// A list that holds URLs where tiers should be is read as tiers of one.
pub(super) fn trackers(root: Dict<'_, '_>, notes: &mut Notes) -> Vec<Vec<String>> {
    let mut urls = Urls { seen: Vec::new(), max: MAX_TRACKERS, full: false };
    let mut tiers = Vec::new();
    let list = root.get(b"announce-list");
    if list.is_some_and(|list| list.as_list().is_none()) {
        notes.push(format_args!("announce-list is not a list and is left out"));
    }
    for (number, tier) in list.and_then(Value::as_list).into_iter().flatten().enumerate() {
        let from = urls.seen.len();
        if let Some(entries) = tier.as_list() {
            for (index, url) in entries.enumerate() {
                urls.push(url, format_args!("announce-list/{number}/{index}"), notes);
            }
        } else {
            urls.push(tier, format_args!("announce-list/{number}"), notes);
        }
        tiers.push(urls.seen[from..].to_vec());
    }
    tiers.retain(|tier| !tier.is_empty());
    if tiers.is_empty()
        && let Some(announce) = root.get(b"announce")
    {
        urls.push(announce, format_args!("announce"), notes);
        tiers.extend(urls.seen.first().map(|url| vec![url.clone()]));
    }
    tiers
}

/// Reads `url-list`: a list of URLs, or one URL alone.
pub(super) fn web_seeds(root: Dict<'_, '_>, notes: &mut Notes) -> Vec<String> {
    let mut urls = Urls { seen: Vec::new(), max: MAX_WEB_SEEDS, full: false };
    let Some(value) = root.get(b"url-list") else { return Vec::new() };
    if let Some(list) = value.as_list() {
        for (index, url) in list.enumerate() {
            urls.push(url, format_args!("url-list/{index}"), notes);
        }
    } else {
        urls.push(value, format_args!("url-list"), notes);
    }
    urls.seen
}

/// Reads `nodes` (BEP 5, "Torrent File Extensions"): pairs of a host and a port.
pub(super) fn nodes(root: Dict<'_, '_>) -> Vec<(String, u16)> {
    let list = root.get(b"nodes").and_then(Value::as_list);
    let node = |value: Value<'_, '_>| {
        let mut pair = value.as_list()?;
        let host = std::str::from_utf8(pair.next()?.as_bytes()?).ok()?;
        let port = u16::try_from(pair.next()?.as_int()?).ok().filter(|port| *port != 0)?;
        let is_host = (1..=MAX_HOST_LEN).contains(&host.len())
            && !host.contains(|c: char| c.is_control() || c.is_whitespace());
        is_host.then(|| (host.to_owned(), port))
    };
    list.into_iter().flatten().filter_map(node).take(MAX_NODES).collect()
}

/// URLs in the order found, each once.
struct Urls {
    /// At most `max`.
    seen: Vec<String>,
    max: usize,
    /// Whether something has been left out for `max`, which is noted once.
    full: bool,
}

impl Urls {
    /// Keeps `value` if it is a URL that is not here yet. Empty strings are passed over silently:
    /// several authoring tools write one where there is nothing to say.
    fn push(&mut self, value: Value<'_, '_>, place: fmt::Arguments<'_>, notes: &mut Notes) {
        let url = match value.as_bytes().map(|bytes| std::str::from_utf8(bytes).map(str::trim)) {
            Some(Ok("")) => return,
            Some(Ok(url)) if looks_like_url(url) => url,
            _ => return notes.push(format_args!("{place} is not a URL and is left out")),
        };
        if self.seen.iter().any(|seen| seen == url) {
            return;
        }
        if self.seen.len() < self.max {
            self.seen.push(url.to_owned());
        } else if !std::mem::replace(&mut self.full, true) {
            let max = self.max;
            notes.push(format_args!("{place} and what follows is left out: at most {max} URLs"));
        }
    }
}

/// Whether a text is worth giving to who speaks its scheme: `scheme://something`, without control
/// characters. Spaces and the like are in real announce URLs and are that one's to encode.
pub(in crate::proto) fn looks_like_url(text: &str) -> bool {
    let scheme_ok = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    text.len() <= MAX_URL_LEN
        && !text.contains(char::is_control)
        && text.split_once("://").is_some_and(|(scheme, rest)| {
            scheme_ok(scheme) && !rest.is_empty() && !rest.starts_with('/')
        })
}
