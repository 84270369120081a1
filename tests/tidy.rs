//! The house rules that neither rustc nor clippy knows, checked on the text of `src` in
//! milliseconds: who may import whom, how long things may be, which words may stand where.
//!
//! A finding names its place and its rule. [`EXCEPTIONS`] lists the few that are wanted, with
//! how many and why; the list may only shrink, so that one with too high a count is a finding too.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fmt, fs, path::Path};

#[test]
fn the_source_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_tree(&root, &root, &mut sources);
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "this is no source tree");
    let findings = sources.iter().flat_map(check).collect();
    let left = except(findings, EXCEPTIONS);
    let lines: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

/// The layers from the bottom up. A file sees lower layers; the modules of its own layer only
/// where `siblings` says so.
const LAYERS: [Layer; 8] = [
    Layer {
        modules: &["bitfield", "geometry", "id", "net_policy", "rng", "subnet", "text", "time"],
        siblings: true,
    },
    Layer { modules: &["proto"], siblings: true },
    Layer { modules: &["wire", "disk", "filter", "rate", "stats"], siblings: true },
    Layer {
        modules: &["peer", "picker", "choker", "tracker", "tracker_server", "dht", "lsd", "utp"],
        siblings: false,
    },
    Layer { modules: &["torrent"], siblings: true },
    Layer { modules: &["session"], siblings: true },
    Layer { modules: &["reactor", "sim"], siblings: false },
    Layer { modules: &["client", "main", "cli", "bin"], siblings: true },
];

/// The binaries are crates of their own: their `crate::` is not the library, and they may use all
/// of that.
const OTHER_CRATES: [&str; 3] = ["main", "cli", "bin"];

/// Findings that are wanted: file, rule, how many, why.
const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "wire/frame.rs",
        rule: Rule::Cast,
        count: 9,
        reason: "indices by an enum and lengths of our own frames, none of them from the wire",
    },
    Exception {
        file: "disk/sha1_lanes.rs",
        rule: Rule::Word,
        count: 10,
        reason: "intrinsics, each with the reason why it is sound",
    },
    Exception {
        file: "cli/demo.rs",
        rule: Rule::Socket,
        count: 1,
        reason: "asks whether an address of loopback is ours, and sends nothing",
    },
    Exception {
        file: "cli/network.rs",
        rule: Rule::Socket,
        count: 1,
        reason: "asks whether IPv6 is spoken here, and sends nothing",
    },
    Exception {
        file: "cli/share.rs",
        rule: Rule::Socket,
        count: 1,
        reason: "asks for our own address where traffic is not bound, and sends nothing",
    },
    Exception {
        file: "reactor/resolver.rs",
        rule: Rule::Socket,
        count: 1,
        reason: "the system's resolver, where traffic is not bound",
    },
];

/// Where sockets, files, threads, clocks and locks are at home.
const IMPURE: [&str; 5] = ["reactor/", "client.rs", "main.rs", "cli/", "bin/"];

/// What nothing else may touch: the same events and times must always give the same answers.
const IMPURITIES: [&str; 17] = [
    "std::fs",
    "std::thread",
    "std::time::Instant",
    "std::sync::Mutex",
    "std::rc",
    "SystemTime",
    "Instant::now",
    "env::var",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "mio::",
    "HashMap",
    "HashSet",
    "RefCell",
    "Rc<",
    "Mutex",
];

/// What no file may hold outside its tests.
const NOWHERE: [(&str, &str); 6] = [
    (".unwrap()", "`expect` says why it cannot fail"),
    ("todo!", "unfinished"),
    ("unimplemented!", "unfinished"),
    ("dbg!", "left over"),
    ("fn get_", "a getter has the bare name"),
    ("unsafe", "the crate denies it"),
];

/// What makes sockets, which can then leak what the user has bound: only where it is bound.
const SOCKETS: [&str; 5] =
    ["Socket::new", "UdpSocket::bind", "TcpListener::bind", "TcpStream::connect", "ToSocketAddrs"];

/// Where that is; the binaries for measuring have nothing to hide.
const SOCKET_MAKERS: [&str; 2] = ["reactor/egress.rs", "bin/"];

