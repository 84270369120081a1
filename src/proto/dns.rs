//! Questions to a name server and its answers (RFC 1035, RFC 3596): for a host name, its addresses
//! of one family.
//!
//! ```text
//!  message   0 id 2 flags 4 questions 6 answers 8 authority 10 additional 12
//!            question: name, type 2, class 2
//!            record:   name, type 2, class 2, time to live 4, length 2, data
//!  name      length, label, length, label ... 0, or at any label a pointer: 11 and 14 bits of
//!            where in the message it goes on
//! ```
//!
//! All numbers are big-endian. Decides what an answer to one question says. **Invariant:** a name
//! is read in steps that only go back, so that none is read for ever, and is never longer than one
//! may be; a record that is not about what was asked, or where its aliases lead, is passed over.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text::Escaped;

/// Bytes of a message before its first question.
const HEAD_LEN: usize = 12;
/// The most bytes of a name as it is sent, its last zero included (RFC 1035 2.3.4).
const MAX_NAME_LEN: usize = 255;
/// The most bytes of a label (RFC 1035 2.3.4).
const MAX_LABEL_LEN: usize = 63;
/// The most records of an answer that are looked at; a name with many addresses has some dozens.
const MAX_RECORDS: usize = 256;
/// The most aliases that are followed from one name to its address; real chains have three or four.
pub const MAX_ALIASES: usize = 8;

const CLASS_INTERNET: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

/// That a message is an answer; what kind of question it is about, where 0 is an ordinary one;
/// that it was cut off; what came of it.
const IS_ANSWER: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const IS_TRUNCATED: u16 = 1 << 9;
const RESPONSE_CODE: u16 = 0xf;
/// That the server is to ask others.
const RECURSION_DESIRED: u16 = 1 << 8;

const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;

/// A host name in lower case, as it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// `A` records.
    V4,
    /// `AAAA` records.
    V6,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Comes back in the answer. From a source that nobody else can guess.
    pub id: u16,
    /// About which name.
    pub name: Name,
    /// For which addresses.
    pub family: Family,
}

/// What a server says to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The name's addresses, at least one and at most 256.
    Addresses(Vec<IpAddr>),
    /// The name stands for another one, about which this server said nothing.
    Alias(Name),
    /// There is such a name, and it has no addresses of the family.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// The answer is too long for a datagram: the server is to be asked over a stream.
    Truncated,
    /// The server cannot or will not say; its response code.
    Refused(u8),
}

/// Why a message is not an answer to a question. The sender's fault, or a forger's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// It answers another question, or asks one itself.
    #[error("a message that does not answer the question")]
    Unrelated,
    /// It ends too early, or a name in it cannot be read.
    #[error("a malformed answer")]
    Malformed,
    /// Aliases lead in a circle, or nowhere for too long.
    #[error("too many aliases")]
    TooManyAliases,
}

/// A text is no host name: a label is empty or longer than 63 bytes, all of it longer than 253, or
/// it holds what no host name does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no host name")]
pub struct NameError;

impl Name {
    /// Reads `tracker.example` or, with the same meaning, `tracker.example.`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut bytes = Vec::with_capacity(text.len().min(MAX_NAME_LEN) + 2);
        for label in text.split('.') {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let len = u8::try_from(label.len()).unwrap_or(u8::MAX);
            if label.is_empty() || label.len() > MAX_LABEL_LEN || !label.bytes().all(is_legal) {
                return Err(NameError);
            }
            bytes.push(len);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        if bytes.len() > MAX_NAME_LEN { Err(NameError) } else { Ok(Self(bytes)) }
    }

    /// Returns how many dots the name has between its labels.
    pub fn dots(&self) -> usize {
        self.labels().count().saturating_sub(1)
    }

