//! Announcements on the local network (BEP 14): HTTP-like datagrams to a multicast group.
//!
//! ```text
//! BT-SEARCH * HTTP/1.1\r\n
//! Host: 239.192.152.143:6771\r\n        the group
//! Port: 6881\r\n                        where peers are taken
//! Infohash: <40 hex digits>\r\n         one a torrent
//! cookie: <what tells our own from others'>\r\n
//! \r\n
//! \r\n
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::id::InfoHash;

/// The port of both groups.
pub const PORT: u16 = 6771;
/// The group of IPv4, whose scope is an organization.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
/// The group of IPv6, whose scope is a site.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f);

/// The most bytes of an announcement, written or read (BEP 14, so that it fits into one packet).
pub const MAX_LEN: usize = 1_400;
/// The most torrents of one that is written: as many as there is room for.
pub const MAX_HASHES: usize = (MAX_LEN - HEAD_LEN) / HASH_LEN;

/// Bytes of everything else in it, at the most: the group of IPv6, a port of five digits, a cookie
/// of eight.
const HEAD_LEN: usize = 128;
/// Bytes of a line with an info-hash.
const HASH_LEN: usize = 52;

/// Somebody on the local network has torrents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcement<'a> {
    /// Where it takes peers, at the address that the datagram came from. Not zero.
    pub port: u16,
    /// What it has: at least one, and no more than fit into [`MAX_LEN`] bytes.
    pub hashes: Vec<InfoHash>,
    /// What it puts into each announcement; empty if it puts nothing. Foreign bytes.
    pub cookie: &'a [u8],
}

/// Returns where announcements of a family go.
pub const fn group(is_ipv4: bool) -> SocketAddr {
    if is_ipv4 {
        SocketAddr::V4(SocketAddrV4::new(GROUP_V4, PORT))
    } else {
        SocketAddr::V6(SocketAddrV6::new(GROUP_V6, PORT, 0, 0))
    }
}

/// Returns the words in an announcement for `cookie`.
pub fn cookie_text(cookie: u32) -> String {
    format!("{cookie:08x}")
}

/// Appends an announcement of the first [`MAX_HASHES`] of `hashes` to `out`: at most [`MAX_LEN`]
/// bytes. `port` is where we take peers.
pub fn write(out: &mut Vec<u8>, is_ipv4: bool, port: u16, hashes: &[InfoHash], cookie: u32) {
    let host = group(is_ipv4);
    out.extend(format!("BT-SEARCH * HTTP/1.1\r\nHost: {host}\r\nPort: {port}\r\n").bytes());
    for hash in hashes.iter().take(MAX_HASHES) {
        out.extend(format!("Infohash: {hash}\r\n").bytes());
    }
    out.extend(format!("cookie: {}\r\n\r\n\r\n", cookie_text(cookie)).bytes());
}

/// Reads an announcement; `None` for anything else: what is longer than [`MAX_LEN`], names another
/// group, port 0 or no torrent, or has a line in it that is no header.
///
/// Headers are read in any case and order, and those that are not known are passed over (BEP 14,
/// "forwards-compatibility"); so are hashes that are not of 20 bytes.
pub fn parse(datagram: &[u8]) -> Option<Announcement<'_>> {
    let mut lines = datagram.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let is_search = lines.next()?.get(..METHOD.len())?.eq_ignore_ascii_case(METHOD);
    if !is_search || datagram.len() > MAX_LEN {
        return None;
    }
    let (mut port, mut hashes, mut cookie) = (None, Vec::new(), &b""[..]);
    for line in lines.take_while(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"host") {
            number::<SocketAddr>(value).filter(|to| *to == group(to.is_ipv4()))?;
        } else if name.eq_ignore_ascii_case(b"port") {
            port = Some(number::<u16>(value).filter(|port| *port > 0)?);
        } else if name.eq_ignore_ascii_case(b"infohash") {
            hashes.extend(number::<InfoHash>(value));
        } else if name.eq_ignore_ascii_case(b"cookie") {
            cookie = value;
        }
    }
    let port = port.filter(|_| !hashes.is_empty())?;
    Some(Announcement { port, hashes, cookie })
}

/// What every announcement begins with.
const METHOD: &[u8] = b"BT-SEARCH ";

