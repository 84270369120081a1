//! Pure codecs: no state survives a call, nothing is allocated from a number that came from
//! outside.

pub mod addr;
pub mod bencode;
pub mod blocklist;
pub mod compact;
pub mod dns;
pub mod extended;
pub mod handshake;
pub mod http;
pub mod krpc;
pub mod lsd;
pub mod magnet;
pub mod message;
pub mod metainfo;
pub mod priority;
pub mod tracker_http;
pub mod tracker_scrape;
pub mod tracker_serve;
pub mod tracker_udp;
pub mod url;
pub mod ut_metadata;
pub mod ut_pex;
