//! Patterns for paths, as shells and `.gitignore` have them.
//!
//! `*` and `?` stand for characters of one name, `**` for any part of a path, `[a-z]` and `[!a-z]`
//! for one character of a set, `\` takes the next character as it is. A pattern without a slash is
//! about any name on a path, that of a file or that of a folder; one with a slash is about the path
//! from its beginning. What matches a folder matches all that is in it.
//!
//! **Invariant:** the time is bounded by pattern times path, whatever both are: all readings of a
//! pattern are followed at once.

use std::str::FromStr;

/// A pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    /// Whether it is about the path from its beginning, and not about any name on it.
    whole_path: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GlobError {
    /// There is nothing in it.
    #[error("a pattern has at least one character")]
    Empty,
    /// A set that does not end, or has nothing in it.
    #[error("'[' begins a set of characters that ']' does not end; \\[ is the character itself")]
    Set,
    /// Nothing follows the last backslash.
    #[error("nothing follows the last backslash")]
    Backslash,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    /// This character.
    Is(char),
    /// One character of a name.
    One,
    /// One character of a name that is in the set, or is not.
    Set { negated: bool, ranges: Vec<(char, char)> },
    /// Any characters of a name, possibly none.
    Star,
    /// Any part of a path, possibly none.
    AnyPath,
    /// Nothing; the two tokens behind it may be left out.
    Skip2,
}

impl Glob {
    /// Tells whether a path (names with slashes between them) or a folder on it matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if self.whole_path {
            return self.begins(path);
        }
        path.split('/').any(|name| self.begins(name))
    }

    /// Tells whether the pattern takes all of `text`, or all up to a slash in it.
    fn begins(&self, text: &str) -> bool {
        let end = self.tokens.len();
        let mut now = vec![false; end + 1];
        self.enter(0, &mut now);
        for c in text.chars() {
            if c == '/' && now[end] {
                return true;
            }
            let mut next = vec![false; end + 1];
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
                match token {
                    Token::AnyPath => self.enter(at, &mut next),
                    Token::Star if c != '/' => self.enter(at, &mut next),
                    _ if token.takes(c) => self.enter(at + 1, &mut next),
                    _ => {}
                }
            }
            now = next;
        }
        now[end]
    }

    /// Marks the token `at`, and those that are reached from it without a character.
    fn enter(&self, at: usize, states: &mut [bool]) {
        if std::mem::replace(&mut states[at], true) {
            return;
        }
        match self.tokens.get(at) {
            Some(Token::Star | Token::AnyPath) => self.enter(at + 1, states),
            Some(Token::Skip2) => {
                self.enter(at + 1, states);
                self.enter(at + 3, states);
            }
            _ => {}
        }
    }
}

impl Token {
    /// Tells whether the token is this one character.
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Is(is) => *is == c,
            Self::One => c != '/',
            Self::Set { negated, ranges } => {
                c != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
            Self::Star | Self::AnyPath | Self::Skip2 => false,
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let inner = text.strip_suffix('/').unwrap_or(text);
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let whole_path = inner.contains('/') || text.starts_with('/') || inner.contains("**");
        if inner.is_empty() {
            return Err(GlobError::Empty);
        }
        let mut tokens = Vec::new();
        let mut rest = inner;
        while let Some(c) = rest.chars().next() {
            let at_name = matches!(tokens.last(), None | Some(Token::Is('/')));
            if let Some(behind) = rest.strip_prefix("**/").filter(|_| at_name) {
                tokens.extend([Token::Skip2, Token::AnyPath, Token::Is('/')]);
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix("**") {
                tokens.push(Token::AnyPath);
                rest = behind;
            } else if c == '[' {
                let (set, behind) = set(rest)?;
                tokens.push(set);
                rest = behind;
            } else if c == '\\' {
                let mut chars = rest[1..].chars();
                tokens.push(Token::Is(chars.next().ok_or(GlobError::Backslash)?));
                rest = chars.as_str();
            } else {
                tokens.push(match c {
                    '*' => Token::Star,
                    '?' => Token::One,
                    c => Token::Is(c),
                });
                rest = &rest[c.len_utf8()..];
            }
        }
        Ok(Self { tokens, whole_path })
    }
}

/// Reads the set that a text begins with, and returns what is behind it.
///
/// As in shells, `]` is a member if it comes first, and `-` if it comes first or last.
fn set(text: &str) -> Result<(Token, &str), GlobError> {
    let inner = &text[1..];
    let negated = inner.starts_with(['!', '^']);
    let mut rest = if negated { &inner[1..] } else { inner };
    let mut ranges = Vec::new();
    loop {
        let mut chars = rest.chars();
        let from = match chars.next().ok_or(GlobError::Set)? {
            ']' if !ranges.is_empty() => {
                return Ok((Token::Set { negated, ranges }, chars.as_str()));
            }
            '\\' => chars.next().ok_or(GlobError::Set)?,
            c => c,
        };
        rest = chars.as_str();
        let mut to = from;
        if let Some(behind) = rest.strip_prefix('-')
            && let Some(last) = behind.chars().next().filter(|last| *last != ']')
        {
            to = last;
            rest = &behind[last.len_utf8()..];
        }
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_paths() {
        for (pattern, matching, other) in [
            ("*.iso", &["a.iso", "x/y/b.iso", ".iso", "d.iso/x"][..], &["a.iso2", "iso"][..]),
            ("a?c", &["abc", "x/aßc"], &["ac", "abbc", "a/c"]),
            ("sample", &["sample", "sample/x", "x/sample/y"], &["samples", "x/a sample"]),
            ("sample/", &["sample/x"], &["samples/x"]),
            ("dir/**", &["dir/a", "dir/a/b"], &["dirs/a", "x/dir/a", "dir"]),
            ("dir/*", &["dir/a", "dir/a/b"], &["dirs/a", "x/dir/a"]),
            ("dir/*.txt", &["dir/a.txt"], &["dir/x/a.txt", "a.txt"]),
            ("**/b", &["b", "a/b", "x/y/b", "a/b/c"], &["ab", "a/bc"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "b"]),
            ("a**z", &["az", "a/b/z"], &["za"]),
            ("/a", &["a", "a/b"], &["x/a"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "/x"]),
            ("[!a-c]x", &["dx"], &["ax", "x"]),
            ("[]-]x", &["]x", "-x"], &["ax"]),
            ("[a-]x", &["ax", "-x"], &["bx"]),
            ("[\\]]", &["]"], &["\\"]),
            ("\\*", &["*"], &["a"]),
            ("日*", &["日本"], &["本"]),
            ("*", &["a", "a/b"], &[]),
        ] {
            let glob: Glob = pattern.parse().expect("a pattern");
            for path in matching {
                assert!(glob.matches(path), "{pattern} does not match {path}");
            }
            for path in other {
                assert!(!glob.matches(path), "{pattern} matches {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, error) in [
            ("", GlobError::Empty),
            ("/", GlobError::Empty),
            ("[", GlobError::Set),
            ("a[]", GlobError::Set),
            ("[!", GlobError::Set),
            ("[a\\", GlobError::Set),
            ("a\\", GlobError::Backslash),
        ] {
            assert_eq!(text.parse::<Glob>(), Err(error), "{text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_product() {
        let glob: Glob = "*a".repeat(30).parse().expect("a pattern");
        assert!(!glob.matches(&("a".repeat(2_000) + "b")));
    }
}
