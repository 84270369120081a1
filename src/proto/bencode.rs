//! Bencode (BEP 3): a decoder that borrows its input and an encoder that appends to a buffer.
//!
//! The decoder makes one pass without recursion and leaves one flat vector of tokens, 16 bytes
//! each, in the order of the input; strings stay where they are, and every value knows its exact
//! span, so that an info-hash is taken over the bytes as they came. What it accepts is bounded by
//! [`Limits`], and nothing is allocated from a number in the input.
//!
//! Where a second spelling of a value could let two readers disagree it is strict: no leading
//! zeros (in integers and in string lengths), no `-0`, no integer beyond 64 signed bits, no key
//! that is not a string, nothing behind the value. Where the world is sloppy it is lenient: keys
//! may be unsorted or repeated, and a lookup finds the first. **Invariant:** nothing here knows
//! what a key means.

use crate::id::index;
use std::fmt;
use std::ops::Range;

/// What a decoder accepts at most; [`Limits::METAINFO`] and [`Limits::NETWORK`] are the two uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Lists and dictionaries inside each other; 0 allows only an integer or a string.
    pub max_depth: usize,
    /// Values in all: integers, strings, keys, lists and dictionaries. A token takes 16 bytes.
    pub max_tokens: usize,
    /// Bytes of input. Above [`u32::MAX`] it counts as that: positions are kept in 32 bits.
    pub max_len: usize,
}

/// Containers in each other in a metainfo file: v2 file trees nest a dictionary a folder.
pub const MAX_METAINFO_DEPTH: usize = 64;
/// Values in a metainfo file: some 300 000 files with `length`, `path` and `attr`.
pub const MAX_METAINFO_TOKENS: usize = 2_000_000;
/// Bytes in a metainfo file: 1.6 million piece hashes.
pub const MAX_METAINFO_LEN: usize = 32 << 20;
/// Containers in each other in a message: a tracker's reply needs 3, an extension's 3.
pub const MAX_MESSAGE_DEPTH: usize = 16;
/// Values in a message: whatever peers a reply of 1 MiB lists as dictionaries (BEP 3), which take
/// 24 bytes and 5 values each at the least.
pub const MAX_MESSAGE_TOKENS: usize = 250_000;
/// Bytes in a message: what is read of a tracker's reply.
pub const MAX_MESSAGE_LEN: usize = 1 << 20;

impl Limits {
    /// For `.torrent` files and for `info` dictionaries fetched from peers (BEP 9).
    pub const METAINFO: Self = Self {
        max_depth: MAX_METAINFO_DEPTH,
        max_tokens: MAX_METAINFO_TOKENS,
        max_len: MAX_METAINFO_LEN,
    };
    /// For what trackers and peers send: announce replies, extension messages.
    pub const NETWORK: Self = Self {
        max_depth: MAX_MESSAGE_DEPTH,
        max_tokens: MAX_MESSAGE_TOKENS,
        max_len: MAX_MESSAGE_LEN,
    };
}

/// Decodes `input`, which must be one value and nothing behind it (BEP 3).
///
/// Never panics on remote input. O(input), one allocation that grows with the values found.
///
/// # Errors
/// The first offence and its place; the fault is always the input's.
pub fn decode<'a>(input: &'a [u8], limits: &Limits) -> Result<Tree<'a>, DecodeError> {
    let (tree, used) = decode_prefix(input, limits)?;
    match input.len() - used {
        0 => Ok(tree),
        left => Err(DecodeError { offset: used, kind: DecodeErrorKind::TrailingBytes { left } }),
    }
}

/// Decodes the value at the start of `input` and returns it with its length in bytes.
///
/// What follows the value is not looked at (BEP 9 puts raw bytes behind a dictionary), but counts
/// towards `limits.max_len`.
///
/// # Errors
/// As [`decode`], but never [`DecodeErrorKind::TrailingBytes`].
pub fn decode_prefix<'a>(
    input: &'a [u8],
    limits: &Limits,
) -> Result<(Tree<'a>, usize), DecodeError> {
    let max_len = limits.max_len.min(index(u32::MAX));
    if input.len() > max_len {
        let kind = DecodeErrorKind::TooLong { len: input.len(), max_len };
        return Err(DecodeError { offset: max_len, kind });
    }
    let mut decoder =
        Decoder { input, at: 0, tokens: Vec::new(), open: Vec::new(), limits: *limits };
    decoder.value()?;
    while !decoder.open.is_empty() {
        decoder.value()?;
    }
    Ok((Tree { input, tokens: decoder.tokens }, decoder.at))
}

