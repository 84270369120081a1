//! Lists of torrents: what the command line names, and the lines of `--input-file`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use swarmloop::text::Escaped;

use super::exit::{Exit, Failure};
use super::input::{check_stdin, read_limited};

/// The largest list that is read, in bytes: a hundred thousand names of everyday length.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// Returns the torrents of the command line and of its lists, in that order.
pub(crate) fn arguments(
    torrents: &[OsString],
    lists: &[OsString],
) -> Result<Vec<OsString>, Failure> {
    let mut all = torrents.to_vec();
    for list in lists {
        all.extend(lines(&read(list)?));
    }
    check_stdin(all.iter().chain(lists.iter().filter(|list| *list == "-")))?;
    if all.is_empty() {
        let message = "the list names no torrents";
        return Err(Failure::new(Exit::Input, "empty_list", message));
    }
    Ok(all)
}

fn read(list: &OsStr) -> Result<Vec<u8>, Failure> {
    let bytes = if list == "-" {
        read_limited(io::stdin().lock(), MAX_LIST_BYTES)
    } else {
        File::open(list).and_then(|file| read_limited(file, MAX_LIST_BYTES))
    };
    bytes.map_err(|error| {
        let shown = list.to_string_lossy();
        let message = format!("cannot read list '{}': {error}", Escaped(&shown));
        Failure::new(Exit::Input, "cannot_read", message)
    })
}

/// Returns the names in a list: one a line, blanks around it left out; `#` at the start of a line
/// makes it a comment. Paths are relative to where the program runs, as on the command line.
fn lines(list: &[u8]) -> impl Iterator<Item = OsString> {
    let names = list.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    names
        .filter(|name| !name.is_empty() && !name.starts_with(b"#"))
        .map(|name| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_name_a_line() {
        let list = b"a.torrent\n\n  # not this\n\tb c.torrent \r\n#nor this\n\xff\n./#d.torrent";
        let names: Vec<OsString> = lines(list).collect();
        let expected = [&b"a.torrent"[..], b"b c.torrent", b"\xff", b"./#d.torrent"];
        assert_eq!(names, expected.map(|name| OsStr::from_bytes(name).to_owned()));
    }

    #[test]
    fn lists_follow_the_command_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("list");
        std::fs::write(&list, "b\n-\n").expect("written");
        let list = list.into_os_string();
        let all = arguments(&["a".into()], std::slice::from_ref(&list));
        assert_eq!(all.expect("torrents"), ["a", "b", "-"]);
        for (torrents, code) in [(&["-".into()][..], "stdin_twice"), (&[], "cannot_read")] {
            let missing = folder.path().join("missing").into_os_string();
            let lists = if torrents.is_empty() { missing } else { list.clone() };
            assert_eq!(arguments(torrents, &[lists]).expect_err("refused").code, code);
        }
    }

    #[test]
    fn an_empty_list_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("list");
        std::fs::write(&list, "# none\n").expect("written");
        let failure = arguments(&[], &[list.into_os_string()]).expect_err("nothing to do");
        assert_eq!((failure.exit, failure.code), (Exit::Input, "empty_list"));
    }
}
