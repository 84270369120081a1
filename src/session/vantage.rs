//! Where others see us: what we are told of it, for the order in which candidates are dialled (BEP
//! 40). A lie costs no more than another order.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::net_policy::Reach;
use crate::proto::priority::Vantage;

use super::Session;
use super::config::Config;
use super::io::Seeds;

/// Returns where we are before anybody has told us: where the user says, or a place that follows
/// from the session's secret.
pub(super) fn at_first(config: &Config, seeds: &Seeds) -> Vantage {
    let digest = Sha1::new().chain_update(seeds.secret).chain_update(b"vantage").finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let (port, ip) = config.announced();
    let mut vantage = Vantage::unknown(bytes, port);
    if let Some(ip) = ip {
        vantage.learn(ip);
    }
    vantage
}

impl Session {
    /// Takes in where somebody sees us. An address that the internet does not route says nothing to
    /// those who are elsewhere. O(candidates) if it is news.
    pub(super) fn learn_address(&mut self, ip: IpAddr) {
        let is_told = self.config.announce_ip.is_some_and(|ours| ours.is_ipv4() == ip.is_ipv4());
        if is_told || Reach::of(ip) != Reach::Global || !self.vantage.learn(ip) {
            return;
        }
        for entry in self.torrents.iter_mut().flatten() {
            entry.torrent.candidates.set_vantage(self.vantage);
        }
    }
}