/// Where lengths and indices come from the wire.
const CODECS: [&str; 2] = ["proto/", "wire/"];

/// Casts that can lose bits.
const LOSSY_CASTS: [&str; 4] = ["as u8", "as u16", "as u32", "as usize"];

/// Lines of a file, without its tests.
const MAX_FILE_LINES: usize = 600;

/// Lines of a function, from `fn` to the closing brace.
const MAX_FUNCTION_LINES: usize = 70;

/// Columns of a line, tests and comments too; a comment with a URL may be longer.
const MAX_COLUMNS: usize = 100;

/// One floor of the house.
struct Layer {
    modules: &'static [&'static str],
    siblings: bool,
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Layer,
    FileLength,
    FunctionLength,
    Columns,
    Purity,
    Word,
    Socket,
    Cast,
    Header,
    Exception,
}

struct Exception {
    file: &'static str,
    rule: Rule,
    count: usize,
    reason: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// One-based.
    line: usize,
    rule: Rule,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {:?}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// Drops the findings that `exceptions` allow, and adds one for every exception that allows more
/// than there is.
fn except(findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    let mut counts = BTreeMap::new();
    for finding in &findings {
        *counts.entry((finding.file.clone(), finding.rule)).or_insert(0) += 1;
    }
    let count = |e: &Exception| counts.get(&(e.file.to_owned(), e.rule)).copied().unwrap_or(0);
    let allowed = |f: &Finding| {
        exceptions.iter().any(|e| e.file == f.file && e.rule == f.rule && count(e) <= e.count)
    };
    let mut left: Vec<_> = findings.into_iter().filter(|finding| !allowed(finding)).collect();
    for stale in exceptions.iter().filter(|e| count(e) < e.count) {
        let (rule, reason, now) = (stale.rule, stale.reason, count(stale));
        let what = format!("{rule:?} ({reason}) is down to {now}: lower the exception");
        let file = stale.file.to_owned();
        left.push(Finding { file, line: 1, rule: Rule::Exception, what });
    }
    left
}

/// All findings in one file.
fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, rule: Rule, what: String| {
        findings.push(Finding { file: source.path.clone(), line, rule, what });
    };
    if !source.raw.starts_with("//!") {
        find(1, Rule::Header, "does not begin with `//!` and what it is for".to_owned());
    }
    check_lengths(source, &mut find);
    check_words(source, &mut find);
    check_layers(source, &mut find);
    findings
}

fn check_lengths(source: &Source, find: &mut impl FnMut(usize, Rule, String)) {
    let lines = source.lines_without_tests();
    if lines > MAX_FILE_LINES {
        find(1, Rule::FileLength, format!("{lines} lines, at most {MAX_FILE_LINES}"));
    }
    for (start, end, name) in functions(&source.code) {
        let lines = source.line(end) - source.line(start) + 1;
        if lines > MAX_FUNCTION_LINES {
            let what = format!("`{name}` has {lines} lines, at most {MAX_FUNCTION_LINES}");
            find(source.line(start), Rule::FunctionLength, what);
        }
    }
    for (index, line) in source.raw.lines().enumerate() {
        let columns = line.chars().count();
        let url = line.trim_start().starts_with("//") && line.contains("://");
        if columns > MAX_COLUMNS && !url {
            find(index + 1, Rule::Columns, format!("{columns} columns, at most {MAX_COLUMNS}"));
        }
    }
}

