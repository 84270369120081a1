//! Conversations with the local network in virtual time.

use super::*;

fn at_ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn at(s: u64) -> Instant {
    Instant::from_secs(s)
}

fn hash(n: u32) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    InfoHash(bytes)
}

fn lsd(cookie: u32) -> Lsd {
    let mut lsd = Lsd::new(6881, cookie, Instant::ZERO);
    let networks = ["192.168.1.1/24", "10.0.0.1/8", "2001:db8::1/64"].map(|text| {
        let (ip, len) = text.split_once('/').expect("a prefix");
        Subnet::new(ip.parse().expect("an address"), len.parse().expect("a number"))
    });
    lsd.set_networks(networks.to_vec());
    lsd
}

fn datagram(cookie: u32, port: u16, hashes: &[InfoHash]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, true, port, hashes, cookie);
    out
}

fn heard(lsd: &mut Lsd, from: &str, bytes: &[u8], now: Instant) -> Heard {
    lsd.handle_datagram(from.parse().expect("an endpoint"), bytes, now)
}

/// Lets time pass up to `until`; returns when how many torrents were announced.
fn announcements(lsd: &mut Lsd, until: Instant) -> Vec<(Instant, usize)> {
    let mut made = Vec::new();
    while let Some(at) = lsd.poll_timeout().filter(|at| *at <= until) {
        made.push((at, lsd.poll(at).len()));
    }
    made
}

#[test]
fn a_torrent_is_announced_at_once_and_every_five_minutes_until_it_goes() {
    let mut lsd = lsd(1);
    assert_eq!(lsd.poll_timeout(), None, "nothing to do, nothing to wake for");
    lsd.add(hash(1), Instant::ZERO);
    lsd.add(hash(1), at_ms(50));
    assert_eq!(lsd.poll(Instant::ZERO), []);
    let made = announcements(&mut lsd, at(700));
    assert_eq!(made, [(at_ms(100), 1), (at_ms(300_100), 1), (at_ms(600_100), 1)]);
    lsd.remove(hash(1));
    lsd.remove(hash(1));
    assert_eq!(lsd.poll_timeout(), None);
    lsd.add(hash(1), at(610));
    assert_eq!(lsd.poll_timeout(), Some(at_ms(660_100)), "not twice a minute, whoever asks");
}

#[test]
fn who_is_asked_for_is_announced_sooner_but_not_twice_a_minute() {
    let mut lsd = lsd(1);
    lsd.add(hash(1), Instant::ZERO);
    lsd.add(hash(2), Instant::ZERO);
    assert_eq!(lsd.poll(at(1)).len(), 2);
    lsd.hasten(hash(2));
    lsd.hasten(hash(3));
    assert_eq!(announcements(&mut lsd, at(302)), [(at(61), 1), (at(301), 1)]);
}

#[test]
fn several_torrents_share_announcements_of_which_there_is_one_a_minute() {
    let mut lsd = lsd(1);
    for n in 0..60 {
        lsd.add(hash(n), Instant::ZERO);
    }
    let made = announcements(&mut lsd, at(350));
    let first = [(at_ms(100), 24), (at_ms(60_100), 24), (at_ms(120_100), 12)];
    assert_eq!(made[..3], first);
    assert_eq!(made[3..], [(at_ms(300_100), 24)], "five minutes after they were");
}

#[test]
fn of_more_than_there_is_room_for_each_has_its_turn_and_what_is_new_comes_first() {
    let mut lsd = lsd(1);
    let all = u32::try_from(MAX_HASHES).expect("small") * 10;
    for n in 0..all {
        lsd.add(hash(n), Instant::ZERO);
    }
    let mut named = BTreeMap::new();
    for minute in 0..10 {
        let torrents = lsd.poll(at_ms(100 + minute * 60_000));
        assert_eq!(torrents.len(), MAX_HASHES);
        for torrent in torrents {
            *named.entry(torrent).or_insert(0) += 1;
        }
    }
    assert!(named.len() == 10 * MAX_HASHES && named.values().all(|times| *times == 1));
    // All are overdue by now.
    lsd.add(hash(all), at(600));
    let next = lsd.poll(at_ms(100 + 600_000));
    assert_eq!((next[0], next.len()), (hash(all), MAX_HASHES));
}

