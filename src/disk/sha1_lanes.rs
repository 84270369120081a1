//! The compression function of SHA-1 (FIPS 180-4) over several messages at once.
//!
//! A single message keeps a core waiting: each round needs the one before it. Messages that have
//! nothing to do with each other fill the gaps, either by turns ([`Kernel::ShaNi`]) or as the lanes
//! of wide registers ([`Kernel::Avx2`], [`Kernel::Avx512`]). What a processor has is asked at run
//! time; all others, and machines that emulate one, get [`Kernel::Portable`].
//!
//! This module knows 64-byte blocks only. Messages, their padding and where their bytes lie are
//! [`super::hash`]'s.
//!
//! It is the one file of the crate with `unsafe` code, which is of two kinds: unaligned loads and
//! stores through a pointer that was made from a reference to an array of just that size, and calls
//! of functions that need processor features, behind a check for them.

#![allow(unsafe_code, reason = "processor intrinsics; see the module's documentation")]
#![allow(clippy::many_single_char_names, reason = "the standard calls its words a to e")]
#![allow(clippy::needless_range_loop, reason = "one index goes into several messages")]

/// The five words that a message has been hashed to so far.
pub type State = [u32; 5];

/// What is hashed at a time.
pub type Block = [u8; 64];

/// What a message starts from.
pub const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The most messages that any kernel takes at once.
pub const MAX_LANES: usize = 16;

/// A way to compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// One message after the other, as the `sha1` crate does it.
    Portable,
    /// Up to 4 messages by turns with the SHA instructions of x86: more only spill registers.
    ShaNi,
    /// Up to 8 messages, a lane of AVX2 registers each. The time is that of 8.
    Avx2,
    /// Up to 16 messages, a lane of AVX-512 registers each. The time is that of 16.
    Avx512,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Portable, Self::ShaNi, Self::Avx2, Self::Avx512];

    /// Returns the most messages that it takes at once.
    pub const fn lanes(self) -> usize {
        match self {
            Self::Portable => 1,
            Self::ShaNi => 4,
            Self::Avx2 => 8,
            Self::Avx512 => MAX_LANES,
        }
    }

    /// Tells whether this processor has what it needs.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Portable => true,
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("sse4.1")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Portable;
    }

    /// Returns what is fastest on this processor for `count` messages, and how many of them it is
    /// to take at once; the rest is for another call.
    ///
    /// Where the bounds come from: `cargo bench --bench hash`. Lanes cost the same full or empty,
    /// so they have to be full enough to beat the kernel that has none.
    pub fn choose(count: usize) -> (Self, usize) {
        let sha_ni = Self::ShaNi.is_available();
        let least = if sha_ni { 13 } else { 3 };
        if count >= least && Self::Avx512.is_available() {
            return (Self::Avx512, count.min(Self::Avx512.lanes()));
        }
        if sha_ni && count > 1 {
            // 5 are taken as 3 and 2 rather than as 4 and 1.
            let calls = count.div_ceil(Self::ShaNi.lanes());
            return (Self::ShaNi, count.div_ceil(calls));
        }
        if !sha_ni && count > 1 && Self::Avx2.is_available() {
            return (Self::Avx2, count.min(Self::Avx2.lanes()));
        }
        (Self::Portable, count.min(1))
    }
}

