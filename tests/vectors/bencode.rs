//! Bencode as other clients' own tests have it: what must be read, what must not, and where this
//! decoder's choice lies in between.
//!
//! Cases are from libtorrent (`test/test_bdecode.cpp`), Transmission (`variant-test.cc`) and
//! anacrolix/torrent (its fuzz corpus).

use swarmloop::proto::bencode::{self, DecodeErrorKind, Limits};

/// Input and what is expected of it.
const BENCODE: &[(&[u8], Verdict)] = &[
    // libtorrent
    (b"i12453e", Ok),
    (b"26:abcdefghijklmnopqrstuvwxyz", Ok),
    (b"li12453e3:aaae", Ok),
    (b"d1:ai12453e1:b3:aaa1:c3:bbb1:X10:0123456789e", LenientOrder),
    (b"d1:ai1e1:be", Refused),
    (b"di5e1:ae", Refused),
    (b"d3:a\0bi1ee", Ok),
    (b"d2:abi1e2:aai2ee", LenientOrder),
    (b"d2:bai1e2:aai2ee", LenientOrder),
    (b"d2:aai1e1:ai2ee", LenientOrder),
    (b"d1:ai1e2:aai2ee", Ok),
    (b"d2:aai1e1:bi2ee", Ok),
    (b"d2:aai1e2:aai2ee", LenientOrder),
    (b"e", Refused),
    (b"-10:foobar", Refused),
    (b"18446744073709551615:foobar", Refused),
    (b"99999999:foobar", Refused),
    (b"06:foobar", StrictZero),
    (b"0:", Ok),
    (b"ie", Refused),
    (b"i-e", Refused),
    (b"i35412-5633e", Refused),
    (b"i18446744073709551615e", StrictRange),
    (b"i184467440737095516154e", Refused),
    (b"i-", Refused),
    (b"i01e", StrictZero),
    (b"i0e", Ok),
    (b"i9223372036854775807e", Ok),
    (b"i-9223372036854775807e", Ok),
    (b"i92337203t854775807e", Refused),
    (b"l2:..", Refused),
    (b"l2:..0", Refused),
    (b"di2ei0ee", Refused),
    (b"d1000:..e", Refused),
    (b"d1000:", Refused),
    (b"df00:", Refused),
    (b"i", Refused),
    (b"i10", Refused),
    (b"d1000", Refused),
    (b"", Refused),
    (b"100:..", Refused),
    (b"d3:fooi1e3:bari2ee", LenientOrder),
    (b"l3:fooe", Ok),
    (b"d1:ai1e1:b3:foo1:cli1ei2ee1:dd1:xi1eee", Ok),
    (b"li1e3:fooli1ei2eed1:xi1eee", Ok),
    (b"d1:ai1e1:b3:foo1:cli1ei2ee1:dd1:xi1-eee", Refused),
    (b"d1:ai1e1:b3:foo1:cli1ei2ee1:d-d1:xi1eee", Refused),
    (b"d1:ai1e1:b3:foo1:cli1ei2ee-1:dd1:xi1eee", Refused),
    (b"d1:ai1e1:b3:foo1:cli1e-i2ee1:dd1:xi1eee", Refused),
    (b"55", Refused),
    (b"d1:a1919191010:11111", Refused),
    (b"d2143289344:a4:aaaae", Refused),
    (b"d214328934114:a4:aaaae", Refused),
    (b"d9205357638345293824:a4:aaaae", Refused),
    (b"d1:a9205357638345293824:11111", Refused),
    (b"l3:foo3:bare", Ok),
    (b"d3:foo3:bar4:test4:teste", Ok),
    (
        b"d1:ad2:id20:*!\x19\x89\x9f\xcd_\xc9\xbc\x80\xc1v\xfe\xe0\xc6\x84-\xf6\xfc\xb8\
          9:info_ha\xaeh20:\x14x\xd5\xb0\xdc\xf6\x82B2\xa0\xd6\x88\xebHW\x01\x89@N\xbce\
          1:q9:get_peerx\xff:t8:\xaa\xd4\xa1\x88z\x8d\xc3\xd61:y1\xaeqe\0",
        Refused,
    ),
    // Transmission
    (b"i64e", Ok),
    (b"i64", Refused),
    (b"i6z4e", Refused),
    (b"i-3e", Ok),
    (b"i-03e", Refused),
    (b"i04e", StrictZero),
    (b"99999999999999999999:boat", Refused),
    (b"4:boat", Ok),
    (b"4:boa", Refused),
    (b"3:boat", Trailing(5)),
    (b"li64ei32ei16ee", Ok),
    (b"lllee", Refused),
    (b"le", Ok),
    (b"d20:", Refused),
    (b"llleee", Ok),
    (b"d3:cow3:moo4:spam4:eggse", Ok),
    (b"d4:spaml1:a1:bee", Ok),
    (b"d5:greenli1ei2ei3ee4:spamd1:ai123e3:keyi214eee", Ok),
    (b"d9:publisher3:bob17:publisher-webpage15:www.example.com18:publisher.location4:homee", Ok),
    (b"d8:completei1e8:intervali1800e12:min intervali1800e5:peers0:e", Ok),
    (b"d1:ai0e1:be", Refused),
    (b" ", Refused),
    (b"leee", Trailing(2)),
    (b"l1:a1:b1:c", Refused),
    (b"1:", Refused),
    (b"lld1:bi32e1:ai64eeee", LenientOrder),
    // anacrolix/torrent
    (b"00:", StrictZero),
    (b"d10000000000", Refused),
    (b"d3:000e", Refused),
    (b"i+0e", Refused),
    (b"i-0e", Refused),
    (b"i00e", StrictZero),
    (b"de\n", Trailing(2)),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Every reader takes it.
    Ok,
    /// Every reader refuses it.
    Refused,
    /// Readers differ. Unsorted and repeated keys are all over the world and harm nobody who
    /// hashes the bytes as they came: taken.
    LenientOrder,
    /// Readers differ. A number with two spellings is of use only to who wants two readers to
    /// disagree: refused, in integers and in string lengths.
    StrictZero,
    /// Readers differ. libtorrent takes it and reads 0: refused.
    StrictRange,
    /// A value of so many bytes and something behind it: refused as a whole, taken as a prefix.
    Trailing(usize),
}

