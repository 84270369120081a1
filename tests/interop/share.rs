//! `swarmloop share` to the downloads of others, who are told nothing but where its torrent is.

use std::time::Duration;

use crate::{
    clients::{Client, Role, payload::Payload, process::eventually},
    site::Site,
};

#[test]
fn aria2_receives_from_share_which_then_ends() {
    receive(Client::Aria2, true);
}

#[test]
fn libtorrent_receives_from_share_which_then_ends() {
    receive(Client::Libtorrent, true);
}

#[test]
fn swarmloop_receives_from_share_which_then_ends() {
    receive(Client::Swarmloop, true);
}

#[test]
fn rqbit_receives_from_share() {
    // It ends without a word to the tracker.
    receive(Client::Rqbit, false);
}

#[test]
fn transmission_receives_from_share_which_then_ends() {
    receive(Client::Transmission, true);
}

fn receive(client: Client, ends: bool) {
    let clients = [client, Client::Swarmloop];
    let Some(mut site) = Site::open(Payload::Multi, None, &clients) else { return };
    let mut share = site.share(ends, !client.trusts_loopback_peers());
    let mut leech = site.leech(client, Role::Leech, &[]);
    leech.wait_complete();
    if ends {
        let mut status = None;
        eventually(ENDED_WITHIN, || {
            status = share.exit_status();
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", share.log());
    }
}

/// From the last byte until the tracker has heard of it and the share has taken its leave.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