/// Reads what stands in words.
fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const HASH: &str = "Infohash: 0101010101010101010101010101010101010101\r\n";

    fn hash(n: u8) -> InfoHash {
        InfoHash([n; 20])
    }

    fn written(is_ipv4: bool, port: u16, hashes: &[InfoHash]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, is_ipv4, port, hashes, 0xbeef);
        out
    }

    /// Returns an announcement that is `len` bytes long.
    fn padded(len: usize) -> Vec<u8> {
        let mut text = format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n{HASH}x: ");
        text.extend(std::iter::repeat_n('y', len - text.len() - 6));
        text.push_str("\r\n\r\n\r\n");
        text.into_bytes()
    }

    #[test]
    fn an_announcement_looks_as_specified() {
        let expected = "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
                        Infohash: 0101010101010101010101010101010101010101\r\n\
                        Infohash: 0202020202020202020202020202020202020202\r\n\
                        cookie: 0000beef\r\n\r\n\r\n";
        let text = String::from_utf8(written(true, 6881, &[hash(1), hash(2)]));
        assert_eq!(text.as_deref(), Ok(expected));
        let v6 = String::from_utf8(written(false, 6881, &[hash(1)])).expect("text");
        assert!(v6.contains("Host: [ff15::efc0:988f]:6771\r\n"), "{v6}");
    }

    #[test]
    fn what_is_written_is_read_and_fits() {
        let hashes: Vec<InfoHash> = (1..=255).map(hash).collect();
        for is_ipv4 in [true, false] {
            for count in [1, 2, MAX_HASHES, MAX_HASHES + 1, 255] {
                let out = written(is_ipv4, 65_535, &hashes[..count]);
                assert!(out.len() <= MAX_LEN, "{} bytes", out.len());
                let read = parse(&out).expect("an announcement");
                assert_eq!(read.hashes, hashes[..count.min(MAX_HASHES)]);
                assert_eq!((read.port, read.cookie), (65_535, cookie_text(0xbeef).as_bytes()));
            }
        }
        assert_eq!(MAX_HASHES, 24);
    }

    #[test]
    fn announcements_of_others_are_read() {
        // As libtorrent, Transmission and aria2 write them, and one by hand.
        for text in [
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
             Infohash: 0101010101010101010101010101010101010101\r\ncookie: 1f\r\n\r\n\r\n",
            "BT-SEARCH * HTTP/1.1\r\nHost: [ff15::efc0:988f]:6771\r\nPort: 6881\r\n\
             Infohash: 0101010101010101010101010101010101010101\r\n\r\n\r\n",
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
             Infohash: 0101010101010101010101010101010101010101\r\n\r\n\r\n",
            "bt-search * HTTP/1.1\nserver:x:y\nport:6881\n\
             INFOHASH:0101010101010101010101010101010101010101\ninfohash: 01",
        ] {
            let read = parse(text.as_bytes()).expect("an announcement");
            assert_eq!((read.port, &read.hashes[..]), (6881, &[hash(1)][..]), "{text}");
        }
    }

    #[test]
    fn what_is_no_announcement_is_none() {
        let good = format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n{HASH}");
        assert!(parse(good.as_bytes()).is_some());
        for text in [
            String::new(),
            "BT-SEARCH".to_owned(),
            good.replace("BT-SEARCH", "M-SEARCH"),
            good.replace("Port: 1", "Port: 0"),
            good.replace("Port: 1", "Port: 65536"),
            good.replace("Port: 1", "Port: -1"),
            good.replace("Port: 1", "Port: "),
            good.replace("Port: 1\r\n", ""),
            good.replace("Port: 1", "Port: 1\r\nPort: 0"),
            good.replace(HASH, ""),
            good.replace(HASH, "Infohash: 01\r\n"),
            good.replace(HASH, "\r\n") + HASH,
            good.replace("Port: 1", "Port: 1\r\nnonsense"),
            good.replace("Port: 1", "Port: 1\r\nHost: 192.168.1.1:6771"),
            good.replace("Port: 1", "Port: 1\r\nHost: 239.192.152.143:6772"),
            good.replace("Port: 1", "Port: 1\r\nHost: [ff15::efc0:988e]:6771"),
            good.replace("Port: 1", "Port: 1\r\nHost: localhost"),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert!(parse(&padded(MAX_LEN)).is_some());
        assert_eq!(parse(&padded(MAX_LEN + 1)), None);
    }

    #[test]
    fn cut_and_spoiled_datagrams_are_read_or_not_and_nothing_else() {
        let good = written(true, 6881, &[hash(1), hash(2), hash(3)]);
        let head = good.iter().position(|byte| *byte == b'I').expect("a hash");
        for at in 0..good.len() {
            // Up to the last digit of each.
            let whole = (at + 2).saturating_sub(head) / HASH_LEN;
            match parse(&good[..at]) {
                Some(read) => assert_eq!(read.hashes.len(), whole, "{at}"),
                None => assert!(whole == 0 || good[at - 1] != b'\n', "{at}"),
            }
        }
        for seed in 0..5_000 {
            let mut rng = Rng::new(seed);
            let mut bytes = good.clone();
            for _ in 0..=rng.below(8) {
                let at = rng.below(bytes.len());
                bytes[at] = u8::try_from(rng.below(256)).expect("a byte");
            }
            if let Some(read) = parse(&bytes) {
                assert!(read.port > 0 && (1..=4).contains(&read.hashes.len()), "seed {seed}");
            }
        }
    }
}