fn check_words(source: &Source, find: &mut impl FnMut(usize, Rule, String)) {
    let paths = paths(&source.code);
    if !IMPURE.iter().any(|place| source.path.starts_with(place)) {
        for word in IMPURITIES {
            let imported = paths.iter().filter(|path| starts_with_path(&path.join(), word));
            let places = imported.map(|path| path.at).chain(occurrences(&source.code, word));
            let mut lines: Vec<_> = places.map(|at| source.line(at)).collect();
            lines.sort_unstable();
            lines.dedup();
            for line in lines {
                find(line, Rule::Purity, format!("`{word}` outside the reactor and the surface"));
            }
        }
    }
    for (word, reason) in NOWHERE {
        for at in occurrences(&source.code, word) {
            find(source.line(at), Rule::Word, format!("`{word}`: {reason}"));
        }
    }
    if !SOCKET_MAKERS.iter().any(|place| source.path.starts_with(place)) {
        for word in SOCKETS {
            for at in occurrences(&source.code, word) {
                let what = format!("`{word}`: only an `Egress` makes sockets");
                find(source.line(at), Rule::Socket, what);
            }
        }
    }
    for (index, line) in source.raw.lines().enumerate() {
        if line.contains("FIXME") {
            find(index + 1, Rule::Word, "`FIXME`: unfinished".to_owned());
        }
    }
    if CODECS.iter().any(|place| source.path.starts_with(place)) {
        for cast in LOSSY_CASTS {
            for at in occurrences(&source.code, cast) {
                let what = format!("`{cast}`: `try_from` or `from` instead");
                find(source.line(at), Rule::Cast, what);
            }
        }
    }
}

fn check_layers(source: &Source, find: &mut impl FnMut(usize, Rule, String)) {
    let modules = source.modules();
    let from = &modules[0];
    let Some(floor) = layer_of(from) else {
        if from != "lib" {
            let what = format!("`{from}` is in no layer: give it one in tests/tidy.rs");
            find(1, Rule::Layer, what);
        }
        return;
    };
    if OTHER_CRATES.contains(&from.as_str()) {
        return;
    }
    for path in paths(&source.code) {
        let Some(to) = path.target(&modules) else { continue };
        let what = match layer_of(&to) {
            _ if to == *from => continue,
            // What `super` names in a module inside a file is the file's own.
            None if path.segments[0] == "super" => continue,
            None => format!("`{}`: name the module, not a re-export", path.join()),
            Some(other) if other > floor => {
                format!("`{from}` (layer {floor}) looks up to `{to}` (layer {other})")
            }
            Some(other) if other == floor && !LAYERS[floor].siblings => {
                format!("`{from}` looks at its sibling `{to}` (layer {floor})")
            }
            Some(_) => continue,
        };
        find(source.line(path.at), Rule::Layer, what);
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.modules.contains(&module))
}

/// A file of `src`.
struct Source {
    /// From `src` on, with `/`.
    path: String,
    raw: String,
    /// As `raw` byte for byte, but blank where comments, literals and tests are.
    code: String,
    /// Byte ranges of `raw` that only exist in tests.
    tests: Vec<(usize, usize)>,
    /// Where the line breaks are.
    breaks: Vec<usize>,
}

