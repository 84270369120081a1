//! Announcements on the local network (BEP 14): by which interfaces they leave.

use std::{fs, net::IpAddr, time::Duration};

use bytes::Bytes;
use swarmloop::{
    client::{AddTorrent, Client, ClientConfig, Mode},
    proto::{
        lsd::{GROUP_V4, GROUP_V6},
        metainfo::Metainfo,
    },
};

use crate::{
    netns::{self, Network},
    site::Site,
    torrent,
    wait::eventually,
    witness::{RESET, Witness},
};

/// Slow enough that a download is there when its announcement leaves, and at a port of both
/// families.
const SLOW: [&str; 5] = ["--lsd", "--limit-down", "400K", "--port", "6882"];

/// Downloads slowly to the end; what has left by `open` and by `tunnel` meanwhile. It is looked at
/// all the time, for the kernel keeps no more than a part of a download for a witness.
fn download(site: &Site, args: &[&str]) -> [Vec<String>; 2] {
    let mut get = site.get("http", "out", &[&SLOW[..], args].concat()).spawn().unwrap();
    let mut seen = [Vec::new(), Vec::new()];
    let ended = eventually(Duration::from_secs(60), || {
        seen[0].extend(site.open.seen());
        seen[1].extend(site.tunnel.seen());
        get.try_wait().unwrap().is_some()
    });
    assert!(ended && get.wait().unwrap().success() && site.is_complete("out"), "{args:?}");
    site.forget("out");
    seen
}

/// Who has announced itself, of what a witness has seen.
fn announced_by(seen: &[String]) -> Vec<IpAddr> {
    let groups = [format!(" -> {GROUP_V4}, "), format!(" -> {GROUP_V6}, ")];
    let is_announcement = |packet: &&String| groups.iter().any(|group| packet.contains(group));
    let mut from: Vec<IpAddr> = seen
        .iter()
        .filter(is_announcement)
        .map(|packet| packet.split(' ').next().unwrap().parse().unwrap())
        .collect();
    from.sort_unstable();
    from.dedup();
    from
}

#[test]
fn nothing_is_announced_by_another_interface_than_the_bound_one() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let tunnel = site.client.links()[1].clone();
    let (v4, v6) = (IpAddr::from(tunnel.v4), IpAddr::from(tunnel.v6));
    for (bind, from) in
        [("eth1".to_owned(), vec![v4, v6]), (v4.to_string(), vec![v4]), (v6.to_string(), vec![v6])]
    {
        let [open, tunnel] = download(&site, &["--bind", &bind]);
        assert_eq!(announced_by(&tunnel), from, "{bind}");
        // Neither an announcement nor word that we are in the group; resets are the kernel's own.
        let leaked: Vec<_> = open.iter().filter(|packet| !packet.ends_with(RESET)).collect();
        assert_eq!(leaked, [""; 0], "{bind}");
    }
}

/// That the test above can fail.
#[test]
fn without_bind_it_is_announced_by_every_interface() {
    if !netns::have() {
        return;
    }
    let site = Site::new();
    let links = site.client.links();
    for (seen, link) in download(&site, &[]).iter().zip(links) {
        assert_eq!(announced_by(seen), [IpAddr::from(link.v4), link.v6.into()]);
    }
    for seen in download(&site, &["--no-lsd"]) {
        assert_eq!(announced_by(&seen), [] as [IpAddr; 0]);
    }
}

#[test]
fn an_interface_that_comes_later_is_used_from_the_next_announcement_on() {
    if !netns::have() {
        return;
    }
    let (mut first, mut second) = (Network::numbered(77), Network::numbered(78));
    let mut node = first.node();
    let listen = vec!["0.0.0.0:6881".parse().unwrap(), "[::]:6881".parse().unwrap()];
    let config = ClientConfig { listen, workers: 1, lsd: true, ..ClientConfig::default() };
    let client = node.within(|| Client::start(config).unwrap());
    second.link(&mut node);
    let witness = Witness::at(&second);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"content").unwrap();
    let file = torrent::of_one_file("file", b"content", 16_384);
    let metainfo = Metainfo::parse(&Bytes::from(file)).unwrap();
    let added = AddTorrent::new(metainfo, folder.path().to_owned(), Mode::Seed);
    client.add_torrent(added).unwrap();
    let link = &node.links()[1];
    let mut seen = Vec::new();
    let all = eventually(Duration::from_secs(20), || {
        seen.extend(witness.seen());
        announced_by(&seen) == [IpAddr::from(link.v4), link.v6.into()]
    });
    assert!(all, "{seen:?}");
}
