//! Foreign text made safe to print, and sizes as people write them.
//!
//! Everything that came from a peer, a tracker, a metainfo file or a file system passes through
//! [`Escaped`] before it reaches a terminal or a log, so that no escape sequence, bidi override or
//! newline of theirs gets there.

use std::fmt;

/// The most characters of a foreign text that are printed; the rest is cut and marked with `…`.
pub const MAX_FOREIGN_TEXT: usize = 200;

/// Displays a foreign text with everything that could act on a terminal replaced: C0, DEL and C1
/// controls as `\xNN`, bidi controls, zero-width characters and U+FEFF as `\u{…}`; cut at
/// [`MAX_FOREIGN_TEXT`] characters.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        for (printed, c) in self.0.chars().enumerate() {
            if printed == MAX_FOREIGN_TEXT {
                return f.write_char('…');
            }
            match c {
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' => write!(f, "{}", c.escape_unicode())?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The text is no size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSizeError {
    /// Not digits followed by a known suffix.
    #[error("a size is a number with an optional K, M, G or T (powers of 1024), such as 256M")]
    Form,
    /// Beyond 64 bits.
    #[error("the size does not fit into 64 bits")]
    TooLarge,
}

/// Reads `256M`, `1k`, `3GiB` or `4096`: bytes, in powers of 1024, as in curl, aria2, wget and
/// rclone.
///
/// # Errors
/// [`ParseSizeError`]: whoever wrote the text.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    if digits.is_empty() {
        return Err(ParseSizeError::Form);
    }
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(ParseSizeError::Form),
    };
    let number: u64 = digits.parse().map_err(|_| ParseSizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(ParseSizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_invisible_characters_are_spelled_out() {
        for (foreign, printed) in [
            ("plain Größe 日本", "plain Größe 日本"),
            ("a\x1b[2Jb\nc\0", "a\\x1b[2Jb\\x0ac\\x00"),
            ("\u{9b}31m\x7f", "\\x9b31m\\x7f"),
            ("exe\u{202e}gpj.\u{200b}", "exe\\u{202e}gpj.\\u{200b}"),
            ("\u{2066}\u{feff}", "\\u{2066}\\u{feff}"),
        ] {
            assert_eq!(Escaped(foreign).to_string(), printed);
        }
    }

    #[test]
    fn long_text_is_cut_and_marked() {
        let long = "x".repeat(MAX_FOREIGN_TEXT + 1);
        let printed = Escaped(&long).to_string();
        assert_eq!(printed.chars().count(), MAX_FOREIGN_TEXT + 1);
        assert!(printed.ends_with('…'));
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("17b", 17),
            ("1k", 1024),
            ("1K", 1024),
            ("500KB", 500 << 10),
            ("256M", 256 << 20),
            ("256mib", 256 << 20),
            ("3G", 3 << 30),
            ("2TiB", 2 << 40),
            ("18446744073709551615", u64::MAX),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "+1", "1.5G", "1 M", " 1", "1P", "0x10", "12Mi", "1é"] {
            assert_eq!(parse_size(text), Err(ParseSizeError::Form), "{text}");
        }
        for text in ["18446744073709551616", "16777216T", "99999999999999999999K"] {
            assert_eq!(parse_size(text), Err(ParseSizeError::TooLarge), "{text}");
        }
    }
}