impl Source {
    fn new(path: &str, raw: &str) -> Self {
        let masked = mask(raw);
        let mut tests = test_items(&masked);
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            tests = vec![(0, raw.len())];
        }
        let mut code = masked.into_bytes();
        for &(start, end) in &tests {
            code[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        let code = String::from_utf8(code).expect("masked text is ASCII");
        let breaks = raw.match_indices('\n').map(|(at, _)| at).collect();
        Self { path: path.to_owned(), raw: raw.to_owned(), code, tests, breaks }
    }

    /// The module path from the crate's root: `peer/timer.rs` is `peer`, `timer`.
    fn modules(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').map(str::to_owned).collect()
    }

    /// The one-based line of a byte.
    fn line(&self, at: usize) -> usize {
        self.breaks.partition_point(|&line_break| line_break < at) + 1
    }

    fn lines_without_tests(&self) -> usize {
        let in_tests: usize =
            self.tests.iter().map(|&(start, end)| self.raw[start..end].lines().count()).sum();
        self.raw.lines().count() - in_tests
    }
}

fn read_tree(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_tree(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            sources.push(Source::new(&below, &fs::read_to_string(&path).unwrap()));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
}

/// A path as it is written in the code, a use tree's branches each as one.
#[derive(Debug, PartialEq, Eq)]
struct CodePath {
    /// Its first byte; of a use tree's branches, the statement's.
    at: usize,
    segments: Vec<String>,
}

impl CodePath {
    fn join(&self) -> String {
        self.segments.join("::")
    }

    /// The top-level module that it leads to from a file at `modules`, `None` if that is in
    /// another crate or cannot be told.
    fn target(&self, modules: &[String]) -> Option<String> {
        let ups = self.segments.iter().take_while(|segment| *segment == "super").count();
        match self.segments.first()?.as_str() {
            "crate" => self.segments.get(1).cloned(),
            "super" if ups < modules.len() => modules.first().cloned(),
            "super" => self.segments.get(ups).cloned(),
            _ => None,
        }
    }
}

/// Every path of two and more segments in masked code.
fn paths(code: &str) -> Vec<CodePath> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_word(code, at) {
        at = end;
        // Not the list of captured lifetimes, `use<'a>`.
        if &code[start..end] == "use" && !code[end..].starts_with('<') {
            let tree = code[end..].split(';').next().unwrap_or_default();
            at = end + tree.len();
            for segments in use_tree(tree) {
                found.push(CodePath { at: start, segments });
            }
            continue;
        }
        let mut segments = vec![code[start..end].to_owned()];
        while let Some(rest) = code[at..].strip_prefix("::") {
            let len = word_len(rest);
            if len == 0 {
                break;
            }
            segments.push(rest[..len].to_owned());
            at += 2 + len;
        }
        if segments.len() > 1 {
            found.push(CodePath { at: start, segments });
        }
    }
    found
}

/// `a::{b, c::{self, d as e}}` as `a::b`, `a::c`, `a::c::d`.
fn use_tree(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let (prefix, branches) = match tree.split_once('{') {
        Some((prefix, rest)) => (prefix, rest.rsplit_once('}').map_or(rest, |(inner, _)| inner)),
        None => (tree.split(" as ").next().unwrap_or_default(), ""),
    };
    let prefix: Vec<_> = prefix
        .split("::")
        .map(str::trim)
        .filter(|segment| !segment.is_empty() && *segment != "self")
        .map(str::to_owned)
        .collect();
    if branches.trim().is_empty() {
        return vec![prefix];
    }
    let below = split_top_level(branches).into_iter().flat_map(use_tree);
    below.map(|branch| [prefix.clone(), branch].concat()).collect()
}

/// Splits at the commas that are in no inner braces.
fn split_top_level(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// First byte, last byte and name of every function with a body in masked code.
fn functions(code: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    for at in occurrences(code, "fn") {
        let Some(rest) = code[at..].strip_prefix("fn ") else { continue };
        let name = &rest[..word_len(rest)];
        let mut depth = 0_i32;
        let end = code[at..].bytes().position(|byte| {
            depth += i32::from(matches!(byte, b'(' | b'['));
            depth -= i32::from(matches!(byte, b')' | b']'));
            depth == 0 && matches!(byte, b'{' | b';')
        });
        let Some(body) = end.map(|end| at + end) else { continue };
        if !name.is_empty() && code[body..].starts_with('{') {
            found.push((at, closing_brace(code, body) - 1, name));
        }
    }
    found
}

/// Byte ranges of the items under `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut items: Vec<(usize, usize)> = Vec::new();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        if items.last().is_some_and(|&(_, end)| start < end) {
            continue;
        }
        let mut end = start + attribute.len();
        loop {
            end += code[end..].len() - code[end..].trim_start().len();
            if !code[end..].starts_with("#[") {
                break;
            }
            end += code[end..].find(']').map_or(code.len() - end, |at| at + 1);
        }
        end += code[end..].find(['{', ';']).unwrap_or(code.len() - end);
        end = if code[end..].starts_with('{') { closing_brace(code, end) } else { end + 1 };
        items.push((start, end.min(code.len())));
    }
    items
}

/// Behind the brace that closes the one at `open`; the end of the text if none does.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}

/// Where `word` stands in masked code by itself, not as a part of a longer word.
fn occurrences<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let first = word.as_bytes()[0];
    let last = word.as_bytes()[word.len() - 1];
    // `fn get_` is a beginning by itself.
    let open_end = !is_word(last) || last == b'_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].bytes().last().is_some_and(is_word);
        let after = code[at + word.len()..].bytes().next().is_some_and(is_word);
        !(is_word(first) && before) && (open_end || !after)
    })
}

