//! KRPC, the messages of the DHT (BEP 5), with the nodes of IPv6 (BEP 32), the address a querier is
//! seen at (BEP 42), read-only nodes (BEP 43) and samples of info-hashes (BEP 51): one datagram at
//! a time, both halves.
//!
//! ```text
//! query  d 1:a d 2:id 20:... (arguments) e 1:q 4:ping (1:ro i1e) 1:t 2:aa (1:v 4:...) 1:y 1:q e
//! reply  d (2:ip 6:...) 1:r d 2:id 20:... (results) e 1:t 2:aa (1:v 4:...) 1:y 1:r e
//! error  d 1:e l i201e 5:words e (2:ip 6:...) 1:t 2:aa (1:v 4:...) 1:y 1:e e
//! ```
//!
//! Decides what a datagram says. Keys it does not know are passed over, whatever is in them.
//! **Invariant:** whether a transaction is one of ours and whether a token is good is decided
//! elsewhere; strings are borrowed from the datagram. Go on with [`crate::dht`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bencode::{self, DecodeError, Dict, DictWriter, Limits, Value, Writer};
use super::compact::{
    CompactError, CompactNodes4, CompactNodes6, PEER4_LEN, PEER6_LEN, peer_addr, write_peer,
};
use crate::id::{InfoHash, NodeId};
use crate::time::Duration;

/// The most bytes of a datagram that are read: the longest answers around, libtorrent's with 100
/// IPv6 peers, have 2,600.
pub const MAX_PACKET_LEN: usize = 4_096;
/// The most bytes of a datagram that are written: what passes every path in one piece, also through
/// a tunnel (BEP 32, "Avoid IPv6 fragmentation": 1,024 bytes of payload).
pub const MAX_REPLY_LEN: usize = 1_024;
/// Values in a datagram (libtorrent: 500): those of an answer with the most peers, and some.
pub const MAX_PACKET_TOKENS: usize = 500;
/// Containers in each other in a datagram: a reply's lists need 3; values of BEP 44 may nest.
pub const MAX_PACKET_DEPTH: usize = 16;
/// The most bytes of a transaction id, which comes back in the answer: clients have 1 to 8.
pub const MAX_TRANSACTION_LEN: usize = 32;
/// The most peers taken from a reply's `values`: what fits into a datagram.
pub const MAX_VALUES: usize = 400;

/// The limits of a datagram, as the decoder wants them.
const LIMITS: Limits =
    Limits { max_depth: MAX_PACKET_DEPTH, max_tokens: MAX_PACKET_TOKENS, max_len: MAX_PACKET_LEN };

/// The number of an error for which there is no better one (BEP 5).
pub const GENERIC_ERROR: i64 = 201;
/// The number of an error of who answers (BEP 5).
pub const SERVER_ERROR: i64 = 202;
/// The number of an error of who asks: arguments that cannot be read, or a bad token (BEP 5).
pub const PROTOCOL_ERROR: i64 = 203;
/// The number for a method that who answers does not have (BEP 5).
pub const METHOD_UNKNOWN: i64 = 204;

/// A datagram of the DHT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// `t`: comes back in the answer. At most [`MAX_TRANSACTION_LEN`] bytes, possibly none.
    pub transaction: &'a [u8],
    /// `v`: the sender's client; foreign bytes, two letters and a version as a rule.
    pub version: Option<&'a [u8]>,
    /// `ip`: where the sender sees the one he answers (BEP 42); port 0 if he gave none.
    pub seen_at: Option<SocketAddr>,
    /// `ro`: the sender answers no queries (BEP 43). Means nothing but in queries.
    pub read_only: bool,
    /// What it is about.
    pub body: Body<'a>,
}

/// What a datagram is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// `y` is `q`.
    Query {
        /// What the sender calls himself.
        id: NodeId,
        /// What he asks.
        method: Method<'a>,
    },
    /// `y` is `r`.
    Reply(Reply<'a>),
    /// `y` is `e`.
    Error(Refusal<'a>),
}

/// What a query asks (`q` and, but for the id, `a`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method<'a> {
    /// Whether somebody is there.
    Ping,
    /// The nodes closest to `target`.
    FindNode {
        /// Where.
        target: NodeId,
        /// Of which families.
        want: Want,
    },
    /// The peers of a torrent, and the nodes closest to it.
    GetPeers {
        /// Which torrent.
        info_hash: InfoHash,
        /// Nodes of which families.
        want: Want,
    },
    /// That the sender be stored as a peer of a torrent.
    AnnouncePeer {
        /// Which torrent.
        info_hash: InfoHash,
        /// Where he listens.
        port: AnnouncedPort,
        /// What he was given with the peers.
        token: &'a [u8],
    },
    /// Some of the info-hashes that are stored, and the nodes closest to `target` (BEP 51).
    SampleInfohashes {
        /// Where.
        target: NodeId,
        /// Nodes of which families.
        want: Want,
    },
    /// Something else. If there is a `target` or an `info_hash`, it is answered as `find_node`
    /// (de facto: libtorrent, so that new methods find their way through old nodes).
    Unknown {
        /// `q`; foreign bytes.
        name: &'a [u8],
        /// `target` or `info_hash`.
        target: Option<NodeId>,
        /// Nodes of which families.
        want: Want,
    },
}

