//! Announces over HTTP, the tracker's half: the query that is read and the reply that is written
//! (BEP 3, 7, 23, 48).
//!
//! Decides what a client asked for. **Invariant:** it knows no swarm: [`crate::tracker_server`] has
//! those. The other half, the client's, is [`super::tracker_http`].

use std::net::{IpAddr, SocketAddr};

use super::bencode::Writer;
use super::compact;
use super::tracker_http::AnnounceEvent;
use crate::id::{InfoHash, PeerId};
use crate::time::Duration;

/// The most info-hashes of one scrape that are answered; the rest is ignored. UDP trackers stop at
/// 74 (BEP 15).
pub const MAX_SCRAPE_HASHES: usize = 74;

/// What a client announces (BEP 3, BEP 23).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnnounceRequest {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What the client calls itself.
    pub peer_id: PeerId,
    /// The port that it says it listens on; 0 if it does not.
    pub port: u16,
    /// Payload that it misses, in bytes; `None` if it does not say.
    pub left: Option<u64>,
    /// Why now. Events of later BEPs (`paused`) count as a regular announce.
    pub event: AnnounceEvent,
    /// How many peers it wants to hear of; `None` if it does not say.
    pub num_want: Option<u32>,
    /// Whether it takes the compact form.
    pub compact: bool,
    /// Whether peer ids are of no use to it.
    pub no_peer_id: bool,
    /// The address that it wants to be listed with, if it gives one in digits.
    pub ip: Option<IpAddr>,
}

/// Why a query is not answered. The client's fault; the text is for its user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A key that every announce or scrape has is missing.
    #[error("missing {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is not what its key stands for: 20 bytes, or a number.
    #[error("invalid {key}")]
    Invalid {
        /// The key.
        key: &'static str,
    },
}

impl AnnounceRequest {
    /// Reads an announce's query: what follows the `?`. Unknown keys are ignored; of a repeated one
    /// the first counts.
    ///
    /// # Errors
    /// [`RequestError`]: the client's fault.
    pub fn parse(query: &str) -> Result<Self, RequestError> {
        let raw = |key| values(query, key).next();
        let optional = |key| raw(key).filter(|value| !value.is_empty());
        let port = raw("port").ok_or(RequestError::Missing { key: "port" })?;
        let event = match raw("event") {
            Some("started") => AnnounceEvent::Started,
            Some("completed") => AnnounceEvent::Completed,
            Some("stopped") => AnnounceEvent::Stopped,
            _ => AnnounceEvent::Periodic,
        };
        let left = optional("left").map(|left| number(left, "left")).transpose()?;
        let num_want =
            optional("numwant").map(|want| number::<i64>(want, "numwant")).transpose()?;
        let ip = optional("ip").and_then(|ip| {
            percent_encoding::percent_decode_str(ip).decode_utf8().ok()?.parse().ok()
        });
        Ok(Self {
            info_hash: InfoHash(twenty_bytes(query, "info_hash")?),
            peer_id: PeerId(twenty_bytes(query, "peer_id")?),
            port: number(port, "port")?,
            left,
            event,
            // -1 is UDP's word for "as you like", which some clients also use here.
            num_want: num_want.and_then(|want| match want {
                ..0 => None,
                want => Some(u32::try_from(want).unwrap_or(u32::MAX)),
            }),
            compact: raw("compact") == Some("1"),
            no_peer_id: raw("no_peer_id") == Some("1"),
            ip,
        })
    }
}

/// Reads a scrape's query: the info-hashes in order, at most [`MAX_SCRAPE_HASHES`] of them (BEP
/// 48).
///
/// # Errors
/// [`RequestError`]: the client's fault. Not naming any torrent is one: the whole list is not for
/// everybody.
pub fn parse_scrape(query: &str) -> Result<Vec<InfoHash>, RequestError> {
    let key = "info_hash";
    let hashes: Vec<InfoHash> = values(query, key)
        .take(MAX_SCRAPE_HASHES)
        .map(|value| decode_twenty(value, key).map(InfoHash))
        .collect::<Result<_, _>>()?;
    if hashes.is_empty() { Err(RequestError::Missing { key }) } else { Ok(hashes) }
}

/// What the tracker says to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceAnswer {
    /// Until the next regular announce; sent in whole seconds.
    pub interval: Duration,
    /// No announce but an event's may come sooner; sent in whole seconds.
    pub min_interval: Duration,
    /// How the swarm stands.
    pub counts: SwarmCounts,
    /// The peers that the client hears of, of both families.
    pub peers: Vec<(PeerId, SocketAddr)>,
    /// In which form it hears of them.
    pub form: PeerForm,
}

/// How a swarm stands (BEP 48).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SwarmCounts {
    /// Seeds.
    pub complete: usize,
    /// Downloads that came to their end since the tracker started.
    pub downloaded: u32,
    /// Peers that miss something.
    pub incomplete: usize,
}

