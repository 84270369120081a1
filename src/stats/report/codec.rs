//! A distribution as a line of text: `HdrHistogram`'s V2 encoding, deflated, in base64.
//!
//! ```text
//! 0      4      8                                                   of the compressed form
//! cookie length zlib(
//!     0      4      8      12     16     24      32         40
//!     cookie length offset digits lowest highest conversion counts…
//! )
//! ```
//!
//! All numbers are big-endian. A count is a zig-zag LEB128 number; a negative one skips that many
//! counters. What comes from a foreign log is checked before the library that knows the format gets
//! it, which believes lengths and would add up any counts.

use std::io::Read;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::distribution::{Distribution, TooMany};

/// The most bytes of an encoded histogram once inflated: one of five digits over the whole range
/// with a large count in each counter takes as many.
const MAX_INFLATED: u64 = 56 << 20;

/// The first four bytes of the deflated form.
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;

/// The first four bytes of the plain form.
const PLAIN_COOKIE: u32 = 0x1c84_9313;

/// What of a cookie names the format; the lowest hex digit but one is a word size, which has no
/// meaning in V2.
const COOKIE_MASK: u32 = 0xffff_ff0f;

/// Bytes before the counts.
const HEADER_LEN: usize = 40;

/// By how much the counters are shifted, in the plain form.
const OFFSET: Range<usize> = 8..12;

/// What the values are multiplied by, in the plain form: a 64-bit float.
const CONVERSION: Range<usize> = 32..HEADER_LEN;

/// npm's `hdr-histogram-js` (3.0.1) writes an offset of 1, by which it shifts nothing, and the
/// integer 1 where the float belongs. No other writer has both.
const NPM_OFFSET: [u8; 4] = 1u32.to_be_bytes();
const NPM_CONVERSION: [u8; 8] = 1u64.to_be_bytes();

/// Why text is no histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Not base64.
    #[error("the histogram is not base64")]
    Base64,
    /// Another format, or none.
    #[error("the histogram is in no format that is known here (V2, plain or deflated)")]
    Format,
    /// The deflated data are damaged.
    #[error("the histogram's compressed data are damaged")]
    Deflate,
    /// Longer than any histogram is.
    #[error("the histogram inflates to more than {MAX_INFLATED} bytes")]
    Inflated,
    /// It ends early, or something follows.
    #[error("the histogram's length is not what it says")]
    Length,
    /// A shifted histogram, or one of fractions.
    #[error("the histogram is shifted or one of fractions, which is not supported")]
    Unsupported,
    /// Bounds or precision that none has, or counts beyond its bounds.
    #[error("the histogram's counts and bounds contradict each other")]
    Contents,
    /// More than a report holds.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Encodes a distribution; the result has no line breaks.
pub(super) fn encode(distribution: &Distribution) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(distribution.hdr(), &mut bytes)
        .expect("memory takes every byte, and counts are at most 2^53");
    STANDARD.encode(bytes)
}

/// Decodes a distribution. O(text), and up to [`MAX_INFLATED`] bytes and 50 MB for its counters.
///
/// # Errors
/// Whatever the text is, it is the text's fault.
pub(super) fn decode(text: &str) -> Result<Distribution, CodecError> {
    let bytes = STANDARD.decode(text).map_err(|_| CodecError::Base64)?;
    let plain = match word(&bytes, 0).ok_or(CodecError::Format)? & COOKIE_MASK {
        cookie if cookie == COMPRESSED_COOKIE & COOKIE_MASK => inflate(&bytes)?,
        cookie if cookie == PLAIN_COOKIE & COOKIE_MASK => bytes,
        _ => return Err(CodecError::Format),
    };
    let plain = checked(plain)?;
    let hdr =
        Deserializer::new().deserialize(&mut plain.as_slice()).map_err(|_| CodecError::Contents)?;
    Ok(Distribution::from_hdr(hdr)?)
}

