//! `--bind`: nothing leaves by another interface, names and datagrams included, and when the
//! interface goes, everything ends.

use std::{
    io::Read as _,
    net::{IpAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::net::sockopt::set_tcp_quickack;
use swarmloop::client::RateLimits;

use crate::{
    netns,
    site::Site,
    wait::eventually,
    witness::{RESET, UNREACHABLE},
};

/// What has left by the open way, without what the kernel itself sends to whoever still speaks to
/// a connection or port that is closed: it goes by the routes, for no socket is there any more that
/// could be bound.
fn leaked(site: &Site) -> Vec<String> {
    let mut seen = site.open.seen();
    seen.retain(|packet| !packet.ends_with(RESET) && !packet.ends_with(UNREACHABLE));
    seen
}

/// Runs to its end; its exit code and what it said.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn nothing_leaves_by_another_interface_than_the_bound_one() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let tunnel = site.client.links()[1].clone();
    let addrs = [IpAddr::from(tunnel.v4), tunnel.v6.into()];
    let before = site.announces();
    for bind in ["eth1", &addrs[0].to_string(), &addrs[1].to_string()] {
        for scheme in ["http", "https", "udp"] {
            let (code, said) = run(&mut site.get(scheme, "out", &["--bind", bind]));
            assert_eq!((code, site.is_complete("out")), (Some(0), true), "{bind}: {said}");
            assert_eq!(leaked(&site), [""; 0], "{bind} {scheme}");
            assert_ne!(site.tunnel.seen(), [""; 0], "the witness is awake");
            let asked_by = site.names.asked_by();
            assert!(!asked_by.is_empty(), "{bind} {scheme}: the tracker has a name only");
            assert!(asked_by.iter().all(|ip| addrs.contains(ip)), "{bind}: {asked_by:?}");
            site.forget("out");
        }
    }
    let after = site.announces();
    // Each at least `started` and `completed`; over UDP bound to the interface, in both families.
    // What comes over HTTPS counts as HTTP.
    assert!(after.announces_http >= before.announces_http + 12, "{after:?}");
    assert!(after.announces_udp >= before.announces_udp + 8, "{after:?}");
}

#[test]
fn the_dht_has_no_other_way_than_the_bound_interface_either() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let tunnel = site.client.links()[1].clone();
    let addrs = [IpAddr::from(tunnel.v4), tunnel.v6.into()];
    // Each at a port of its own: the seed lets an address rest with which it was connected.
    for (bind, port) in addrs.map(|ip| ip.to_string()).iter().zip(["7000", "7001"]) {
        let (code, said) = run(&mut site.find("out", &["--bind", bind, "--port", port]));
        assert_eq!((code, site.is_complete("out")), (Some(0), true), "{bind}: {said}");
        assert_eq!(leaked(&site), [""; 0], "{bind}");
        assert_ne!(site.tunnel.seen(), [""; 0], "{bind}");
        let asked_by = site.names.asked_by();
        assert!(!asked_by.is_empty() && asked_by.iter().all(|ip| addrs.contains(ip)), "{bind}");
        site.forget("out");
    }
    let (code, said) = run(&mut site.find("out", &["--port", "7002"]));
    assert_eq!((code, site.is_complete("out")), (Some(0), true), "{said}");
    assert_ne!(leaked(&site), [""; 0], "without it, everything goes there");
}