/// Compresses into each of `states` its own of `inputs`, all of one length, with `kernel`.
///
/// Panics if the numbers of states and inputs differ or are more than the kernel takes, if the
/// inputs differ in length, or if the kernel is not available: bugs of the caller.
pub fn compress(kernel: Kernel, states: &mut [State], inputs: &[&[Block]]) {
    assert!(states.len() == inputs.len() && states.len() <= kernel.lanes(), "one input a state");
    assert!(kernel.is_available(), "{kernel:?} is not available");
    let Some(first) = inputs.first() else { return };
    assert!(inputs.iter().all(|input| input.len() == first.len()), "inputs are of one length");
    match kernel {
        Kernel::Portable => sha1::block_api::compress(&mut states[0], first),
        #[cfg(target_arch = "x86_64")]
        Kernel::ShaNi => {
            // SAFETY: the kernel is available.
            unsafe { sha_ni::compress_up_to_4(states, inputs) }
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => with_spare(states, inputs, |states, inputs| {
            // SAFETY: the kernel is available.
            unsafe { avx2::compress(states, inputs) }
        }),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => with_spare(states, inputs, |states, inputs| {
            // SAFETY: the kernel is available.
            unsafe { avx512::compress(states, inputs) }
        }),
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("the kernel is available"),
    }
}

/// Gives the lanes that nobody uses the first message, for nothing.
#[cfg(target_arch = "x86_64")]
fn with_spare<const LANES: usize>(
    states: &mut [State],
    inputs: &[&[Block]],
    compress: impl FnOnce(&mut [State; LANES], &[&[Block]; LANES]),
) {
    let mut all_states = [INITIAL; LANES];
    all_states[..states.len()].copy_from_slice(states);
    let mut all_inputs = [inputs[0]; LANES];
    all_inputs[..inputs.len()].copy_from_slice(inputs);
    compress(&mut all_states, &all_inputs);
    states.copy_from_slice(&all_states[..states.len()]);
}

/// The constant of each 20 rounds.
#[cfg(target_arch = "x86_64")]
const ROUND_CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

#[cfg(target_arch = "x86_64")]
mod sha_ni {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x,
        _mm_setzero_si128, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32,
        _mm_sha1rnds4_epu32, _mm_shuffle_epi8, _mm_xor_si128,
    };
    use core::array::from_fn;

    use super::{Block, State};

    /// What a message has in registers.
    #[derive(Clone, Copy)]
    struct Lane {
        /// `a`, in the highest word, to `d`.
        abcd: __m128i,
        /// `abcd` before the last four rounds: its `a` is on the way to `e`.
        before: __m128i,
        /// `e` at the start of a block, in the highest word.
        e: __m128i,
        /// The last 16 words of the schedule, four in each.
        words: [__m128i; 4],
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn compress_up_to_4(states: &mut [State], inputs: &[&[Block]]) {
        match states.len() {
            1 => compress::<1>(states, inputs),
            2 => compress::<2>(states, inputs),
            3 => compress::<3>(states, inputs),
            _ => compress::<4>(states, inputs),
        }
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress<const LANES: usize>(states: &mut [State], inputs: &[&[Block]]) {
        let states: &mut [State; LANES] = states.try_into().expect("a state for each lane");
        let inputs: &[&[Block]; LANES] = inputs.try_into().expect("an input for each lane");
        let mut lanes: [Lane; LANES] = states.map(|state| {
            let [a, b, c, d, e] = state.map(u32::cast_signed);
            let abcd = _mm_set_epi32(a, b, c, d);
            let (e, words) = (_mm_set_epi32(e, 0, 0, 0), [_mm_setzero_si128(); 4]);
            Lane { abcd, before: abcd, e, words }
        });
        for at in 0..inputs[0].len() {
            let blocks: [&Block; LANES] = from_fn(|lane| &inputs[lane][at]);
            let start = lanes;
            // The lanes take turns, so that each has something to do while the others wait.
            macro_rules! four_rounds_each {
                ($($group:literal)*) => {
                    $(for (lane, block) in lanes.iter_mut().zip(blocks) {
                        four_rounds::<$group>(lane, block);
                    })*
                };
            }
            four_rounds_each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
            for (lane, start) in lanes.iter_mut().zip(start) {
                lane.e = _mm_sha1nexte_epu32(lane.before, start.e);
                lane.abcd = _mm_add_epi32(lane.abcd, start.abcd);
            }
        }
        for (state, Lane { abcd, e, .. }) in states.iter_mut().zip(lanes) {
            let [a, b] = [_mm_extract_epi32::<3>(abcd), _mm_extract_epi32::<2>(abcd)];
            let [c, d] = [_mm_extract_epi32::<1>(abcd), _mm_extract_epi32::<0>(abcd)];
            *state = [a, b, c, d, _mm_extract_epi32::<3>(e)].map(i32::cast_unsigned);
        }
    }

    /// Does rounds `4 * GROUP` to `4 * GROUP + 3`.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn four_rounds<const GROUP: usize>(lane: &mut Lane, block: &Block) {
        let words = if GROUP < 4 {
            load(block, GROUP)
        } else {
            let back = |groups: usize| lane.words[(GROUP - groups) % 4];
            let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(back(4), back(3)), back(2));
            _mm_sha1msg2_epu32(mixed, back(1))
        };
        lane.words[GROUP % 4] = words;
        let with_e = match GROUP {
            0 => _mm_add_epi32(lane.e, words),
            _ => _mm_sha1nexte_epu32(lane.before, words),
        };
        lane.before = lane.abcd;
        lane.abcd = match GROUP / 5 {
            0 => _mm_sha1rnds4_epu32::<0>(lane.abcd, with_e),
            1 => _mm_sha1rnds4_epu32::<1>(lane.abcd, with_e),
            2 => _mm_sha1rnds4_epu32::<2>(lane.abcd, with_e),
            _ => _mm_sha1rnds4_epu32::<3>(lane.abcd, with_e),
        };
    }

    /// Returns the `group`th four words of a block, the first in the highest place.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn load(block: &Block, group: usize) -> __m128i {
        let reversed = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        let bytes: &[u8; 16] = &block.as_chunks().0[group];
        // SAFETY: 16 bytes are read, through a reference to as many.
        _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, reversed)
    }
}

