//! Files of addresses that are not to be talked to, as they are passed around: plain or packed with
//! gzip, in any of the forms of [`swarmloop::proto::blocklist`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use swarmloop::filter::{FilterBuilder, IpFilter};
use swarmloop::proto::blocklist::{MAX_LINE_LEN, parse_line};

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::ui::Ui;

/// The most bytes of a list that are read, unpacked: ten times the largest public ones.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// How a list that is packed begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What became of the lines of a list.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Lines {
    ranges: u64,
    bad: u64,
    /// The number of the first bad one, from 1.
    first_bad: u64,
}

/// Reads the lists into one filter; `None` if there are none. Lines that are no ranges are told of,
/// once for a list. A list of which nothing can be used is an error: whoever names one means to be
/// protected.
pub(crate) fn load(paths: &[PathBuf], ui: &mut Ui) -> Result<Option<Arc<IpFilter>>, Failure> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut builder = FilterBuilder::default();
    for path in paths {
        let shown = escaped_path(path);
        let lines = read(path, MAX_LIST_BYTES, &mut builder).map_err(|error| {
            let message = format!("cannot read blocklist '{shown}': {error}");
            Failure::new(Exit::Input, "cannot_read", message)
        })?;
        if lines.ranges == 0 {
            let message = format!("blocklist '{shown}' has no range of addresses");
            let failure = Failure::new(Exit::Input, "bad_blocklist", message);
            return Err(
                failure.hint("a line is NAME:FIRST-LAST, FIRST - LAST , LEVEL or ADDR/BITS")
            );
        }
        if let Lines { bad: bad @ 1.., first_bad, .. } = lines {
            let what = if bad == 1 { "1 line is".to_owned() } else { format!("{bad} lines are") };
            let text =
                format!("blocklist '{shown}': {what} left out as no range, first line {first_bad}");
            ui.warning("bad_blocklist_line", &text, None);
        }
    }
    let filter = builder.build();
    ui.say(&format!("blocking  {} ranges of addresses", filter.len()));
    Ok(Some(Arc::new(filter)))
}

/// Reads the lists once more; `None` if there are none. If one cannot be used it is told, and those
/// that were read before stay in force.
pub(crate) fn load_again(paths: &[PathBuf], ui: &mut Ui) -> Option<Arc<IpFilter>> {
    load(paths, ui).unwrap_or_else(|failure| {
        let text = format!("{}; what was read before stays in force", failure.message);
        ui.warning("blocklist_not_reloaded", &text, None);
        None
    })
}

/// Reads a list of at most so many bytes, whole MiB.
fn read(path: &Path, at_most: u64, builder: &mut FilterBuilder) -> io::Result<Lines> {
    let mut file = BufReader::new(File::open(path)?);
    if file.fill_buf()?.starts_with(&GZIP) {
        read_lines(BufReader::new(MultiGzDecoder::new(file)), at_most, builder)
    } else {
        read_lines(file, at_most, builder)
    }
}

