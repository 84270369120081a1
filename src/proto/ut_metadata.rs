//! `ut_metadata` (BEP 9): the info dictionary in blocks of 16 KiB, asked for and sent by peers.
//!
//! A body is a bencoded dictionary; behind that of a `data` message follow the block's bytes as
//! they are.

use super::bencode::{self, Value, Writer};
use super::extended::{ExtendedError, LIMITS, MAX_METADATA_LEN, message};

/// Bytes of every block but the last.
pub const METADATA_BLOCK_LEN: u32 = 16 * 1024;

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataMessage {
    /// The sender wants this block.
    Request(u32),
    /// This block; its bytes begin so many into the body.
    Data {
        /// The block's number, counted from 0.
        block: u32,
        /// Bytes of the whole metadata, as far as the sender says so and it can be.
        total_len: Option<u32>,
        /// Where the block's bytes begin.
        at: usize,
    },
    /// The sender does not send this block: it does not have the metadata, or was asked too much.
    Reject(u32),
    /// Something that a later version has (BEP 9: to be ignored).
    Unknown,
}

impl MetadataMessage {
    /// Reads a body (BEP 9). Never panics on remote input; allocates a few dozen bytes.
    ///
    /// # Errors
    /// [`ExtendedError`]: the remote's fault.
    pub fn decode(body: &[u8]) -> Result<Self, ExtendedError> {
        let (tree, at) = bencode::decode_prefix(body, &LIMITS)?;
        let root = tree.root().as_dict().ok_or(ExtendedError::NotADictionary)?;
        let number = |key: &[u8]| root.get(key).and_then(Value::as_int);
        let block = || {
            let block = number(b"piece").and_then(|block| u32::try_from(block).ok());
            let is_one = |block: &u32| *block < MAX_METADATA_LEN / METADATA_BLOCK_LEN;
            block.filter(is_one).ok_or(ExtendedError::BadNumber("piece"))
        };
        let total_len = || number(b"total_size").and_then(|len| u32::try_from(len).ok());
        Ok(match number(b"msg_type").ok_or(ExtendedError::BadNumber("msg_type"))? {
            0 => Self::Request(block()?),
            1 => Self::Data { block: block()?, total_len: total_len(), at },
            2 => Self::Reject(block()?),
            _ => Self::Unknown,
        })
    }
}

/// Returns how many blocks `len` bytes have.
pub const fn blocks_of(len: u32) -> u32 {
    len.div_ceil(METADATA_BLOCK_LEN)
}

/// Returns the bytes of `block` of `len` bytes in all; 0 if there is no such block.
pub const fn len_of(block: u32, len: u32) -> u32 {
    let rest = len.saturating_sub(block.saturating_mul(METADATA_BLOCK_LEN));
    if rest < METADATA_BLOCK_LEN { rest } else { METADATA_BLOCK_LEN }
}

/// Appends a request for `block`, to a remote that hears it under `id`.
pub fn encode_request(id: u8, block: u32, out: &mut Vec<u8>) {
    encode_short(id, 0, block, out);
}

/// Appends a refusal to send `block`.
pub fn encode_reject(id: u8, block: u32, out: &mut Vec<u8>) {
    encode_short(id, 2, block, out);
}

/// Appends `block` of the whole metadata `info`. Panics if there is no such block: a caller's bug.
pub fn encode_data(id: u8, block: u32, info: &[u8], out: &mut Vec<u8>) {
    let total = u32::try_from(info.len()).expect("metadata is at most 32 MiB");
    let begin = crate::id::index(block * METADATA_BLOCK_LEN);
    let end = begin + crate::id::index(len_of(block, total));
    message(id, out, |out| {
        Writer::new(out).dict(|root| {
            root.key(b"msg_type").int(1);
            root.key(b"piece").int(i64::from(block));
            root.key(b"total_size").int(i64::from(total));
        });
        out.extend_from_slice(&info[begin..end]);
    });
}

fn encode_short(id: u8, kind: i64, block: u32, out: &mut Vec<u8>) {
    message(id, out, |out| {
        Writer::new(out).dict(|root| {
            root.key(b"msg_type").int(kind);
            root.key(b"piece").int(i64::from(block));
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_messages_of_the_specification() {
        for (body, message) in [
            (&b"d8:msg_typei0e5:piecei0ee"[..], MetadataMessage::Request(0)),
            (
                b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx",
                MetadataMessage::Data { block: 0, total_len: Some(34256), at: 45 },
            ),
            (b"d8:msg_typei2e5:piecei0ee", MetadataMessage::Reject(0)),
            (b"d8:msg_typei3e5:piecei0ee", MetadataMessage::Unknown),
            (b"d8:msg_typei-1ee", MetadataMessage::Unknown),
        ] {
            assert_eq!(MetadataMessage::decode(body), Ok(message), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let info: Vec<u8> = (0..40_000u32).map(|at| at.to_le_bytes()[0]).collect();
        let mut out = Vec::new();
        for block in 0..3 {
            out.clear();
            encode_data(7, block, &info, &mut out);
            assert_eq!(&out[4..6], [20, 7]);
            let body = &out[6..];
            let Ok(MetadataMessage::Data { block: read, total_len, at }) =
                MetadataMessage::decode(body)
            else {
                panic!("data");
            };
            assert_eq!((read, total_len), (block, Some(40_000)));
            let begin = block as usize * 16_384;
            assert_eq!(body[at..], info[begin..info.len().min(begin + 16_384)]);
            assert_eq!(body.len() - at, len_of(block, 40_000) as usize);
        }
        out.clear();
        encode_request(1, 5, &mut out);
        assert_eq!(out, b"\0\0\0\x1b\x14\x01d8:msg_typei0e5:piecei5ee");
        out.clear();
        encode_reject(1, 5, &mut out);
        assert_eq!(MetadataMessage::decode(&out[6..]), Ok(MetadataMessage::Reject(5)));
    }

    #[test]
    fn blocks_are_counted_to_the_last_byte() {
        for (len, blocks, last) in
            [(1, 1, 1), (16_384, 1, 16_384), (16_385, 2, 1), (MAX_METADATA_LEN, 1024, 16_384)]
        {
            assert_eq!((blocks_of(len), len_of(blocks - 1, len)), (blocks, last));
            assert_eq!(len_of(blocks, len), 0);
        }
        assert_eq!(len_of(u32::MAX, 5), 0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (body, error) in [
            (&b"de"[..], "no usable \"msg_type\""),
            (b"d8:msg_typei0ee", "no usable \"piece\""),
            (b"d8:msg_typei0e5:piecei-1ee", "no usable \"piece\""),
            (b"d8:msg_typei1e5:piecei1024ee", "no usable \"piece\""),
            (b"d8:msg_typei2e5:piecei4294967296ee", "no usable \"piece\""),
            (b"5:hello", "not a dictionary"),
            (b"d8:msg_type", "byte 11: the input ends in the middle of a value"),
        ] {
            let refused = MetadataMessage::decode(body).expect_err("it cannot be");
            assert_eq!(refused.to_string(), error, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(MetadataMessage::Data { at, .. }) = MetadataMessage::decode(&body) {
                prop_assert!(at <= body.len());
            }
        }
    }
}