/// Inflates the compressed form.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let len = word(bytes, 4).and_then(|len| usize::try_from(len).ok()).ok_or(CodecError::Length)?;
    // Some writers pad what follows.
    let deflated = bytes.get(8..).and_then(|rest| rest.get(..len)).ok_or(CodecError::Length)?;
    let mut plain = Vec::new();
    ZlibDecoder::new(deflated)
        .take(MAX_INFLATED + 1)
        .read_to_end(&mut plain)
        .map_err(|_| CodecError::Deflate)?;
    if plain.len() as u64 > MAX_INFLATED {
        return Err(CodecError::Inflated);
    }
    Ok(plain)
}

/// Checks the plain form as far as the decoder does not, and returns it with the cookie that the
/// decoder knows and nothing behind the counts.
fn checked(mut plain: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    if word(&plain, 0).is_none_or(|cookie| cookie & COOKIE_MASK != PLAIN_COOKIE & COOKIE_MASK) {
        return Err(CodecError::Format);
    }
    plain[..4].copy_from_slice(&PLAIN_COOKIE.to_be_bytes());
    let len = word(&plain, 4).and_then(|len| usize::try_from(len).ok());
    let end = len.and_then(|len| len.checked_add(HEADER_LEN)).ok_or(CodecError::Length)?;
    if plain.len() < end {
        return Err(CodecError::Length);
    }
    plain.truncate(end);
    let is_from_npm = plain[OFFSET] == NPM_OFFSET && plain[CONVERSION] == NPM_CONVERSION;
    if is_from_npm {
        plain[OFFSET].fill(0);
        plain[CONVERSION].copy_from_slice(&1f64.to_be_bytes());
    }
    if plain[OFFSET] != [0; 4] || plain[CONVERSION] != 1f64.to_be_bytes() {
        return Err(CodecError::Unsupported);
    }
    check_counts(&plain[HEADER_LEN..])?;
    Ok(plain)
}

/// Checks that the counts add up to no more than a number holds.
fn check_counts(mut counts: &[u8]) -> Result<(), CodecError> {
    let mut sum = 0u64;
    while let Some((number, rest)) = zig_zag(counts) {
        counts = rest;
        if number == i64::MIN {
            return Err(CodecError::Contents);
        }
        let count = u64::try_from(number).unwrap_or(0);
        sum = sum.checked_add(count).ok_or(TooMany::Values)?;
    }
    if counts.is_empty() { Ok(()) } else { Err(CodecError::Length) }
}

