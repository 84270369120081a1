//! Foreign text in everything that a command prints: no byte of it acts on a terminal.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use swarmloop::proto::bencode::Writer;

use crate::stage::{Stage, words};

/// What a terminal could act on, in between other text: all of C0 but the NUL, which no name can
/// have, DEL, C1, what turns the direction of text, and what nobody sees.
fn hostile() -> Vec<String> {
    let mut chars: Vec<char> = ('\x01'..='\x1f').collect();
    chars.extend(['\x7f', '\u{80}', '\u{85}', '\u{9b}', '\u{9d}', '\u{9f}', '\u{61c}']);
    chars.extend('\u{200b}'..='\u{200f}');
    chars.extend('\u{2028}'..='\u{202e}');
    chars.extend('\u{2066}'..='\u{2069}');
    chars.extend(['\u{feff}', '\u{fff9}']);
    let mut texts: Vec<String> = chars.into_iter().map(|c| format!("a{c}b")).collect();
    for whole in [
        "\x1b[2J\x1b[1;1Hhello",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\",
        "\x1bP+q\x1b\\",
        "done\r\nswarmloop: error: forged",
        "\u{9b}31mred",
        "exe.\u{202e}gpj",
        "a\u{2066}b\u{2069}\u{200b}",
    ] {
        texts.push(whole.to_owned());
    }
    assert!(texts.len() >= 60, "{}", texts.len());
    texts
}

/// Tells whether a terminal may act on a character.
fn is_hostile(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x09' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

/// A torrent that says the same thing everywhere; without a byte of data, so that nothing has to be
/// there for it.
fn torrent(text: &str, tracker: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"announce").bytes(tracker.as_bytes());
        torrent.key(b"comment").bytes(text);
        torrent.key(b"created by").bytes(text);
        torrent.key(b"info").dict(|info| {
            info.key(b"files").list(|files| {
                files.dict(|file| {
                    file.key(b"length").int(1);
                    file.key(b"path").list(|path| path.bytes(text));
                });
            });
            info.key(b"name").bytes(text);
            info.key(b"piece length").int(16 << 10);
            info.key(b"pieces").bytes(&[7; 20]);
            info.key(b"source").bytes(text);
        });
        torrent.key(b"url-list").bytes(&[b"http://w/", text].concat());
    });
    out
}

#[test]
fn no_command_prints_what_a_terminal_acts_on() {
    let stage = Stage::new();
    for (number, text) in hostile().iter().enumerate() {
        let folder = format!("{number}");
        fs::create_dir_all(stage.path(&folder)).unwrap();
        let file = stage.path(&folder).join("x.torrent");
        fs::write(file, torrent(text, &format!("http://{text}/"))).unwrap();
        // What a shell's user would have called it himself.
        let data = stage.path(&folder).join("data").join(text.replace('/', "_"));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join(text.replace('/', "_")), b"1").unwrap();
        for line in [
            "show x.torrent",
            "show x.torrent --json",
            "show x.torrent --raw",
            "magnet x.torrent",
            "edit x.torrent -c new -a http://t/ --name new --dry-run",
            "verify x.torrent data --files",
            "verify x.torrent data --json",
            "get x.torrent -l",
            "get x.torrent -d data -vv --no-trackers --timeout 1ms --log-level trace",
            "create data --dry-run",
            "create data -o made.torrent --no-date --magnet",
        ] {
            let mut run = stage.start(&folder, &words(line));
            run.wait();
            let output = run.output();
            assert!(!output.contains(is_hostile), "{text:?}: {line}: {output:?}");
            assert!(!output.contains("panicked"), "{text:?}: {line}: {output}");
            let forged = output.lines().any(|line| line.starts_with("swarmloop: error: forged"));
            assert!(!forged, "{line}: {output}");
        }
        let named = [text.clone(), "--json".to_owned()];
        for args in [&named[..1], &named] {
            let mut run = stage.start(&folder, &[&["get".to_owned()], args].concat());
            assert_eq!(run.wait(), 4, "{run}");
            assert!(!run.output().contains(is_hostile), "{text:?}: {:?}", run.output());
        }
    }
}

#[test]
fn what_a_tracker_says_is_escaped_everywhere() {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let reason = "go\x1b[2Jaway\r\n\u{202e}now\u{9b}31m";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let mut body = Vec::new();
            Writer::new(&mut body)
                .dict(|reply| reply.key(b"failure reason").bytes(reason.as_bytes()));
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    fs::write(stage.path("x.torrent"), torrent("x", &url)).unwrap();
    for form in ["-v", "--json", "--log-level trace", "--log-level trace --log-format json"] {
        let line = format!("get x.torrent --timeout 1s --bind 127.0.0.1 {form}");
        let mut run = stage.start(".", &words(&line));
        assert_eq!(run.wait(), 5, "{run}");
        let output = run.output();
        assert!(output.contains("away"), "it was told: {output}");
        assert!(!output.contains(is_hostile), "{form}: {output:?}");
    }
}