/// A decoded value with everything in it, borrowing the input.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    input: &'a [u8],
    /// Never empty; the first is the root and ends where the value ends.
    tokens: Vec<Token>,
}

impl<'a> Tree<'a> {
    /// Returns the outermost value.
    pub fn root(&self) -> Value<'_, 'a> {
        Value { tree: self, index: 0 }
    }
}

/// One value in a [`Tree`]: an integer, a string of bytes, a list or a dictionary.
///
/// `'a` is the input's lifetime: strings outlive the tree.
#[derive(Clone, Copy)]
pub struct Value<'t, 'a> {
    tree: &'t Tree<'a>,
    index: usize,
}

impl<'t, 'a> Value<'t, 'a> {
    /// Returns the number if this is an integer.
    pub fn as_int(self) -> Option<i64> {
        let raw = self.raw();
        match self.token().kind {
            Kind::Int => std::str::from_utf8(&raw[1..raw.len() - 1]).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Returns the bytes if this is a string; they may be empty and need not be UTF-8.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.token().kind {
            Kind::Bytes { header } => Some(&self.raw()[usize::from(header)..]),
            _ => None,
        }
    }

    /// Returns the text if this is a string in UTF-8. It is foreign: print it through
    /// [`crate::text::Escaped`].
    pub fn as_str(self) -> Option<&'a str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Returns the items in order if this is a list.
    pub fn as_list(self) -> Option<Items<'t, 'a>> {
        (self.token().kind == Kind::List).then(|| self.children())
    }

    /// Returns the dictionary if this is one.
    pub fn as_dict(self) -> Option<Dict<'t, 'a>> {
        (self.token().kind == Kind::Dict).then_some(Dict(self))
    }

    /// Returns the value's exact bytes in the input, from its first to its last.
    pub fn raw(self) -> &'a [u8] {
        &self.tree.input[self.span()]
    }

    /// Returns the bytes from the start of the input to the start of the value.
    pub fn offset(self) -> usize {
        self.span().start
    }

    /// Returns where the value is in the input: half-open, in bytes.
    pub fn span(self) -> Range<usize> {
        let token = self.token();
        index(token.start)..index(token.end)
    }

    fn token(self) -> Token {
        self.tree.tokens[self.index]
    }

    fn children(self) -> Items<'t, 'a> {
        Items { tree: self.tree, index: self.index + 1, end: index(self.token().next) }
    }
}

impl fmt::Debug for Value<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw().escape_ascii())
    }
}

/// A dictionary in a [`Tree`].
#[derive(Clone, Copy, Debug)]
pub struct Dict<'t, 'a>(Value<'t, 'a>);

impl<'t, 'a> Dict<'t, 'a> {
    /// Returns the value of `key`: of the first, if the key is repeated. O(entries), because the
    /// order of keys is not relied on.
    pub fn get(self, key: &[u8]) -> Option<Value<'t, 'a>> {
        self.entries().find_map(|(found, value)| (found == key).then_some(value))
    }

    /// Returns the entries in the order of the input; a repeated key comes as often as it is there.
    pub fn entries(self) -> Entries<'t, 'a> {
        Entries(self.0.children())
    }

    /// Returns the dictionary as a value, for its span.
    pub fn as_value(self) -> Value<'t, 'a> {
        self.0
    }
}

/// The items of a list, in order.
#[derive(Clone, Debug)]
pub struct Items<'t, 'a> {
    tree: &'t Tree<'a>,
    index: usize,
    end: usize,
}

impl<'t, 'a> Iterator for Items<'t, 'a> {
    type Item = Value<'t, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.end {
            return None;
        }
        let value = Value { tree: self.tree, index: self.index };
        self.index = index(value.token().next);
        Some(value)
    }
}

