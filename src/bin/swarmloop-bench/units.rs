//! Bytes as every subcommand shows them.

/// Bytes of a GiB.
pub(crate) const GIB: f64 = 1_073_741_824.0;

/// Returns a number of bytes in the largest unit that divides it: `1 MiB`, `1000 B`.
pub(crate) fn bytes(n: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| n > 0 && n.is_multiple_of(*size));
    unit.map_or_else(|| format!("{n} B"), |(size, name)| format!("{} {name}", n / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_divide() {
        for (n, shown) in [
            (0, "0 B"),
            (1_000, "1000 B"),
            (16_384, "16 KiB"),
            (1 << 20, "1 MiB"),
            ((1 << 20) + 1, "1048577 B"),
            (5 << 30, "5 GiB"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }
}
