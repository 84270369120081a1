//! Which pieces a remote has, in the smallest form that says it.
//!
//! A torrent of 100 000 pieces has bitfields of 12.5 KB, and ten thousand remotes; but who has just
//! begun, or is nearly done, is told in a short list, and a seed that wants nothing of anybody
//! keeps no more than a number.

use crate::bitfield::{Bitfield, BitfieldError};

/// The pieces that a *remote* has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemotePieces {
    /// None, or it has not said yet.
    None,
    /// These, in rising order. Invariant: at least one, at most `max_listed`.
    Few(Box<[u32]>),
    /// These, with their number. Invariant: more than `max_listed`, and as many are missing.
    Some(Bitfield, u32),
    /// All but these, in rising order. Invariant: at least one, at most `max_listed`.
    AllBut(Box<[u32]>),
    /// Every one: a seed.
    All,
    /// So many of so many, but not which: all that a seed needs to know. What is told twice counts
    /// twice, so that this number alone makes nobody a seed.
    Counted {
        /// Pieces that it has told us of. Invariant: at most `of`.
        count: u32,
        /// Pieces of the torrent.
        of: u32,
    },
    /// What it has said while nobody knew how many pieces there are.
    Claimed(Box<Claims>),
}

/// What a remote has said of its pieces before their number was known (BEP 9): checked when it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Claims {
    /// The payload of its `bitfield`.
    bitfield: Option<Vec<u8>>,
    /// Pieces that it has told of one by one. Invariant: at most [`MAX_LISTED`].
    haves: Vec<u32>,
    /// Whether it has said more than is remembered.
    is_partial: bool,
}

/// The most pieces that are ever listed one by one: 4 KiB, which is what one `have` may move.
const MAX_LISTED: usize = 1024;

/// The most pieces that are listed one by one, of a torrent of `pieces`: at most half of what a
/// bitfield takes, so that a form is left once and for good as the remote's pieces grow.
fn max_listed(pieces: u32) -> usize {
    ((pieces / 64) as usize).min(MAX_LISTED)
}

/// What [`RemotePieces::forget_which`] does not find worth forgetting, in bytes: the bitfield of
/// 256 pieces.
const MAX_KEPT_BYTES: usize = 32;

impl Claims {
    /// Takes in the payload of a `bitfield`.
    pub fn set_bitfield(&mut self, payload: Vec<u8>) {
        *self = Self { bitfield: Some(payload), ..Self::default() };
    }

    /// Takes in a `have` and tells whether it is remembered.
    pub fn add(&mut self, piece: u32) -> bool {
        let is_remembered = !self.is_partial && self.haves.len() < MAX_LISTED;
        if is_remembered {
            self.haves.push(piece);
        }
        self.is_partial |= !is_remembered;
        is_remembered
    }

    /// Forgets all of it, but that there was something.
    pub fn forget(&mut self) {
        *self = Self { is_partial: true, ..Self::default() };
    }

    /// Returns the bytes that remembering it takes.
    pub fn bytes(&self) -> usize {
        let bitfield = self.bitfield.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>() + bitfield + self.haves.capacity() * size_of::<u32>()
    }

    /// Returns the pieces of a torrent that has so many; `None` if they are not all remembered.
    ///
    /// # Errors
    /// [`ClaimError`]: there cannot be such pieces, the remote's fault.
    pub fn of(&self, pieces: u32) -> Result<Option<RemotePieces>, ClaimError> {
        if self.is_partial {
            return Ok(None);
        }
        let mut bits = match &self.bitfield {
            Some(payload) => Bitfield::from_wire(payload, pieces)?,
            None => Bitfield::new(pieces),
        };
        for piece in &self.haves {
            if *piece >= pieces {
                return Err(ClaimError::Piece(*piece));
            }
            bits.insert(*piece);
        }
        Ok(Some(RemotePieces::from_bits(bits)))
    }
}

/// What a remote has claimed cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Its `bitfield` is none of this torrent.
    #[error("{0}")]
    Bitfield(#[from] BitfieldError),
    /// The torrent does not have this piece.
    #[error("piece {0} does not exist")]
    Piece(u32),
}

impl RemotePieces {
    /// Returns the smallest form of `bits`.
    pub fn from_bits(bits: Bitfield) -> Self {
        let (pieces, count) = (bits.len(), bits.count());
        let missing = pieces - count;
        if count == 0 {
            Self::None
        } else if missing == 0 {
            Self::All
        } else if count as usize <= max_listed(pieces) {
            Self::Few(bits.ones().collect())
        } else if missing as usize <= max_listed(pieces) {
            Self::AllBut((0..pieces).filter(|piece| !bits.contains(*piece)).collect())
        } else {
            Self::Some(bits, count)
        }
    }

