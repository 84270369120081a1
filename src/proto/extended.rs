//! The extension protocol (BEP 10): one message id for everything that came after, and the
//! handshake in which each side says by what numbers it wants to be spoken to.
//!
//! ```text
//!  0        4    5    6
//!  ├─length─┼─20─┼─id─┼─body…
//! ```
//!
//! Id 0 is the handshake, a bencoded dictionary. The other ids are the *receiver's*: whoever sends
//! uses those that the other side has announced, and hears those that it has announced itself.
//! **Invariant:** nothing here knows a peer. Bodies of their own have [`super::ut_metadata`] (BEP
//! 9) and [`super::ut_pex`] (BEP 11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bencode::{self, DecodeError, Dict, Limits, Value, Writer};
use crate::id::PieceIndex;

/// The most bytes of a handshake's body. Clients send some 200; what is longer is no handshake.
pub const MAX_HANDSHAKE_LEN: u32 = 8 * 1024;
/// The most bytes of a body with a layout of its own that grows: 16 KiB of metadata and the
/// dictionary before it (libtorrent: 17 KiB).
pub const MAX_METADATA_MESSAGE_LEN: u32 = 17 * 1024;
/// The most bytes of a peer exchange: security.md 2.2, row 25. 100 contacts of both families and
/// as many that left take less than 5 KiB.
pub const MAX_PEX_LEN: u32 = 8 * 1024;
/// The most bytes of metadata that a remote may claim, 16 MiB (anacrolix; security.md 2.2, row
/// 24): 800 000 piece hashes.
pub const MAX_METADATA_LEN: u32 = 16 << 20;
/// The most bytes of a client's name that are kept.
pub const MAX_VERSION_LEN: usize = 48;

/// What the dictionaries of extended messages may be at most: four values an extension of a few
/// dozen, and lists of nothing.
pub(super) const LIMITS: Limits =
    Limits { max_depth: bencode::MAX_MESSAGE_DEPTH, max_tokens: 2_000, max_len: 32 * 1024 };

/// The id of the handshake.
pub const HANDSHAKE_ID: u8 = 0;

/// An extension that this engine speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Extension {
    /// `ut_pex`: peer exchange (BEP 11).
    Pex,
    /// `ut_metadata`: the info dictionary (BEP 9).
    Metadata,
    /// `upload_only`: the sender wants nothing any more (BEP 21; as a message de facto:
    /// libtorrent).
    UploadOnly,
    /// `lt_donthave`: the sender has lost a piece (BEP 54).
    DontHave,
}

impl Extension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pex, Self::Metadata, Self::UploadOnly, Self::DontHave];

    /// Returns the id under which we want to hear it: its place, counted from 1.
    pub const fn id(self) -> u8 {
        match self {
            Self::Pex => 1,
            Self::Metadata => 2,
            Self::UploadOnly => 3,
            Self::DontHave => 4,
        }
    }

    /// Returns the extension that we hear under `id`.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.id() == id)
    }

    /// Returns its name in the handshake.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::Pex => b"ut_pex",
            Self::Metadata => b"ut_metadata",
            Self::UploadOnly => b"upload_only",
            Self::DontHave => b"lt_donthave",
        }
    }

    fn at(self) -> usize {
        usize::from(self.id() - 1)
    }
}

/// Returns the most bytes that the body of an extended message may have which comes under `id`;
/// `None` for an id that we have not announced.
pub fn max_len(id: u8) -> Option<u32> {
    if id == HANDSHAKE_ID {
        return Some(MAX_HANDSHAKE_LEN);
    }
    Some(match Extension::from_id(id)? {
        Extension::Pex => MAX_PEX_LEN,
        Extension::Metadata => MAX_METADATA_MESSAGE_LEN,
        Extension::UploadOnly => 64,
        Extension::DontHave => 4,
    })
}

/// The ids under which a remote wants to hear extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ids([u8; Extension::ALL.len()]);

impl Ids {
    /// Returns the id of an extension; `None` if the remote does not speak it.
    pub fn of(self, extension: Extension) -> Option<u8> {
        Some(self.0[extension.at()]).filter(|id| *id != 0)
    }

    /// Takes in what a handshake says of them: it is additive, and 0 ends an extension.
    pub fn change(&mut self, said: &[(Extension, u8)]) {
        for (extension, id) in said {
            self.0[extension.at()] = *id;
        }
    }
}

