//! Words as a shell splits them: blanks between, quotes and backslashes around. Nothing is
//! expanded, and nothing is ever handed to a shell.

/// The words end in the middle of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SplitError {
    /// A quote that is opened and not closed.
    #[error("a quote is not closed")]
    Quote,
    /// A backslash with nothing after it.
    #[error("nothing follows the last backslash")]
    Backslash,
}

/// Splits text by the rules of the POSIX shell: `'…'` is taken as it is, within `"…"` a backslash
/// takes the meaning from `"`, `\`, `$`, `` ` `` and a line break, elsewhere from anything.
pub(crate) fn split(text: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next().ok_or(SplitError::Backslash)? {
                // A line that goes on in the next.
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(
    chars: &mut impl Iterator<Item = char>,
    word: &mut String,
) -> Result<(), SplitError> {
    loop {
        match chars.next().ok_or(SplitError::Quote)? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(
    chars: &mut impl Iterator<Item = char>,
    word: &mut String,
) -> Result<(), SplitError> {
    loop {
        match chars.next().ok_or(SplitError::Quote)? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(SplitError::Quote)? {
                '\n' => {}
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, words) in [
            ("", &[][..]),
            ("  a  b\tc\n", &["a", "b", "c"]),
            ("a'b c'd", &["ab cd"]),
            (r#""a b" '' "" x"#, &["a b", "", "", "x"]),
            (r#""a\"b\\c\d\$e""#, &[r#"a"b\c\d$e"#]),
            (r"a\ b \'c \\", &["a b", "'c", r"\"]),
            ("a\\\nb \"c\\\nd\"", &["ab", "cd"]),
            ("$HOME `x` ; | & * ~", &["$HOME", "`x`", ";", "|", "&", "*", "~"]),
            ("日本\u{a0}語", &["日本\u{a0}語"]),
        ] {
            assert_eq!(split(text).expect(text), words, "{text}");
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for (text, error) in [
            ("'a", SplitError::Quote),
            ("\"a", SplitError::Quote),
            ("\"a\\", SplitError::Quote),
            ("a\\", SplitError::Backslash),
        ] {
            assert_eq!(split(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_shell_agrees() {
        // What holds no `$` or backquote outside of single quotes means the same to a shell.
        for text in [r#"a 'b  c' "d \" e" f\ g ''"#, "x\\y\"\\z\\\\\"'w'"] {
            let script = format!("printf '%s\\n' {text}");
            let output = std::process::Command::new("sh").args(["-c", &script]).output();
            let output = output.expect("a shell").stdout;
            let lines = String::from_utf8(output).expect("text");
            assert_eq!(split(text).expect(text), lines.lines().collect::<Vec<_>>(), "{text}");
        }
    }
}
