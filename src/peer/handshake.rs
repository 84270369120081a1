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
    /// How many bytes are received. Invariant: at most [`HANDSHAKE_LEN`].
    len: u8,
    /// How many bytes of ours have left. Invariant: at most [`HANDSHAKE_LEN`].
    sent: u8,
    /// Our own handshake, for the torrent that we dialled for or that an accepted remote has named;
    /// `None` before the torrent is known.
    ours: Option<[u8; HANDSHAKE_LEN]>,
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
    pub const fn dialled(ours: [u8; HANDSHAKE_LEN]) -> Self {
        Self { received: [0; HANDSHAKE_LEN], len: 0, sent: 0, ours: Some(ours) }
    }

    /// Returns the state of a connection that was accepted: the remote speaks first.
    pub const fn accepted() -> Self {
        Self { received: [0; HANDSHAKE_LEN], len: 0, sent: 0, ours: None }
    }

    /// Answers [`Progress::Head`]: the torrent is here, and our handshake for it is `ours`.
    pub const fn answer(&mut self, ours: [u8; HANDSHAKE_LEN]) {
        self.ours = Some(ours);
    }

    /// Takes what belongs to the handshake off the front of `input`; what follows it is the peer's.
    ///
    /// # Errors
    /// [`PeerError::Invalid`]: another protocol, or the answer for another torrent.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Progress, PeerError> {
        let rest = &mut self.received[usize::from(self.len)..];
        let (taken, behind) = input.split_at(rest.len().min(input.len()));
        rest[..taken.len()].copy_from_slice(taken);
        *input = behind;
        self.len += u8::try_from(taken.len()).expect("at most a handshake");
        self.progress()
    }

    /// Returns what the bytes so far amount to.
    ///
    /// # Errors
    /// As [`Handshaking::feed`].
    pub fn progress(&self) -> Result<Progress, PeerError> {
        let len = usize::from(self.len);
        check_prefix(&self.received[..len]).map_err(Invalid::from)?;
        if len < HEAD_LEN {
            return Ok(Progress::More);
        }
        let head = |bytes: &[u8; HANDSHAKE_LEN]| {
            decode_head(bytes.first_chunk().expect("a handshake is longer than its head"))
        };
        let (reserved, info_hash) = head(&self.received);
        let Some(ours) = &self.ours else { return Ok(Progress::Head(info_hash)) };
        if head(ours).1 != info_hash {
            return Err(Invalid::from(HandshakeError::OtherInfoHash).into());
        }
        if len < HANDSHAKE_LEN {
            return Ok(Progress::More);
        }
        let id = self.received.last_chunk().expect("a handshake is longer than a peer id");
        Ok(Progress::Done(reserved, PeerId(*id)))
    }

    /// Returns what is still to be sent of our handshake.
    pub fn unsent(&self) -> &[u8] {
        self.ours.as_ref().map_or(&[], |ours| &ours[usize::from(self.sent)..])
    }

    /// Records that `n` bytes of [`Handshaking::unsent`] were sent.
    pub fn sent(&mut self, n: usize) {
        self.sent += u8::try_from(n).expect("at most what is unsent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::encode;

    const HASH: InfoHash = InfoHash([7; 20]);
    const THEIRS: PeerId = PeerId([9; 20]);

    fn feed(state: &mut Handshaking, mut bytes: &[u8]) -> Result<Progress, PeerError> {
        let progress = state.feed(&mut bytes);
        assert!(bytes.is_empty() || progress.is_err(), "everything was taken");
        progress
    }

    #[test]
    fn an_accepted_peer_is_answered_before_it_has_sent_its_id() {
        let theirs = encode(Reserved::OURS, HASH, THEIRS);
        let mut state = Handshaking::accepted();
        assert_eq!(feed(&mut state, &theirs[..47]), Ok(Progress::More));
        assert_eq!(feed(&mut state, &theirs[47..48]), Ok(Progress::Head(HASH)));
        assert!(state.unsent().is_empty());
        state.answer(encode(Reserved::OURS, HASH, PeerId([1; 20])));
        assert_eq!(state.unsent().len(), 68);
        assert_eq!(feed(&mut state, &theirs[48..67]), Ok(Progress::More));
        assert_eq!(feed(&mut state, &theirs[67..]), Ok(Progress::Done(Reserved::OURS, THEIRS)));
    }

    #[test]
    fn a_dialled_peer_must_answer_for_the_same_torrent() {
        let ours = encode(Reserved::OURS, HASH, PeerId([1; 20]));
        let mut state = Handshaking::dialled(ours);
        assert_eq!(state.unsent(), ours);
        state.sent(60);
        assert_eq!(state.unsent(), &ours[60..]);
        let other = encode(Reserved::OURS, InfoHash([8; 20]), THEIRS);
        let error = feed(&mut state, &other[..48]).expect_err("another torrent");
        assert_eq!(error.to_string(), "invalid bytes: handshake: answered with another info-hash");
    }

    #[test]
    fn what_follows_a_handshake_is_left_to_the_peer() {
        let mut state = Handshaking::dialled(encode(Reserved::OURS, HASH, PeerId([1; 20])));
        let theirs = encode(Reserved::OURS, HASH, THEIRS);
        let bytes = [&theirs[..], &[0, 0, 0, 1, 15]].concat();
        let mut input = &bytes[..];
        assert_eq!(state.feed(&mut input), Ok(Progress::Done(Reserved::OURS, THEIRS)));
        assert_eq!(input, [0, 0, 0, 1, 15]);
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