/// Of which families nodes are asked for (BEP 32, `want`); if neither, that of the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// Where who announces listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnnouncedPort {
    /// At the port that he sends from (`implied_port`). The other one is for nodes that do not know
    /// this; 0 if there is none.
    Implied(u16),
    /// At this one; never 0 in what is read.
    Explicit(u16),
}

/// What a query is answered with (`r`). Each method has its own results; here any may be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    /// What the sender calls himself.
    pub id: NodeId,
    /// The nodes closest to what was asked for.
    pub nodes: Option<CompactNodes4<'a>>,
    /// The same of IPv6 (BEP 32).
    pub nodes6: Option<CompactNodes6<'a>>,
    /// Peers of the torrent. Entries of no length that an address has are left out, and those with
    /// port 0.
    pub values: Vec<SocketAddr>,
    /// To be sent with an announce to the same node.
    pub token: Option<&'a [u8]>,
    /// Info-hashes (BEP 51).
    pub samples: Option<Samples<'a>>,
}

impl Reply<'_> {
    /// Returns the reply that says only who sends it: to a ping, to an announce.
    pub const fn empty(id: NodeId) -> Self {
        Self { id, nodes: None, nodes6: None, values: Vec::new(), token: None, samples: None }
    }
}

/// Info-hashes that a node stores peers of (BEP 51).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Samples<'a> {
    /// How long the node gives the same ones; whole seconds, at most [`MAX_SAMPLE_INTERVAL`].
    pub interval: Duration,
    /// How many it stores in all.
    pub num: u32,
    /// Some of them.
    pub hashes: &'a [[u8; 20]],
}

/// The longest that a node may give the same samples (BEP 51): 6 hours.
pub const MAX_SAMPLE_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Why a query was refused (`e`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal<'a> {
    /// [`PROTOCOL_ERROR`] and its like; 0 if there was none to be read.
    pub code: i64,
    /// In words. Foreign bytes.
    pub words: &'a [u8],
}

