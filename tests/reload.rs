//! What a run reads again when it is told to (SIGHUP).

#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/port.rs"]
mod port;
#[path = "common/running.rs"]
mod running;
#[path = "common/torrent.rs"]
mod torrent;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use swarmloop::id::PeerId;
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::metainfo::Metainfo;

use crate::running::Running;

/// The longest that anything may take on a machine that is busy; less than a peer that says nothing
/// is let stay.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_blocklist_is_read_again_on_a_hangup_and_the_old_one_kept_if_that_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let data = vec![7; 40_000];
    let torrent = torrent::of_one_file("data", &data, 16_384);
    fs::write(file("data"), &data).expect("written");
    fs::write(file("x.torrent"), &torrent).expect("written");
    fs::write(file("list"), "9.9.9.9\n8.8.8.8\n").expect("written");
    let port = port::free_port(Ipv4Addr::LOCALHOST).to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_swarmloop"))
        .args(["seed", "x.torrent", "--no-trackers", "--no-dht", "--no-resume"])
        .args(["--bind", "127.0.0.1", "-p", &port, "--blocklist", "list", "--json"])
        .current_dir(folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut seed = Running(child);
    let pid = seed.0.id().to_string();
    let mut out = BufReader::new(seed.0.stdout.take().expect("piped")).lines();
    let mut err = BufReader::new(seed.0.stderr.take().expect("piped")).lines();
    let seeds = |line: &String| line.contains(r#""state":"seeding""#);
    assert!(out.by_ref().map_while(Result::ok).any(|line| seeds(&line)));
    let mut peer = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let info_hash = Metainfo::parse(&Bytes::from(torrent)).expect("a torrent").info_hash;
    peer.write_all(&encode(Reserved::default(), info_hash, PeerId([9; 20]))).expect("sent");
    peer.read_exact(&mut [0; HANDSHAKE_LEN]).expect("its handshake");

    let hang_up_with = |list: &str| {
        fs::write(file("list"), list).expect("written");
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    };
    hang_up_with("no address\n");
    let told = err.next().expect("it says so").expect("text");
    assert!(told.contains("what was read before stays in force"), "{told}");
    hang_up_with("127.0.0.0/8\n");
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("it is closed, well before it is given up for its silence");
}
