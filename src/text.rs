//! Foreign text made safe to print.
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
}
