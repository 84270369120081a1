//! Lines of lists of addresses that are not to be talked to: what people call blocklists or IP
//! filters.
//!
//! No specification has them; three de facto forms are read, which may be mixed in one list:
//!
//! ```text
//! Some Organisation:1.2.4.0-1.2.4.255                       PeerGuardian text (.p2p)
//! 001.002.004.000 - 001.002.004.255 , 000 , Some Org        eMule (.dat), with a level
//! 1.2.4.0/24    1.2.4.0-1.2.4.255    2001:db8::/32          plain
//! ```
//!
//! Names may be in any encoding and contain anything. **Invariant:** nothing is guessed: a line
//! that is none of these is an error of its own, and those around it count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::subnet::Subnet;

/// The most bytes of a line that are looked at: names in real lists are a few hundred at most.
pub const MAX_LINE_LEN: usize = 4096;

/// The highest level of an eMule list whose ranges are blocked (its default, and qBittorrent's);
/// those above it are known and allowed.
const MAX_BLOCKED_LEVEL: u32 = 127;

/// Addresses from the first to the last, both included. Invariant: the first is not above the
/// last. IPv4 in IPv6 is IPv4 here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IpRange {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

/// A line is neither a range of addresses nor a remark: the list's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a range of addresses")]
pub struct BadLine;

/// Reads a line, with or without its end; `None` for one that blocks nothing: an empty one, a
/// remark, or a range that an eMule list allows.
///
/// # Errors
/// [`BadLine`]: the list's fault; the next line may be as good as any.
pub fn parse_line(line: &[u8]) -> Result<Option<IpRange>, BadLine> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
        return Ok(None);
    }
    if line.len() > MAX_LINE_LEN {
        return Err(BadLine);
    }
    if let Some((left, right)) = split(line, |bytes| bytes.iter().position(|byte| *byte == b','))
        && let Some(range) = range(left)
    {
        let level = right.split(|byte| *byte == b',').next().unwrap_or_default();
        let level: u32 = text(level).and_then(|text| text.parse().ok()).ok_or(BadLine)?;
        return Ok((level <= MAX_BLOCKED_LEVEL).then_some(range));
    }
    plain(line).or_else(|| named(line)).map(Some).ok_or(BadLine)
}

/// Reads a range with a remark behind it, perhaps.
fn plain(line: &[u8]) -> Option<IpRange> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    range(line)
}

/// Reads a range behind a name. The name may contain colons if the range is an IPv4 one: it ends
/// at the last. An IPv6 one begins behind the first, so that nothing of a name is taken for a part
/// of an address.
fn named(line: &[u8]) -> Option<IpRange> {
    let is_colon = |byte: &u8| *byte == b':';
    let (_, v4) = split(line, |bytes| bytes.iter().rposition(is_colon))?;
    let (_, v6) = split(line, |bytes| bytes.iter().position(is_colon))?;
    let v4 = range(v4).filter(|range| matches!(range, IpRange::V4(..)));
    // A single address behind a name could be one that is misspelt.
    v4.or_else(|| range(v6).filter(|_| v6.iter().any(|byte| b"-/".contains(byte))))
}

/// Reads `first-last`, `address/bits`, or one address.
fn range(bytes: &[u8]) -> Option<IpRange> {
    let text = text(bytes)?;
    if let Some((first, last)) = text.split_once('-') {
        return between(address(first)?, address(last)?);
    }
    let Some((base, bits)) = text.split_once('/') else {
        let only = address(text)?;
        return between(only, only);
    };
    let bits: u8 = bits.trim_ascii().parse().ok()?;
    let base = address(base)?;
    let subnet = Subnet::new(base, bits);
    let is_one = bits <= if base.is_ipv4() { 32 } else { 128 };
    between(subnet.first(), subnet.last()).filter(|_| is_one)
}

fn between(first: IpAddr, last: IpAddr) -> Option<IpRange> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some(IpRange::V4(first, last)),
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Some(IpRange::V6(first, last)),
        _ => None,
    }
}

/// Reads an address. Numbers of an IPv4 one are decimal even with zeros in front, which eMule
/// lists have and Rust refuses.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|ip| ip.to_canonical());
    }
    let mut octets = [0; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        let number = numbers.next()?;
        let is_number =
            (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        *octet = number.parse().ok().filter(|_| is_number)?;
    }
    numbers.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.trim_ascii()).ok()
}

