//! A connection before its handshake is complete: the small thing that a stranger costs (BEP 3).
//!
//! ```text
//!  dialled:   write ours ──▶ read 68 ──▶ Done
//!  accepted:  read 48 ──▶ Head ──(owner knows the torrent, writes ours)──▶ read 20 more ──▶ Done
//! ```

use crate::id::{InfoHash, PeerId};
use crate::peer::error::{Invalid, PeerError};
use crate::proto::handshake::{
    HANDSHAKE_LEN, HEAD_LEN, HandshakeError, Reserved, check_prefix, decode_head,
};

/// The handshake of one connection, as far as it has come.
#[derive(Debug)]
pub struct Handshaking {
    received: [u8; HANDSHAKE_LEN],
    len: usize,
    /// The torrent: the one we dialled for, or the one that an accepted remote has named.
    info_hash: Option<InfoHash>,
    /// Our own handshake and how many bytes of it have left; empty before the torrent is known.
    ours: Vec<u8>,
    sent: usize,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// An accepted remote asks for this torrent: answer with [`Handshaking::answer`], or close.
    Head(InfoHash),
    /// It is complete.
    Done(Reserved, PeerId),
}

impl Handshaking {
    /// Returns the state of a connection that we dialled: our handshake `ours` goes out first.
    pub fn dialled(info_hash: InfoHash, ours: [u8; HANDSHAKE_LEN]) -> Self {
        Self {
            received: [0; HANDSHAKE_LEN],
            len: 0,
            info_hash: Some(info_hash),
            ours: ours.to_vec(),
            sent: 0,
        }
    }

    /// Returns the state of a connection that was accepted: the remote speaks first.
    pub const fn accepted() -> Self {
        Self { received: [0; HANDSHAKE_LEN], len: 0, info_hash: None, ours: Vec::new(), sent: 0 }
    }

    /// Answers [`Progress::Head`]: the torrent is here, and our handshake for it is `ours`.
    pub fn answer(&mut self, info_hash: InfoHash, ours: [u8; HANDSHAKE_LEN]) {
        self.info_hash = Some(info_hash);
        self.ours = ours.to_vec();
    }

    /// Returns where the next bytes go; never more than the handshake, so that what follows it is
    /// read by the peer. `None` once it is complete.
    pub fn target(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.received[self.len..]).filter(|rest| !rest.is_empty())
    }

    /// Records that `n` bytes arrived in [`Handshaking::target`].
    ///
    /// # Errors
    /// [`PeerError::Invalid`]: another protocol, or the answer for another torrent.
    pub fn advance(&mut self, n: usize) -> Result<Progress, PeerError> {
        self.len += n;
        check_prefix(&self.received[..self.len]).map_err(Invalid::from)?;
        if self.len < HEAD_LEN {
            return Ok(Progress::More);
        }
        let head = self.received.first_chunk().expect("a handshake is longer than its head");
        let (reserved, info_hash) = decode_head(head);
        match self.info_hash {
            None => return Ok(Progress::Head(info_hash)),
            Some(ours) if ours != info_hash => {
                return Err(Invalid::from(HandshakeError::OtherInfoHash).into());
            }
            Some(_) if self.len < HANDSHAKE_LEN => return Ok(Progress::More),
            Some(_) => {}
        }
        let id = self.received.last_chunk().expect("a handshake is longer than a peer id");
        Ok(Progress::Done(reserved, PeerId(*id)))
    }

    /// Returns what is still to be sent of our handshake.
    pub fn unsent(&self) -> &[u8] {
        &self.ours[self.sent..]
    }

    /// Records that `n` bytes of [`Handshaking::unsent`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.sent += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::encode;

    const HASH: InfoHash = InfoHash([7; 20]);
    const THEIRS: PeerId = PeerId([9; 20]);

    fn feed(state: &mut Handshaking, bytes: &[u8]) -> Result<Progress, PeerError> {
        let target = state.target().expect("it is not complete");
        target[..bytes.len()].copy_from_slice(bytes);
        state.advance(bytes.len())
    }

    #[test]
    fn an_accepted_peer_is_answered_before_it_has_sent_its_id() {
        let theirs = encode(Reserved::OURS, HASH, THEIRS);
        let mut state = Handshaking::accepted();
        assert_eq!(feed(&mut state, &theirs[..47]), Ok(Progress::More));
        assert_eq!(feed(&mut state, &theirs[47..48]), Ok(Progress::Head(HASH)));
        assert!(state.unsent().is_empty());
        state.answer(HASH, encode(Reserved::OURS, HASH, PeerId([1; 20])));
        assert_eq!(state.unsent().len(), 68);
        assert_eq!(feed(&mut state, &theirs[48..67]), Ok(Progress::More));
        assert_eq!(feed(&mut state, &theirs[67..]), Ok(Progress::Done(Reserved::OURS, THEIRS)));
    }

    #[test]
    fn a_dialled_peer_must_answer_for_the_same_torrent() {
        let ours = encode(Reserved::OURS, HASH, PeerId([1; 20]));
        let mut state = Handshaking::dialled(HASH, ours);
        assert_eq!(state.unsent(), ours);
        state.sent(60);
        assert_eq!(state.unsent(), &ours[60..]);
        let other = encode(Reserved::OURS, InfoHash([8; 20]), THEIRS);
        let error = feed(&mut state, &other[..48]).expect_err("another torrent");
        assert_eq!(error.to_string(), "invalid bytes: handshake: answered with another info-hash");
    }

    #[test]
    fn another_protocol_ends_at_its_first_byte() {
        let error = feed(&mut Handshaking::accepted(), b"G").expect_err("http");
        assert_eq!(
            error.to_string(),
            "invalid bytes: handshake: byte 0 is not of \"BitTorrent protocol\""
        );
    }
}