/// Reads a zig-zag LEB128 number of at most 9 bytes, the ninth of which has 8 bits; `None` if it
/// ends early.
fn zig_zag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut encoded = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        let is_last = at == 8 || byte & 0x80 == 0;
        let bits = if at == 8 { byte } else { byte & 0x7f };
        encoded |= u64::from(bits) << (7 * at);
        if is_last {
            let magnitude = (encoded >> 1).cast_signed();
            let number = if encoded & 1 == 0 { magnitude } else { !magnitude };
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// Reads the four bytes from `at` on.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use hdrhistogram::serialization::V2Serializer;
    use proptest::prelude::*;

    use super::super::distribution::tests::of;
    use super::*;

    fn plain(distribution: &Distribution) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(distribution.hdr(), &mut bytes).unwrap();
        bytes
    }

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        let body = encoder.finish().unwrap();
        let len = u32::try_from(body.len()).unwrap();
        [&0x1c84_9314u32.to_be_bytes()[..], &len.to_be_bytes(), &body].concat()
    }

    fn decoded(bytes: &[u8]) -> Result<Distribution, CodecError> {
        decode(&STANDARD.encode(bytes))
    }

    /// A plain histogram of these fields, with these bytes of counts.
    fn made_up(digits: u32, low: u64, high: u64, counts: &[u8]) -> Vec<u8> {
        let len = u32::try_from(counts.len()).unwrap();
        [
            &0x1c84_9313u32.to_be_bytes()[..],
            &len.to_be_bytes(),
            &[0; 4],
            &digits.to_be_bytes(),
            &low.to_be_bytes(),
            &high.to_be_bytes(),
            &1f64.to_be_bytes(),
            counts,
        ]
        .concat()
    }

    #[test]
    fn both_forms_are_read_back() {
        for distribution in [of(2, &[]), of(1, &[0, 1, 1]), of(3, &[5, 1 << 40, 1 << 60])] {
            let back = decode(&encode(&distribution)).unwrap();
            assert!(back.recorded().eq(distribution.recorded()));
            assert_eq!(back.quantiles(), distribution.quantiles());
            assert_eq!(decoded(&plain(&distribution)).unwrap().count(), distribution.count());
        }
    }

    #[test]
    fn what_is_cut_is_no_histogram() {
        let whole = deflated(&plain(&of(2, &[1, 1_000, 1_000_000])));
        for len in 0..whole.len() {
            assert!(decoded(&whole[..len]).is_err(), "{len} of {}", whole.len());
        }
        let whole = plain(&of(2, &[1, 1_000, 1_000_000]));
        for len in 0..whole.len() {
            assert!(decoded(&whole[..len]).is_err(), "{len} of {}", whole.len());
        }
    }

    #[test]
    fn each_lie_has_its_name() {
        let good = made_up(2, 1, 1_000_000, &[2, 2]);
        assert_eq!(decoded(&good).map(|good| good.count()), Ok(2));
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            bad
        };
        for (bad, error) in [
            (with(0, &[0; 4]), CodecError::Format),
            (with(4, &[0xff; 4]), CodecError::Length),
            (with(8, &[1]), CodecError::Unsupported),
            (with(32, &2f64.to_be_bytes()), CodecError::Unsupported),
            (with(12, &[0, 0, 0, 6]), CodecError::Contents),
            (with(16, &[0xff; 8]), CodecError::Contents),
            (made_up(2, 1, 0, &[]), CodecError::Contents),
            // A counter beyond the highest value.
            (made_up(2, 1, 2, &[0xff, 0xff, 0xff, 0x7f, 2]), CodecError::Contents),
            // The number that has no absolute value, which a negative one's skip needs.
            (made_up(2, 1, 1_000, &[0xff; 9]), CodecError::Contents),
            (made_up(2, 1, 1_000, &[0x80]), CodecError::Length),
            (
                made_up(2, 1, 1_000, &[[0xfe; 8].as_slice(), &[0xff]].concat().repeat(3)),
                CodecError::TooMany(TooMany::Values),
            ),
            (deflated(b"no histogram"), CodecError::Format),
            (b"\x1c\x84\x93\x14\0\0\0\x04zzzz".to_vec(), CodecError::Deflate),
        ] {
            assert_eq!(decoded(&bad), Err(error), "{bad:02x?}");
        }
        assert_eq!(decode("H!ST"), Err(CodecError::Base64));
        assert_eq!(decode(""), Err(CodecError::Format));
    }

    #[test]
    fn the_header_that_npm_writes_is_known() {
        let mut made = made_up(2, 1, 1_000, &[2, 2]);
        made[OFFSET].copy_from_slice(&NPM_OFFSET);
        assert_eq!(decoded(&made), Err(CodecError::Unsupported));
        made[CONVERSION].copy_from_slice(&NPM_CONVERSION);
        assert_eq!(decoded(&made).map(|histogram| histogram.count()), Ok(2));
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let zeros = vec![0; usize::try_from(MAX_INFLATED).unwrap() + 2];
        assert_eq!(decoded(&deflated(&zeros)), Err(CodecError::Inflated));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_counts_do_harm(
            digits in 0u32..4,
            low: u64,
            high: u64,
            counts in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            // Small bounds are met too rarely otherwise.
            for (low, high) in [(low, high), (1, high >> (low % 64)), (low % 9, 1_000)] {
                if let Ok(distribution) = decoded(&made_up(digits, low, high, &counts)) {
                    let figures = distribution.quantiles();
                    prop_assert!(figures.min <= figures.max);
                    let mut twice = distribution.clone();
                    let merged = twice.merge(&distribution);
                    prop_assert!(merged.is_err() || twice.count() == 2 * figures.count);
                }
            }
        }

        #[test]
        fn damage_is_an_error_or_a_histogram(at: usize, to: u8) {
            let mut bytes = plain(&of(2, &[1, 7, 1_000, 1_000_000, 1 << 40]));
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(distribution) = decoded(&bytes) {
                let figures = distribution.quantiles();
                prop_assert!(figures.p50 <= figures.max);
                prop_assert!(decode(&encode(&distribution)).is_ok());
            }
        }
    }
}
