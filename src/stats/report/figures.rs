//! Figures as people read them.

use super::float;
use crate::stats::Unit;

/// Returns a value in its unit: a duration with three digits (`812ns`, `5.77ms`, `3600s`), a count
/// as it is.
pub fn human(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Nanoseconds => duration(value),
    }
}

fn duration(ns: u64) -> String {
    let (mut scale, mut unit) = (1, "ns");
    for larger in ["µs", "ms", "s"] {
        // What would be rounded up to a thousand is one of the next unit.
        if ns.saturating_add(scale / 2) / scale >= 1_000 {
            (scale, unit) = (scale * 1_000, larger);
        }
    }
    let value = float(ns) / float(scale);
    match value {
        _ if scale == 1 => format!("{ns}{unit}"),
        ..9.995 => format!("{value:.2}{unit}"),
        ..99.95 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (9_994, "9.99µs"),
            (9_996, "10.0µs"),
            (99_960, "100µs"),
            (999_499, "999µs"),
            (999_500, "1.00ms"),
            (5_767_167, "5.77ms"),
            (3_600_000_000_000, "3600s"),
            (u64::MAX, "18446744074s"),
        ] {
            assert_eq!(human(ns, Unit::Nanoseconds), text);
        }
        assert_eq!(human(12_345, Unit::Count), "12345");
    }
}