/// The entries of a dictionary, in the order of the input.
#[derive(Clone, Debug)]
pub struct Entries<'t, 'a>(Items<'t, 'a>);

impl<'t, 'a> Iterator for Entries<'t, 'a> {
    type Item = (&'a [u8], Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?.as_bytes()?;
        Some((key, self.0.next()?))
    }
}

/// Why bytes are not bencode, or more of it than is accepted. The fault is the input's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {offset}: {kind}")]
pub struct DecodeError {
    /// Bytes from the start of the input to the offence; the input's length if it ends too early.
    pub offset: usize,
    /// The offence.
    pub kind: DecodeErrorKind,
}

/// What is wrong at [`DecodeError::offset`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ends before its value does.
    #[error("the input ends in the middle of a value")]
    UnexpectedEnd,
    /// No value begins with this byte.
    #[error("no value begins with \"{}\"", .0.escape_ascii())]
    NotAValue(u8),
    /// A number or a length has a byte in it that belongs to neither it nor its end.
    #[error("expected a digit, found \"{}\"", .0.escape_ascii())]
    NotADigit(u8),
    /// An integer or a string length has a zero in front; a number has one spelling.
    #[error("number with a leading zero")]
    LeadingZero,
    /// `i-0e`.
    #[error("negative zero")]
    NegativeZero,
    /// An integer or a length does not fit into 64 bits, signed.
    #[error("number beyond 64 bits")]
    NumberTooLarge,
    /// A string's length goes past the end of the input.
    #[error("string of {len} bytes where {left} are left")]
    StringTooLong {
        /// Bytes it claims.
        len: u64,
        /// Bytes that follow its colon.
        left: usize,
    },
    /// A dictionary has a key that is not a string.
    #[error("dictionary key that is not a string")]
    KeyNotAString,
    /// A dictionary ends behind a key.
    #[error("dictionary key without a value")]
    MissingValue,
    /// Something follows the value; only from [`decode`].
    #[error("trailing bytes behind the value: {left}")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// [`Limits::max_depth`].
    #[error("more than {max_depth} lists and dictionaries in each other")]
    TooDeep {
        /// The limit.
        max_depth: usize,
    },
    /// [`Limits::max_tokens`].
    #[error("more than {max_tokens} values")]
    TooManyTokens {
        /// The limit.
        max_tokens: usize,
    },
    /// [`Limits::max_len`]; nothing has been read.
    #[error("{len} bytes of input where {max_len} are accepted")]
    TooLong {
        /// Bytes of input.
        len: usize,
        /// The limit.
        max_len: usize,
    },
}

/// One value's place in the input. Positions are bytes from its start and fit: the input's length
/// is checked first.
#[derive(Clone, Copy, Debug)]
struct Token {
    start: u32,
    /// One past the value's last byte.
    end: u32,
    /// The token after this value and all in it: what a reader skips to.
    next: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Int,
    /// `header` is the bytes of the length and the colon: at most 20, as no zero leads.
    Bytes {
        header: u8,
    },
    List,
    Dict,
}

/// What may come next in an open container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Item,
    Key,
    Value,
}

struct Decoder<'a> {
    input: &'a [u8],
    /// At most `input.len()`.
    at: usize,
    tokens: Vec<Token>,
    /// The containers that the next value is in, outermost first: token and state.
    /// At most `limits.max_depth`.
    open: Vec<(usize, Expect)>,
    limits: Limits,
}