    /// Returns this name within a domain: `host` in `example.org`.
    ///
    /// # Errors
    /// [`NameError`]: they are too long together.
    pub fn within(&self, domain: &Self) -> Result<Self, NameError> {
        let own = self.0.len().saturating_sub(1);
        let bytes = [&self.0[..own], &domain.0].concat();
        if bytes.len() > MAX_NAME_LEN { Err(NameError) } else { Ok(Self(bytes)) }
    }

    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let label = after.get(..usize::from(len)).filter(|label| !label.is_empty())?;
            rest = &after[label.len()..];
            Some(label)
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, label) in self.labels().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{}", Escaped(&String::from_utf8_lossy(label)))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl Family {
    const fn record_type(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
        }
    }
}

/// Appends a question to a server that asks others on our behalf.
pub fn write_question(out: &mut Vec<u8>, question: &Question) {
    for number in [question.id, RECURSION_DESIRED, 1, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&question.name.0);
    out.extend_from_slice(&question.family.record_type().to_be_bytes());
    out.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
}

/// Reads what a message says to a question.
///
/// # Errors
/// [`DnsError`]. After [`DnsError::Unrelated`] the true answer may still come.
pub fn parse_answer(message: &[u8], question: &Question) -> Result<Answer, DnsError> {
    let mut reader = Reader { message, at: 0 };
    let mut head = [0; HEAD_LEN / 2];
    for number in &mut head {
        *number = reader.u16().map_err(|_| DnsError::Unrelated)?;
    }
    let [id, flags, questions, answers, ..] = head;
    let is_answer = flags & IS_ANSWER != 0 && flags & OPCODE == 0;
    if id != question.id || !is_answer || questions != 1 || !reader.repeats(question) {
        return Err(DnsError::Unrelated);
    }
    match flags & RESPONSE_CODE {
        _ if flags & IS_TRUNCATED != 0 => Ok(Answer::Truncated),
        NO_ERROR => reader.records(answers, question.family)?.lead_from(&question.name),
        NO_SUCH_NAME => Ok(Answer::NoSuchName),
        code => Ok(Answer::Refused(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// What is of use in an answer, each with the name that it is about.
#[derive(Default)]
struct Records {
    addrs: Vec<(Name, IpAddr)>,
    aliases: Vec<(Name, Name)>,
}

impl Records {
    /// Follows the aliases of a name to its addresses.
    fn lead_from(self, name: &Name) -> Result<Answer, DnsError> {
        let mut current = name;
        for _ in 0..=MAX_ALIASES {
            let of_current = self.addrs.iter().filter(|(owner, _)| owner == current);
            let addrs: Vec<IpAddr> = of_current.map(|(_, addr)| *addr).collect();
            if !addrs.is_empty() {
                return Ok(Answer::Addresses(addrs));
            }
            match self.aliases.iter().find(|(owner, _)| owner == current) {
                Some((_, target)) => current = target,
                None if current == name => return Ok(Answer::Nothing),
                None => return Ok(Answer::Alias(current.clone())),
            }
        }
        Err(DnsError::TooManyAliases)
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DnsError> {
        let end = self.at.checked_add(len).ok_or(DnsError::Malformed)?;
        let taken = self.message.get(self.at..end).ok_or(DnsError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, DnsError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Reads a question; tells whether it is this one.
    fn repeats(&mut self, question: &Question) -> bool {
        let Ok(name) = self.name() else { return false };
        let (kind, class) = (self.u16(), self.u16());
        name == question.name
            && kind == Ok(question.family.record_type())
            && class == Ok(CLASS_INTERNET)
    }

    fn records(&mut self, count: u16, family: Family) -> Result<Records, DnsError> {
        let mut records = Records::default();
        for _ in 0..usize::from(count).min(MAX_RECORDS) {
            let owner = self.name()?;
            let (kind, class) = (self.u16()?, self.u16()?);
            // The time to live: what is remembered, is for as long as we think right.
            self.take(4)?;
            let len = usize::from(self.u16()?);
            let start = self.at;
            let data = self.take(len)?;
            if class != CLASS_INTERNET {
                continue;
            }
            if kind == TYPE_CNAME {
                // Its name may point to where the message began, so it is read in place.
                let mut inside = Reader { message: self.message, at: start };
                let target = inside.name()?;
                if inside.at != self.at {
                    return Err(DnsError::Malformed);
                }
                records.aliases.push((owner, target));
            } else if kind == family.record_type() {
                records.addrs.push((owner, address(data, family)?));
            }
        }
        Ok(records)
    }

    /// Reads a name, in lower case, and goes on behind it.
    fn name(&mut self) -> Result<Name, DnsError> {
        let mut bytes = Vec::new();
        let mut behind = None;
        // Where this stretch of labels began: a pointer must lead to before it.
        let mut start = self.at;
        loop {
            let len = self.take(1)?[0];
            match (len >> 6, usize::from(len)) {
                (0, 0) => break,
                (0, len) => {
                    let label = self.take(len)?;
                    // The last zero comes behind it.
                    if bytes.len() + 1 + len + 1 > MAX_NAME_LEN {
                        return Err(DnsError::Malformed);
                    }
                    bytes.push(u8::try_from(len).map_err(|_| DnsError::Malformed)?);
                    bytes.extend(label.iter().map(u8::to_ascii_lowercase));
                }
                (0b11, _) => {
                    let low = self.take(1)?[0];
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    if target >= start {
                        return Err(DnsError::Malformed);
                    }
                    behind.get_or_insert(self.at);
                    (self.at, start) = (target, target);
                }
                _ => return Err(DnsError::Malformed),
            }
        }
        self.at = behind.unwrap_or(self.at);
        bytes.push(0);
        Ok(Name(bytes))
    }
}

fn address(data: &[u8], family: Family) -> Result<IpAddr, DnsError> {
    let addr = match family {
        Family::V4 => <[u8; 4]>::try_from(data).map(|octets| Ipv4Addr::from(octets).into()),
        Family::V6 => <[u8; 16]>::try_from(data).map(|octets| Ipv6Addr::from(octets).into()),
    };
    addr.map_err(|_| DnsError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn question(text: &str, family: Family) -> Question {
        Question { id: 0xbeef, name: name(text), family }
    }

    /// An answer to a question, with these records.
    fn answer(question: &Question, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        write_question(&mut out, question);
        out[2..4].copy_from_slice(&(IS_ANSWER | flags).to_be_bytes());
        out[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        out.extend(records.concat());
        out
    }

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).unwrap();
        [owner, &kind.to_be_bytes(), &[0, 1], &[0, 0, 0, 60], &len.to_be_bytes(), data].concat()
    }

    /// A pointer to the name of the question.
    const ASKED: [u8; 2] = [0xc0, 12];

    fn v4(last: u8) -> Vec<u8> {
        record(&ASKED, TYPE_A, &[192, 0, 2, last])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_question_has_the_form_of_rfc_1035() {
        let mut out = Vec::new();
        write_question(&mut out, &question("Tracker.Example.", Family::V6));
        let expected = b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
                         \x07tracker\x07example\x00\x00\x1c\x00\x01";
        assert_eq!(out, expected);
    }

    #[test]
    fn names_are_checked_before_they_are_asked_for() {
        let long = "a".repeat(63);
        let four = [&long[..], &long, &long, &"b".repeat(61)].join(".");
        for text in ["a", "A.b", "x-1._udp.example.", &long, &four] {
            let back = name(text).to_string();
            assert_eq!(back, text.trim_end_matches('.').to_lowercase());
        }
        assert_eq!((name("a").dots(), name("a.b.c").dots()), (0, 2));
        let too_long = format!("{four}b");
        for text in
            ["", ".", "a..b", ".a", "a b", "a/b", "ä.example", &"a".repeat(64), &too_long, "a\0"]
        {
            assert_eq!(Name::parse(text), Err(NameError), "{text:?}");
        }
        assert_eq!(name("host").within(&name("example.org")), Ok(name("host.example.org")));
        assert_eq!(name("host").within(&name(&four)), Err(NameError));
    }

    #[test]
    fn addresses_of_the_family_are_found() {
        let asked = question("tracker.example", Family::V4);
        let message = answer(&asked, 0, &[v4(1), record(&ASKED, TYPE_AAAA, &[1; 16]), v4(2)]);
        let found = parse_answer(&message, &asked);
        assert_eq!(found, Ok(Answer::Addresses(vec![ip("192.0.2.1"), ip("192.0.2.2")])));

        let asked = question("tracker.example", Family::V6);
        let mut octets = [0; 16];
        (octets[0], octets[15]) = (0x20, 7);
        let message = answer(&asked, 0, &[record(&ASKED, TYPE_AAAA, &octets)]);
        assert_eq!(parse_answer(&message, &asked), Ok(Answer::Addresses(vec![ip("2000::7")])));
    }

    #[test]
    fn the_case_of_an_answer_does_not_matter_and_strange_records_are_passed_over() {
        let asked = question("tracker.example", Family::V4);
        let other = name("other.example").0;
        let mut chaos = v4(9);
        chaos[5] = 3;
        let records = [record(&other, TYPE_A, &[9; 4]), record(&ASKED, 99, b"x"), chaos, v4(1)];
        let mut message = answer(&asked, 0, &records);
        message[13..20].make_ascii_uppercase();
        assert_eq!(
            parse_answer(&message, &asked),
            Ok(Answer::Addresses(vec![ip("192.0.2.1")])),
            "what is said of other names is not believed"
        );
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_not_for_ever() {
        let asked = question("a.example", Family::V4);
        let alias = |from: &str, to: &str| record(&name(from).0, TYPE_CNAME, &name(to).0);
        let addr = record(&name("c.example").0, TYPE_A, &[192, 0, 2, 3]);
        let chain =
            [addr.clone(), alias("b.example", "c.example"), alias("a.example", "b.example")];
        let found = parse_answer(&answer(&asked, 0, &chain), &asked);
        assert_eq!(found, Ok(Answer::Addresses(vec![ip("192.0.2.3")])));
        let found = parse_answer(&answer(&asked, 0, &chain[1..]), &asked);
        assert_eq!(found, Ok(Answer::Alias(name("c.example"))));
        let circle = [alias("a.example", "b.example"), alias("b.example", "a.example")];
        let found = parse_answer(&answer(&asked, 0, &circle), &asked);
        assert_eq!(found, Err(DnsError::TooManyAliases));
        assert_eq!(parse_answer(&answer(&asked, 0, &[addr]), &asked), Ok(Answer::Nothing));
    }

    #[test]
    fn a_pointer_into_an_earlier_name_is_followed() {
        let asked = question("a.example", Family::V4);
        // `b` and the `example` of the question, then the alias by a pointer to its own record.
        let target = [&b"\x01b"[..], &[0xc0, 14]].concat();
        let at = u8::try_from(answer(&asked, 0, &[]).len() + 12).unwrap();
        let records =
            [record(&ASKED, TYPE_CNAME, &target), record(&[0xc0, at], TYPE_A, &[192, 0, 2, 4])];
        let found = parse_answer(&answer(&asked, 0, &records), &asked);
        assert_eq!(found, Ok(Answer::Addresses(vec![ip("192.0.2.4")])));
    }

    #[test]
    fn what_a_server_cannot_say_is_told_apart() {
        let asked = question("a.example", Family::V4);
        for (flags, expected) in [
            (0, Answer::Nothing),
            (NO_SUCH_NAME, Answer::NoSuchName),
            (2, Answer::Refused(2)),
            (5, Answer::Refused(5)),
            (IS_TRUNCATED, Answer::Truncated),
        ] {
            assert_eq!(parse_answer(&answer(&asked, flags, &[]), &asked), Ok(expected));
        }
    }

    #[test]
    fn what_does_not_answer_the_question_is_unrelated() {
        let asked = question("a.example", Family::V4);
        let good = answer(&asked, 0, &[v4(1)]);
        let changed = |at: usize, to: u8| {
            let mut message = good.clone();
            message[at] = to;
            parse_answer(&message, &asked)
        };
        // The id; a question itself; another kind of question; none; another name, type or class.
        for (at, to) in
            [(0, 0), (1, 0), (2, 1), (2, 0x88), (5, 0), (5, 2), (13, b'x'), (24, 28), (26, 3)]
        {
            assert_eq!(changed(at, to), Err(DnsError::Unrelated), "byte {at}");
        }
        for text in ["b.example", "a.example.org", "example"] {
            let other = question(text, Family::V4);
            assert_eq!(parse_answer(&good, &other), Err(DnsError::Unrelated), "{text}");
        }
    }

    #[test]
    fn hostile_names_are_refused_within_bounds() {
        let asked = question("a.example", Family::V4);
        let end = u16::try_from(answer(&asked, 0, &[]).len()).unwrap();
        let pointer = |to: u16| (0xc000 | to).to_be_bytes();
        // To itself, forwards, reserved label types, and a label that is cut off.
        for owner in [&pointer(end)[..], &pointer(end + 20), &[0x40], &[0x80], &[63, b'a']] {
            let message = answer(&asked, 0, &[record(owner, TYPE_A, &[1; 4])]);
            assert_eq!(parse_answer(&message, &asked), Err(DnsError::Malformed), "{owner:?}");
        }
        // Labels of 63 bytes, one after the other, and no end.
        let label = [&[63][..], &[b'a'; 63]].concat();
        let message = answer(&asked, 0, &[record(&label.repeat(4), TYPE_A, &[1; 4])]);
        assert_eq!(parse_answer(&message, &asked), Err(DnsError::Malformed));
        // An alias that is longer than its record, and addresses of a wrong length.
        let long = record(&ASKED, TYPE_CNAME, &[7, b'e']);
        for bad in [long, record(&ASKED, TYPE_A, &[1; 5]), record(&ASKED, TYPE_A, &[])] {
            assert_eq!(parse_answer(&answer(&asked, 0, &[bad]), &asked), Err(DnsError::Malformed));
        }
        // A count of records that are not there.
        let mut message = answer(&asked, 0, &[v4(1)]);
        message[6] = 0xff;
        assert_eq!(parse_answer(&message, &asked), Err(DnsError::Malformed));
    }

    proptest! {
        #[test]
        fn whatever_comes_behind_the_question_is_read_to_an_end(
            records in prop::collection::vec(any::<u8>(), 0..600),
            count in any::<u16>(),
            flags in any::<u16>(),
        ) {
            let asked = question("a.example", Family::V6);
            let mut message = answer(&asked, flags & !OPCODE, &[records]);
            message[6..8].copy_from_slice(&count.to_be_bytes());
            if let Ok(Answer::Addresses(addrs)) = parse_answer(&message, &asked) {
                prop_assert!((1..=MAX_RECORDS).contains(&addrs.len()));
            }
        }

        #[test]
        fn an_answer_that_is_cut_off_anywhere_gives_nothing_that_was_not_said(cut in 0..200_usize) {
            let asked = question("a.example", Family::V4);
            let whole = answer(&asked, 0, &[v4(1), v4(2)]);
            let part = &whole[..cut.min(whole.len())];
            let expected = if part.len() == whole.len() {
                Ok(Answer::Addresses(vec![ip("192.0.2.1"), ip("192.0.2.2")]))
            } else if part.len() < HEAD_LEN + asked.name.0.len() + 4 {
                Err(DnsError::Unrelated)
            } else {
                Err(DnsError::Malformed)
            };
            prop_assert_eq!(parse_answer(part, &asked), expected);
        }
    }
}
