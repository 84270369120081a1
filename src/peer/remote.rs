//! Which pieces a remote has, in the smallest form that says it.

use crate::bitfield::Bitfield;

/// The pieces that a *remote* has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemotePieces {
    /// None, or it has not said yet.
    None,
    /// These, with their number. Invariant: neither none nor all.
    Some(Bitfield, u32),
    /// Every one: a seed.
    All,
}

impl RemotePieces {
    /// Returns the smallest form of `bits`.
    pub fn from_bits(bits: Bitfield) -> Self {
        match bits.count() {
            0 => Self::None,
            count if count == bits.len() => Self::All,
            count => Self::Some(bits, count),
        }
    }

    /// Adds piece `index` of `pieces` and tells whether it was new.
    pub fn insert(&mut self, index: u32, pieces: u32) -> bool {
        match self {
            Self::All => return false,
            Self::Some(bits, count) => {
                if !bits.insert(index) {
                    return false;
                }
                *count += 1;
                if *count == pieces {
                    *self = Self::All;
                }
            }
            Self::None => {
                let mut bits = Bitfield::new(pieces);
                bits.insert(index);
                *self = Self::from_bits(bits);
            }
        }
        true
    }

    /// Tells whether the remote has piece `index`.
    pub fn contains(&self, index: u32) -> bool {
        match self {
            Self::None => false,
            Self::Some(bits, _) => bits.contains(index),
            Self::All => true,
        }
    }

    /// Returns how many of `pieces` the remote has.
    pub const fn count(&self, pieces: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::Some(_, count) => *count,
            Self::All => pieces,
        }
    }

    /// Tells whether the remote has every piece.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