impl Decoder<'_> {
    /// Takes one value, the start of a container or the end of one.
    fn value(&mut self) -> Result<(), DecodeError> {
        let first = self.peek()?;
        match (self.open.last().map(|&(_, expect)| expect), first) {
            (Some(Expect::Value), b'e') => Err(self.error(DecodeErrorKind::MissingValue)),
            (Some(_), b'e') => {
                self.close();
                Ok(())
            }
            (_, b'0'..=b'9') => self.bytes(),
            (Some(Expect::Key), _) => Err(self.error(DecodeErrorKind::KeyNotAString)),
            (_, b'i') => self.int(),
            (_, b'l') => self.open(Kind::List, Expect::Item),
            (_, b'd') => self.open(Kind::Dict, Expect::Key),
            _ => Err(self.error(DecodeErrorKind::NotAValue(first))),
        }
    }

    fn int(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.at;
        let magnitude = self.number(b'e')?;
        if negative && magnitude == 0 {
            return Err(DecodeError { offset: digits, kind: DecodeErrorKind::NegativeZero });
        }
        let bound = i64::MAX.unsigned_abs() + u64::from(negative);
        if magnitude > bound {
            return Err(DecodeError { offset: digits, kind: DecodeErrorKind::NumberTooLarge });
        }
        self.push(start, Kind::Int)
    }

    fn bytes(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        let len = self.number(b':')?;
        let left = self.input.len() - self.at;
        let fits = usize::try_from(len).ok().filter(|&len| len <= left);
        let Some(fitting) = fits else {
            let kind = DecodeErrorKind::StringTooLong { len, left };
            return Err(DecodeError { offset: start, kind });
        };
        let header = u8::try_from(self.at - start).expect("no zero leads, so 20 digits at most");
        self.at += fitting;
        self.push(start, Kind::Bytes { header })
    }

    /// Takes decimal digits, at least one and none of them a leading zero, and then `end`.
    fn number(&mut self, end: u8) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut number: u64 = 0;
        loop {
            let byte = self.peek()?;
            if byte == end && self.at > start {
                break;
            }
            if !byte.is_ascii_digit() {
                return Err(self.error(DecodeErrorKind::NotADigit(byte)));
            }
            if number == 0 && self.at > start {
                return Err(DecodeError { offset: start, kind: DecodeErrorKind::LeadingZero });
            }
            number = number
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
                .ok_or(DecodeError { offset: start, kind: DecodeErrorKind::NumberTooLarge })?;
            self.at += 1;
        }
        self.at += 1;
        Ok(number)
    }

    fn open(&mut self, kind: Kind, expect: Expect) -> Result<(), DecodeError> {
        let max_depth = self.limits.max_depth;
        if self.open.len() >= max_depth {
            return Err(self.error(DecodeErrorKind::TooDeep { max_depth }));
        }
        let start = self.at;
        self.at += 1;
        self.push(start, kind)?;
        self.open.push((self.tokens.len() - 1, expect));
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        let (index, _) = self.open.pop().expect("only called with a container open");
        let (end, next) = (position(self.at), position(self.tokens.len()));
        let token = &mut self.tokens[index];
        (token.end, token.next) = (end, next);
    }

    /// Records the value from `start` to here; a container's end is mended when it is known.
    fn push(&mut self, start: usize, kind: Kind) -> Result<(), DecodeError> {
        let max_tokens = self.limits.max_tokens;
        if self.tokens.len() >= max_tokens {
            let kind = DecodeErrorKind::TooManyTokens { max_tokens };
            return Err(DecodeError { offset: start, kind });
        }
        if let Some((_, expect)) = self.open.last_mut() {
            *expect = match *expect {
                Expect::Item => Expect::Item,
                Expect::Key => Expect::Value,
                Expect::Value => Expect::Key,
            };
        }
        let next = position(self.tokens.len() + 1);
        self.tokens.push(Token { start: position(start), end: position(self.at), next, kind });
        Ok(())
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.input.get(self.at).copied().ok_or(self.error(DecodeErrorKind::UnexpectedEnd))
    }

    fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { offset: self.at, kind }
    }
}

/// Narrows a byte or token position: the input is no longer than [`u32::MAX`], and every token
/// takes at least one byte of it.
fn position(at: usize) -> u32 {
    u32::try_from(at).expect("the input's length fits into 32 bits")
}

