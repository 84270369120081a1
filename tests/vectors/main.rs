//! The test vectors of the specifications and of other clients: here those that need a table of
//! their own, elsewhere those that belong to a codec's own tests.
//!
//! | what | where |
//! |---|---|
//! | bencode | [`bencode`] |
//! | magnet links, with selections of files (BEP 9, 53) | [`magnet`] |
//! | paths and metainfo, info-hashes of known torrents | `tests/metainfo_table/` |
//! | messages of the DHT (BEP 5) | `src/proto/krpc.rs` |
//! | secure ids of nodes (BEP 42) | `src/dht/secure.rs` |
//! | priorities of peers (BEP 40), CRC-32C | `src/proto/priority.rs` |
//! | allowed fast sets (BEP 6) | `src/peer/fast.rs` |
//! | messages of `ut_metadata` and `ut_pex` (BEP 9, 11) | `src/proto/ut_metadata.rs`, `ut_pex.rs` |
//! | handshakes of the extension protocol (BEP 10) | `src/proto/extended.rs`, [`extended`] |
//! | announces (BEP 3, 15, 41) | `src/proto/tracker_http/`, `src/proto/tracker_udp.rs` |
//! | message streams | [`wire`] |
//!
//! # Where verdicts differ from other clients'
//!
//! Each is a case of the tables, with the reason beside it. In short:
//!
//! * Bencode: a number with two spellings (`i01e`, `06:foobar`) is refused, libtorrent and
//!   Transmission take it; so is an integer beyond 64 bits, which libtorrent reads as 0; and 32 MiB
//!   of input are all that is looked at, where libtorrent reads a string of 100 MB. Unsorted and
//!   repeated keys are taken, as they do.
//! * Paths: libtorrent and Transmission make a safe path of what points elsewhere, we refuse it;
//!   odd but harmless names stay as they are, where libtorrent replaces control, format and
//!   malformed characters. Shortened names keep to 240 bytes with their extension, which stands
//!   beyond them in libtorrent.
//! * Magnet links: an address of an `x.pe` may be a host's name, which libtorrent drops; a bare
//!   info-hash is an argument of the tool, and no link to the library; the `dht` parameter of
//!   libtorrent and tiers in the trackers' keys are passed over (each tracker of a link is a tier).
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

mod bencode;
mod extended;
mod magnet;
mod wire;
