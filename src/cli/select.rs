//! Which files of a torrent the command line wants: numbers and patterns, made into a selection.

use std::ops::RangeInclusive;
use std::str::FromStr;

use swarmloop::client::{FilePriority, Selection};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::text::Escaped;

use super::args::select::SelectArgs;
use super::exit::{Exit, Failure};
use super::files::table;
use super::glob::Glob;
use super::json;
use super::ui::Ui;

/// Some files of any torrent, as a user names them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileSet {
    /// What was typed.
    text: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// By number, from 1, pad files not counted.
    Numbers(Vec<RangeInclusive<usize>>),
    /// By path, with the torrent's top folder or from there on.
    Paths(Glob),
}

impl FromStr for FileSet {
    type Err = String;

    /// Whatever consists of digits, commas and hyphens is numbers; all else is a pattern.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-');
        let kind = if !text.is_empty() && text.chars().all(is_number) {
            Kind::Numbers(text.split(',').map(range).collect::<Result<_, _>>()?)
        } else {
            Kind::Paths(text.parse().map_err(|error: super::glob::GlobError| error.to_string())?)
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

/// Reads `8` or `1-5`.
fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let number = |text: &str| {
        let number = text.parse::<usize>();
        number.map_err(|_| format!("'{text}' is no number; ranges look like 1-5,8"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first == 0 {
        return Err("files are numbered from 1".to_owned());
    }
    if last < first {
        return Err(format!("'{text}' ends before it begins"));
    }
    Ok(first..=last)
}

/// A file that may be wanted.
struct File {
    /// Its place in [`Metainfo::files`].
    index: usize,
    path: String,
}

impl File {
    /// Tells whether the file's path matches, with the torrent's top folder or from there on.
    fn matches(&self, glob: &Glob) -> bool {
        let below = self.path.split_once('/').map(|(_, below)| below);
        glob.matches(&self.path) || below.is_some_and(|below| glob.matches(below))
    }
}

/// Returns what `args` want of a torrent: all files unless some are selected, those that are
/// excluded apart.
///
/// # Errors
/// [`Exit::Usage`] if a number is beyond the last file, if a pattern matches none, or if none is
/// left.
pub(crate) fn selection(args: &SelectArgs, metainfo: &Metainfo) -> Result<Selection, Failure> {
    let files: Vec<File> = files(metainfo);
    let is_any = args.select.is_empty();
    let first = if is_any { FilePriority::Normal } else { FilePriority::Skip };
    let mut priorities = vec![first; metainfo.files.len()];
    for set in &args.select {
        for index in named(set, &files, metainfo)? {
            priorities[index] = FilePriority::Normal;
        }
    }
    for set in &args.exclude {
        for index in named(set, &files, metainfo)? {
            priorities[index] = FilePriority::Skip;
        }
    }
    for (set, priority) in &args.priority {
        for index in named(set, &files, metainfo)? {
            if priorities[index] != FilePriority::Skip {
                priorities[index] = *priority;
            }
        }
    }
    if files.iter().all(|file| priorities[file.index] == FilePriority::Skip) {
        let name = Escaped(&metainfo.name);
        let message = format!("no file of '{name}' is left to download");
        return Err(Failure::new(Exit::Usage, "nothing_selected", message));
    }
    for (priority, _) in priorities.iter_mut().zip(&metainfo.files).filter(|(_, file)| file.pad) {
        *priority = FilePriority::Normal;
    }
    Ok(Selection::new(priorities).with_ends_first(args.first_last))
}

/// Prints the files of torrents that are wanted, with the numbers by which they are selected.
pub(crate) fn list<'a>(
    torrents: impl ExactSizeIterator<Item = (usize, &'a Metainfo, &'a Selection)>,
    ui: &mut Ui,
) {
    let are_several = torrents.len() > 1;
    for (id, metainfo, selection) in torrents {
        let files: Vec<File> = files(metainfo);
        let wanted = |file: &File| selection.wants(file.index);
        if are_several {
            ui.result(&Escaped(&metainfo.name).to_string());
        }
        let lines = table(metainfo, false);
        for (line, _) in lines.iter().zip(&files).filter(|(_, file)| wanted(file)) {
            ui.result(line);
        }
        for (number, file) in (1..).zip(&files) {
            let spec = &metainfo.files[file.index];
            if let Some(line) = json::listed_file(id, number, spec, selection.of(file.index)) {
                ui.record(|| line);
            }
        }
        ui.count_ok();
    }
}

fn files(metainfo: &Metainfo) -> Vec<File> {
    let files = metainfo.files.iter().enumerate().filter(|(_, file)| !file.pad);
    let path = |file: &swarmloop::proto::metainfo::MetainfoFile| {
        let names: Vec<_> = file.path.iter().map(|name| name.to_string_lossy()).collect();
        names.join("/")
    };
    files.map(|(index, file)| File { index, path: path(file) }).collect()
}

/// Returns the places in [`Metainfo::files`] of those that a set names.
fn named(set: &FileSet, files: &[File], metainfo: &Metainfo) -> Result<Vec<usize>, Failure> {
    let (shown, name) = (Escaped(&set.text), Escaped(&metainfo.name));
    match &set.kind {
        Kind::Numbers(ranges) => {
            let beyond = ranges.iter().find(|range| *range.end() > files.len());
            if let Some(range) = beyond {
                let has = match files.len() {
                    1 => "only file 1".to_owned(),
                    last => format!("files 1-{last}"),
                };
                let message = format!("'{name}' has no file {}: it has {has}", range.end());
                return Err(Failure::new(Exit::Usage, "no_such_file", message).hint(HINT));
            }
            let all = ranges.iter().cloned().flatten();
            Ok(all.map(|number| files[number - 1].index).collect())
        }
        Kind::Paths(glob) => {
            let found = files.iter().filter(|file| file.matches(glob));
            let found: Vec<usize> = found.map(|file| file.index).collect();
            if found.is_empty() {
                let message = format!("'{shown}' matches no file of '{name}'");
                return Err(Failure::new(Exit::Usage, "no_such_file", message).hint(HINT));
            }
            Ok(found)
        }
    }
}

/// What to do if files are not there.
const HINT: &str = "see the files and their numbers with --list";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::tests::metainfo;

    fn set(text: &str) -> FileSet {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Six files and a pad file, in and below two folders.
    fn torrent() -> Metainfo {
        metainfo(&[
            ("top/a.iso", 5, false),
            ("top/.pad/5", 5, true),
            ("top/dir/b.iso", 5, false),
            ("top/dir/sub/c.txt", 5, false),
            ("top/dirs/d.txt", 5, false),
            ("top/read me", 0, false),
            ("top/e=f", 5, false),
        ])
    }

    fn sets(texts: &[&str]) -> Vec<FileSet> {
        texts.iter().map(|text| set(text)).collect()
    }

    /// What is wanted, by number, with `+` and `-` for high and low.
    fn wanted(args: &SelectArgs) -> String {
        let torrent = torrent();
        let selection = selection(args, &torrent).expect("a selection");
        let files = files(&torrent);
        let shown = (1..).zip(&files).filter_map(|(number, file)| match selection.of(file.index) {
            FilePriority::Skip => None,
            FilePriority::Low => Some(format!("{number}-")),
            FilePriority::Normal => Some(format!("{number}")),
            FilePriority::High => Some(format!("{number}+")),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn numbers_and_patterns_add_up_and_are_subtracted() {
        for (select, exclude, expected) in [
            (&[][..], &[][..], "1 2 3 4 5 6"),
            (&["2"], &[], "2"),
            (&["1-3,5"], &[], "1 2 3 5"),
            (&["4-6", "1"], &[], "1 4 5 6"),
            (&["3,3,2-4"], &[], "2 3 4"),
            (&["*.iso"], &[], "1 2"),
            (&["dir/**"], &[], "2 3"),
            (&["dir"], &[], "2 3"),
            (&["top/dir/**"], &[], "2 3"),
            (&["dir/*.iso"], &[], "2"),
            (&["**/*.txt"], &[], "3 4"),
            (&["read me", "1"], &[], "1 5"),
            (&["e=f"], &[], "6"),
            (&[], &["dir/**", "1"], "4 5 6"),
            (&["*.iso", "4"], &["a.*"], "2 4"),
            (&["1-6"], &["2-5"], "1 6"),
        ] {
            let args = SelectArgs {
                select: sets(select),
                exclude: sets(exclude),
                ..SelectArgs::default()
            };
            assert_eq!(wanted(&args), expected, "{select:?} without {exclude:?}");
        }
    }

    #[test]
    fn priorities_are_of_what_is_wanted_and_the_last_counts() {
        let priority = vec![
            (set("*.iso"), FilePriority::High),
            (set("4-5"), FilePriority::Low),
            (set("2"), FilePriority::Low),
        ];
        let args = SelectArgs { exclude: sets(&["4"]), priority, ..SelectArgs::default() };
        assert_eq!(wanted(&args), "1+ 2- 3 5- 6");
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_what_is() {
        for (select, exclude, message) in [
            (&["7"][..], &[][..], "'top' has no file 7: it has files 1-6"),
            (&["1-5,8-9"], &[], "'top' has no file 9: it has files 1-6"),
            (&["*.mkv"], &[], "'*.mkv' matches no file of 'top'"),
            (&["dir/*.txt"], &[], "'dir/*.txt' matches no file of 'top'"),
            (&[".pad/**"], &[], "'.pad/**' matches no file of 'top'"),
            (&["1"], &["0x\x1b"], "'0x\\x1b' matches no file of 'top'"),
            (&["*.iso"], &["1-6"], "no file of 'top' is left to download"),
        ] {
            let args = SelectArgs {
                select: sets(select),
                exclude: sets(exclude),
                ..SelectArgs::default()
            };
            let failure = selection(&args, &torrent()).expect_err("refused");
            assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, message));
        }
        let one = metainfo(&[("a", 5, false)]);
        let args = SelectArgs { select: sets(&["1,2"]), ..SelectArgs::default() };
        let failure = selection(&args, &one).expect_err("refused");
        assert_eq!(failure.message, "'top' has no file 2: it has only file 1");
    }

    #[test]
    fn what_is_neither_numbers_nor_a_pattern_is_refused() {
        for (text, why) in [
            ("", "a pattern has at least one character"),
            ("0", "files are numbered from 1"),
            ("0-4", "files are numbered from 1"),
            ("5-3", "'5-3' ends before it begins"),
            ("1,,2", "'' is no number; ranges look like 1-5,8"),
            ("1-", "'' is no number; ranges look like 1-5,8"),
            ("1-2-3", "'2-3' is no number; ranges look like 1-5,8"),
            ("99999999999999999999", "'99999999999999999999' is no number; ranges look like 1-5,8"),
        ] {
            assert_eq!(text.parse::<FileSet>(), Err(why.to_owned()), "{text}");
        }
        assert!("[".parse::<FileSet>().is_err());
    }
}
