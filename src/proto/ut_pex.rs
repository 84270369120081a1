//! `ut_pex` (BEP 11): the peers that joined and left a remote since it last told us.
//!
//! A body is a bencoded dictionary of compact contacts: `added` and `dropped` for IPv4, `added6`
//! and `dropped6` for IPv6, `added.f` and `added6.f` with one byte of flags for each that was
//! added. (The text of BEP 11 calls `dropped` IPv6: a slip of the pen.)

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bencode::{self, Dict, Value, Writer};
use super::compact::{PEER4_LEN, PEER6_LEN, write_peers};
use super::extended::{ExtendedError, LIMITS, message};

/// The most contacts that one message may add, and as many that it may drop, both families
/// together (BEP 11). What is beyond it is not read.
pub const MAX_CONTACTS: usize = 50;

/// What is known of a contact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// It has everything, or wants nothing any more.
    pub const SEED: Self = Self(0x02);
    /// It was dialled, so others can dial it, too.
    pub const REACHABLE: Self = Self(0x10);

    /// Returns both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether all of `other` is in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exchange {
    /// Contacts that joined, port 0 left out; at most [`MAX_CONTACTS`].
    pub added: Vec<(SocketAddr, Flags)>,
    /// Contacts that left; at most [`MAX_CONTACTS`].
    pub dropped: Vec<SocketAddr>,
}

impl Exchange {
    /// Reads a body (BEP 11). Keys may be missing; flags that are missing are none. Never panics on
    /// remote input.
    ///
    /// # Errors
    /// [`ExtendedError`]: the remote's fault.
    pub fn decode(body: &[u8]) -> Result<Self, ExtendedError> {
        let (tree, _) = bencode::decode_prefix(body, &LIMITS)?;
        let root = tree.root().as_dict().ok_or(ExtendedError::NotADictionary)?;
        let mut read = Self::default();
        read.add(contacts4(root, "added")?, string(root, "added.f"));
        read.add(contacts6(root, "added6")?, string(root, "added6.f"));
        let dropped = contacts4(root, "dropped")?.chain(contacts6(root, "dropped6")?);
        read.dropped.extend(dropped.filter(|addr| addr.port() != 0).take(MAX_CONTACTS));
        Ok(read)
    }

    fn add(&mut self, contacts: impl Iterator<Item = SocketAddr>, flags: &[u8]) {
        let flags = flags.iter().copied().chain(std::iter::repeat(0)).map(Flags);
        let room = MAX_CONTACTS - self.added.len();
        let usable = contacts.zip(flags).filter(|(addr, _)| addr.port() != 0);
        self.added.extend(usable.take(room));
    }

    /// Appends the whole message to `out`, to a remote that hears it under `id`. Panics if there
    /// are more than [`MAX_CONTACTS`] of a kind: a caller's bug.
    pub fn encode(&self, id: u8, out: &mut Vec<u8>) {
        assert!(self.added.len() <= MAX_CONTACTS && self.dropped.len() <= MAX_CONTACTS);
        let (mut added4, mut added6) = (Vec::new(), Vec::new());
        write_peers(&mut added4, &mut added6, self.added.iter().map(|(addr, _)| *addr));
        let flags = |v4: bool| {
            let of_family = self.added.iter().filter(move |(addr, _)| addr.is_ipv4() == v4);
            of_family.map(|(_, flags)| flags.0).collect::<Vec<u8>>()
        };
        let (mut dropped4, mut dropped6) = (Vec::new(), Vec::new());
        write_peers(&mut dropped4, &mut dropped6, self.dropped.iter().copied());
        message(id, out, |out| {
            Writer::new(out).dict(|root| {
                root.key(b"added").bytes(&added4);
                root.key(b"added.f").bytes(&flags(true));
                root.key(b"added6").bytes(&added6);
                root.key(b"added6.f").bytes(&flags(false));
                root.key(b"dropped").bytes(&dropped4);
                root.key(b"dropped6").bytes(&dropped6);
            });
        });
    }
}

fn string<'a>(root: Dict<'_, 'a>, key: &str) -> &'a [u8] {
    root.get(key.as_bytes()).and_then(Value::as_bytes).unwrap_or_default()
}

fn contacts4<'a>(
    root: Dict<'_, 'a>,
    key: &'static str,
) -> Result<impl Iterator<Item = SocketAddr> + use<'a>, ExtendedError> {
    let (contacts, rest) = string(root, key).as_chunks::<PEER4_LEN>();
    if !rest.is_empty() {
        return Err(ExtendedError::length(key, string(root, key)));
    }
    Ok(contacts.iter().map(|[a, b, c, d, high, low]| {
        (Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])).into()
    }))
}

