//! What needs machines with several interfaces: the namespaces themselves, and what leaves by which
//! interface.

// Namespaces are Linux's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "netns/bound.rs"]
mod bound;
#[path = "netns/lan.rs"]
mod lan;
#[path = "common/netns.rs"]
mod netns;
#[path = "netns/site.rs"]
mod site;
#[path = "common/tls.rs"]
mod tls;
#[path = "common/torrent.rs"]
mod torrent;
#[path = "common/wait.rs"]
mod wait;
#[path = "netns/witness.rs"]
mod witness;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
};

use netns::Network;

#[test]
fn nodes_reach_each_other_in_both_families_and_nothing_else() {
    if !netns::have() {
        return;
    }
    let mut network = Network::new();
    let (here, there) = (network.node(), network.node());
    for ip in [IpAddr::from(there.v4()), there.v6().into()] {
        let listener = there.within(|| TcpListener::bind((ip, 0)).unwrap());
        let to = listener.local_addr().unwrap();
        let mut near = here.within(|| connect(to).unwrap());
        let (mut far, from) = listener.accept().unwrap();
        assert_eq!(
            from.ip(),
            if ip.is_ipv4() { here.v4().into() } else { IpAddr::from(here.v6()) }
        );
        near.write_all(b"x").unwrap();
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"x");
        connect(to).expect_err("it is not in the machine's own namespace");
    }
}

#[test]
fn a_namespace_goes_with_its_value_and_what_runs_inside() {
    if !netns::have() {
        return;
    }
    let (name, mut inside) = {
        let mut network = Network::new();
        let node = network.node();
        node.resolv_conf("nameserver 10.77.1.1\n");
        let read = node.command("cat").arg("/etc/resolv.conf").output().unwrap();
        assert_eq!(read.stdout, b"nameserver 10.77.1.1\n");
        let mut command = node.command("sh");
        let inside = command.args(["-c", "echo up; exec sleep 600"]).stdout(Stdio::piped());
        let mut inside = inside.spawn().unwrap();
        let mut line = [0; 3];
        inside.stdout.take().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"up\n");
        (node.name().to_owned(), inside)
    };
    assert!(!inside.wait().unwrap().success(), "it was killed");
    for folder in ["/run/netns", "/etc/netns"] {
        assert!(fs::metadata(Path::new(folder).join(&name)).is_err(), "{folder}/{name}");
    }
}

fn connect(to: SocketAddr) -> std::io::Result<std::net::TcpStream> {
    std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_secs(10))
}