#[test]
fn who_takes_no_peers_announces_nothing_and_hears_of_them() {
    let mut nowhere = Lsd::new(0, 1, Instant::ZERO);
    nowhere.set_networks(lsd(1).networks);
    nowhere.add(hash(1), Instant::ZERO);
    assert_eq!(nowhere.poll_timeout(), None);
    assert_eq!(nowhere.poll(at(1_000)), []);
    let theirs = datagram(8, 7000, &[hash(1)]);
    let found = Heard::Peer("10.9.9.9:7000".parse().expect("an endpoint"), vec![hash(1)]);
    assert_eq!(heard(&mut nowhere, "10.9.9.9:6771", &theirs, at(1)), found);
}

#[test]
fn others_on_attached_networks_are_heard_for_what_we_have() {
    let mut lsd = lsd(7);
    lsd.add(hash(1), Instant::ZERO);
    lsd.add(hash(3), Instant::ZERO);
    let theirs = datagram(8, 7000, &[hash(1), hash(2), hash(3)]);
    for (from, peer) in [
        ("192.168.1.9:6771", "192.168.1.9:7000"),
        ("10.200.0.9:50000", "10.200.0.9:7000"),
        // Reached over IPv6 like any other host of the internet, and on our own link.
        ("[2001:db8::9]:6771", "[2001:db8::9]:7000"),
        ("[::ffff:10.0.0.9]:6771", "10.0.0.9:7000"),
    ] {
        let peer = peer.parse().expect("an endpoint");
        let found = Heard::Peer(peer, vec![hash(1), hash(3)]);
        assert_eq!(heard(&mut lsd, from, &theirs, at(10)), found, "{from}");
    }
    let from = "192.168.1.9:6771";
    let of_others = datagram(8, 7000, &[hash(2)]);
    assert_eq!(heard(&mut lsd, from, &of_others, at(20)), Heard::Nothing);
    let ours = datagram(7, 6881, &[hash(1)]);
    assert_eq!(heard(&mut lsd, from, &ours, at(20)), Heard::Nothing, "our own");
    let nowhere = datagram(8, 0, &[hash(1)]);
    assert_eq!(heard(&mut lsd, from, &nowhere, at(20)), Heard::Nothing, "port 0");
    assert_eq!(heard(&mut lsd, from, b"M-SEARCH * HTTP/1.1\r\n", at(20)), Heard::Nothing);
    lsd.remove(hash(1));
    let first = datagram(8, 7000, &[hash(1)]);
    assert_eq!(heard(&mut lsd, from, &first, at(30)), Heard::Nothing, "it was removed");
}

#[test]
fn nothing_is_believed_of_what_comes_from_elsewhere() {
    let mut lsd = lsd(7);
    lsd.add(hash(1), Instant::ZERO);
    let theirs = datagram(8, 7000, &[hash(1)]);
    for from in ["192.168.2.9:6771", "8.8.8.8:6771", "[2001:db8:0:1::9]:6771", "[fe80::9]:6771"] {
        // However many there are, they take nobody's place.
        for _ in 0..100 {
            assert_eq!(heard(&mut lsd, from, &theirs, at(10)), Heard::Dropped, "{from}");
        }
    }
    let near = heard(&mut lsd, "192.168.1.9:6771", &theirs, at(10));
    assert!(matches!(near, Heard::Peer(..)));
    lsd.set_networks(Vec::new());
    assert_eq!(heard(&mut lsd, "192.168.1.9:6771", &theirs, at(20)), Heard::Dropped);
}

#[test]
fn of_a_flood_ten_a_second_are_looked_at() {
    let mut lsd = lsd(7);
    lsd.add(hash(1), Instant::ZERO);
    let flood = datagram(8, 7000, &[hash(1)]);
    let looked_at = (0..10_000_u64).filter(|n| {
        let now = at_ms(n / 10);
        heard(&mut lsd, "10.0.0.9:6771", &flood, now) != Heard::Dropped
    });
    let count = looked_at.count();
    assert!((19..=20).contains(&count), "{count} in a second, after ten at once");
}