/// What a remote says in a handshake. Whatever is unusable in it is as if it had not been said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Handshake {
    /// `m`: ids of extensions that we speak, too, in the order of [`Extension::ALL`]; 0 ends one.
    pub ids: Vec<(Extension, u8)>,
    /// `v`: its client's name, lossily decoded, at most [`MAX_VERSION_LEN`] bytes. Foreign text.
    pub version: Option<Box<str>>,
    /// `p`: the port that it listens on, not 0.
    pub port: Option<u16>,
    /// `reqq`: how many requests it takes at a time, at least 1.
    pub request_limit: Option<u32>,
    /// `yourip`: our address as it sees us.
    pub your_ip: Option<IpAddr>,
    /// `metadata_size`: bytes of the info dictionary, 1 to [`MAX_METADATA_LEN`].
    pub metadata_len: Option<u32>,
    /// `upload_only`: whether it wants nothing any more (BEP 21).
    pub upload_only: Option<bool>,
}

impl Handshake {
    /// Reads the body of a handshake (BEP 10). What is behind the dictionary is passed over, and so
    /// are keys that nobody here knows. Never panics on remote input.
    ///
    /// # Errors
    /// [`ExtendedError`]: the remote's fault.
    pub fn decode(body: &[u8]) -> Result<Self, ExtendedError> {
        let (tree, _) = bencode::decode_prefix(body, &LIMITS)?;
        let root = tree.root().as_dict().ok_or(ExtendedError::NotADictionary)?;
        let number = |key: &[u8]| root.get(key).and_then(Value::as_int);
        let version = root.get(b"v").and_then(Value::as_bytes).filter(|name| !name.is_empty());
        let port = number(b"p").and_then(|port| u16::try_from(port).ok());
        let request_limit = number(b"reqq").filter(|limit| *limit > 0);
        let metadata_len = number(b"metadata_size").and_then(|len| u32::try_from(len).ok());
        Ok(Self {
            ids: root.get(b"m").and_then(Value::as_dict).map_or_else(Vec::new, ids),
            version: version.map(name),
            port: port.filter(|port| *port != 0),
            request_limit: request_limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            your_ip: root.get(b"yourip").and_then(Value::as_bytes).and_then(ip),
            metadata_len: metadata_len.filter(|len| (1..=MAX_METADATA_LEN).contains(len)),
            upload_only: number(b"upload_only").map(|flag| flag != 0),
        })
    }
}

fn ids(m: Dict<'_, '_>) -> Vec<(Extension, u8)> {
    let id = |extension: Extension| {
        let id = m.get(extension.name())?.as_int()?;
        Some((extension, u8::try_from(id).ok()?))
    };
    Extension::ALL.into_iter().filter_map(id).collect()
}

/// Decodes a client's name, of as many bytes as are kept at most.
fn name(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_VERSION_LEN)]);
    let mut end = text.len().min(MAX_VERSION_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || bytes.try_into().ok().map(|bytes: [u8; 4]| Ipv4Addr::from(bytes).into());
    let v6 = || bytes.try_into().ok().map(|bytes: [u8; 16]| Ipv6Addr::from(bytes).into());
    v4().or_else(v6)
}

/// What we say in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// Whether peers may be exchanged: not for private torrents (BEP 27).
    pub pex: bool,
    /// Our client's name.
    pub version: &'a str,
    /// The port that we listen on; 0 if we do not.
    pub port: u16,
    /// How many requests we take at a time.
    pub request_limit: u32,
    /// The remote's address as we see it.
    pub your_ip: IpAddr,
    /// Bytes of the info dictionary, if we have it.
    pub metadata_len: Option<u32>,
    /// Whether we want nothing any more.
    pub upload_only: bool,
}

impl Hello<'_> {
    /// Appends the whole message to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(HANDSHAKE_ID, out, |out| {
            Writer::new(out).dict(|root| {
                root.key(b"m").dict(|m| {
                    for name in OURS {
                        let is_on = self.pex || name != Extension::Pex;
                        m.key(name.name()).int(if is_on { i64::from(name.id()) } else { 0 });
                    }
                });
                if let Some(len) = self.metadata_len {
                    root.key(b"metadata_size").int(i64::from(len));
                }
                if self.port != 0 {
                    root.key(b"p").int(i64::from(self.port));
                }
                root.key(b"reqq").int(i64::from(self.request_limit));
                if self.upload_only {
                    root.key(b"upload_only").int(1);
                }
                root.key(b"v").bytes(self.version.as_bytes());
                let mut your_ip = root.key(b"yourip");
                match self.your_ip.to_canonical() {
                    IpAddr::V4(ip) => your_ip.bytes(&ip.octets()),
                    IpAddr::V6(ip) => your_ip.bytes(&ip.octets()),
                }
            });
        });
    }
}

