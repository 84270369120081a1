//! A tracker of others over HTTPS: asked by those who trust it, and told nothing by the others.

use std::{fs, net::SocketAddr};

use serde_json::Value;

use crate::{
    asking::question,
    clients::{Client, Role, payload::Payload, tracker::TrackerKind},
    site::Site,
    tls::{self, Front},
};

#[test]
fn opentracker_is_asked_over_https_with_trust_in_its_authority_only() {
    ask(tls::SIGNED, tls::CA, "not signed by anybody who is trusted");
}

#[test]
fn opentracker_is_asked_over_https_with_trust_in_its_own_certificate_only() {
    ask(tls::SELF_SIGNED, tls::SELF_SIGNED, "self-signed and not trusted");
}

/// A tracker with one seed, which is found over HTTPS with `trusted`, and not without.
fn ask(certificate: &[u8], trusted: &[u8], why_not: &str) {
    let payload = Payload::Single;
    let tracker = Some(TrackerKind::Opentracker);
    let Some(mut site) = Site::open(payload, tracker, &[Client::Swarmloop]) else { return };
    let seed = site.seed(Client::Swarmloop, Role::Seed, &[]);
    let tracker = site.tracker().expect("the site was opened with one");
    let at = SocketAddr::new(tls::HOST.parse().unwrap(), 0);
    let front = Front::start(certificate, at, tracker.address().into());
    let url = format!("https://{}/announce", front.addr());
    let scratch = site.scratch("https");
    let (torrent, ca) = (scratch.join("https.torrent"), scratch.join("ca.pem"));
    fs::write(&torrent, payload.metainfo(Some(&url))).unwrap();
    fs::write(&ca, trusted).unwrap();
    let ca = ["--ca-file", ca.to_str().unwrap()];

    for command in ["scrape", "announce"] {
        let (code, said) = question(command, &torrent, &[]);
        assert_eq!((code, &said["ok"]), (Some(5), &false.into()), "{said}");
        assert!(said["error"].as_str().unwrap().contains(why_not), "{said}");
    }
    let into = scratch.join("no trust");
    let output = site.get(&torrent, &into, &["--timeout", "2s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(why_not), "{said}");
    assert_eq!(front.heard(), 0, "it was told something");

    let expect_one_seed = || {
        let (code, said) = question("scrape", &torrent, &ca);
        assert_eq!((code, &said["url"], &said["ok"]), (Some(0), &(&*url).into(), &true.into()));
        assert_eq!((&said["seeders"], &said["leechers"]), (&1.into(), &0.into()), "{said}");
    };
    expect_one_seed();
    let (_, said) = question("announce", &torrent, &ca);
    let seeds_at: Value = seed.address().to_string().into();
    assert!(said["peers"].as_array().unwrap().contains(&seeds_at), "{said}");
    let into = scratch.join("trust");
    let output = site.get(&torrent, &into, &ca);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(payload.compare(&into, true), Ok(()));
    // Nobody stays with the tracker who has said `stopped`.
    expect_one_seed();
}