/// In which form peers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerForm {
    /// `peers` and `peers6`, 6 and 18 bytes each (BEP 23, BEP 7).
    Compact,
    /// A list of dictionaries with `peer id`, `ip` and `port` (BEP 3).
    WithIds,
    /// The same without `peer id`.
    WithoutIds,
}

impl AnnounceAnswer {
    /// Appends the answer to `out`, bencoded.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).dict(|reply| {
            reply.key(b"complete").int(int(self.counts.complete));
            reply.key(b"downloaded").int(self.counts.downloaded.into());
            reply.key(b"incomplete").int(int(self.counts.incomplete));
            reply.key(b"interval").int(int(self.interval.as_secs()));
            reply.key(b"min interval").int(int(self.min_interval.as_secs()));
            if self.form != PeerForm::Compact {
                reply.key(b"peers").list(|list| self.write_dicts(list));
                return;
            }
            let (mut peers4, mut peers6) = (Vec::new(), Vec::new());
            let addrs = self.peers.iter().map(|&(_, addr)| addr);
            compact::write_peers(&mut peers4, &mut peers6, addrs);
            reply.key(b"peers").bytes(&peers4);
            if !peers6.is_empty() {
                reply.key(b"peers6").bytes(&peers6);
            }
        });
    }

    fn write_dicts(&self, list: &mut Writer<'_>) {
        for (peer_id, addr) in &self.peers {
            list.dict(|peer| {
                peer.key(b"ip").bytes(addr.ip().to_string().as_bytes());
                if self.form == PeerForm::WithIds {
                    peer.key(b"peer id").bytes(&peer_id.0);
                }
                peer.key(b"port").int(addr.port().into());
            });
        }
    }
}

/// Appends a scrape's answer to `out`, bencoded (BEP 48); `files` in the order of their
/// info-hashes, each once.
pub fn encode_scrape(files: &[(InfoHash, SwarmCounts)], out: &mut Vec<u8>) {
    Writer::new(out).dict(|reply| {
        reply.key(b"files").dict(|dict| {
            for (info_hash, counts) in files {
                dict.key(&info_hash.0).dict(|file| {
                    file.key(b"complete").int(int(counts.complete));
                    file.key(b"downloaded").int(counts.downloaded.into());
                    file.key(b"incomplete").int(int(counts.incomplete));
                });
            }
        });
    });
}

/// Appends a refusal to `out`, bencoded (BEP 3).
pub fn encode_failure(reason: &str, out: &mut Vec<u8>) {
    Writer::new(out).dict(|reply| reply.key(b"failure reason").bytes(reason.as_bytes()));
}

/// Returns the raw values of `key` in order. A `+` stays one: announces are not forms.
fn values<'q>(query: &'q str, key: &str) -> impl Iterator<Item = &'q str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |&(name, _)| name == key)
        .map(|(_, value)| value)
}

fn twenty_bytes(query: &str, key: &'static str) -> Result<[u8; 20], RequestError> {
    let value = values(query, key).next().ok_or(RequestError::Missing { key })?;
    decode_twenty(value, key)
}

fn decode_twenty(value: &str, key: &'static str) -> Result<[u8; 20], RequestError> {
    let mut bytes = [0; 20];
    let mut decoded = percent_encoding::percent_decode_str(value);
    for byte in &mut bytes {
        *byte = decoded.next().ok_or(RequestError::Invalid { key })?;
    }
    if decoded.next().is_some() { Err(RequestError::Invalid { key }) } else { Ok(bytes) }
}

fn number<T: std::str::FromStr>(value: &str, key: &'static str) -> Result<T, RequestError> {
    value.parse().map_err(|_| RequestError::Invalid { key })
}

