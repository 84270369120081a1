//! Addresses that are not to be talked to, as many as there are in the largest lists, and the
//! question that is asked of each dial and each stream that is accepted: is this one of them?
//!
//! **Invariant:** a filter does not change once it is built; whoever has another list builds
//! another filter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::proto::blocklist::IpRange;

/// The most ranges of a filter: ten times what the largest public lists have. In memory a range of
/// IPv4 addresses takes 8 bytes, one of IPv6 addresses 32.
pub const MAX_RANGES: usize = 4 << 20;

/// Ranges of addresses, ready to be searched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IpFilter {
    v4: Ranges<Ipv4Addr>,
    v6: Ranges<Ipv6Addr>,
}

/// The ranges of a filter that is being made.
#[derive(Clone, Default, Debug)]
pub struct FilterBuilder {
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

/// There are [`MAX_RANGES`] ranges already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {MAX_RANGES} ranges")]
pub struct TooManyRanges;

/// First and last addresses. Invariant: sorted, and none overlaps the next.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ranges<T>(Box<[(T, T)]>);

impl IpFilter {
    /// Tells whether an address is in one of the ranges; IPv4 in IPv6 counts as IPv4. O(log n).
    pub fn blocks(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.contains(ip),
            IpAddr::V6(ip) => self.v6.contains(ip),
        }
    }

    /// Returns how many ranges there are, those that overlap counted as one.
    pub fn len(&self) -> usize {
        self.v4.0.len() + self.v6.0.len()
    }

    /// Tells whether it blocks nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FilterBuilder {
    /// Adds a range, in any order.
    ///
    /// # Errors
    /// [`TooManyRanges`]: the list's fault; it is not added.
    pub fn add(&mut self, range: IpRange) -> Result<(), TooManyRanges> {
        if self.v4.len() + self.v6.len() >= MAX_RANGES {
            return Err(TooManyRanges);
        }
        match range {
            IpRange::V4(first, last) => self.v4.push((first, last)),
            IpRange::V6(first, last) => self.v6.push((first, last)),
        }
        Ok(())
    }

    /// Makes the filter. O(n log n).
    pub fn build(self) -> IpFilter {
        IpFilter { v4: Ranges::new(self.v4), v6: Ranges::new(self.v6) }
    }
}

impl<T: Ord + Copy> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        // `dedup_by` keeps the earlier of two, which becomes both.
        ranges.dedup_by(|later, earlier| {
            let overlaps = later.0 <= earlier.1;
            if overlaps {
                earlier.1 = earlier.1.max(later.1);
            }
            overlaps
        });
        Self(ranges.into_boxed_slice())
    }

    fn contains(&self, ip: T) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= ip);
        // Of those that begin before it, only the last may reach it.
        behind.checked_sub(1).is_some_and(|at| ip <= self.0[at].1)
    }
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::blocklist::parse_line;
    use crate::rng::Rng;

    fn filter(lines: &[&str]) -> IpFilter {
        let mut builder = FilterBuilder::default();
        for line in lines {
            let range = parse_line(line.as_bytes()).expect("a range").expect("that is blocked");
            builder.add(range).expect("room");
        }
        builder.build()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_ends_of_a_range_are_in_it_and_what_is_beside_them_is_not() {
        let filter = filter(&[
            "x:10.0.5.0-10.0.5.9",
            "10.0.0.0/30",
            "2001:db8::10-2001:db8::1f",
            "255.255.255.255",
            "0.0.0.0",
        ]);
        for (addr, is_in) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.0.3", true),
            ("10.0.0.4", false),
            ("10.0.4.255", false),
            ("10.0.5.0", true),
            ("10.0.5.9", true),
            ("10.0.5.10", false),
            ("::ffff:10.0.5.5", true),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("255.255.255.255", true),
            ("2001:db8::f", false),
            ("2001:db8::10", true),
            ("2001:db8::1f", true),
            ("2001:db8::20", false),
        ] {
            assert_eq!(filter.blocks(ip(addr)), is_in, "{addr}");
        }
        assert_eq!((filter.len(), filter.is_empty()), (5, false));
        assert!(!IpFilter::default().blocks(ip("1.2.3.4")) && IpFilter::default().is_empty());
    }

    #[test]
    fn ranges_that_overlap_are_one() {
        let filter = filter(&["1.0.0.5-1.0.0.9", "1.0.0.0-1.0.0.6", "1.0.0.2", "1.0.0.9-1.0.0.9"]);
        assert_eq!(filter.len(), 1);
        assert!(filter.blocks(ip("1.0.0.0")) && filter.blocks(ip("1.0.0.9")));
        assert!(!filter.blocks(ip("1.0.0.10")));
    }

    #[test]
    fn a_search_finds_what_looking_at_every_range_finds() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut builder = FilterBuilder::default();
            let mut ranges = Vec::new();
            for _ in 0..rng.below(40) {
                let first = rng.below_u32(1_000);
                let last = first + rng.below_u32(30);
                ranges.push(first..=last);
                builder.add(IpRange::V4(first.into(), last.into())).expect("room");
            }
            let filter = builder.build();
            for number in 0..1_050_u32 {
                let naive = ranges.iter().any(|range| range.contains(&number));
                assert_eq!(filter.blocks(Ipv4Addr::from(number).into()), naive, "seed {seed}");
            }
        }
    }

    #[test]
    fn there_is_a_most_of_ranges() {
        let mut builder = FilterBuilder::default();
        for number in 0..u32::try_from(MAX_RANGES).expect("small") {
            builder.add(IpRange::V4(number.into(), number.into())).expect("room");
        }
        let one_more = IpRange::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        assert_eq!(builder.add(one_more), Err(TooManyRanges));
        assert_eq!(builder.build().len(), MAX_RANGES);
    }
}