    /// Adds piece `index` of `pieces` and tells whether it was new; always, as far as that is not
    /// known any more.
    pub fn insert(&mut self, index: u32, pieces: u32) -> bool {
        match self {
            Self::All => return false,
            Self::Claimed(claims) => return claims.add(index),
            Self::Counted { count, of } => {
                let more = *count < *of;
                *count += u32::from(more);
                return more;
            }
            Self::None if max_listed(pieces) > 0 => *self = Self::Few([index].into()),
            Self::None => {
                let mut bits = Bitfield::new(pieces);
                bits.insert(index);
                *self = Self::from_bits(bits);
            }
            Self::Few(listed) => {
                let Err(at) = listed.binary_search(&index) else { return false };
                let mut longer = std::mem::take(listed).into_vec();
                longer.insert(at, index);
                *listed = longer.into_boxed_slice();
                if listed.len() > max_listed(pieces) {
                    let mut bits = Bitfield::new(pieces);
                    for piece in listed.iter() {
                        bits.insert(*piece);
                    }
                    *self = Self::from_bits(bits);
                }
            }
            Self::Some(bits, count) => {
                if !bits.insert(index) {
                    return false;
                }
                *count += 1;
                if (pieces - *count) as usize <= max_listed(pieces) {
                    *self = Self::from_bits(std::mem::take(bits));
                }
            }
            Self::AllBut(missing) => {
                let Ok(at) = missing.binary_search(&index) else { return false };
                let mut shorter = std::mem::take(missing).into_vec();
                shorter.remove(at);
                *missing = shorter.into_boxed_slice();
                if missing.is_empty() {
                    *self = Self::All;
                }
            }
        }
        true
    }

    /// Takes piece `index` of `pieces` out and tells whether it was there; always, as far as that
    /// is not known any more.
    pub fn remove(&mut self, index: u32, pieces: u32) -> bool {
        match self {
            Self::None | Self::Claimed(_) => return false,
            Self::Counted { count, .. } => {
                let fewer = *count > 0;
                *count -= u32::from(fewer);
                return fewer;
            }
            Self::Few(_) | Self::Some(..) if !self.contains(index) => return false,
            Self::AllBut(missing) if missing.binary_search(&index).is_ok() => return false,
            _ => {}
        }
        let mut scratch = Bitfield::default();
        let mut bits = match self.bits(pieces, &mut scratch) {
            Some(bits) => bits.clone(),
            None => Bitfield::full(pieces),
        };
        bits.remove(index);
        *self = Self::from_bits(bits);
        true
    }

    /// Tells whether the remote is known to have piece `index`.
    pub fn contains(&self, index: u32) -> bool {
        match self {
            Self::None | Self::Counted { .. } | Self::Claimed(_) => false,
            Self::Few(listed) => listed.binary_search(&index).is_ok(),
            Self::Some(bits, _) => bits.contains(index),
            Self::AllBut(missing) => missing.binary_search(&index).is_err(),
            Self::All => true,
        }
    }

    /// Returns how many of `pieces` the remote has.
    pub fn count(&self, pieces: u32) -> u32 {
        let listed = |list: &[u32]| u32::try_from(list.len()).unwrap_or(pieces).min(pieces);
        match self {
            Self::None | Self::Claimed(_) => 0,
            Self::Few(list) => listed(list),
            Self::Some(_, count) | Self::Counted { count, .. } => *count,
            Self::AllBut(missing) => pieces - listed(missing),
            Self::All => pieces,
        }
    }

    /// Tells whether the remote has every piece, by its own word.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Tells whether as many pieces were told of as there are, some of them perhaps twice.
    pub const fn may_be_all(&self) -> bool {
        matches!(self, Self::All) || matches!(self, Self::Counted { count, of } if *count == *of)
    }

    /// Keeps only the number, if which pieces they are takes more than a few bytes: for whoever
    /// will never again want any.
    pub fn forget_which(&mut self, pieces: u32) {
        let bytes = match self {
            Self::None | Self::All | Self::Counted { .. } | Self::Claimed(_) => return,
            Self::Few(list) | Self::AllBut(list) => size_of_val(&**list),
            Self::Some(bits, _) => size_of_val(bits.words()),
        };
        if bytes > MAX_KEPT_BYTES {
            *self = Self::Counted { count: self.count(pieces), of: pieces };
        }
    }

    /// Returns what the remote has claimed before anybody knew how many pieces there are, to be
    /// added to; whatever it had said before is forgotten if that was known.
    pub fn claims_mut(&mut self) -> &mut Claims {
        if !matches!(self, Self::Claimed(_)) {
            *self = Self::Claimed(Box::default());
        }
        match self {
            Self::Claimed(claims) => claims,
            _ => unreachable!("it was made just now"),
        }
    }