fn contacts6<'a>(
    root: Dict<'_, 'a>,
    key: &'static str,
) -> Result<impl Iterator<Item = SocketAddr> + use<'a>, ExtendedError> {
    let (contacts, rest) = string(root, key).as_chunks::<PEER6_LEN>();
    if !rest.is_empty() {
        return Err(ExtendedError::length(key, string(root, key)));
    }
    Ok(contacts.iter().map(|contact| {
        let [ip @ .., high, low] = *contact;
        (Ipv6Addr::from(ip), u16::from_be_bytes([high, low])).into()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn both_families_and_their_flags_are_read() {
        let body =
            b"d5:added12:\x7f\0\0\x01\x1a\xe1\x0a\0\0\x02\x1a\xe27:added.f2:\x02\x106:added6\
            18:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x508:added6.f1:\x017:dropped6:\x0a\0\0\
            \x03\0\x09e";
        let read = Exchange::decode(body).expect("well formed");
        assert_eq!(
            read.added,
            [
                (addr("127.0.0.1:6881"), Flags::SEED),
                (addr("10.0.0.2:6882"), Flags::REACHABLE),
                (addr("[2001:db8::1]:80"), Flags(1)),
            ]
        );
        assert_eq!(read.dropped, [addr("10.0.0.3:9")]);
    }

    #[test]
    fn port_0_is_left_out_with_its_flags_and_missing_flags_are_none() {
        let body =
            b"d5:added18:\x7f\0\0\x01\0\0\x0a\0\0\x02\0\x01\x0a\0\0\x03\0\x017:added.f2:\x01\
            \x02e";
        let read = Exchange::decode(body).expect("well formed");
        assert_eq!(read.added, [(addr("10.0.0.2:1"), Flags::SEED), (addr("10.0.0.3:1"), Flags(0))]);
        assert_eq!(Exchange::decode(b"de"), Ok(Exchange::default()));
    }

    #[test]
    fn no_more_than_fifty_are_taken_however_many_come() {
        let many: Vec<u8> = (0..500u16)
            .flat_map(|n| {
                let [high, low] = n.to_be_bytes();
                [10, 0, high, low, 0, 1]
            })
            .collect();
        let six: Vec<u8> = [[0x20; 16].as_slice(), &[0, 1]].concat();
        let mut body = format!("d5:added{}:", many.len()).into_bytes();
        body.extend(&many);
        body.extend(b"6:added618:");
        body.extend(six);
        body.extend(format!("7:dropped{}:", many.len()).into_bytes());
        body.extend(&many);
        body.push(b'e');
        let read = Exchange::decode(&body).expect("well formed");
        assert_eq!((read.added.len(), read.dropped.len()), (MAX_CONTACTS, MAX_CONTACTS));
        assert!(read.added.iter().all(|(addr, _)| addr.is_ipv4()));
    }

    #[test]
    fn strings_that_are_not_whole_contacts_are_refused() {
        for (body, error) in [
            (&b"d5:added5:abcdee"[..], "added of 5 bytes"),
            (b"d6:added617:abcdefghijklmnopqe", "added6 of 17 bytes"),
            (b"d7:dropped1:ae", "dropped of 1 bytes"),
            (b"d8:dropped66:abcdefe", "dropped6 of 6 bytes"),
            (b"le", "not a dictionary"),
            (b"d5:added", "byte 8: the input ends in the middle of a value"),
        ] {
            let refused = Exchange::decode(body).expect_err("malformed");
            assert_eq!(refused.to_string(), error, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            added in prop::collection::vec((any::<SocketAddr>(), any::<u8>()), 0..MAX_CONTACTS),
            dropped in prop::collection::vec(any::<SocketAddr>(), 0..MAX_CONTACTS),
        ) {
            let plain = |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port().max(1));
            let order = |addr: &SocketAddr| addr.is_ipv6();
            let mut added: Vec<_> =
                added.into_iter().map(|(addr, flags)| (plain(addr), Flags(flags))).collect();
            added.sort_by_key(|(addr, _)| order(addr));
            let mut dropped: Vec<_> = dropped.into_iter().map(plain).collect();
            dropped.sort_by_key(order);
            let exchange = Exchange { added, dropped };
            let mut out = Vec::new();
            exchange.encode(3, &mut out);
            prop_assert_eq!(&out[4..6], &[20, 3]);
            prop_assert_eq!(Exchange::decode(&out[6..]), Ok(exchange));
        }

        #[test]
        fn noise_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Exchange::decode(&body) {
                prop_assert!(read.added.len() <= MAX_CONTACTS);
            }
        }
    }
}
