//! Scrapes over HTTP, the client's half: where to ask, the query, and the reply (BEP 48).
//!
//! Decides what a scrape asks and what its reply means. **Invariant:** a torrent that was not asked
//! for is left out of the reply. The other half, a tracker's own, is [`super::tracker_serve`].

use std::fmt::Write;

use percent_encoding::percent_encode;

use super::bencode::{self, Dict, Limits, Value};
use super::tracker_http::{Failure, RAW, ReplyError, refusal};
use super::tracker_serve::{MAX_SCRAPE_HASHES, SwarmCounts};
use crate::id::InfoHash;

/// What a tracker says to a scrape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScrapeAnswer {
    /// How the swarms stand, in the order in which they were asked for; `None` for one that it does
    /// not know.
    Swarms(Vec<Option<SwarmCounts>>),
    /// It refused.
    Failure(Failure),
}

/// Returns path and query of the scrape URL that belongs to those of an announce URL, or `None` if
/// the tracker has none: only of a path whose last segment begins with `announce` is that word
/// replaced (BEP 48). What was in the query stays: a passkey may be in it.
pub fn scrape_target(announce: &str) -> Option<String> {
    let (path, query) = match announce.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (announce, None),
    };
    let (folder, last) = path.rsplit_once('/')?;
    let rest = last.strip_prefix("announce")?;
    let mut target = format!("{folder}/scrape{rest}");
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    Some(target)
}

/// Appends the query to `target`, with the `?` or `&` that it needs: at most [`MAX_SCRAPE_HASHES`]
/// torrents, the rest is left out.
pub fn append_query(target: &mut String, hashes: &[InfoHash]) {
    for hash in hashes.iter().take(MAX_SCRAPE_HASHES) {
        let separator = match target.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        // A write to a string does not fail.
        let _ = write!(target, "{separator}info_hash={}", percent_encode(&hash.0, RAW));
    }
}

/// Reads a reply's body. A `failure reason` makes it a [`Failure`] whatever else is in it.
///
/// # Errors
/// [`ReplyError`]: the tracker's fault. Never panics on remote input.
pub fn decode_scrape(body: &[u8], hashes: &[InfoHash]) -> Result<ScrapeAnswer, ReplyError> {
    let (tree, _) = bencode::decode_prefix(body, &Limits::NETWORK)?;
    let reply = tree.root().as_dict().ok_or(ReplyError::NotADictionary)?;
    if let Some(failure) = refusal(reply) {
        return Ok(ScrapeAnswer::Failure(failure));
    }
    let files = reply.get(b"files").and_then(Value::as_dict).ok_or(ReplyError::NoFiles)?;
    let counts = |hash: &InfoHash| {
        let file = files.get(&hash.0).or_else(|| files.get(as_text(hash).as_bytes()));
        file.and_then(Value::as_dict).map(counts)
    };
    Ok(ScrapeAnswer::Swarms(hashes.iter().map(counts).collect()))
}

/// Returns a hash as trackers write it that take its bytes for the code points of a text:
/// bittorrent-tracker 11 of npm.
fn as_text(hash: &InfoHash) -> String {
    hash.0.iter().map(|byte| char::from(*byte)).collect()
}