/// The last word of a connection that we close is the kernel's, once there is no socket any more
/// that is held to an interface: over IPv6 it would go by the routes.
#[test]
fn a_connection_that_we_close_has_no_last_word_elsewhere() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let mute = site.listen();
    let to = mute.local_addr().unwrap();
    // The way by which it would go is known.
    #[allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]
    let known = site.client.within(|| TcpStream::connect(to));
    let _open = (known.unwrap(), mute.accept().unwrap());
    assert_ne!(site.open.seen(), [""; 0], "the witness is awake");
    let bind = site.client.links()[1].v6.to_string();
    let (code, said) = run(&mut site.get_from(to, &["--bind", &bind, "--timeout", "5s"]));
    assert_eq!(code, Some(5), "{said}");
    let (mut stream, _) = mute.accept().expect("it was dialled");
    // What it says last is acknowledged before it is answered.
    set_tcp_quickack(&stream, true).unwrap();
    let mut said = Vec::new();
    // However it ends.
    let _ = stream.read_to_end(&mut said);
    assert_eq!(said.get(1..20), Some(b"BitTorrent protocol".as_slice()));
    drop(stream);
    assert_eq!(leaked(&site), [""; 0]);
}

/// That the first test can fail.
#[test]
fn without_bind_all_of_it_goes_the_other_way() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let open = [IpAddr::from(site.client.v4()), site.client.v6().into()];
    for scheme in ["http", "https", "udp"] {
        let (code, said) = run(&mut site.get(scheme, "out", &[]));
        assert_eq!((code, site.is_complete("out")), (Some(0), true), "{said}");
        assert_ne!(leaked(&site), [""; 0]);
        assert_eq!(site.tunnel.seen(), [""; 0]);
        let asked_by = site.names.asked_by();
        assert!(!asked_by.is_empty() && asked_by.iter().all(|ip| open.contains(ip)));
        site.forget("out");
    }
}

#[test]
fn when_the_interface_goes_everything_ends() {
    if !netns::have() {
        return;
    }
    for how in ["link set eth1 down", "link delete eth1"] {
        let site = Site::new();
        // Slow enough to step in between.
        site.seed.set_limits(RateLimits { up: 200_000, ..RateLimits::default() }).unwrap();
        let mut get = site.get("udp", "out", &["--bind", "eth1", "--timeout", "4s"]);
        let get = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_flowing = || site.seed.status(site.seeding).unwrap().uploaded > 50_000;
        assert!(eventually(Duration::from_secs(30), is_flowing), "nothing is downloaded");
        site.client.ip(how);
        let output = get.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!site.is_complete("out"), "it went on: {said}");
        assert_ne!(output.status.code(), Some(0), "{said}");
        assert_eq!(leaked(&site), [""; 0], "{how}");

        // A new start finds no way: one whose interface is down sends nothing, and one whose
        // interface is not there does not even begin.
        let again = ["--bind", "eth1", "--timeout", "2s"];
        let (code, said) = run(&mut site.get("http", "again", &again));
        assert_ne!(code, Some(0), "{said}");
        if how.contains("delete") {
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("no interface is called 'eth1'"), "{said}");
        }
        assert!(!site.is_complete("again"));
        assert_eq!(leaked(&site), [""; 0], "{how}");
    }
}

#[test]
fn a_family_that_the_interface_lacks_is_not_used_and_that_is_said() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let v6 = site.client.links()[1].v6;
    site.client.ip(&format!("address delete {v6}/64 dev eth1"));
    let (code, said) = run(&mut site.get("udp", "out", &["--bind", "eth1"]));
    assert_eq!((code, site.is_complete("out")), (Some(0), true), "{said}");
    assert!(said.contains("--bind eth1 has no IPv6 address: IPv6 is not used"), "{said}");
    assert_eq!(leaked(&site), [""; 0]);
}

#[test]
fn a_name_server_that_cannot_be_asked_is_said_and_no_other_is_asked() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    site.client.resolv_conf("nameserver 127.0.0.53\n");
    let (code, said) = run(&mut site.get("http", "out", &["--bind", "eth1"]));
    assert_eq!((code, site.is_complete("out")), (Some(0), true), "the peer has an address: {said}");
    assert!(said.contains("no name server in /etc/resolv.conf can be asked"), "{said}");
    assert_eq!(site.names.asked_by(), [] as [IpAddr; 0]);
    assert_eq!(leaked(&site), [""; 0]);
}