/// Unrolls the rounds: all of `words` are in registers only if every index is a constant.
#[cfg(target_arch = "x86_64")]
macro_rules! all_rounds {
    ($state:ident, $words:ident) => {
        all_rounds!($state, $words:
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
            20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
            40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59
            60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79
        )
    };
    ($state:ident, $words:ident: $($round:literal)*) => {
        $(round::<$round>(&mut $state, &mut $words);)*
    };
}

/// Writes `compress` for a module with `LANES` lanes in each `Wide`, from `load`, which has word
/// after word of a block of every message, and the operations on `Wide`.
#[cfg(target_arch = "x86_64")]
macro_rules! compress_in_lanes {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn compress(states: &mut [State; LANES], inputs: &[&[Block]; LANES]) {
            let mut sums = from_fn(|word| from_words(from_fn(|lane| states[lane][word])));
            for at in 0..inputs[0].len() {
                let mut words = load(from_fn(|lane| &inputs[lane][at]));
                let mut rounds = sums;
                all_rounds!(rounds, words);
                sums = from_fn(|word| add(sums[word], rounds[word]));
            }
            for (word, sum) in sums.into_iter().enumerate() {
                for (state, sum) in states.iter_mut().zip(to_words(sum)) {
                    state[word] = sum;
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn round<const ROUND: usize>(state: &mut [Wide; 5], words: &mut [Wide; 16]) {
            let [a, b, c, d, e] = *state;
            if ROUND >= 16 {
                let back = |rounds: usize| words[(ROUND - rounds) % 16];
                let mixed = parity(xor(back(3), back(8)), back(14), back(16));
                words[ROUND % 16] = rotate::<1, 31>(mixed);
            }
            let chosen = match ROUND / 20 {
                0 => choice(b, c, d),
                2 => majority(b, c, d),
                _ => parity(b, c, d),
            };
            let constant = splat(ROUND_CONSTANTS[ROUND / 20]);
            // What is known first is added first: only `a` is new.
            let rest = add(chosen, add(e, add(words[ROUND % 16], constant)));
            *state = [add(rotate::<5, 27>(a), rest), a, rotate::<30, 2>(b), c, d];
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
        _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256,
        _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
        _mm256_xor_si256,
    };
    use core::array::from_fn;

    use super::{Block, ROUND_CONSTANTS, State};

    const LANES: usize = 8;
    type Wide = __m256i;

    compress_in_lanes!("avx2");

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: u32) -> Wide {
        _mm256_set1_epi32(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(x: Wide, y: Wide) -> Wide {
        _mm256_add_epi32(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(x: Wide, y: Wide) -> Wide {
        _mm256_xor_si256(x, y)
    }

    /// Rotates to the left; `BACK` is 32 - `BITS`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate<const BITS: i32, const BACK: i32>(x: Wide) -> Wide {
        _mm256_or_si256(_mm256_slli_epi32::<BITS>(x), _mm256_srli_epi32::<BACK>(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn choice(b: Wide, c: Wide, d: Wide) -> Wide {
        xor(d, _mm256_and_si256(b, xor(c, d)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn parity(b: Wide, c: Wide, d: Wide) -> Wide {
        xor(b, xor(c, d))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn majority(b: Wide, c: Wide, d: Wide) -> Wide {
        let either = _mm256_and_si256(d, _mm256_or_si256(b, c));
        _mm256_or_si256(_mm256_and_si256(b, c), either)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn from_words(words: [u32; LANES]) -> Wide {
        // SAFETY: 32 bytes are read, from an array of as many.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn to_words(wide: Wide) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: 32 bytes are written, to an array of as many.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), wide) };
        words
    }

    /// Returns the words of the blocks: in each, one word of every block.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(blocks: [&Block; LANES]) -> [Wide; 16] {
        let [low, high] = [0x0405_0607_0001_0203, 0x0c0d_0e0f_0809_0a0b];
        let reversed = _mm256_set_epi64x(high, low, high, low);
        let mut words = [_mm256_setzero_si256(); 16];
        for half in 0..2 {
            let rows: [Wide; 8] = from_fn(|lane| {
                let bytes: &[u8; 32] = &blocks[lane].as_chunks().0[half];
                // SAFETY: 32 bytes are read, through a reference to as many.
                _mm256_shuffle_epi8(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }, reversed)
            });
            let pairs: [Wide; 8] = from_fn(|at| match (at % 2, at - at % 2) {
                (0, row) => _mm256_unpacklo_epi32(rows[row], rows[row + 1]),
                (_, row) => _mm256_unpackhi_epi32(rows[row], rows[row + 1]),
            });
            // Word `at % 4` and, in the upper half, the fourth after it, of four lanes each.
            let fours: [Wide; 8] = from_fn(|at| match (at % 2, at / 4 * 4 + at % 4 / 2) {
                (0, pair) => _mm256_unpacklo_epi64(pairs[pair], pairs[pair + 2]),
                (_, pair) => _mm256_unpackhi_epi64(pairs[pair], pairs[pair + 2]),
            });
            for (at, word) in words[8 * half..8 * half + 8].iter_mut().enumerate() {
                let (of_first, of_last) = (fours[at % 4], fours[at % 4 + 4]);
                *word = match at / 4 {
                    0 => _mm256_permute2x128_si256::<0x20>(of_first, of_last),
                    _ => _mm256_permute2x128_si256::<0x31>(of_first, of_last),
                };
            }
        }
        words
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use core::arch::x86_64::{
        __m512i, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_loadu_si512,
        _mm512_rol_epi32, _mm512_set1_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
        _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
        _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
    };
    use core::array::from_fn;

    use super::{Block, ROUND_CONSTANTS, State};

    const LANES: usize = 16;
    type Wide = __m512i;

    compress_in_lanes!("avx512f,avx512bw");

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn splat(word: u32) -> Wide {
        _mm512_set1_epi32(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(x: Wide, y: Wide) -> Wide {
        _mm512_add_epi32(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn xor(x: Wide, y: Wide) -> Wide {
        _mm512_xor_si512(x, y)
    }

    /// Rotates to the left; `BACK` is 32 - `BITS`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn rotate<const BITS: i32, const BACK: i32>(x: Wide) -> Wide {
        _mm512_rol_epi32::<BITS>(x)
    }

    // Each digit of the three constants below is a row of the function's truth table.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn choice(b: Wide, c: Wide, d: Wide) -> Wide {
        _mm512_ternarylogic_epi32::<0b1100_1010>(b, c, d)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn parity(b: Wide, c: Wide, d: Wide) -> Wide {
        _mm512_ternarylogic_epi32::<0b1001_0110>(b, c, d)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn majority(b: Wide, c: Wide, d: Wide) -> Wide {
        _mm512_ternarylogic_epi32::<0b1110_1000>(b, c, d)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn from_words(words: [u32; LANES]) -> Wide {
        // SAFETY: 64 bytes are read, from an array of as many.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn to_words(wide: Wide) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: 64 bytes are written, to an array of as many.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), wide) };
        words
    }

    /// Returns the words of the blocks: in each, one word of every block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(blocks: [&Block; LANES]) -> [Wide; 16] {
        let reversed = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let reversed = _mm512_broadcast_i32x4(reversed);
        let rows: [Wide; 16] = from_fn(|lane| {
            // SAFETY: 64 bytes are read, through a reference to as many.
            let row = unsafe { _mm512_loadu_si512(blocks[lane].as_ptr().cast()) };
            _mm512_shuffle_epi8(row, reversed)
        });
        let pairs: [Wide; 16] = from_fn(|at| match (at % 2, at - at % 2) {
            (0, row) => _mm512_unpacklo_epi32(rows[row], rows[row + 1]),
            (_, row) => _mm512_unpackhi_epi32(rows[row], rows[row + 1]),
        });
        // In the quarters of each: word `at % 4`, the fourth after it, and so on, of four lanes.
        let fours: [Wide; 16] = from_fn(|at| match (at % 2, at / 4 * 4 + at % 4 / 2) {
            (0, pair) => _mm512_unpacklo_epi64(pairs[pair], pairs[pair + 2]),
            (_, pair) => _mm512_unpackhi_epi64(pairs[pair], pairs[pair + 2]),
        });
        // The upper or lower quarters of eight lanes.
        let eights: [Wide; 16] = from_fn(|at| {
            let (of_first, of_last) = (fours[at / 8 * 8 + at % 4], fours[at / 8 * 8 + at % 4 + 4]);
            match at / 4 % 2 {
                0 => _mm512_shuffle_i32x4::<0b01_00_01_00>(of_first, of_last),
                _ => _mm512_shuffle_i32x4::<0b11_10_11_10>(of_first, of_last),
            }
        });
        from_fn(|at| {
            let (of_first, of_last) =
                (eights[at / 8 * 4 + at % 4], eights[at / 8 * 4 + at % 4 + 8]);
            match at / 4 % 2 {
                0 => _mm512_shuffle_i32x4::<0b10_00_10_00>(of_first, of_last),
                _ => _mm512_shuffle_i32x4::<0b11_01_11_01>(of_first, of_last),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lane: usize, at: usize) -> Block {
        core::array::from_fn(|byte| u8::try_from((lane * 59 + at * 101 + byte * 7) % 256).unwrap())
    }

    #[test]
    fn each_lane_of_each_kernel_compresses_as_the_sha1_crate_does() {
        let data: Vec<Vec<Block>> =
            (0..MAX_LANES).map(|lane| (0..5).map(|at| block(lane, at)).collect()).collect();
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            for lanes in 0..=kernel.lanes() {
                for blocks in 0..=5 {
                    let inputs: Vec<&[Block]> =
                        data[..lanes].iter().map(|input| &input[..blocks]).collect();
                    let start = |lane: u32| INITIAL.map(|word| word.rotate_left(lane));
                    let start: Vec<State> = (0..).map(start).take(lanes).collect();
                    let mut states = start.clone();
                    compress(kernel, &mut states, &inputs);
                    let mut expected = start;
                    for (state, input) in expected.iter_mut().zip(&inputs) {
                        sha1::block_api::compress(state, input);
                    }
                    assert_eq!(states, expected, "{kernel:?}, {lanes} lanes, {blocks} blocks");
                }
            }
        }
    }

    #[test]
    fn what_is_chosen_can_be_done_and_comes_to_an_end() {
        assert!(Kernel::Portable.is_available());
        for count in 1..=2 * MAX_LANES {
            let (kernel, taken) = Kernel::choose(count);
            assert!(kernel.is_available(), "{kernel:?} for {count}");
            assert!((1..=kernel.lanes().min(count)).contains(&taken), "{kernel:?}: {taken}");
        }
    }

    #[test]
    fn inputs_of_different_lengths_are_refused() {
        let several = |kernel: &Kernel| kernel.is_available() && kernel.lanes() > 1;
        for kernel in Kernel::ALL.into_iter().filter(several) {
            let (short, long) = ([[0; 64]; 1], [[0; 64]; 2]);
            let compress = || compress(kernel, &mut [INITIAL; 2], &[&short, &long]);
            assert!(std::panic::catch_unwind(compress).is_err(), "{kernel:?}");
        }
    }
}
