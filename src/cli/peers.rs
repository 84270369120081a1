//! One line a peer: address, flags, what it has, how fast, what software.

use std::net::SocketAddr;

use swarmloop::id::PeerId;
use swarmloop::session::status::PeerStatus;
use swarmloop::text::Escaped;

use super::size::{Size, percent};

/// What of a [`PeerStatus`] is shown; the fields mean what they mean there.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the four flags of BEP 3, and two more")]
pub(crate) struct PeerView {
    pub(crate) addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    /// What its client calls itself. Foreign text.
    pub(crate) version: Option<String>,
    pub(crate) incoming: bool,
    pub(crate) pieces_have: u32,
    pub(crate) down_rate: u64,
    pub(crate) up_rate: u64,
    pub(crate) requests_out: usize,
    pub(crate) am_interested: bool,
    pub(crate) unchoked_us: bool,
    pub(crate) interested: bool,
    pub(crate) unchoked: bool,
    pub(crate) snubbed: bool,
}

impl PeerView {
    /// Returns the peer's line; `pieces` is the torrent's piece count.
    pub(crate) fn line(&self, pieces: u32) -> String {
        format!(
            "    {:<21}  {:<4} {:>6}  ↓ {:>11}  ↑ {:>11}  q {:<3}  {}",
            self.addr.to_string(),
            self.flags(),
            percent(self.pieces_have.into(), pieces.into()),
            format!("{}/s", Size(self.down_rate)),
            format!("{}/s", Size(self.up_rate)),
            self.requests_out,
            self.software()
        )
    }

    /// Names its client: by its own word, else by its peer id.
    fn software(&self) -> String {
        match &self.version {
            Some(version) => Escaped(version).to_string(),
            None => software(self.peer_id),
        }
    }

    /// Returns the letters that transmission and others show; `--help` lists them.
    fn flags(&self) -> String {
        let letters = [
            ('D', self.am_interested && self.unchoked_us),
            ('d', self.am_interested && !self.unchoked_us),
            ('U', self.interested && self.unchoked),
            ('u', self.interested && !self.unchoked),
            ('K', self.unchoked_us && !self.am_interested),
            ('?', self.unchoked && !self.interested),
            ('I', self.incoming),
            ('S', self.snubbed),
        ];
        letters.into_iter().filter_map(|(letter, is_set)| is_set.then_some(letter)).collect()
    }
}

impl From<PeerStatus> for PeerView {
    fn from(status: PeerStatus) -> Self {
        Self {
            addr: status.addr,
            peer_id: status.peer_id,
            version: status.version,
            incoming: status.incoming,
            pieces_have: status.pieces_have,
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            requests_out: status.requests_out,
            am_interested: status.am_interested,
            unchoked_us: status.unchoked_us,
            interested: status.interested,
            unchoked: status.unchoked,
            snubbed: status.snubbed,
        }
    }
}

/// The two letters by which common software marks its peer ids (BEP 20).
const SOFTWARE: &[(&[u8; 2], &str)] = &[
    (b"A2", "aria2"),
    (b"AZ", "Vuze"),
    (b"BC", "BitComet"),
    (b"BI", "BiglyBT"),
    (b"DE", "Deluge"),
    (b"KT", "KTorrent"),
    (b"LT", "libtorrent"),
    (b"SL", "swarmloop"),
    (b"TR", "Transmission"),
    (b"UT", "µTorrent"),
    (b"WW", "WebTorrent"),
    (b"lt", "rTorrent"),
    (b"qB", "qBittorrent"),
    (b"rQ", "rqbit"),
];

/// Names the software behind a peer id (BEP 20, Azureus style `-TR4100-`: "Transmission 4.1"); the
/// bytes themselves, escaped, if it is not known.
pub(crate) fn software(peer_id: PeerId) -> String {
    let known = match &peer_id.0 {
        [b'-', a, b, v @ .., b'-', _, _, _, _, _, _, _, _, _, _, _, _] => SOFTWARE
            .iter()
            .find(|(letters, _)| *letters == &[*a, *b])
            .and_then(|(_, name)| Some(format!("{name} {}", version(v)?))),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let prefix = String::from_utf8_lossy(&peer_id.0[..8]);
        Escaped(&prefix).to_string()
    })
}

/// Returns `4.1` for `4100`: a digit or letter each, zeros at the end left out but for the second
/// number.
fn version(digits: &[u8]) -> Option<String> {
    let numbers: Option<Vec<String>> = digits
        .iter()
        .map(|&digit| char::from(digit).to_digit(36).map(|number| number.to_string()))
        .collect();
    let mut numbers = numbers?;
    while numbers.len() > 2 && numbers.last().is_some_and(|last| last == "0") {
        numbers.pop();
    }
    Some(numbers.join("."))
}

/// A peer in the middle of things, for the tests of what is shown.
#[cfg(test)]
pub(crate) fn sample() -> PeerView {
    PeerView {
        addr: SocketAddr::from(([198, 51, 100, 7], 51413)),
        version: None,
        peer_id: PeerId(*b"-TR4100-abcdefghijkl"),
        incoming: false,
        pieces_have: 3016,
        down_rate: 10_276_044,
        up_rate: 0,
        requests_out: 96,
        am_interested: true,
        unchoked_us: true,
        interested: false,
        unchoked: false,
        snubbed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_one_line() {
        assert_eq!(
            sample().line(3016),
            "    198.51.100.7:51413     D    100.0%  ↓   9.8 MiB/s  ↑       0 B/s  q 96   \
             Transmission 4.1"
        );
    }

    #[test]
    fn flags_are_transmissions_letters() {
        let idle = PeerView { am_interested: false, unchoked_us: false, ..sample() };
        for (peer, flags) in [
            (idle.clone(), ""),
            (sample(), "D"),
            (PeerView { unchoked_us: false, ..sample() }, "d"),
            (PeerView { interested: true, unchoked: true, ..idle.clone() }, "U"),
            (PeerView { interested: true, incoming: true, ..idle.clone() }, "uI"),
            (PeerView { unchoked_us: true, unchoked: true, ..idle }, "K?"),
            (PeerView { snubbed: true, interested: true, unchoked: true, ..sample() }, "DUS"),
        ] {
            assert_eq!(peer.flags(), flags);
        }
    }

    #[test]
    fn software_is_named_or_escaped() {
        for (id, name) in [
            (b"-TR4100-abcdefghijkl", "Transmission 4.1"),
            (b"-TR300Z-abcdefghijkl", "Transmission 3.0.0.35"),
            (b"-qB5000-abcdefghijkl", "qBittorrent 5.0"),
            (b"-SL0100-abcdefghijkl", "swarmloop 0.1"),
            (b"-LT2\x1b00-abcdefghijkl", "-LT2\\x1b00-"),
            (b"-ZZ1234-abcdefghijkl", "-ZZ1234-"),
            (b"M7-10-5--abcdefghijk", "M7-10-5-"),
            (b"\x1b[2J\x00\x07\n\x9babcdefghijkl", "\\x1b[2J\\x00\\x07\\x0a\u{fffd}"),
        ] {
            assert_eq!(software(PeerId(*id)), name);
        }
    }
}
