//! `tracker`: answers announces until a signal comes.

use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use swarmloop::client::{Client, ClientConfig, ClientError};
use swarmloop::tracker_server::{ServerConfig, ServerStatus};

use super::args::tracker::TrackerArgs;
use super::exit::{Exit, Failure};
use super::signals::{Notice, Signals};
use super::stall::count;
use super::ui::Ui;
use super::{json, whitelist};

/// The longest wait for an event, so that signals are noticed.
const WAKE_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the tracker and prints its announce URLs to stdout. A signal is its normal end.
pub(crate) fn run(args: &TrackerArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let tracker = config(args)?;
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let config = ClientConfig {
        tracker_listen: args.http(),
        tracker_udp: args.udp(),
        tracker,
        // Nothing is on disk.
        workers: 1,
        ..ClientConfig::default()
    };
    let client = Client::start(config).map_err(|error| Failure::start(&error, "--listen"))?;
    let mut urls = Vec::new();
    for (addr, url) in announce_urls(&client) {
        ui.record(|| json::listening(&url));
        ui.result(&url);
        if addr.ip().is_unspecified() {
            ui.say("put an address of this machine in place of the zeros");
        }
        urls.push(url);
    }
    while !ui.is_out_closed() {
        // Only connections that end make events here; what counts is that they do not pile up.
        match client.events().recv_timeout(WAKE_INTERVAL) {
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::client(&ClientError::Ended));
            }
        }
        match signals.take() {
            Some(Notice::Stop(_)) => break,
            Some(Notice::Status) => {
                let status = status(&client)?;
                ui.tell(&format!("tracker: answering on {}: {}", urls.join(", "), line(&status)));
                ui.record(|| json::tracker_status(&status));
            }
            Some(Notice::Renew | Notice::GoOn) | None => {}
        }
    }
    let status = status(&client)?;
    ui.say(&format!("tracker: {}", line(&status)));
    ui.record(|| json::tracker_status(&status));
    client.shutdown(signals.time_to_stop());
    Ok(Exit::Success)
}

fn config(args: &TrackerArgs) -> Result<ServerConfig, Failure> {
    let mut config = ServerConfig::default();
    config.interval = args.interval;
    config.min_interval = config.min_interval.min(args.interval);
    config.trust_ip = args.trust_ip;
    config.allowed = args.whitelist.as_deref().map(whitelist::read).transpose()?;
    Ok(config)
}

fn status(client: &Client) -> Result<ServerStatus, Failure> {
    let status = client.tracker_status().map_err(|error| Failure::client(&error))?;
    Ok(status.unwrap_or_default())
}

/// Says in a line what a tracker has and has done.
fn line(status: &ServerStatus) -> String {
    let counters = &status.counters;
    let announces = counters.announces_http + counters.announces_udp;
    format!(
        "{} with {} ({}); {announces} announces ({} by udp), {} scrapes, {} refused, {} dropped",
        count(status.torrents, "torrent", "torrents"),
        count(status.peers, "peer", "peers"),
        count(status.seeds, "seed", "seeds"),
        counters.announces_udp,
        counters.scrapes,
        counters.refused,
        counters.dropped
    )
}

/// Returns where a client answers announces, and the URLs that torrents name for it.
fn announce_urls(client: &Client) -> Vec<(SocketAddr, String)> {
    let http = client.tracker_addrs().iter().map(|addr| (*addr, announce_url(addr)));
    let udp = client.tracker_udp_addrs().iter();
    http.chain(udp.map(|addr| (*addr, udp_announce_url(addr)))).collect()
}

/// Returns the URL that a torrent's `announce` names for a tracker at this address.
pub(crate) fn announce_url(addr: &SocketAddr) -> String {
    format!("http://{addr}/announce")
}

/// The same for one over UDP. The path means nothing to the protocol, but some clients want one.
fn udp_announce_url(addr: &SocketAddr) -> String {
    format!("udp://{addr}/announce")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announce_urls_have_brackets_where_they_must() {
        for (addr, url, udp) in [
            ("127.0.0.1:6969", "http://127.0.0.1:6969/announce", "udp://127.0.0.1:6969/announce"),
            ("[::1]:80", "http://[::1]:80/announce", "udp://[::1]:80/announce"),
        ] {
            let addr = addr.parse().expect("an address");
            assert_eq!((announce_url(&addr), udp_announce_url(&addr)), (url.into(), udp.into()));
        }
    }

    #[test]
    fn the_status_is_one_line() {
        let mut status = ServerStatus::default();
        (status.torrents, status.peers, status.seeds) = (1, 3, 2);
        (status.counters.announces_http, status.counters.announces_udp) = (5, 7);
        let expected = "1 torrent with 3 peers (2 seeds); 12 announces (7 by udp), 0 scrapes, \
                        0 refused, 0 dropped";
        assert_eq!(line(&status), expected);
    }
}