fn counts(file: Dict<'_, '_>) -> SwarmCounts {
    let count = |key: &[u8]| file.get(key).and_then(Value::as_int).unwrap_or(0).max(0);
    let clip = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
    SwarmCounts {
        complete: clip(count(b"complete")),
        downloaded: u32::try_from(count(b"downloaded")).unwrap_or(u32::MAX),
        incomplete: clip(count(b"incomplete")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tracker_serve::{encode_scrape, parse_scrape};
    use super::*;

    fn hash(byte: u8) -> InfoHash {
        InfoHash([byte; 20])
    }

    #[test]
    fn only_a_last_segment_that_begins_with_announce_has_a_scrape() {
        // The examples of BEP 48, and what passkeys look like.
        for (announce, scrape) in [
            ("/announce", Some("/scrape")),
            ("/x/announce", Some("/x/scrape")),
            ("/announce.php", Some("/scrape.php")),
            ("/a", None),
            ("/announce?x2%0644", Some("/scrape?x2%0644")),
            ("/announce?x=2/4", Some("/scrape?x=2/4")),
            ("/x%064announce", None),
            ("/0123abc/announce?k=announce", Some("/0123abc/scrape?k=announce")),
            ("/announce/0123abc", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(scrape_target(announce).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn a_query_is_what_our_own_tracker_reads() {
        let many: Vec<InfoHash> = (0..80).map(hash).collect();
        for (count, start) in [(1, "/scrape"), (2, "/scrape?k=v"), (80, "/scrape?")] {
            let mut target = start.to_owned();
            append_query(&mut target, &many[..count]);
            let (_, query) = target.split_once('?').expect("a query");
            let read = parse_scrape(query).expect("a scrape");
            assert_eq!(read, many[..count.min(MAX_SCRAPE_HASHES)], "{target}");
        }
        let mut target = "/scrape?k=v".to_owned();
        append_query(&mut target, &[hash(b'a')]);
        assert_eq!(target, "/scrape?k=v&info_hash=aaaaaaaaaaaaaaaaaaaa");
    }

    #[test]
    fn counts_come_in_the_order_in_which_they_were_asked_for() {
        let of = |n: usize| SwarmCounts { complete: n, downloaded: 2, incomplete: 3 };
        let mut body = Vec::new();
        encode_scrape(&[(hash(1), of(1)), (hash(2), of(2)), (hash(9), of(9))], &mut body);
        let asked = [hash(2), hash(7), hash(1)];
        let expected = ScrapeAnswer::Swarms(vec![Some(of(2)), None, Some(of(1))]);
        assert_eq!(decode_scrape(&body, &asked), Ok(expected));
    }

    #[test]
    fn a_hash_may_be_written_as_a_text_of_its_bytes() {
        let mut body = b"d5:filesd22:".to_vec();
        body.extend_from_slice("\u{e9}\u{1}\u{ff}".as_bytes());
        body.extend_from_slice(b"aaaaaaaaaaaaaaaaad8:completei4eeee");
        let mut hash = hash(b'a');
        hash.0[..3].copy_from_slice(&[0xe9, 1, 0xff]);
        let counts = SwarmCounts { complete: 4, ..SwarmCounts::default() };
        assert_eq!(decode_scrape(&body, &[hash]), Ok(ScrapeAnswer::Swarms(vec![Some(counts)])));
    }

    #[test]
    fn missing_and_impossible_counts_are_zero_or_the_most() {
        let body = b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei-1e10:downloadedi99999999999eeee";
        let counts = SwarmCounts { complete: 0, downloaded: u32::MAX, incomplete: 0 };
        let expected = ScrapeAnswer::Swarms(vec![Some(counts)]);
        assert_eq!(decode_scrape(body, &[hash(b'a')]), Ok(expected));
    }

    #[test]
    fn a_refusal_and_nonsense_are_told_apart() {
        let refused = decode_scrape(b"d14:failure reason2:noe", &[]);
        assert!(matches!(refused, Ok(ScrapeAnswer::Failure(failure)) if failure.reason == "no"));
        assert_eq!(decode_scrape(b"de", &[]), Err(ReplyError::NoFiles));
        assert_eq!(decode_scrape(b"d5:filesi1ee", &[]), Err(ReplyError::NoFiles));
        assert_eq!(decode_scrape(b"le", &[]), Err(ReplyError::NotADictionary));
        assert!(matches!(decode_scrape(b"", &[]), Err(ReplyError::Bencode(_))));
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, hashes in prop::collection::vec(any::<[u8; 20]>(), 0..4)) {
            let hashes: Vec<InfoHash> = hashes.into_iter().map(InfoHash).collect();
            if let Ok(ScrapeAnswer::Swarms(swarms)) = decode_scrape(&body, &hashes) {
                prop_assert_eq!(swarms.len(), hashes.len());
            }
        }
    }
}