/// Whether `path` is `prefix` or leads below it.
fn starts_with_path(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The next identifier or keyword from `at` on.
fn next_word(code: &str, at: usize) -> Option<(usize, usize)> {
    let start = at + code[at..].bytes().position(is_word)?;
    Some((start, start + word_len(&code[start..])))
}

fn word_len(code: &str) -> usize {
    code.bytes().take_while(|&byte| is_word(byte)).count()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks comments and what is between the quotes of literals, and makes what is left ASCII.
/// Every byte keeps its place.
fn mask(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(raw.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(raw, at).unwrap_or(at);
        for &byte in &bytes[at..end] {
            out.push(if byte == b'\n' { '\n' } else { ' ' });
        }
        at = end;
        // A literal's end may be another one's beginning only after some code.
        if end < bytes.len() && opaque_end(raw, end).is_none() {
            out.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { '_' });
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends, `None` if none begins there.
fn opaque_end(raw: &str, at: usize) -> Option<usize> {
    let rest = &raw.as_bytes()[at..];
    let end = match *rest {
        [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => quoted_len(rest, b'"'),
        [b'\'', ..] => char_len(rest)?,
        [b'r', b'"' | b'#', ..] if !raw.as_bytes()[..at].last().is_some_and(|&b| is_word(b)) => {
            raw_string_len(rest)?
        }
        [b'b' | b'c', b'r', b'"' | b'#', ..] => 1 + raw_string_len(&rest[1..])?,
        _ => return None,
    };
    Some(at + end)
}

fn block_comment_len(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// A quote begins a character if it ends one right after it; otherwise a lifetime.
fn char_len(text: &[u8]) -> Option<usize> {
    if text.get(1) == Some(&b'\\') {
        return Some(quoted_len(text, b'\''));
    }
    let more = text.iter().skip(2).take_while(|&&b| b & 0xc0 == 0x80).count();
    (text.get(2 + more) == Some(&b'\'')).then_some(3 + more)
}

/// `None` for a raw identifier.
fn raw_string_len(text: &[u8]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|&&b| b == b'#').count();
    if text.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = [b'"'].into_iter().chain([b'#'].repeat(hashes)).collect();
    let body = &text[2 + hashes..];
    let at = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    Some((2 + hashes + at + end.len()).min(text.len()))
}

/// The lint's own tests, on small strings.
#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, raw: &str) -> Vec<(usize, Rule)> {
        let header = "//! For a test.\n";
        let found = check(&Source::new(path, &format!("{header}{raw}")));
        found.into_iter().map(|finding| (finding.line - 1, finding.rule)).collect()
    }

    #[test]
    fn imports_go_down_only() {
        let table: [(&str, &str, bool); 25] = [
            ("peer/mod.rs", "use crate::wire::frame::Frame;", true),
            ("peer/mod.rs", "use crate::{id::{Block, ConnId}, time::Instant};", true),
            ("peer/mod.rs", "use super::picker::Picker;", false),
            ("peer/timer.rs", "use super::Peer;", true),
            ("peer/timer.rs", "use super::super::picker::Picker;", false),
            ("peer/timer.rs", "use crate::peer::Peer;", true),
            ("peer/mod.rs", "use crate::picker::Picker;", false),
            ("peer/mod.rs", "use crate::{\n    id::Block,\n    picker::{self},\n};", false),
            ("peer/mod.rs", "fn f() { crate::torrent::start() }", false),
            ("peer/mod.rs", "fn f(x: &crate::session::io::Action) {}", false),
            ("choker.rs", "pub(crate) use crate::peer::Peer;", false),
            ("disk/job.rs", "use crate::wire::frame::Frame;", true),
            ("wire/frame.rs", "use crate::disk::job::Job;", true),
            ("id.rs", "use crate::text::Escaped;", true),
            ("id.rs", "use crate::proto::message::Message;", false),
            ("reactor/mod.rs", "use crate::session::Session;", true),
            ("reactor/mod.rs", "use crate::sim::Sim;", false),
            ("sim/mod.rs", "use crate::client::Client;", false),
            ("client.rs", "use crate::reactor::Reactor;", true),
            ("peer/mod.rs", "use crate::Session;", false),
            ("rate.rs", "fn f() -> impl Sized + use<> { crate::peer::x() }", false),
            ("choker.rs", "mod sealed { use super::Choker; }", true),
            ("bin/swarmloop-bench/main.rs", "use crate::args::Args;", true),
            ("peer/mod.rs", "// use crate::session::Session;", true),
            ("peer/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::session::Session;\n}", true),
        ];
        for (path, raw, tidy) in table {
            let layers = findings(path, raw).into_iter().filter(|(_, rule)| *rule == Rule::Layer);
            assert_eq!(layers.count() == 0, tidy, "{path}: {raw}");
        }
    }

    #[test]
    fn a_module_without_a_layer_is_a_finding() {
        assert_eq!(findings("novelty.rs", ""), [(0, Rule::Layer)]);
    }

    #[test]
    fn impurities_are_found_in_every_spelling() {
        let table = [
            ("use std::fs;", true),
            ("use std::{fs, io};", true),
            ("use std::{\n    io,\n    time::{Duration, Instant},\n};", true),
            ("use std::time::Duration;", false),
            ("use crate::time::Instant;", false),
            ("fn f() { let x = Instant::now(); }", true),
            ("fn f() { std::thread::yield_now() }", true),
            ("fn f(map: HashMap<u8, u8>) {}", true),
            ("struct S(Rc<u8>);", true),
            ("struct S(Arc<u8>);", false),
            ("struct S(std::net::SocketAddr);", false),
            ("use mio::net::UdpSocket;", true),
            ("use std::sync::{Arc, Mutex};", true),
            ("const X: &str = env!(\"CARGO_PKG_VERSION\");", false),
            ("// a HashMap would do\n/* std::fs */ const X: &str = \"Mutex\";", false),
        ];
        for (raw, found) in table {
            let purity = findings("torrent/mod.rs", raw);
            assert_eq!(purity.iter().any(|(_, rule)| *rule == Rule::Purity), found, "{raw}");
            for path in ["reactor/files.rs", "client.rs", "cli/get.rs", "bin/x/main.rs"] {
                assert!(findings(path, raw).is_empty(), "{path}: {raw}");
            }
        }
    }

    #[test]
    fn words_are_found_outside_tests_only() {
        let table = [
            ("fn f() { x.unwrap(); }", 1),
            ("fn f() { x.unwrap_or(1); }", 0),
            ("fn f() { todo!() }", 1),
            ("fn get_it() {}", 1),
            ("fn budget_it() {}", 0),
            ("fn f() { unsafe { g() } }", 1),
            ("#![forbid(unsafe_code)]", 0),
            ("// FIXME later", 1),
            ("/// x.unwrap() panics", 0),
            ("#[cfg(test)]\n#[allow(dead_code)]\nfn f() { x.unwrap(); }", 0),
            ("#[cfg(test)]\nmod tests;\nfn f() { x.unwrap(); }", 1),
            ("#[cfg(test)]\nmod tests {\n fn f() { x.unwrap(); }\n}\nfn f() { dbg!(x) }", 1),
        ];
        for (raw, count) in table {
            assert_eq!(findings("reactor/mod.rs", raw).len(), count, "{raw}");
            assert_eq!(findings("reactor/tests.rs", raw).len(), usize::from(raw.contains("FIX")));
        }
    }

    #[test]
    fn lossy_casts_are_found_in_codecs() {
        let raw = "fn f(x: u64) -> usize {\n    x as usize\n}";
        assert_eq!(findings("proto/message.rs", raw), [(2, Rule::Cast)]);
        assert_eq!(findings("wire/recv.rs", raw), [(2, Rule::Cast)]);
        assert_eq!(findings("rate.rs", raw), []);
        assert_eq!(findings("wire/recv.rs", "fn f(x: u8) -> u64 { x as u64 }"), []);
        assert_eq!(findings("wire/recv.rs", "use x as usize_of;"), []);
    }

    #[test]
    fn sockets_are_made_in_one_place() {
        let raw = "fn f() {\n    let s = std::net::UdpSocket::bind(addr);\n}";
        assert_eq!(findings("reactor/udp.rs", raw), [(2, Rule::Socket)]);
        assert_eq!(findings("cli/get.rs", "use std::net::ToSocketAddrs;"), [(1, Rule::Socket)]);
        assert_eq!(findings("reactor/egress.rs", raw), []);
        assert_eq!(findings("bin/swarmloop-bench/load/mod.rs", raw), []);
        assert_eq!(findings("reactor/udp.rs", "fn f() { UdpSocketState::new(s) }"), []);
    }

    #[test]
    fn lengths_are_counted_without_tests() {
        let body = "    g();\n";
        let function = |lines: usize| format!("fn f(x: [u8; 2]) {{\n{}}}\n", body.repeat(lines));
        assert_eq!(findings("rate.rs", &function(MAX_FUNCTION_LINES - 2)), []);
        let one_more = [(1, Rule::FunctionLength)];
        assert_eq!(findings("rate.rs", &function(MAX_FUNCTION_LINES - 1)), one_more);

        let comments = |lines: usize| "// x\n".repeat(lines);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", comments(MAX_FILE_LINES));
        assert_eq!(findings("rate.rs", &(comments(MAX_FILE_LINES - 1) + &tests)), []);
        let one_more = [(0, Rule::FileLength)];
        assert_eq!(findings("rate.rs", &(comments(MAX_FILE_LINES) + &tests)), one_more);
    }

    #[test]
    fn columns_count_characters_and_spare_urls() {
        assert_eq!(findings("rate.rs", &format!("// {}", "\u{e4}".repeat(97))), []);
        assert_eq!(findings("rate.rs", &format!("// {}", "x".repeat(98))), [(1, Rule::Columns)]);
        assert_eq!(findings("rate.rs", &format!("// https://{}", "x".repeat(98))), []);
    }

    #[test]
    fn a_file_begins_with_its_purpose() {
        let source = Source::new("rate.rs", "use std::io;\n");
        assert_eq!(check(&source)[0].rule, Rule::Header);
    }

    #[test]
    fn a_finding_says_where_and_why() {
        let source = Source::new("peer/mod.rs", "//! A peer.\n\nuse crate::picker::Picker;\n");
        let text = check(&source)[0].to_string();
        assert_eq!(
            text,
            "src/peer/mod.rs:3: Layer: `peer` looks at its sibling `picker` (layer 3)"
        );
    }

    #[test]
    fn exceptions_hold_exactly_and_go_stale() {
        let found = |count: usize| -> Vec<Finding> {
            let source = Source::new("rate.rs", &format!("//!\n{}", "// FIXME\n".repeat(count)));
            let allowed =
                [Exception { file: "rate.rs", rule: Rule::Word, count: 2, reason: "because" }];
            except(check(&source), &allowed)
        };
        assert_eq!(found(2), []);
        assert_eq!(found(3).len(), 3);
        assert_eq!(found(1).iter().map(|f| f.rule).collect::<Vec<_>>(), [Rule::Exception]);
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let leaves =
            |tree| -> Vec<_> { use_tree(tree).iter().map(|leaf| leaf.join("::")).collect() };
        assert_eq!(leaves(" a::b"), ["a::b"]);
        assert_eq!(leaves(" a::{b, c::{self, d as e}, }"), ["a::b", "a::c", "a::c::d"]);
        assert_eq!(leaves("a::b as _"), ["a::b"]);
        assert_eq!(leaves("{a::*, b}"), ["a::*", "b"]);
    }

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let table = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", 'z')"#, "f(      ,    )"),
            ("r#\"a\"b\"# c r#type", "         c r#type"),
            ("br\"a\" b'c' 'd: \u{e4}", "      b    'd: __"),
            ("fn f<'a>(x: &'a str, y: '\u{e4}')", "fn f<'a>(x: &'a str, y:     )"),
            (r"'\'' x '\\' y", "     x      y"),
            ("\"a\"\"b\"\"", "       "),
        ];
        for (raw, masked) in table {
            assert_eq!(mask(raw), masked, "{raw}");
        }
    }
}
