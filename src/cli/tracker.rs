//! `tracker`: answers announces until a signal comes.

use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use swarmloop::client::{Client, ClientConfig, ClientError};

use super::args::tracker::TrackerArgs;
use super::exit::{Exit, Failure};
use super::json;
use super::network::workers;
use super::signals::{Notice, Signals};
use super::ui::Ui;
use super::watch::STOP_TIMEOUT;

/// The longest wait for an event, so that signals are noticed.
const WAKE_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the tracker and prints its announce URLs to stdout. A signal is its normal end.
pub(crate) fn run(args: &TrackerArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let config = ClientConfig {
        tracker_listen: args.listen.clone(),
        workers: workers(),
        ..ClientConfig::default()
    };
    let client = Client::start(config).map_err(|error| Failure::start(&error, "--listen"))?;
    let urls: Vec<String> = client.tracker_addrs().iter().map(announce_url).collect();
    for (url, addr) in urls.iter().zip(client.tracker_addrs()) {
        ui.record(|| json::listening(url));
        ui.result(url);
        if addr.ip().is_unspecified() {
            ui.say("put an address of this machine in place of the zeros");
        }
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
            Some(Notice::Status) => ui.tell(&format!("tracker: answering on {}", urls.join(", "))),
            None => {}
        }
    }
    client.shutdown(STOP_TIMEOUT);
    Ok(Exit::Success)
}

/// Returns the URL that a torrent's `announce` names for a tracker at this address.
pub(crate) fn announce_url(addr: &SocketAddr) -> String {
    format!("http://{addr}/announce")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announce_urls_have_brackets_where_they_must() {
        for (addr, url) in [
            ("127.0.0.1:6969", "http://127.0.0.1:6969/announce"),
            ("[::1]:80", "http://[::1]:80/announce"),
        ] {
            assert_eq!(announce_url(&addr.parse().expect("an address")), url);
        }
    }
}