/// Why a datagram is no message of the DHT. The sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KrpcError<'a> {
    /// It is not bencoded, or beyond the limits.
    #[error(transparent)]
    Bencode(#[from] DecodeError),
    /// Something that every message needs is missing or of another kind.
    #[error("`{0}` is missing or malformed")]
    Field(&'static str),
    /// [`MAX_TRANSACTION_LEN`].
    #[error("a transaction id of {len} bytes where {MAX_TRANSACTION_LEN} are accepted")]
    TransactionTooLong {
        /// Its bytes.
        len: usize,
    },
    /// The nodes of a reply are not whole.
    #[error(transparent)]
    Nodes(#[from] CompactError),
    /// It is a query, but not all of what its method needs is there: it can be answered with
    /// [`PROTOCOL_ERROR`].
    #[error("a query whose `{field}` is missing or malformed")]
    Argument {
        /// That of the query.
        transaction: &'a [u8],
        /// What is wrong.
        field: &'static str,
    },
}

/// Reads a datagram (BEP 5).
///
/// Never panics on remote input. O(datagram); two allocations at most, neither of a size that a
/// number in the input gives.
///
/// # Errors
/// [`KrpcError`]: the sender's fault.
pub fn parse(datagram: &[u8]) -> Result<Message<'_>, KrpcError<'_>> {
    let tree = bencode::decode(datagram, &LIMITS)?;
    let root = tree.root().as_dict().ok_or(KrpcError::Field("d"))?;
    let transaction = bytes(root, b"t").ok_or(KrpcError::Field("t"))?;
    if transaction.len() > MAX_TRANSACTION_LEN {
        return Err(KrpcError::TransactionTooLong { len: transaction.len() });
    }
    let body = match bytes(root, b"y") {
        Some(b"q") => {
            let argument = |field| KrpcError::Argument { transaction, field };
            let (id, method) = query(root).map_err(argument)?;
            Body::Query { id, method }
        }
        Some(b"r") => Body::Reply(reply(root)?),
        Some(b"e") => Body::Error(refusal(root)),
        _ => return Err(KrpcError::Field("y")),
    };
    Ok(Message {
        transaction,
        version: bytes(root, b"v"),
        seen_at: bytes(root, b"ip").and_then(seen_at),
        read_only: root.get(b"ro").and_then(Value::as_int) == Some(1),
        body,
    })
}

fn bytes<'a>(dict: Dict<'_, 'a>, key: &[u8]) -> Option<&'a [u8]> {
    dict.get(key).and_then(Value::as_bytes)
}

fn id(dict: Dict<'_, '_>, key: &[u8]) -> Option<NodeId> {
    bytes(dict, key)?.try_into().ok().map(NodeId)
}

/// Reads what a query asks; the error names the argument that is missing.
fn query<'a>(root: Dict<'_, 'a>) -> Result<(NodeId, Method<'a>), &'static str> {
    let name = bytes(root, b"q").ok_or("q")?;
    let args = root.get(b"a").and_then(Value::as_dict).ok_or("a")?;
    let sender = id(args, b"id").ok_or("id")?;
    let want = want(args);
    let target = || id(args, b"target").ok_or("target");
    let info_hash = || id(args, b"info_hash").map(|id| InfoHash(id.0)).ok_or("info_hash");
    let method = match name {
        b"ping" => Method::Ping,
        b"find_node" => Method::FindNode { target: target()?, want },
        b"get_peers" => Method::GetPeers { info_hash: info_hash()?, want },
        b"announce_peer" => Method::AnnouncePeer {
            info_hash: info_hash()?,
            port: announced_port(args).ok_or("port")?,
            token: bytes(args, b"token").ok_or("token")?,
        },
        b"sample_infohashes" => Method::SampleInfohashes { target: target()?, want },
        _ => {
            let target = target().ok().or_else(|| info_hash().ok().map(NodeId::from));
            Method::Unknown { name, target, want }
        }
    };
    Ok((sender, method))
}

fn want(args: Dict<'_, '_>) -> Want {
    let list = args.get(b"want").and_then(Value::as_list);
    let mut want = Want::default();
    for family in list.into_iter().flatten().filter_map(Value::as_bytes) {
        want.v4 |= family == b"n4";
        want.v6 |= family == b"n6";
    }
    want
}

fn announced_port(args: Dict<'_, '_>) -> Option<AnnouncedPort> {
    let port = args.get(b"port").and_then(Value::as_int);
    let port = port.and_then(|port| u16::try_from(port).ok());
    match args.get(b"implied_port").and_then(Value::as_int) {
        Some(implied) if implied != 0 => Some(AnnouncedPort::Implied(port.unwrap_or(0))),
        _ => port.filter(|port| *port != 0).map(AnnouncedPort::Explicit),
    }
}

fn reply<'a>(root: Dict<'_, 'a>) -> Result<Reply<'a>, KrpcError<'a>> {
    let results = root.get(b"r").and_then(Value::as_dict).ok_or(KrpcError::Field("r"))?;
    let values = results.get(b"values").and_then(Value::as_list);
    let values = values.into_iter().flatten().filter_map(Value::as_bytes).filter_map(peer_addr);
    Ok(Reply {
        id: id(results, b"id").ok_or(KrpcError::Field("id"))?,
        nodes: bytes(results, b"nodes").map(CompactNodes4::parse).transpose()?,
        nodes6: bytes(results, b"nodes6").map(CompactNodes6::parse).transpose()?,
        values: values.filter(|peer| peer.port() != 0).take(MAX_VALUES).collect(),
        token: bytes(results, b"token"),
        samples: samples(results),
    })
}

fn samples<'a>(results: Dict<'_, 'a>) -> Option<Samples<'a>> {
    let (hashes, []) = bytes(results, b"samples")?.as_chunks() else { return None };
    let number = |key| results.get(key).and_then(Value::as_int).unwrap_or(0);
    let interval = Duration::from_secs(u64::try_from(number(b"interval")).unwrap_or(0));
    Some(Samples {
        interval: interval.min(MAX_SAMPLE_INTERVAL),
        num: u32::try_from(number(b"num").max(0)).unwrap_or(u32::MAX),
        hashes,
    })
}

