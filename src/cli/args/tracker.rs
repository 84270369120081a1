//! The arguments of `tracker`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

/// What the long help of `tracker` adds.
pub(crate) const TRACKER_HELP: &str = "\
Prints the announce URLs, one a line. SIGUSR1 prints what has been done so far; ^C ends it.

A whitelist is a file of info-hashes, one a line in hexadecimal, with # before remarks; or a folder,
whose .torrent files are tracked. It is read once, at the start.

Examples:
  swarmloop tracker
  swarmloop tracker --listen 192.168.0.2:6969 -w torrents
  swarmloop tracker --udp 0.0.0.0:6969 --interval 10m";

/// Arguments of `tracker`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TrackerArgs {
    /// Address and port to answer on over HTTP and UDP; may be repeated [default: 127.0.0.1:6969]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Address and port to answer on over HTTP alone; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    #[arg(hide_short_help = true)]
    http: Vec<SocketAddr>,
    /// Address and port to answer on over UDP alone; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    #[arg(hide_short_help = true)]
    udp: Vec<SocketAddr>,
    /// Time between two announces of a client (such as 30m)
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Track only the torrents in this file of info-hashes, or folder of torrents
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) whitelist: Option<PathBuf>,
    /// Let clients name the address that they are listed with (ip=)
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) trust_ip: bool,
}

impl TrackerArgs {
    /// Returns where to answer over HTTP.
    pub(crate) fn http(&self) -> Vec<SocketAddr> {
        [self.both(), self.http.clone()].concat()
    }

    /// Returns where to answer over UDP.
    pub(crate) fn udp(&self) -> Vec<SocketAddr> {
        [self.both(), self.udp.clone()].concat()
    }

    /// Returns where to answer over both; somewhere, if nothing else is said.
    fn both(&self) -> Vec<SocketAddr> {
        if self.listen.is_empty() && self.http.is_empty() && self.udp.is_empty() {
            vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))]
        } else {
            self.listen.clone()
        }
    }
}

/// The port that trackers are on unless told otherwise (opentracker and others).
pub(crate) const DEFAULT_PORT: u16 = 6969;

/// Clients neither ask more often than each minute nor wait for more than a day.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 60 * 60);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !INTERVALS.contains(&interval) {
        return Err("an interval is from 1m to 1day".to_owned());
    }
    Ok(Duration::from_secs(interval.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &[&str], http: &[&str], udp: &[&str]) -> TrackerArgs {
        let addrs = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("good")).collect();
        TrackerArgs {
            listen: addrs(listen),
            http: addrs(http),
            udp: addrs(udp),
            interval: Duration::ZERO,
            whitelist: None,
            trust_ip: false,
        }
    }

    #[test]
    fn it_answers_somewhere_and_only_where_it_was_told_to() {
        let texts = |addrs: Vec<SocketAddr>| -> Vec<String> {
            addrs.iter().map(ToString::to_string).collect()
        };
        for (given, http, udp) in [
            (args(&[], &[], &[]), vec!["127.0.0.1:6969"], vec!["127.0.0.1:6969"]),
            (args(&["1.2.3.4:5"], &[], &[]), vec!["1.2.3.4:5"], vec!["1.2.3.4:5"]),
            (args(&[], &["[::1]:5"], &[]), vec!["[::1]:5"], vec![]),
            (args(&[], &[], &["[::1]:5"]), vec![], vec!["[::1]:5"]),
            (args(&["[::1]:1"], &["[::1]:2"], &[]), vec!["[::1]:1", "[::1]:2"], vec!["[::1]:1"]),
        ] {
            assert_eq!(
                (texts(given.http()), texts(given.udp())),
                (
                    http.into_iter().map(str::to_owned).collect(),
                    udp.into_iter().map(str::to_owned).collect(),
                )
            );
        }
    }

    #[test]
    fn intervals_are_those_that_clients_keep_to() {
        assert_eq!(interval("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(interval("90s 500ms"), Ok(Duration::from_secs(90)));
        for text in ["59s", "2days", "x", ""] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
