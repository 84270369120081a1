//! Datagrams of the embedded tracker: one in, at most one out (BEP 15).
//!
//! Decides which get an answer. **Invariant:** whoever has not proven by a connection id that he
//! receives at his address is never answered with more bytes than he has sent: nobody is flooded
//! through us.

use std::net::SocketAddr;

use super::gate::Standing;
use super::swarms::Hears;
use super::{AnnounceError, TrackerServer};
use crate::proto::tracker_udp::{
    Options, Request, ScrapeHashes, UdpAnnounce, UdpError, most_peers, parse_request,
    write_announced, write_connected, write_failed, write_scraped,
};
use crate::rng::Rng;
use crate::time::Instant;

/// What who sends an old or made-up connection id is told: less than what an announce or a scrape
/// has, so that it is no amplification. A client then asks for a new one.
const BAD_CONNECTION: &str = "unknown connection id";

impl TrackerServer {
    /// Takes a datagram that came from `from`, and appends the answer to `out`, if it gets one.
    pub fn answer_datagram(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        out: &mut Vec<u8>,
        rng: &mut Rng,
        now: Instant,
    ) {
        let Ok(request) = parse_request(datagram) else {
            self.counters.dropped += 1;
            return;
        };
        let ip = from.ip();
        let (connection, transaction) = match request {
            Request::Connect { transaction } => (None, transaction),
            Request::Announce { connection, transaction, .. }
            | Request::Scrape { connection, transaction, .. } => (Some(connection), transaction),
        };
        let is_proven = connection.is_some_and(|id| self.gate.knows(id, ip, now));
        let standing = if is_proven { Standing::Proven } else { Standing::Unproven };
        if !self.gate.admits(standing, ip, now) {
            self.counters.dropped += 1;
            return;
        }
        match request {
            Request::Connect { .. } => {
                self.counters.connects += 1;
                write_connected(out, transaction, self.gate.connection_id(ip, now));
            }
            _ if !is_proven => self.fail(out, transaction, BAD_CONNECTION),
            Request::Announce { announce, options, .. } => {
                match self.announce_by_udp(announce, options, from, rng, now) {
                    Ok(answer) => {
                        let peers = answer.peers.iter().map(|(_, addr)| *addr);
                        let (interval, counts) = (answer.interval, answer.counts);
                        write_announced(out, transaction, interval, counts, peers, from);
                    }
                    Err(error) => self.fail(out, transaction, &error.to_string()),
                }
            }
            Request::Scrape { hashes, .. } => self.scrape_by_udp(out, transaction, hashes, now),
        }
    }

    fn announce_by_udp(
        &mut self,
        announce: UdpAnnounce,
        options: Options<'_>,
        from: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<crate::proto::tracker_serve::AnnounceAnswer, Refused> {
        self.counters.announces_udp += 1;
        // Every path is ours; but options that cannot be read may mean that nothing was meant.
        options.url_data()?;
        let hears = Hears::Own { at_most: most_peers(from) };
        Ok(self.swarms.announce(&announce.into(), from, hears, rng, now)?)
    }

    fn scrape_by_udp(
        &mut self,
        out: &mut Vec<u8>,
        transaction: u32,
        hashes: ScrapeHashes<'_>,
        now: Instant,
    ) {
        self.counters.scrapes += 1;
        // One that is not tracked has nobody: there is no other way to say so.
        let swarms = hashes.iter().map(|hash| self.swarms.scrape(hash, now).unwrap_or_default());
        write_scraped(out, transaction, swarms);
    }

    fn fail(&mut self, out: &mut Vec<u8>, transaction: u32, why: &str) {
        self.counters.refused += 1;
        write_failed(out, transaction, why);
    }
}

/// Why an announce by UDP is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Datagram(#[from] UdpError),
    #[error(transparent)]
    Announce(#[from] AnnounceError),
}
