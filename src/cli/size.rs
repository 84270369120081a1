//! Sizes, rates, shares and times as people write and read them.
//!
//! Units are powers of 1024, as in curl, aria2, wget and rclone. All arithmetic is in
//! integers: what is shown never says 100 % before everything is there.

use std::fmt;
use std::time::Duration;

/// The units of [`Size`], each 1024 times the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Displays bytes in the largest unit that leaves a digit before the point: `790.6 MiB`, `17 B`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// Returns `have / size` in the unit of `size`: `296.1 / 790.6 MiB`; `gap` stands around the
    /// slash and before the unit. What is less than one of that unit has its own, or it would seem
    /// to stand still: `35.2 MiB / 1.0 GiB`.
    pub(crate) fn pair(have: u64, size: u64, gap: &str) -> String {
        let unit = unit_of(size);
        let mut shown = number(have, unit);
        if have > 0 && tenths(have, unit) < 10 {
            let unit = unit_of(have);
            shown = format!("{}{gap}{}", number(have, unit), UNITS[unit]);
        }
        format!("{shown}{gap}/{gap}{}{gap}{}", number(size, unit), UNITS[unit])
    }

    /// Returns the size without a space before its unit: `48.2MiB`.
    pub(crate) fn compact(self) -> String {
        let unit = unit_of(self.0);
        format!("{}{}", number(self.0, unit), UNITS[unit])
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = unit_of(self.0);
        write!(f, "{} {}", number(self.0, unit), UNITS[unit])
    }
}

/// Returns the index of the unit in which `bytes` is shown: the first that keeps it, once rounded,
/// under 1024.
fn unit_of(bytes: u64) -> usize {
    (0..UNITS.len()).find(|&unit| tenths(bytes, unit) < 10_240).unwrap_or(UNITS.len() - 1)
}

/// Returns `bytes` in tenths of a unit, rounded.
fn tenths(bytes: u64, unit: usize) -> u128 {
    let scale = 1u128 << (10 * unit);
    (u128::from(bytes) * 10 + scale / 2) / scale
}

fn number(bytes: u64, unit: usize) -> String {
    if unit == 0 {
        return bytes.to_string();
    }
    let tenths = tenths(bytes, unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Returns how much of `whole` is there in tenths of a percent, rounded down; all of nothing is
/// 1000.
pub(crate) fn permille(part: u64, whole: u64) -> u16 {
    let share = (u128::from(part.min(whole)) * 1_000).checked_div(u128::from(whole));
    share.and_then(|share| u16::try_from(share).ok()).unwrap_or(1_000)
}

/// Returns `37.4%`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let permille = permille(part, whole);
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Returns `part / whole` with two digits after the point, as upload ratios are written: `0.02`.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    let hundredths = (u128::from(part) * 100).checked_div(u128::from(whole)).unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Returns bytes a second over a time, `None` if the time is too short to tell.
pub(crate) fn rate(bytes: u64, time: Duration) -> Option<u64> {
    let rate = (u128::from(bytes) * 1_000).checked_div(time.as_millis())?;
    u64::try_from(rate).ok()
}

/// Returns how long `left` bytes take at a rate, `None` while nothing moves.
pub(crate) fn eta(left: u64, rate: u64) -> Option<Duration> {
    (rate > 0).then(|| Duration::from_secs(left.div_ceil(rate)))
}

/// Returns a time in its two largest units: `0.4s`, `17s`, `4m51s`, `2h05m`, `3d07h`.
pub(crate) fn brief(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..10 => format!("{s}.{}s", time.subsec_millis() / 100),
        10..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// Returns a time that is only known to the second in its two largest units: `4s`, `28m`, `4m51s`.
pub(crate) fn countdown(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3_600 if s.is_multiple_of(60) => format!("{}m", s / 60),
        _ => brief(time),
    }
}

/// Returns the time until something happens as [`countdown`] does; `None` for [`Duration::MAX`],
/// with which the engine says that it never does.
pub(crate) fn until(time: Duration) -> Option<String> {
    (time < Duration::MAX).then(|| countdown(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_one_digit_after_the_point() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (790_626_304, "754.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(Size(bytes).compact(), text.replace(' ', ""));
        }
        for (have, size, text) in [
            (310_497_280, 790_626_304, "296.1 / 754.0 MiB"),
            (0, 2048, "0.0 / 2.0 KiB"),
            (1, 2048, "1 B / 2.0 KiB"),
            (1, 9, "1 / 9 B"),
            (36_909_875, 1 << 30, "35.2 MiB / 1.0 GiB"),
            (16 << 10, 3 << 30, "16.0 KiB / 3.0 GiB"),
            (972 << 20, 1 << 30, "972.0 MiB / 1.0 GiB"),
            (973 << 20, 1 << 30, "1.0 / 1.0 GiB"),
            (1 << 30, 1 << 30, "1.0 / 1.0 GiB"),
        ] {
            assert_eq!(Size::pair(have, size, " "), text);
            assert_eq!(Size::pair(have, size, ""), text.replace(' ', ""));
        }
    }

    #[test]
    fn shares_never_say_all_too_early() {
        for (part, whole, text) in [
            (0, 10, "0.0%"),
            (9_999, 10_000, "99.9%"),
            (u64::MAX - 1, u64::MAX, "99.9%"),
            (10, 10, "100.0%"),
            (11, 10, "100.0%"),
            (0, 0, "100.0%"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
        assert_eq!(ratio(182, 7_906), "0.02");
        assert_eq!(ratio(3, 2), "1.50");
        assert_eq!(ratio(3, 0), "0.00");
    }

    #[test]
    fn times_have_two_units() {
        for (ms, text) in [
            (0, "0.0s"),
            (1_950, "1.9s"),
            (17_900, "17s"),
            (291_000, "4m51s"),
            (3_600_000, "1h00m"),
            (7_500_000, "2h05m"),
            (284_400_000, "3d07h"),
        ] {
            assert_eq!(brief(Duration::from_millis(ms)), text);
        }
        assert_eq!(countdown(Duration::from_millis(4_900)), "4s");
        assert_eq!(countdown(Duration::from_secs(28 * 60)), "28m");
        assert_eq!(countdown(Duration::from_secs(291)), "4m51s");
        assert_eq!(until(Duration::from_secs(291)).as_deref(), Some("4m51s"));
        assert_eq!(until(Duration::MAX), None);
    }

    #[test]
    fn rates_and_etas_know_when_they_do_not_know() {
        assert_eq!(rate(1_000, Duration::from_millis(500)), Some(2_000));
        assert_eq!(rate(1_000, Duration::ZERO), None);
        assert_eq!(eta(10, 3), Some(Duration::from_secs(4)));
        assert_eq!(eta(10, 0), None);
    }
}