/// The extensions in the order of their names.
const OURS: [Extension; 4] =
    [Extension::DontHave, Extension::UploadOnly, Extension::Metadata, Extension::Pex];

/// Appends an extended message whose body `write` appends.
pub fn message(id: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, super::message::EXTENDED_ID, id]);
    write(out);
    let len = u32::try_from(out.len() - start - 4).expect("a message is short");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Reads the body of an `lt_donthave` (BEP 54): the piece that is lost, as the remote sent it.
///
/// # Errors
/// [`ExtendedError::Length`]: the remote's fault.
pub fn decode_dont_have(body: &[u8]) -> Result<PieceIndex, ExtendedError> {
    let bytes = body.try_into().map_err(|_| ExtendedError::length("lt_donthave", body))?;
    Ok(PieceIndex(u32::from_be_bytes(bytes)))
}

/// Reads the body of an `upload_only`: one byte, not 0 if it is so (libtorrent); an empty one says
/// so, too.
pub fn decode_upload_only(body: &[u8]) -> bool {
    body.first().is_none_or(|flag| *flag != 0)
}

/// The body of an extended message cannot be read: the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendedError {
    /// It is not bencoded.
    #[error("{0}")]
    Bencode(#[from] DecodeError),
    /// It does not begin with a dictionary.
    #[error("not a dictionary")]
    NotADictionary,
    /// A number that the message cannot do without is missing or out of range.
    #[error("no usable \"{0}\"")]
    BadNumber(&'static str),
    /// A string or a body has another length than it can have.
    #[error("{name} of {len} bytes")]
    Length {
        /// What it is.
        name: &'static str,
        /// Its bytes.
        len: usize,
    },
}

impl ExtendedError {
    pub(super) const fn length(name: &'static str, bytes: &[u8]) -> Self {
        Self::Length { name, len: bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello<'static> {
        Hello {
            pex: true,
            version: "swarmloop 0.1.0",
            port: 6881,
            request_limit: 2000,
            your_ip: "10.1.2.3".parse().expect("an address"),
            metadata_len: Some(31_235),
            upload_only: true,
        }
    }

    #[test]
    fn the_handshake_of_the_specification_is_read() {
        let body = b"d1:md11:LT_metadatai1e6:\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        let read = Handshake::decode(body).expect("it is in BEP 10");
        assert_eq!(read.version.as_deref(), Some("µTorrent 1.2"));
        assert_eq!((read.port, read.ids, read.request_limit), (Some(6881), vec![], None));
    }

    #[test]
    fn what_we_say_is_what_is_read() {
        let mut out = Vec::new();
        hello().encode(&mut out);
        let len = u32::from_be_bytes(*out.first_chunk().expect("a length"));
        assert_eq!((len as usize, &out[4..6]), (out.len() - 4, &[20, 0][..]));
        let read = Handshake::decode(&out[6..]).expect("ours");
        let ids: Vec<_> = Extension::ALL.into_iter().map(|it| (it, it.id())).collect();
        assert_eq!(
            read,
            Handshake {
                ids,
                version: Some("swarmloop 0.1.0".into()),
                port: Some(6881),
                request_limit: Some(2000),
                your_ip: Some("10.1.2.3".parse().expect("an address")),
                metadata_len: Some(31_235),
                upload_only: Some(true),
            }
        );
        out.clear();
        let least =
            Hello { pex: false, port: 0, metadata_len: None, upload_only: false, ..hello() };
        least.encode(&mut out);
        let read = Handshake::decode(&out[6..]).expect("ours");
        assert!(read.ids.contains(&(Extension::Pex, 0)), "it is ended, if it was there");
        assert_eq!((read.port, read.metadata_len, read.upload_only), (None, None, None));
    }

    #[test]
    fn numbers_beyond_their_bounds_were_not_said() {
        for size in ["-1", "0", "16777217", "2147483647", "9223372036854775807"] {
            let body = format!("d13:metadata_sizei{size}ee");
            let read = Handshake::decode(body.as_bytes()).expect("well formed");
            assert_eq!(read.metadata_len, None, "{size}");
        }
        let read = |body: &[u8]| Handshake::decode(body).expect("well formed");
        assert_eq!(read(b"d13:metadata_sizei16777216ee").metadata_len, Some(MAX_METADATA_LEN));
        assert_eq!(read(b"d4:reqqi0ee").request_limit, None);
        assert_eq!(read(b"d4:reqqi99999999999ee").request_limit, Some(u32::MAX));
        assert_eq!(read(b"d1:pi65536ee").port, None);
        assert_eq!(read(b"d1:pi0ee").port, None);
        assert_eq!(read(b"d6:yourip3:abce").your_ip, None);
        assert_eq!(read(b"d6:yourip4:\x7f\0\0\x01e").your_ip, Some(Ipv4Addr::LOCALHOST.into()));
        let v6 = [&b"d6:yourip16:"[..], &Ipv6Addr::LOCALHOST.octets(), b"e"].concat();
        assert_eq!(read(&v6).your_ip, Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(read(b"d1:md6:ut_pexi256e11:ut_metadatai-1eee").ids, []);
        assert_eq!(read(b"d1:m3:abce").ids, []);
    }

    #[test]
    fn a_second_handshake_adds_changes_and_ends() {
        let mut ids = Ids::default();
        let change = |ids: &mut Ids, body: &[u8]| {
            ids.change(&Handshake::decode(body).expect("well formed").ids);
        };
        change(&mut ids, b"d1:md11:ut_metadatai3e6:ut_pexi1eee");
        change(&mut ids, b"d1:md6:ut_pexi9eee");
        assert_eq!(ids.of(Extension::Metadata), Some(3));
        assert_eq!(ids.of(Extension::Pex), Some(9));
        change(&mut ids, b"d1:md6:ut_pexi0eee");
        assert_eq!(ids.of(Extension::Pex), None);
        // BEP 10's own example of ending one lacks the dictionary around it: it ends nothing.
        change(&mut ids, b"d11:ut_metadatai0ee");
        assert_eq!(ids.of(Extension::Metadata), Some(3));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "é".repeat(40);
        let body = format!("d1:v{}:{name}e", name.len());
        let read = Handshake::decode(body.as_bytes()).expect("well formed");
        assert_eq!(read.version.expect("a name").len(), MAX_VERSION_LEN);
        let odd = format!("d1:v{}:x{name}e", name.len() + 1);
        let read = Handshake::decode(odd.as_bytes()).expect("well formed");
        assert!(read.version.expect("a name").len() <= MAX_VERSION_LEN);
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (body, error) in [
            (&b""[..], "byte 0: the input ends in the middle of a value"),
            (b"le", "not a dictionary"),
            (b"i1e", "not a dictionary"),
            (b"d1:m", "byte 4: the input ends in the middle of a value"),
        ] {
            let refused = Handshake::decode(body).expect_err("no handshake");
            assert_eq!(refused.to_string(), error, "{}", body.escape_ascii());
        }
        let deep = [b"d1:m".repeat(2_000), b"e".repeat(2_000)].concat();
        let refused = Handshake::decode(&deep[..8_000]).expect_err("a bomb");
        assert!(refused.to_string().contains("more than 16 lists"), "{refused}");
        let many = [&b"l"[..], &b"0:".repeat(3_000), b"e"].concat();
        let refused = Handshake::decode(&many).expect_err("a bomb");
        assert!(refused.to_string().contains("more than 2000 values"), "{refused}");
    }

    #[test]
    fn every_truncation_is_refused() {
        let mut out = Vec::new();
        hello().encode(&mut out);
        for len in 6..out.len() {
            assert!(Handshake::decode(&out[6..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn the_bodies_with_a_fixed_layout() {
        assert_eq!(decode_dont_have(&[0, 0, 1, 2]), Ok(PieceIndex(258)));
        assert_eq!(
            decode_dont_have(&[0; 3]).expect_err("short").to_string(),
            "lt_donthave of 3 bytes"
        );
        assert!(decode_dont_have(&[0; 5]).is_err());
        assert!(decode_upload_only(&[1]) && decode_upload_only(&[]) && !decode_upload_only(&[0]));
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = Handshake::decode(&body) {
                prop_assert!(read.metadata_len.is_none_or(|len| len <= MAX_METADATA_LEN));
            }
        }
    }
}
