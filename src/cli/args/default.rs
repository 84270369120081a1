//! The default subcommand: `swarmloop X.torrent` is `swarmloop get X.torrent`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Arg;

use crate::cli::input;

/// Puts `get` in front if the first argument that is no flag is no subcommand but a torrent.
///
/// What is neither stays as it is: clap then names the subcommand that was perhaps meant.
pub(super) fn with_default_command(
    mut args: Vec<OsString>,
    command: &clap::Command,
    exists: impl Fn(&Path) -> bool,
) -> Vec<OsString> {
    let first = first_positional(args.get(1..).unwrap_or_default(), command);
    let is_torrent = first.is_some_and(|first| {
        let is_command = command
            .get_subcommands()
            .any(|sub| first == sub.get_name() || sub.get_all_aliases().any(|name| first == name));
        !is_command && (input::looks_like_torrent(first) || exists(Path::new(first)))
    });
    if is_torrent {
        args.insert(1, "get".into());
    }
    args
}

/// Returns the first argument that is neither a flag nor a flag's value, as `get` understands
/// flags.
fn first_positional<'a>(args: &'a [OsString], command: &clap::Command) -> Option<&'a OsStr> {
    let flags: Vec<&Arg> = command
        .find_subcommand("get")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .chain(command.get_arguments())
        .collect();
    let takes_value = |is_it: &dyn Fn(&Arg) -> bool| {
        flags.iter().any(|arg| is_it(arg) && arg.get_action().takes_values())
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else { return Some(arg) };
        let followed_by_value = if text == "--" {
            return args.next().map(OsString::as_os_str);
        } else if let Some(long) = text.strip_prefix("--") {
            takes_value(&|arg| names_long(arg, long))
        } else if let Some(cluster) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            // Only the last letter's value is an argument of its own: -qd DIR, but -dDIR.
            let value_at = cluster
                .char_indices()
                .find(|&(_, letter)| takes_value(&|arg| names_short(arg, letter)));
            value_at.is_some_and(|(at, letter)| at + letter.len_utf8() == cluster.len())
        } else {
            return Some(arg);
        };
        if followed_by_value {
            args.next();
        }
    }
    None
}

fn names_long(arg: &Arg, long: &str) -> bool {
    arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
}

fn names_short(arg: &Arg, letter: char) -> bool {
    arg.get_short() == Some(letter)
        || arg.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
}