fn read_lines(from: impl BufRead, at_most: u64, builder: &mut FilterBuilder) -> io::Result<Lines> {
    let mut from = from.take(at_most + 1);
    let mut lines = Lines::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // One byte more than is looked at, so that a longer line is known for one.
        let most = u64::try_from(MAX_LINE_LEN).unwrap_or(u64::MAX) + 1;
        let len = from.by_ref().take(most).read_until(b'\n', &mut line)?;
        if len == 0 {
            break;
        }
        if !line.ends_with(b"\n") && len > MAX_LINE_LEN {
            from.skip_until(b'\n')?;
        }
        match parse_line(&line) {
            Ok(Some(range)) => {
                builder.add(range).map_err(io::Error::other)?;
                lines.ranges += 1;
            }
            Ok(None) => {}
            Err(_) => {
                lines.bad += 1;
                lines.first_bad = if lines.bad == 1 { number } else { lines.first_bad };
            }
        }
    }
    if from.limit() == 0 {
        let limit = at_most >> 20;
        let message = format!("larger than {limit} MiB");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::cli::ui::tests::{plain, recorded};

    const LIST: &str = "# a list\n\
                        Some Org, Inc:1.2.4.0-1.2.4.255\n\
                        005.006.007.008 - 005.006.007.009 , 000 , x\r\n\
                        nonsense\n\
                        2001:db8::/32\n\
                        again\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn load_bytes(lists: &[&[u8]]) -> (Result<Option<Arc<IpFilter>>, Failure>, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |(number, bytes): (usize, &&[u8])| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, bytes).expect("written");
            path
        };
        let paths: Vec<PathBuf> = lists.iter().enumerate().map(write).collect();
        let (mut ui, _, err) = recorded(&plain());
        let filter = load(&paths, &mut ui);
        (filter, err.text())
    }

    #[test]
    fn lists_are_read_plain_or_packed_and_bad_lines_told_once() {
        for list in [LIST.as_bytes().to_vec(), gzip(LIST.as_bytes())] {
            let more = gzip(b"9.9.9.9\n").into_iter().chain(gzip(b"9.9.9.10")).collect::<Vec<_>>();
            let (filter, told) = load_bytes(&[&list, &more]);
            let filter = filter.expect("lists").expect("a filter");
            assert_eq!(filter.len(), 5);
            for (ip, blocked) in [("1.2.4.9", true), ("5.6.7.9", true), ("9.9.9.10", true)]
                .into_iter()
                .chain([("2001:db8::1", true), ("5.6.7.10", false)])
            {
                assert_eq!(filter.blocks(ip.parse().expect("an address")), blocked, "{ip}");
            }
            assert_eq!(told.matches("2 lines are left out as no range, first line 4").count(), 1);
        }
    }

    #[test]
    fn a_list_that_cannot_be_used_any_more_is_told_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        let (mut ui, _, err) = recorded(&plain());
        assert!(load_again(&[], &mut ui).is_none());
        std::fs::write(&path, "9.9.9.9").expect("written");
        let paths = [path.clone()];
        assert_eq!(load_again(&paths, &mut ui).map(|filter| filter.len()), Some(1));
        std::fs::write(&path, "\n").expect("written");
        assert!(load_again(&paths, &mut ui).is_none());
        std::fs::remove_file(&path).expect("removed");
        assert!(load_again(&paths, &mut ui).is_none());
        let told = err.text();
        let kept: Vec<&str> = told.lines().filter(|line| line.contains("warning")).collect();
        assert_eq!(kept.len(), 2, "{told}");
        assert!(kept.iter().all(|line| line.ends_with("; what was read before stays in force")));
    }

    #[test]
    fn what_protects_nobody_is_an_error() {
        for (list, why) in [
            (&b""[..], "has no range"),
            (b"# nothing\n\n", "has no range"),
            (b"1.2.3.4 - 1.2.3.5 , 200 , allowed\n", "has no range"),
            (&[0x1f, 0x8b, 8][..], "cannot read"),
        ] {
            let failure = load_bytes(&[b"1.2.3.4", list]).0.expect_err("an error");
            assert_eq!(failure.exit, Exit::Input);
            assert!(failure.message.contains(why), "{}", failure.message);
        }
        let (mut ui, ..) = recorded(&plain());
        let missing = load(&["/nowhere/list".into()], &mut ui).expect_err("not there");
        assert_eq!(missing.exit, Exit::Input);
        assert!(load(&[], &mut ui).is_ok_and(|filter| filter.is_none()));
    }

    #[test]
    fn a_line_without_end_is_one_bad_line() {
        let mut list = vec![b'x'; 3 * MAX_LINE_LEN];
        list.extend_from_slice(b"\n1.2.3.4\n");
        let (filter, told) = load_bytes(&[&list]);
        assert_eq!(filter.expect("a list").expect("a filter").len(), 1);
        assert!(told.contains("1 line is left out as no range, first line 1"), "{told}");
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let bomb = gzip(&vec![b'#'; 3 << 20]);
        assert!(bomb.len() < 1 << 16, "{} bytes are a bomb", bomb.len());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bomb");
        std::fs::write(&path, bomb).expect("written");
        let read = |at_most| read(&path, at_most, &mut FilterBuilder::default());
        assert!(read(3 << 20).is_ok());
        let error = read(1 << 20).expect_err("a bomb");
        assert_eq!(error.to_string(), "larger than 1 MiB");
    }
}