/// Reads an error as far as it can be: what is wrong with it does not matter.
fn refusal<'a>(root: Dict<'_, 'a>) -> Refusal<'a> {
    let mut items = root.get(b"e").and_then(Value::as_list).into_iter().flatten();
    let code = items.next().and_then(Value::as_int).unwrap_or(0);
    Refusal { code, words: items.next().and_then(Value::as_bytes).unwrap_or_default() }
}

/// Reads a compact address, or, as BEP 42 had it first, one without a port.
fn seen_at(bytes: &[u8]) -> Option<SocketAddr> {
    let bare = || {
        let v4 = <[u8; 4]>::try_from(bytes).map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
        let v6 = || <[u8; 16]>::try_from(bytes).map(|ip| IpAddr::from(Ipv6Addr::from(ip)));
        v4.or_else(|_| v6()).ok().map(|ip| SocketAddr::new(ip, 0))
    };
    peer_addr(bytes).or_else(bare)
}

impl Message<'_> {
    /// Appends the datagram to `out`, with its keys in order (BEP 3): what it was read from, if
    /// that was canonical.
    pub fn write(&self, out: &mut Vec<u8>) {
        Writer::new(out).dict(|root| {
            match &self.body {
                Body::Query { id, method } => root.key(b"a").dict(|args| {
                    args.key(b"id").bytes(&id.0);
                    method.write_args(args);
                }),
                Body::Error(refusal) => root.key(b"e").list(|error| {
                    error.int(refusal.code);
                    error.bytes(refusal.words);
                }),
                Body::Reply(_) => {}
            }
            if let Some(addr) = self.seen_at {
                write_addr(&mut root.key(b"ip"), addr);
            }
            match &self.body {
                Body::Query { method, .. } => root.key(b"q").bytes(method.name()),
                Body::Reply(reply) => root.key(b"r").dict(|results| reply.write(results)),
                Body::Error(_) => {}
            }
            if self.read_only {
                root.key(b"ro").int(1);
            }
            root.key(b"t").bytes(self.transaction);
            if let Some(version) = self.version {
                root.key(b"v").bytes(version);
            }
            root.key(b"y").bytes(match self.body {
                Body::Query { .. } => b"q",
                Body::Reply(_) => b"r",
                Body::Error(_) => b"e",
            });
        });
    }
}

impl<'a> Method<'a> {
    /// Returns what the method is called.
    pub const fn name(&self) -> &'a [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::Unknown { name, .. } => name,
        }
    }

    /// Writes the arguments behind `id`.
    fn write_args(&self, args: &mut DictWriter<'_>) {
        match *self {
            Self::Ping => {}
            Self::FindNode { target, want } | Self::SampleInfohashes { target, want } => {
                args.key(b"target").bytes(&target.0);
                want.write(args);
            }
            Self::Unknown { target, want, .. } => {
                if let Some(target) = target {
                    args.key(b"target").bytes(&target.0);
                }
                want.write(args);
            }
            Self::GetPeers { info_hash, want } => {
                args.key(b"info_hash").bytes(&info_hash.0);
                want.write(args);
            }
            Self::AnnouncePeer { info_hash, port, token } => {
                if let AnnouncedPort::Implied(_) = port {
                    args.key(b"implied_port").int(1);
                }
                args.key(b"info_hash").bytes(&info_hash.0);
                let (AnnouncedPort::Implied(port) | AnnouncedPort::Explicit(port)) = port;
                args.key(b"port").int(port.into());
                args.key(b"token").bytes(token);
            }
        }
    }
}

impl Want {
    fn write(self, args: &mut DictWriter<'_>) {
        if self == Self::default() {
            return;
        }
        args.key(b"want").list(|families| {
            let names = [(self.v4, b"n4"), (self.v6, b"n6")];
            names.iter().filter(|(is_wanted, _)| *is_wanted).for_each(|(_, n)| families.bytes(*n));
        });
    }
}

impl Reply<'_> {
    fn write(&self, results: &mut DictWriter<'_>) {
        results.key(b"id").bytes(&self.id.0);
        if let Some(samples) = self.samples {
            let interval = samples.interval.min(MAX_SAMPLE_INTERVAL).as_secs();
            results.key(b"interval").int(i64::try_from(interval).unwrap_or(i64::MAX));
        }
        if let Some(nodes) = self.nodes {
            results.key(b"nodes").bytes(nodes.as_bytes());
        }
        if let Some(nodes) = self.nodes6 {
            results.key(b"nodes6").bytes(nodes.as_bytes());
        }
        if let Some(samples) = self.samples {
            results.key(b"num").int(samples.num.into());
            results.key(b"samples").bytes(samples.hashes.as_flattened());
        }
        if let Some(token) = self.token {
            results.key(b"token").bytes(token);
        }
        if !self.values.is_empty() {
            results.key(b"values").list(|values| {
                self.values.iter().for_each(|peer| write_addr(values, *peer));
            });
        }
    }
}