use Verdict::{LenientOrder, Ok, Refused, StrictRange, StrictZero, Trailing};

#[test]
fn bencode_vectors_of_other_clients() {
    for &(input, verdict) in BENCODE {
        let name = input.escape_ascii();
        let decoded = bencode::decode(input, &Limits::NETWORK);
        let offence = decoded.as_ref().err().map(|error| error.kind);
        match verdict {
            Ok | LenientOrder => {
                let tree = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(tree.root().raw(), input);
            }
            Refused => assert!(decoded.is_err(), "{name}"),
            StrictZero => assert_eq!(offence, Some(DecodeErrorKind::LeadingZero), "{name}"),
            StrictRange => assert_eq!(offence, Some(DecodeErrorKind::NumberTooLarge), "{name}"),
            Trailing(used) => {
                let left = input.len() - used;
                assert_eq!(offence, Some(DecodeErrorKind::TrailingBytes { left }), "{name}");
                let prefix = bencode::decode_prefix(input, &Limits::NETWORK).unwrap();
                assert_eq!((prefix.0.root().raw(), prefix.1), (&input[..used], used));
            }
        }
    }
}

/// The vectors too large to write down.
#[test]
fn bencode_vectors_of_other_clients_at_the_limits() {
    let nested = [[b'l'; 1024], [b'e'; 1024]].concat();
    let offence = bencode::decode(&nested, &Limits::METAINFO).unwrap_err();
    assert_eq!(offence.kind, DecodeErrorKind::TooDeep { max_depth: 64 });

    let items = format!("l{}e", "0:".repeat(5119));
    let limits = Limits { max_tokens: 1000, ..Limits::METAINFO };
    let offence = bencode::decode(items.as_bytes(), &limits).unwrap_err();
    assert_eq!(offence.kind, DecodeErrorKind::TooManyTokens { max_tokens: 1000 });
    assert!(bencode::decode(items.as_bytes(), &Limits::METAINFO).is_ok());

    let megabyte = format!("1000000:{}", "x".repeat(1_000_000));
    let tree = bencode::decode(megabyte.as_bytes(), &Limits::NETWORK).unwrap();
    assert_eq!(tree.root().as_bytes().map(<[u8]>::len), Some(1_000_000));

    // 100 MB and a claimed gigabyte in libtorrent's tests; it is the length alone that refuses.
    let too_long = vec![0; Limits::METAINFO.max_len + 1];
    let offence = bencode::decode(&too_long, &Limits::METAINFO).unwrap_err();
    assert!(matches!(offence.kind, DecodeErrorKind::TooLong { .. }), "{offence}");
}