/// Splits bytes at the one that `find` finds, which is left out.
fn split(bytes: &[u8], find: impl Fn(&[u8]) -> Option<usize>) -> Option<(&[u8], &[u8])> {
    let (left, right) = bytes.split_at(find(bytes)?);
    Some((left, right.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<String>, BadLine> {
        Ok(parse_line(line.as_bytes())?.map(|range| match range {
            IpRange::V4(first, last) => format!("{first}-{last}"),
            IpRange::V6(first, last) => format!("{first}-{last}"),
        }))
    }

    #[test]
    fn every_form_of_a_range_is_read() {
        for (line, range) in [
            ("Some Organisation:1.2.4.0-1.2.4.255", "1.2.4.0-1.2.4.255"),
            ("A, Inc: a:b (ads):1.2.4.0-1.2.4.255\r\n", "1.2.4.0-1.2.4.255"),
            (":1.2.4.0-1.2.4.255", "1.2.4.0-1.2.4.255"),
            ("one host:1.2.4.9", "1.2.4.9-1.2.4.9"),
            ("name:2001:db8::-2001:db8::ff", "2001:db8::-2001:db8::ff"),
            ("name:2001:db8::/126", "2001:db8::-2001:db8::3"),
            ("001.002.004.000 - 001.002.004.255 , 000 , Some Org", "1.2.4.0-1.2.4.255"),
            ("008.009.010.099-008.009.010.099,127,octal to others", "8.9.10.99-8.9.10.99"),
            ("2001:db8::-2001:db8::1 , 100 , six", "2001:db8::-2001:db8::1"),
            ("1.2.4.0-1.2.4.9,0", "1.2.4.0-1.2.4.9"),
            ("1.2.4.0/24", "1.2.4.0-1.2.4.255"),
            ("1.2.4.77/24 # host bits do not matter", "1.2.4.0-1.2.4.255"),
            ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
            ("1.2.4.9/32", "1.2.4.9-1.2.4.9"),
            ("1.2.4.9", "1.2.4.9-1.2.4.9"),
            ("\u{feff}1.2.4.9", "1.2.4.9-1.2.4.9"),
            ("  1.2.4.0 - 1.2.4.9  ", "1.2.4.0-1.2.4.9"),
            ("2001:db8::/32", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::ffff:1.2.4.0-::ffff:1.2.4.9", "1.2.4.0-1.2.4.9"),
        ] {
            assert_eq!(read(line), Ok(Some(range.to_owned())), "{line}");
        }
        assert_eq!(
            parse_line(b"caf\xe9 \xff:1.2.4.0-1.2.4.9"),
            Ok(Some(IpRange::V4([1, 2, 4, 0].into(), [1, 2, 4, 9].into()))),
            "a name in Latin-1"
        );
    }

    #[test]
    fn what_blocks_nothing_is_no_error() {
        for line in [
            "",
            " \t\r\n",
            "# 1.2.3.4",
            "; x",
            "1.2.4.0 - 1.2.4.255 , 128 , allowed",
            "1.2.4.0-1.2.4.9,999,x",
        ] {
            assert_eq!(read(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        for line in [
            "nothing",
            "name:",
            "name:1.2.3.4-",
            "name:1.2.3.4-1.2.3",
            "1.2.3.9-1.2.3.4",
            "1.2.3.256",
            "1.2.3.0004",
            "1.2.3.+4",
            "1.2.3.4.5",
            "1.2.3.4/33",
            "1.2.3.4/255.255.255.0",
            "1.2.3.4/",
            "2001:db8::/129",
            "1.2.3.4-2001:db8::",
            "1.2.4.0 - 1.2.4.255 , high , x",
            "1.2.4.0 - 1.2.4.255 ,, x",
            "zz01:db8::1",
            "a:b:2001:db8::1-2001:db8::2:x",
        ] {
            assert_eq!(read(line), Err(BadLine), "{line}");
        }
        let long = format!("{}:1.2.3.4-1.2.3.5", "x".repeat(MAX_LINE_LEN));
        assert_eq!(read(&long), Err(BadLine));
    }

    #[test]
    fn cut_lines_are_read_or_refused_and_nothing_else() {
        for line in [
            &b"A, Inc: a:b (ads):1.2.4.0-1.2.4.255"[..],
            b"001.002.004.000 - 001.002.004.255 , 000 , Some Org",
            b"\xef\xbb\xbf2001:db8::1/126 # x",
            b"name:2001:db8::-2001:db8::ff",
        ] {
            for at in 0..=line.len() {
                let _ = parse_line(&line[..at]);
                let _ = parse_line(&line[at..]);
            }
        }
    }
}
