//! Where others see us: what peers (BEP 10, `yourip`), trackers (BEP 24) and nodes of the DHT (BEP
//! 42) say of it, and whom of them we believe.
//!
//! Two things follow from it. In which order candidates are dialled (BEP 40): a lie costs no more
//! than another order, so what most say counts from the first word on. And where our nodes stand in
//! the DHT: only what many say who hardly are one party ([`Votes`]). **Invariant:** a neighbourhood
//! has one vote, and nobody's vote is kept for longer than those of the last few dozen.

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use crate::dht::Family;
use crate::dht::secure::Votes;
use crate::net_policy::Reach;
use crate::proto::priority::Vantage;
use crate::time::Instant;

use super::Session;
use super::config::Config;
use super::io::Seeds;

/// What is known of where others see us.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where candidates are ranked from.
    pub(super) vantage: Vantage,
    /// What peers and trackers say, by family, V4 first.
    votes: [Votes; 2],
    /// What many have said.
    agreed: [Option<IpAddr>; 2],
    /// What the nodes of the DHT have agreed on: whoever speaks to thousands of strangers knows
    /// better than who speaks to those of one swarm.
    by_dht: [Option<IpAddr>; 2],
}

impl Seen {
    /// Returns where we are before anybody has told us: where the user says, or a place that
    /// follows from the session's secret.
    pub(super) fn at_first(config: &Config, seeds: &Seeds) -> Self {
        let digest = Sha1::new().chain_update(seeds.secret).chain_update(b"vantage").finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let (port, ip) = config.announced();
        let mut vantage = Vantage::unknown(bytes, port);
        if let Some(ip) = ip {
            vantage.learn(ip);
        }
        Self { vantage, votes: Default::default(), agreed: [None; 2], by_dht: [None; 2] }
    }

    /// Takes the word of a peer or tracker. Returns what to rank candidates from now on, as far as
    /// this says.
    fn hear(&mut self, voter: IpAddr, ours: IpAddr) -> Option<IpAddr> {
        let family = family_of(ours).index();
        if let Some(agreed) = self.votes[family].cast(voter, ours) {
            self.agreed[family] = Some(agreed);
        }
        self.by_dht[family].or_else(|| self.votes[family].leading())
    }
}

impl Session {
    /// Takes in that a peer or tracker at `voter` sees us at `ours`. An address that the internet
    /// does not route says nothing to those who are elsewhere. O(candidates) if it is news.
    pub(super) fn hear_address(&mut self, voter: IpAddr, ours: IpAddr, now: Instant) {
        if Reach::of(ours) != Reach::Global {
            return;
        }
        if let Some(ip) = self.seen.hear(voter, ours) {
            self.rank_from(ip);
        }
        self.tell_dht_where_we_are(now);
    }

    /// Takes in that the nodes of the DHT have agreed on where they see us.
    pub(super) fn dht_sees_us(&mut self, ip: IpAddr) {
        self.seen.by_dht[family_of(ip).index()] = Some(ip);
        self.rank_from(ip);
    }

    /// Tells a node of the DHT what it does not know of where others see us.
    pub(super) fn tell_dht_where_we_are(&mut self, now: Instant) {
        for family in Family::ALL {
            let agreed = self.seen.agreed[family.index()];
            let known = self.seen.by_dht[family.index()].or(agreed);
            if let Some(ip) = known {
                self.place_in_dht(family, ip, now);
            }
        }
    }

    /// Ranks candidates as they are seen from `ip`, unless the user has said where we are.
    fn rank_from(&mut self, ip: IpAddr) {
        let is_told = self.config.announce_ip.is_some_and(|ours| ours.is_ipv4() == ip.is_ipv4());
        if is_told || !self.seen.vantage.learn(ip) {
            return;
        }
        let vantage = self.seen.vantage;
        for entry in self.torrents.iter_mut().flatten() {
            entry.torrent.candidates.set_vantage(vantage);
        }
    }
}

fn family_of(ip: IpAddr) -> Family {
    Family::of(SocketAddr::new(ip.to_canonical(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn seen() -> Seen {
        Seen::at_first(&Config::default(), &Seeds { rng: 1, secret: [7; 32] })
    }

    #[test]
    fn what_most_say_counts_for_the_order_and_what_many_say_for_the_dht() {
        let (ours, lie) = (ip("8.8.8.8"), ip("6.6.6.6"));
        let mut seen = seen();
        let from = |seen: &mut Seen, network: u8, ours| seen.hear([20, 0, network, 1].into(), ours);
        assert_eq!(from(&mut seen, 1, ours), Some(ours), "from the first word on");
        assert_eq!(from(&mut seen, 2, lie), Some(ours), "one against one");
        for host in 0..50 {
            assert_eq!(seen.hear([20, 0, 2, host].into(), lie), Some(ours), "one neighbourhood");
        }
        for network in 3..10 {
            assert_eq!(from(&mut seen, network, ours), Some(ours));
            assert_eq!(seen.agreed, [None; 2], "too few to say where in the DHT we are");
        }
        from(&mut seen, 10, ours);
        assert_eq!(seen.agreed, [Some(ours), None]);
        let six = ip("2001:470::1");
        assert_eq!(seen.hear(ip("2001:db8::1"), six), Some(six), "a family of its own");
        for network in 100..150 {
            from(&mut seen, network, lie);
        }
        assert_eq!(seen.agreed[0], Some(lie), "we have moved");
        seen.by_dht[0] = Some(ours);
        assert_eq!(from(&mut seen, 200, lie), Some(ours), "the DHT knows better");
    }
}
