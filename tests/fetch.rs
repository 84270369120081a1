//! Torrent files from URLs, as the commands fetch them: from sites that have them, and from sites
//! that mean no good.

// Only Linux has all of 127/8 on its loopback without being told.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod tls;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

/// An address for the sites of this test alone.
const HOST: &str = "127.7.13.1";

/// A site that gives the same answer to everybody. Returns its URL without a path.
fn site(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            // Whoever has read enough goes away.
            let _ = stream.write_all(&answer);
        }
    });
    format!("http://{addr}")
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Runs a command in a folder, with nothing around it that is not of the test.
fn swarmloop(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swarmloop"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env_clear()
        .env("HOME", folder)
        .output()
        .unwrap()
}

/// A folder with `a`, its data, and the bytes of the torrent of it.
fn stage() -> (TempDir, Vec<u8>) {
    let folder = TempDir::with_prefix("swarmloop-fetch-").unwrap();
    fs::write(folder.path().join("a"), vec![7; 100_000]).unwrap();
    let made = swarmloop(folder.path(), &["create", "a", "--no-date", "-q", "-o", "a.torrent"]);
    assert!(made.status.success(), "{made:?}");
    let torrent = fs::read(folder.path().join("a.torrent")).unwrap();
    (folder, torrent)
}

#[test]
fn a_torrent_may_be_named_by_its_url() {
    let (folder, torrent) = stage();
    let run = |args: &[&str]| {
        let output = swarmloop(folder.path(), args);
        assert_eq!(output.status.code(), Some(0), "{args:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let url = format!("{}/x?id=7", site(ok(&torrent)));
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\n\r\n").into_bytes();
    let redirected = format!("{}/moved", site(redirect));
    let hash = |shown: &str| shown.lines().find(|line| line.contains("Hash:")).map(str::to_owned);
    let from_file = run(&["show", "a.torrent"]);
    for url in [&url, &redirected] {
        assert_eq!(hash(&run(&["show", url])), hash(&from_file));
    }
    fs::write(folder.path().join("list"), format!("{url}\n")).unwrap();
    assert_eq!(run(&["get", "-i", "list", "-l"]), run(&["get", "a.torrent", "-l"]));
    // `get` may be left out, and what is complete is complete.
    let events = run(&[&url, "--json", "--bind", HOST, "--no-trackers"]);
    assert!(events.lines().next().unwrap().contains("\"source\":\"url\""), "{events}");
    assert!(events.contains("\"type\":\"complete\""), "{events}");
}

#[test]
fn sites_that_have_nothing_or_mean_no_good_are_told_apart() {
    let (folder, torrent) = stage();
    let nobody = {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    let away = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n";
    for (url, code, text) in [
        (site(b"HTTP/1.1 404 No\r\n\r\n".to_vec()), 4, "http status 404"),
        (site(b"HTTP/1.1 503 Later\r\n\r\n".to_vec()), 5, "http status 503"),
        (nobody, 5, "connection failed: connection refused"),
        (site(ok(b"<html>")), 4, "bad torrent file"),
        (site(ok(b"")), 4, "bad torrent file"),
        (site(ok(&torrent[..90])), 4, "bad torrent file"),
        (site(endless.into()), 4, "the reply is longer than 33554432 bytes"),
        (site(away.into()), 4, "bad redirect"),
        ("http://me:secret@h/x".to_owned(), 4, "a user name or password"),
    ] {
        let output = swarmloop(folder.path(), &["get", &format!("{url}/x.torrent"), "-l"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{url} {output:?}");
        assert!(stderr.contains(text), "{url} {stderr}");
        assert!(stderr.starts_with("swarmloop: error: "), "{stderr}");
    }
    let output = swarmloop(folder.path(), &["verify", "http://h/x.torrent"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// A site that answers nobody before so many have asked at one time.
fn patient_site(together: usize, answer: Vec<u8>) -> String {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let streams = (0..together).map(|_| listener.accept().map(|(stream, _)| stream));
            let Ok(mut streams) = streams.collect::<Result<Vec<_>, _>>() else { return };
            for stream in &mut streams {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(&answer);
            }
        }
    });
    format!("http://{addr}")
}

#[test]
fn the_urls_of_a_list_are_fetched_eight_at_a_time_and_told_in_order() {
    let (folder, torrent) = stage();
    let url = patient_site(8, ok(&torrent));
    // The same torrent 16 times, and one by its file in between.
    let mut list: Vec<String> = (0..16).map(|n| format!("{url}/{n}.torrent")).collect();
    list.insert(3, "a.torrent".to_owned());
    list.insert(9, "http://me:secret@h/x".to_owned());
    fs::write(folder.path().join("list"), list.join("\n")).unwrap();
    let output = swarmloop(folder.path(), &["get", "-i", "list", "-l"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 17, "{told:?}");
    for (line, named) in told.iter().zip(&list[1..]) {
        assert!(line.contains(&format!("'{named}'")), "{line} is not about {named}");
    }
}

#[test]
fn a_signal_during_a_fetch_ends_the_run_with_a_summary() {
    let (folder, _) = stage();
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let url = format!("http://{}/x.torrent", listener.local_addr().unwrap());
    for command in ["get", "seed", "show"] {
        let child = Command::new(env!("CARGO_BIN_EXE_swarmloop"))
            .args([command, &url, "--json"])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _asking = listener.accept().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{command} {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let summary = r#"{"type":"summary","ok":0,"failed":1,"#;
        assert!(said.lines().last().unwrap().starts_with(summary), "{command} {said}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("interrupted"), "{error}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn over_https_the_certificate_must_be_trusted() {
    let (folder, torrent) = stage();
    let plain: SocketAddr = site(ok(&torrent)).trim_start_matches("http://").parse().unwrap();
    let at: SocketAddr = format!("{}:0", tls::HOST).parse().unwrap();
    let front = tls::Front::start(tls::SIGNED, at, plain);
    let url = format!("https://{}/a.torrent", front.addr());
    let refused = swarmloop(folder.path(), &["get", &url, "-l"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(stderr.contains("not signed by anybody who is trusted"), "{stderr}");
    assert!(stderr.contains("\nhint: --ca-file"), "{stderr}");
    assert_eq!(front.heard(), 0);
    fs::write(folder.path().join("ca.pem"), tls::CA).unwrap();
    let trusted = swarmloop(folder.path(), &["show", "-m", &url, "--ca-file", "ca.pem"]);
    assert_eq!(trusted.status.code(), Some(0), "{trusted:?}");
}