    /// Returns the set as a bitfield, made in `scratch` if it is kept in another form; `None` if
    /// nothing or everything is in it, or nobody knows what. O(pieces / 64).
    pub fn bits<'a>(&'a self, pieces: u32, scratch: &'a mut Bitfield) -> Option<&'a Bitfield> {
        match self {
            Self::None | Self::All | Self::Counted { .. } | Self::Claimed(_) => None,
            Self::Some(bits, _) => Some(bits),
            Self::Few(listed) => {
                scratch.reset(pieces, false);
                for piece in listed {
                    scratch.insert(*piece);
                }
                Some(scratch)
            }
            Self::AllBut(missing) => {
                scratch.reset(pieces, true);
                for piece in missing {
                    scratch.remove(*piece);
                }
                Some(scratch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn haves_lead_from_none_over_some_to_all() {
        let mut remote = RemotePieces::None;
        assert!(remote.insert(2, 3) && !remote.insert(2, 3));
        assert!(remote.contains(2) && !remote.contains(0));
        assert!(remote.insert(0, 3));
        assert_eq!(remote.count(3), 2);
        assert!(remote.insert(1, 3) && remote.is_all());
        assert!(!remote.insert(1, 3));
        let mut one = RemotePieces::None;
        assert!(one.insert(0, 1) && one.is_all());
    }

    #[test]
    fn the_first_and_the_last_pieces_are_listed() {
        let mut remote = RemotePieces::None;
        for piece in (0..640).rev() {
            assert!(remote.insert(piece, 640) && !remote.insert(piece, 640));
            let form = match 640 - piece {
                1..=10 => matches!(remote, RemotePieces::Few(_)),
                11..=629 => matches!(remote, RemotePieces::Some(..)),
                630..=639 => matches!(remote, RemotePieces::AllBut(_)),
                _ => remote.is_all(),
            };
            assert!(form, "{} pieces: {remote:?}", 640 - piece);
        }
    }

    #[test]
    fn a_have_moves_no_more_than_a_page_however_many_pieces_there_are() {
        let pieces = 1 << 21;
        let few = u32::try_from(MAX_LISTED).expect("few");
        let mut bits = Bitfield::new(pieces);
        (0..few).for_each(|piece| _ = bits.insert(piece));
        let mut remote = RemotePieces::from_bits(bits);
        assert!(matches!(&remote, RemotePieces::Few(list) if size_of_val(&**list) == 4096));
        assert!(remote.insert(few, pieces) && matches!(remote, RemotePieces::Some(..)));
        let mut bits = Bitfield::new(pieces);
        (0..pieces - few - 1).for_each(|piece| _ = bits.insert(piece));
        let mut remote = RemotePieces::from_bits(bits);
        assert!(matches!(remote, RemotePieces::Some(..)));
        assert!(remote.insert(pieces - 1, pieces));
        assert!(matches!(&remote, RemotePieces::AllBut(list) if size_of_val(&**list) == 4096));
        assert_eq!(remote.count(pieces), pieces - few);
    }

    #[test]
    fn what_only_a_number_is_known_of_is_not_taken_for_a_seed_by_it() {
        let mut bits = Bitfield::new(2_000);
        (0..1_998).step_by(2).for_each(|piece| _ = bits.insert(piece));
        let mut remote = RemotePieces::from_bits(bits);
        remote.forget_which(2_000);
        assert_eq!(remote, RemotePieces::Counted { count: 999, of: 2_000 });
        for _ in 999..2_000 {
            assert!(!remote.may_be_all() && remote.insert(7, 2_000));
        }
        assert!(remote.may_be_all() && !remote.is_all() && !remote.insert(7, 2_000));
        assert_eq!(remote.count(2_000), 2_000);
    }

    #[test]
    fn a_short_bitfield_is_not_worth_forgetting() {
        let mut bits = Bitfield::new(256);
        (0..100).for_each(|piece| _ = bits.insert(piece));
        let mut remote = RemotePieces::from_bits(bits);
        let before = remote.clone();
        remote.forget_which(256);
        assert_eq!(remote, before);
    }

    proptest! {
        #[test]
        fn every_form_agrees_with_a_bitfield(
            first in prop::collection::vec(any::<bool>(), 200..400),
            haves in prop::collection::vec(0..200_u32, 0..500),
            density in 0..3_u32,
        ) {
            let pieces = u32::try_from(first.len()).expect("few");
            let mut model = Bitfield::new(pieces);
            for (piece, set) in (0..).zip(&first) {
                if match density { 0 => *set && piece < 4, 1 => *set, _ => *set || piece > 4 } {
                    model.insert(piece);
                }
            }
            let mut remote = RemotePieces::from_bits(model.clone());
            let mut scratch = Bitfield::default();
            for have in haves {
                if have % 3 == 0 {
                    prop_assert_eq!(remote.remove(have, pieces), model.remove(have));
                } else {
                    prop_assert_eq!(remote.insert(have, pieces), model.insert(have));
                }
                prop_assert_eq!(remote.count(pieces), model.count());
                prop_assert_eq!(remote.is_all(), model.is_full());
                prop_assert!((0..pieces).all(|at| remote.contains(at) == model.contains(at)));
                match remote.bits(pieces, &mut scratch) {
                    Some(bits) => prop_assert_eq!(bits, &model),
                    None => prop_assert!(model.is_empty() || model.is_full()),
                }
            }
        }
    }
}