fn write_addr(writer: &mut Writer<'_>, addr: SocketAddr) {
    let mut compact = Vec::with_capacity(PEER6_LEN);
    write_peer(&mut compact, addr);
    writer.bytes(&compact);
}

/// Returns the bytes that one peer of a family takes in `values`: its compact form and its length.
pub const fn value_len(is_v4: bool) -> usize {
    if is_v4 { "6:".len() + PEER4_LEN } else { "18:".len() + PEER6_LEN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::compact::{NodeInfo, write_node};
    use crate::rng::Rng;
    use proptest::prelude::*;

    const ID: NodeId = NodeId(*b"abcdefghij0123456789");
    const OTHER: NodeId = NodeId(*b"mnopqrstuvwxyz123456");

    fn message(body: Body<'_>) -> Message<'_> {
        Message { transaction: b"aa", version: None, seen_at: None, read_only: false, body }
    }

    fn query(method: Method<'_>) -> Message<'_> {
        message(Body::Query { id: ID, method })
    }

    fn reply(reply: Reply<'_>) -> Message<'_> {
        message(Body::Reply(reply))
    }

    fn written(message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(&mut out);
        out
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// The examples of BEP 5, word for word.
    #[test]
    fn the_examples_of_bep_5_are_read_and_written() {
        let info_hash = InfoHash(OTHER.0);
        let nodes: &[u8] = b"0123456789abcdefghijAAAA\x1a\xe1";
        let want = Want::default();
        let announce = Method::AnnouncePeer {
            info_hash,
            port: AnnouncedPort::Implied(6881),
            token: b"aoeusnth",
        };
        let error = Body::Error(Refusal { code: GENERIC_ERROR, words: b"A Generic Error Ocurred" });
        let found = Reply {
            nodes: CompactNodes4::parse(nodes).ok(),
            ..Reply::empty(NodeId(*b"0123456789abcdefghij"))
        };
        let peers = Reply {
            values: vec![addr("97.120.106.101:11893"), addr("105.100.104.116:28269")],
            token: Some(b"aoeusnth"),
            ..Reply::empty(ID)
        };
        for (text, message) in [
            (&b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"[..], query(Method::Ping)),
            (b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", reply(Reply::empty(OTHER))),
            (
                b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e\
                  1:q9:find_node1:t2:aa1:y1:qe",
                query(Method::FindNode { target: OTHER, want }),
            ),
            (
                b"d1:rd2:id20:0123456789abcdefghij5:nodes26:0123456789abcdefghijAAAA\x1a\xe1e\
                  1:t2:aa1:y1:re",
                reply(found),
            ),
            (
                b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e\
                  1:q9:get_peers1:t2:aa1:y1:qe",
                query(Method::GetPeers { info_hash, want }),
            ),
            (
                b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee\
                  1:t2:aa1:y1:re",
                reply(peers),
            ),
            (
                b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e\
                  9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe\
                  1:q13:announce_peer1:t2:aa1:y1:qe",
                query(announce),
            ),
            (b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee", message(error)),
        ] {
            let name = text.escape_ascii();
            assert_eq!(parse(text).as_ref(), Ok(&message), "{name}");
            assert_eq!(written(&message), text, "{name}");
        }
    }

    #[test]
    fn keys_of_later_beps_stand_where_they_belong() {
        let hashes = [[1; 20], [2; 20]];
        let interval = Duration::from_secs(60);
        let samples = Some(Samples { interval, num: 7, hashes: &hashes });
        let message = Message {
            version: Some(b"SL\x01\x00"),
            seen_at: Some(addr("[2001:db8::1]:6881")),
            read_only: true,
            ..reply(Reply { samples, ..Reply::empty(ID) })
        };
        let text = [
            &b"d2:ip18:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1"[..],
            b"1:rd2:id20:abcdefghij01234567898:intervali60e3:numi7e7:samples40:",
            hashes.as_flattened(),
            b"e2:roi1e1:t2:aa1:v4:SL\x01\x001:y1:re",
        ];
        assert_eq!(parse(&text.concat()).as_ref(), Ok(&message));
        assert_eq!(written(&message), text.concat());
        let want = Want { v4: true, v6: true };
        let wanting = query(Method::SampleInfohashes { target: OTHER, want });
        assert_eq!(
            written(&wanting),
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee\
              1:q17:sample_infohashes1:t2:aa1:y1:qe"
        );
    }

    #[test]
    fn an_address_without_a_port_is_one_too() {
        let text = |ip: &str| format!("d2:ip{ip}1:rd2:id20:abcdefghij0123456789e1:t0:1:y1:re");
        for (ip, seen) in [
            ("4:AAAA", Some(addr("65.65.65.65:0"))),
            ("6:AAAA\0\u{1}", Some(addr("65.65.65.65:1"))),
            ("16:AAAAAAAAAAAAAAAA", Some(addr("[4141:4141:4141:4141:4141:4141:4141:4141]:0"))),
            ("5:AAAAA", None),
            ("le", None),
        ] {
            assert_eq!(parse(text(ip).as_bytes()).expect("good").seen_at, seen, "{ip}");
        }
    }

    #[test]
    fn a_port_is_implied_or_must_be_one() {
        let text = |args: &str| {
            format!(
                "d1:ad2:id20:abcdefghij0123456789{args}5:token1:xe1:q13:announce_peer\
                 1:t1:z1:y1:qe"
            )
        };
        let hash = "9:info_hash20:mnopqrstuvwxyz123456";
        for (implied, port, read) in [
            ("", "4:porti6881e", Ok(AnnouncedPort::Explicit(6881))),
            ("12:implied_porti0e", "4:porti6881e", Ok(AnnouncedPort::Explicit(6881))),
            ("12:implied_porti1e", "4:porti6881e", Ok(AnnouncedPort::Implied(6881))),
            ("12:implied_porti1e", "", Ok(AnnouncedPort::Implied(0))),
            ("12:implied_porti1e", "4:porti70000e", Ok(AnnouncedPort::Implied(0))),
            ("", "", Err("port")),
            ("", "4:porti0e", Err("port")),
            ("", "4:porti-1e", Err("port")),
            ("", "4:porti65536e", Err("port")),
            ("", "4:port2:80", Err("port")),
        ] {
            let text = text(&format!("{implied}{hash}{port}"));
            let read_port = match parse(text.as_bytes()) {
                Ok(Message { body: Body::Query { method, .. }, .. }) => match method {
                    Method::AnnouncePeer { port, .. } => Ok(port),
                    other => panic!("{other:?}"),
                },
                Err(KrpcError::Argument { transaction: b"z", field }) => Err(field),
                other => panic!("{other:?}"),
            };
            assert_eq!(read_port, read, "{text}");
        }
    }

    #[test]
    fn an_unknown_method_may_have_a_target() {
        let text =
            |args: &str| format!("d1:ad2:id20:abcdefghij0123456789{args}e1:q3:new1:t0:1:y1:qe");
        for (args, target) in [
            ("6:target20:mnopqrstuvwxyz123456", Some(OTHER)),
            ("9:info_hash20:mnopqrstuvwxyz123456", Some(OTHER)),
            ("6:target3:abc", None),
            ("", None),
        ] {
            let text = text(args);
            let method = Method::Unknown { name: b"new", target, want: Want::default() };
            assert_eq!(parse(text.as_bytes()), Ok(Message { transaction: b"", ..query(method) }));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, words) in [
            (&b"le"[..], "`d` is missing or malformed"),
            (b"d1:y1:qe", "`t` is missing or malformed"),
            (b"d1:ti1e1:y1:qe", "`t` is missing or malformed"),
            (b"d1:t1:ae", "`y` is missing or malformed"),
            (b"d1:t1:a1:y1:xe", "`y` is missing or malformed"),
            (b"d1:t1:a1:y1:re", "`r` is missing or malformed"),
            (b"d1:rd2:id3:abce1:t1:a1:y1:re", "`id` is missing or malformed"),
            (
                b"d1:rd2:id20:abcdefghij01234567895:nodes3:abce1:t1:a1:y1:re",
                "3 bytes of compact peers are not a multiple of 26",
            ),
            (b"d1:t1:a1:y1:qe", "a query whose `q` is missing or malformed"),
            (b"d1:q4:ping1:t1:a1:y1:qe", "a query whose `a` is missing or malformed"),
            (b"d1:ade1:q4:ping1:t1:a1:y1:qe", "a query whose `id` is missing or malformed"),
            (
                b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t1:a1:y1:qe",
                "a query whose `target` is missing or malformed",
            ),
            (
                b"d1:ad2:id20:abcdefghij0123456789e1:q9:get_peers1:t1:a1:y1:qe",
                "a query whose `info_hash` is missing or malformed",
            ),
            (b"d1:t2:aae1:y", "byte 9: trailing bytes behind the value: 3"),
        ] {
            let error = parse(text).expect_err("malformed").to_string();
            assert_eq!(error, words, "{}", text.escape_ascii());
        }
        let garbled = b"d1:t1:a1:y1:ee";
        let refusal = Refusal { code: 0, words: b"" };
        assert_eq!(parse(garbled).expect("an error of whatever kind").body, Body::Error(refusal));
    }

    /// vectors.tsv, from libtorrent's `test_bdecode.cpp`.
    #[test]
    fn a_garbled_query_is_refused() {
        let text = b"d1:ad2:id20:*!\x19\x89\x9f\xcd_\xc9\xbc\x80\xc1v\xfe\xe0\xc6\x84-\xf6\xfc\xb8\
            9:info_ha\xaeh20:\x14x\xd5\xb0\xdc\xf6\x82B2\xa0\xd6\x88\xebHW\x01\x89@N\xbce\
            1:q9:get_peerx\xff:t8:\xaa\xd4\xa1\x88z\x8d\xc3\xd61:y1\xaeqe\0";
        assert!(matches!(parse(text), Err(KrpcError::Bencode(_))));
    }

    /// A ping with something in it that nobody knows.
    fn with(filler: &str) -> Vec<u8> {
        format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:x{filler}1:y1:qe").into_bytes()
    }

    #[test]
    fn every_limit_is_exact() {
        let nested = |depth| "l".repeat(depth) + &"e".repeat(depth);
        assert!(parse(&with(&nested(MAX_PACKET_DEPTH - 1))).is_ok());
        assert!(parse(&with(&nested(MAX_PACKET_DEPTH))).is_err());
        // The ping, its keys and the list are 13 values.
        let listed = |values| format!("l{}e", "0:".repeat(values));
        assert!(parse(&with(&listed(MAX_PACKET_TOKENS - 13))).is_ok());
        assert!(parse(&with(&listed(MAX_PACKET_TOKENS - 12))).is_err());
        let long = |len: usize| format!("{len}:{}", "x".repeat(len));
        let fits = MAX_PACKET_LEN - with(&long(1_000)).len() + 1_000;
        assert_eq!(with(&long(fits)).len(), MAX_PACKET_LEN);
        assert!(parse(&with(&long(fits))).is_ok());
        assert!(parse(&with(&long(fits + 1))).is_err());

        let transaction = [7; MAX_TRANSACTION_LEN + 1];
        let ping = Message { transaction: &transaction, ..query(Method::Ping) };
        let refusal = KrpcError::TransactionTooLong { len: MAX_TRANSACTION_LEN + 1 };
        assert_eq!(parse(&written(&ping)), Err(refusal));
        let ping = Message { transaction: &transaction[1..], ..query(Method::Ping) };
        assert_eq!(parse(&written(&ping)), Ok(ping));

        let values = vec![addr("1.2.3.4:5"); MAX_VALUES + 1];
        let full = written(&reply(Reply { values, ..Reply::empty(ID) }));
        let Body::Reply(read) = parse(&full).expect("good").body else { panic!("a reply") };
        assert_eq!(read.values.len(), MAX_VALUES);
    }

    #[test]
    fn every_truncation_is_refused() {
        let values = vec![addr("1.2.3.4:5"), addr("[::1]:5")];
        let full = written(&reply(Reply { values, token: Some(b"tt"), ..Reply::empty(ID) }));
        assert!(parse(&full).is_ok());
        for len in 0..full.len() {
            assert!(matches!(parse(&full[..len]), Err(KrpcError::Bencode(_))), "{len}");
        }
    }

    #[test]
    fn values_that_are_no_addresses_are_left_out() {
        let text = b"d1:rd2:id20:abcdefghij01234567896:valuesl5:axje.6:axje.u6:axje\0\0i7e0:ee\
            1:t2:aa1:y1:re";
        let Body::Reply(read) = parse(text).expect("good").body else { panic!("a reply") };
        assert_eq!(read.values, [addr("97.120.106.101:11893")]);
    }

    #[test]
    fn a_value_has_the_length_that_is_reckoned_with() {
        let len = |values| written(&reply(Reply { values, ..Reply::empty(ID) })).len();
        for (peer, is_v4) in [("1.2.3.4:5", true), ("[::1]:5", false)] {
            let (one, two) = (len(vec![addr(peer)]), len(vec![addr(peer); 2]));
            assert_eq!(two - one, value_len(is_v4));
        }
    }

    fn any_method() -> impl Strategy<Value = (u8, [u8; 20], Want, u16, Vec<u8>)> {
        let want = any::<(bool, bool)>().prop_map(|(v4, v6)| Want { v4, v6 });
        let token = prop::collection::vec(any::<u8>(), 0..40);
        (0u8..6, any::<[u8; 20]>(), want, 1..=u16::MAX, token)
    }

    proptest! {
        #[test]
        fn queries_are_read_as_they_were_written(
            (kind, target, want, port, token) in any_method(),
            transaction in prop::collection::vec(any::<u8>(), 0..=MAX_TRANSACTION_LEN),
            read_only: bool,
        ) {
            let (target, info_hash) = (NodeId(target), InfoHash(target));
            let method = match kind {
                0 => Method::Ping,
                1 => Method::FindNode { target, want },
                2 => Method::GetPeers { info_hash, want },
                3 if port % 2 == 0 => Method::AnnouncePeer {
                    info_hash,
                    port: AnnouncedPort::Implied(port),
                    token: &token,
                },
                3 => Method::AnnouncePeer {
                    info_hash,
                    port: AnnouncedPort::Explicit(port),
                    token: &token,
                },
                4 => Method::SampleInfohashes { target, want },
                _ => Method::Unknown { name: b"vote", target: Some(target), want },
            };
            let message = Message { transaction: &transaction, read_only, ..query(method) };
            let bytes = written(&message);
            prop_assert_eq!(parse(&bytes), Ok(message));
        }

        #[test]
        fn replies_are_read_as_they_were_written(
            v4 in prop::collection::vec((any::<[u8; 20]>(), any::<[u8; 4]>(), 1..=u16::MAX), 0..9),
            v6 in prop::collection::vec((any::<[u8; 20]>(), any::<[u8; 16]>(), 1..=u16::MAX), 0..9),
            token in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            hashes in prop::collection::vec(any::<[u8; 20]>(), 0..9),
            (num, interval) in (any::<u32>(), 0..=MAX_SAMPLE_INTERVAL.as_secs()),
        ) {
            let (mut nodes, mut nodes6, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for (id, ip, port) in v4 {
                let addr = (ip, port).into();
                write_node(&mut nodes, &NodeInfo { id: NodeId(id), addr });
                values.push(addr);
            }
            for (id, ip, port) in v6 {
                let addr = (ip, port).into();
                write_node(&mut nodes6, &NodeInfo { id: NodeId(id), addr });
                values.push(addr);
            }
            let interval = Duration::from_secs(interval);
            let message = reply(Reply {
                id: ID,
                nodes: CompactNodes4::parse(&nodes).ok(),
                nodes6: CompactNodes6::parse(&nodes6).ok(),
                values,
                token: token.as_deref(),
                samples: Some(Samples { interval, num, hashes: &hashes }),
            });
            let bytes = written(&message);
            prop_assert_eq!(parse(&bytes), Ok(message));
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }

    /// Damaged messages are read or refused; what is read is written and read again to the same.
    #[test]
    fn damaged_messages_are_read_or_refused() {
        let values = vec![addr("1.2.3.4:5"), addr("[::1]:5")];
        let token: &[u8] = b"tt";
        let port = AnnouncedPort::Explicit(6881);
        let announce = Method::AnnouncePeer { info_hash: InfoHash(OTHER.0), port, token };
        let seen_at = Some(addr("4.3.2.1:9"));
        let good = [
            written(&Message { seen_at, ..query(announce) }),
            written(&reply(Reply { values, token: Some(token), ..Reply::empty(ID) })),
            b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee".to_vec(),
        ];
        let mut rng = Rng::new(42);
        let mut read = 0;
        for round in 0..30_000 {
            let mut bytes = good[round % good.len()].clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len());
                match rng.below(4) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, b"0123456789:deil"[rng.below(15)]),
                    2 => bytes[at] = b"0123456789:deil"[rng.below(15)],
                    _ => bytes[at] ^= 1 << rng.below(8),
                }
            }
            if let Ok(message) = parse(&bytes) {
                read += 1;
                assert_eq!(parse(&written(&message)).as_ref(), Ok(&message), "round {round}");
            }
        }
        assert!(read > 1_000, "{read} of them could be read");
    }
}