/// Writes bencode (BEP 3) to the end of a buffer that the caller lends.
///
/// Nesting is by closure, so containers always end; what the dictionary is made of comes from us,
/// so unsorted keys are a bug of ours and caught in debug builds.
///
/// ```
/// use swarmloop::proto::bencode::Writer;
///
/// let mut out = Vec::new();
/// Writer::new(&mut out).dict(|reply| {
///     reply.key(b"interval").int(1800);
///     reply.key(b"peers").list(|peers| peers.bytes(b"spam"));
/// });
/// assert_eq!(out, b"d8:intervali1800e5:peersl4:spamee");
/// ```
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Returns a writer that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes an integer.
    pub fn int(&mut self, number: i64) {
        self.append(format_args!("i{number}e"));
    }

    /// Writes a string; any bytes, possibly none.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.append(format_args!("{}:", bytes.len()));
        self.out.extend_from_slice(bytes);
    }

    /// Writes a value that is bencoded already, such as an `info` dictionary; not checked.
    pub fn raw(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// Writes a list of the values that `items` writes.
    pub fn list(&mut self, items: impl FnOnce(&mut Writer<'_>)) {
        self.out.push(b'l');
        items(&mut Writer { out: self.out });
        self.out.push(b'e');
    }

    /// Writes a dictionary of the entries that `entries` writes.
    pub fn dict(&mut self, entries: impl FnOnce(&mut DictWriter<'_>)) {
        self.out.push(b'd');
        entries(&mut DictWriter { out: self.out, last_key: None });
        self.out.push(b'e');
    }

    fn append(&mut self, text: fmt::Arguments<'_>) {
        use std::io::Write;

        self.out.write_fmt(text).expect("writing to a vector does not fail");
    }
}

/// Writes the entries of one dictionary; made by [`Writer::dict`].
#[derive(Debug)]
pub struct DictWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Where the key written last is in `out`.
    last_key: Option<Range<usize>>,
}

impl DictWriter<'_> {
    /// Writes `key` and returns the writer for its one value, which must follow.
    ///
    /// Keys come in the order of their raw bytes, each once (BEP 3). Panics in debug builds if
    /// they do not.
    pub fn key(&mut self, key: &[u8]) -> Writer<'_> {
        debug_assert!(
            self.last_key.as_ref().is_none_or(|last| &self.out[last.clone()] < key),
            "dictionary key \"{}\" is out of order",
            key.escape_ascii()
        );
        Writer::new(self.out).bytes(key);
        self.last_key = Some(self.out.len() - key.len()..self.out.len());
        Writer::new(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &[u8] = b"d1:ad2:id3:abc1:ni-7ee5:empty0:1:ll1:xi42ed1:yleeee";

    fn error(input: &[u8]) -> String {
        decode(input, &Limits::NETWORK).expect_err("malformed").to_string()
    }

    #[test]
    fn values_are_found_with_their_exact_spans() {
        let input = b"d4:infod3:keyi-12ee4:listl4:spam0:l1:xeee";
        let tree = decode(input, &Limits::NETWORK).expect("well formed");
        let root = tree.root().as_dict().expect("dictionary");
        let info = root.get(b"info").expect("there");
        assert_eq!(info.raw(), b"d3:keyi-12ee");
        assert_eq!(info.offset(), 7);
        assert_eq!(info.as_dict().and_then(|info| info.get(b"key")?.as_int()), Some(-12));
        let list = root.get(b"list").expect("there");
        let items: Vec<&[u8]> = list.as_list().expect("list").map(Value::raw).collect();
        assert_eq!(items, [&b"4:spam"[..], b"0:", b"l1:xe"]);
        assert_eq!(root.as_value().raw(), input);
        assert!(root.get(b"key").is_none(), "a lookup does not reach into inner dictionaries");
    }

    #[test]
    fn a_value_of_another_kind_is_none() {
        let tree = decode(b"li1e2:\xff\xfelede3:abce", &Limits::NETWORK).expect("well formed");
        let items: Vec<_> = tree.root().as_list().expect("list").collect();
        let kinds = items.iter().map(|item| {
            (
                item.as_int().is_some(),
                item.as_bytes().is_some(),
                item.as_str().is_some(),
                item.as_list().is_some(),
                item.as_dict().is_some(),
            )
        });
        assert!(kinds.eq([
            (true, false, false, false, false),
            (false, true, false, false, false),
            (false, false, false, true, false),
            (false, false, false, false, true),
            (false, true, true, false, false),
        ]));
    }

    #[test]
    fn unsorted_and_repeated_keys_are_accepted_and_the_first_is_found() {
        let tree = decode(b"d1:bi1e1:ai2e1:bi3ee", &Limits::NETWORK).expect("well formed");
        let dict = tree.root().as_dict().expect("dictionary");
        assert_eq!(dict.get(b"b").and_then(Value::as_int), Some(1));
        assert_eq!(dict.get(b"a").and_then(Value::as_int), Some(2));
        let keys: Vec<&[u8]> = dict.entries().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"b", b"a", b"b"]);
    }

    #[test]
    fn integers_reach_from_one_end_of_64_bits_to_the_other() {
        for (input, number) in [
            (&b"i0e"[..], Some(0)),
            (b"i-9223372036854775808e", Some(i64::MIN)),
            (b"i9223372036854775807e", Some(i64::MAX)),
            (b"i-9223372036854775809e", None),
            (b"i9223372036854775808e", None),
            (b"i18446744073709551616e", None),
        ] {
            let tree = decode(input, &Limits::NETWORK);
            assert_eq!(tree.ok().and_then(|tree| tree.root().as_int()), number, "{input:?}");
        }
    }

    #[test]
    fn errors_name_the_byte_and_the_offence() {
        for (input, text) in [
            (&b""[..], "byte 0: the input ends in the middle of a value"),
            (b"i12", "byte 3: the input ends in the middle of a value"),
            (b"d1:a", "byte 4: the input ends in the middle of a value"),
            (b"e", "byte 0: no value begins with \"e\""),
            (b"l\x1be", "byte 1: no value begins with \"\\x1b\""),
            (b"ie", "byte 1: expected a digit, found \"e\""),
            (b"i--1e", "byte 2: expected a digit, found \"-\""),
            (b"i+1e", "byte 1: expected a digit, found \"+\""),
            (b"4e", "byte 1: expected a digit, found \"e\""),
            (b"li01ee", "byte 2: number with a leading zero"),
            (b"i-01e", "byte 2: number with a leading zero"),
            (b"03:abc", "byte 0: number with a leading zero"),
            (b"i-0e", "byte 2: negative zero"),
            (b"99999999999999999999:", "byte 0: number beyond 64 bits"),
            (b"l5:abce", "byte 1: string of 5 bytes where 4 are left"),
            (
                b"18446744073709551615:",
                "byte 0: string of 18446744073709551615 bytes where 0 are left",
            ),
            (b"di1ei2ee", "byte 1: dictionary key that is not a string"),
            (b"d1:ae", "byte 4: dictionary key without a value"),
            (b"i1ei2e", "byte 3: trailing bytes behind the value: 3"),
        ] {
            assert_eq!(error(input), text, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_prefix_leaves_what_follows() {
        let (tree, used) = decode_prefix(b"d1:ai1eerest", &Limits::NETWORK).expect("well formed");
        assert_eq!((used, tree.root().raw()), (8, &b"d1:ai1ee"[..]));
    }

    #[test]
    fn every_truncation_ends_too_early() {
        assert!(decode(SAMPLE, &Limits::NETWORK).is_ok());
        for len in 0..SAMPLE.len() {
            let error = decode(&SAMPLE[..len], &Limits::NETWORK).expect_err("truncated");
            let cut_string = matches!(error.kind, DecodeErrorKind::StringTooLong { .. });
            assert!(cut_string || error.kind == DecodeErrorKind::UnexpectedEnd, "{len}: {error}");
            assert!(error.offset <= len);
        }
    }

    #[test]
    fn every_limit_is_exact() {
        let limits = Limits { max_depth: 3, max_tokens: 5, max_len: 20 };
        for (input, text) in [
            ("llleee".to_owned(), None),
            (
                "lllleeee".to_owned(),
                Some("byte 3: more than 3 lists and dictionaries in each other"),
            ),
            ("l0:0:0:0:e".to_owned(), None),
            ("l0:0:0:0:0:e".to_owned(), Some("byte 9: more than 5 values")),
            ("d1:ai1e1:bi1ee".to_owned(), None),
            (format!("17:{}", "x".repeat(17)), None),
            (
                format!("18:{}", "x".repeat(18)),
                Some("byte 20: 21 bytes of input where 20 are accepted"),
            ),
        ] {
            let error = decode(input.as_bytes(), &limits).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), text, "{input}");
        }
        let flat = Limits { max_depth: 0, ..limits };
        assert!(decode(b"i1e", &flat).is_ok());
        assert!(decode(b"le", &flat).is_err());
    }

    #[test]
    fn deep_nesting_neither_recurses_nor_passes() {
        let limits = Limits { max_depth: 1_000_000, ..Limits::METAINFO };
        let deep = [vec![b'l'; 1_000_000], vec![b'e'; 1_000_000]].concat();
        assert!(decode(&deep, &limits).is_ok());
        assert_eq!(
            error(&deep[..1024]),
            "byte 16: more than 16 lists and dictionaries in each other"
        );
    }

    #[test]
    #[should_panic(expected = "dictionary key \"a\" is out of order")]
    #[cfg(debug_assertions)]
    fn the_writer_insists_on_sorted_keys() {
        Writer::new(&mut Vec::new()).dict(|dict| {
            dict.key(b"b").int(1);
            dict.key(b"a").int(2);
        });
    }

    #[derive(Clone, PartialEq, Debug)]
    enum Model {
        Int(i64),
        Bytes(Vec<u8>),
        List(Vec<Model>),
        Dict(std::collections::BTreeMap<Vec<u8>, Model>),
    }

    fn model() -> impl Strategy<Value = Model> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..12);
        let leaf = prop_oneof![any::<i64>().prop_map(Model::Int), bytes().prop_map(Model::Bytes)];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Model::List),
                prop::collection::btree_map(bytes(), inner, 0..6).prop_map(Model::Dict),
            ]
        })
    }

    fn write(model: &Model, mut out: Writer<'_>) {
        match model {
            Model::Int(number) => out.int(*number),
            Model::Bytes(bytes) => out.bytes(bytes),
            Model::List(items) => out.list(|list| {
                for item in items {
                    write(item, Writer::new(list.out));
                }
            }),
            Model::Dict(entries) => out.dict(|dict| {
                for (key, value) in entries {
                    write(value, dict.key(key));
                }
            }),
        }
    }

    fn read(value: Value<'_, '_>) -> Model {
        if let Some(number) = value.as_int() {
            Model::Int(number)
        } else if let Some(bytes) = value.as_bytes() {
            Model::Bytes(bytes.to_vec())
        } else if let Some(items) = value.as_list() {
            Model::List(items.map(read).collect())
        } else {
            let dict = value.as_dict().expect("the one kind left");
            Model::Dict(dict.entries().map(|(key, value)| (key.to_vec(), read(value))).collect())
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(model in model(), rest in "[0-9a-z]{0,9}") {
            let mut out = Vec::new();
            write(&model, Writer::new(&mut out));
            let len = out.len();
            out.extend_from_slice(rest.as_bytes());
            let (tree, used) = decode_prefix(&out, &Limits::NETWORK).expect("well formed");
            prop_assert_eq!(used, len);
            prop_assert_eq!(tree.root().raw(), &out[..len]);
            prop_assert_eq!(read(tree.root()), model);
        }

        #[test]
        fn spans_lie_within_what_holds_them(input in "[ilde0-2:a-]{0,40}") {
            fn check(value: Value<'_, '_>) {
                let mut at = value.offset() + 1;
                let children: Vec<_> = match (value.as_list(), value.as_dict()) {
                    (Some(items), _) => items.collect(),
                    (_, Some(dict)) => dict.entries().map(|(_, value)| value).collect(),
                    _ => return,
                };
                for child in children {
                    assert!(child.offset() >= at && child.span().end < value.span().end);
                    at = child.span().end;
                    check(child);
                }
            }
            if let Ok((tree, used)) = decode_prefix(input.as_bytes(), &Limits::NETWORK) {
                prop_assert_eq!(tree.root().span(), 0..used);
                check(tree.root());
            }
        }
    }
}