fn int<T: TryInto<i64>>(number: T) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tracker_http::{AnnounceQuery, Answer, decode_reply};
    use proptest::prelude::*;

    const HASH: &str = "info_hash=aaaaaaaaaaaaaaaaaaa%41";
    const ID: &str = "peer_id=%00bbbbbbbbbbbbbbbbbb+";

    #[test]
    fn an_announce_is_read() {
        let all = format!(
            "{HASH}&{ID}&port=6881&left=5&event=started&numwant=7&compact=1&no_peer_id=1\
             &ip=%3A%3A1&x&port=1"
        );
        let request = AnnounceRequest {
            info_hash: InfoHash(*b"aaaaaaaaaaaaaaaaaaaA"),
            peer_id: PeerId(*b"\0bbbbbbbbbbbbbbbbbb+"),
            port: 6881,
            left: Some(5),
            event: AnnounceEvent::Started,
            num_want: Some(7),
            compact: true,
            no_peer_id: true,
            ip: Some("::1".parse().expect("well formed")),
        };
        assert_eq!(AnnounceRequest::parse(&all), Ok(request));
        let least = format!("{HASH}&{ID}&port=0&left=&event=paused&numwant=-1&ip=host");
        let request = AnnounceRequest {
            port: 0,
            left: None,
            event: AnnounceEvent::Periodic,
            num_want: None,
            compact: false,
            no_peer_id: false,
            ip: None,
            ..request
        };
        assert_eq!(AnnounceRequest::parse(&least), Ok(request));
    }

    #[test]
    fn bad_queries_are_refused_for_their_reason() {
        let missing = |key| Err(RequestError::Missing { key });
        let invalid = |key| Err(RequestError::Invalid { key });
        for (query, error) in [
            (String::new(), missing("port")),
            (format!("{HASH}&{ID}"), missing("port")),
            (format!("{HASH}&port=1"), missing("peer_id")),
            (format!("{ID}&port=1"), missing("info_hash")),
            (format!("info_hash=a&{ID}&port=1"), invalid("info_hash")),
            (format!("{HASH}a&{ID}&port=1"), invalid("info_hash")),
            (format!("{HASH}&peer_id&port=1"), invalid("peer_id")),
            (format!("{HASH}&{ID}&port=65536"), invalid("port")),
            (format!("{HASH}&{ID}&port="), invalid("port")),
            (format!("{HASH}&{ID}&port=1&left=-1"), invalid("left")),
            (format!("{HASH}&{ID}&port=1&numwant=many"), invalid("numwant")),
        ] {
            assert_eq!(AnnounceRequest::parse(&query), error, "{query}");
        }
        assert_eq!(parse_scrape(""), Err(RequestError::Missing { key: "info_hash" }));
        assert_eq!(parse_scrape("info_hash=a"), Err(RequestError::Invalid { key: "info_hash" }));
        let many = vec![HASH; MAX_SCRAPE_HASHES + 1].join("&");
        assert_eq!(parse_scrape(&many).map(|hashes| hashes.len()), Ok(MAX_SCRAPE_HASHES));
    }

    #[test]
    fn a_scrape_and_a_failure_are_canonical() {
        let mut out = Vec::new();
        let counts = SwarmCounts { complete: 1, downloaded: 2, incomplete: 3 };
        encode_scrape(&[(InfoHash([b'a'; 20]), counts)], &mut out);
        assert_eq!(
            out,
            b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi2e10:incompletei3eeee"
        );
        out.clear();
        encode_failure("no", &mut out);
        assert_eq!(out, b"d14:failure reason2:noe");
    }

    proptest! {
        #[test]
        fn the_tracker_reads_what_the_client_writes(
            info_hash: [u8; 20],
            peer_id: [u8; 20],
            port: u16,
            left: u64,
            num_want in 0..=u32::MAX,
            ip: Option<IpAddr>,
        ) {
            let query = AnnounceQuery {
                info_hash: InfoHash(info_hash),
                peer_id: PeerId(peer_id),
                port,
                ip,
                uploaded: 0,
                downloaded: 0,
                left,
                event: AnnounceEvent::Completed,
                num_want,
                key: 1,
                tracker_id: b"",
            };
            let mut target = String::from("?");
            query.append_to(&mut target);
            let request = AnnounceRequest::parse(&target[1..]).expect("well formed");
            prop_assert_eq!(request.info_hash, query.info_hash);
            prop_assert_eq!((request.peer_id, request.ip), (query.peer_id, query.ip));
            prop_assert_eq!(request.port, port);
            prop_assert_eq!(request.left, Some(left));
            prop_assert_eq!(request.num_want, Some(num_want));
            prop_assert_eq!(request.event, AnnounceEvent::Completed);
            prop_assert!(request.compact && request.no_peer_id);
        }

        #[test]
        fn the_client_reads_what_the_tracker_writes(
            peers in prop::collection::vec((any::<[u8; 20]>(), any::<SocketAddr>()), 0..30),
            form in prop::sample::select(vec![
                PeerForm::Compact, PeerForm::WithIds, PeerForm::WithoutIds,
            ]),
        ) {
            let peers: Vec<_> = peers
                .into_iter()
                .map(|(id, addr)| (PeerId(id), SocketAddr::new(addr.ip(), addr.port().max(1))))
                .collect();
            let answer = AnnounceAnswer {
                interval: Duration::from_secs(1800),
                min_interval: Duration::from_secs(2),
                counts: SwarmCounts { complete: 3, downloaded: 4, incomplete: 5 },
                peers: peers.clone(),
                form,
            };
            let mut body = Vec::new();
            answer.encode(&mut body);
            let Ok(Answer::Reply(reply)) = decode_reply(&body) else { panic!("not understood") };
            let mut sent: Vec<SocketAddr> = peers.iter().map(|&(_, addr)| addr).collect();
            let mut got = reply.peers;
            sent.sort();
            got.sort();
            prop_assert_eq!(got, sent);
            prop_assert_eq!(reply.min_interval, Some(Duration::from_secs(2)));
            prop_assert_eq!((reply.complete, reply.incomplete), (Some(3), Some(5)));
        }
    }
}
