//! `scrape` and `announce`: what trackers say of a torrent.

use std::collections::BTreeSet;
use std::time::Duration;

use swarmloop::client::Question;
use swarmloop::id::InfoHash;
use swarmloop::proto::tracker_http::AnnounceReply;
use swarmloop::proto::tracker_serve::SwarmCounts;
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::text::Escaped;
use swarmloop::tracker::{AnnounceEvent, Answer};

use super::args::ask::AskArgs;
use super::ask::{Asking, Route};
use super::exit::{Exit, Failure};
use super::fetch::Fetcher;
use super::input::{self, escaped_path};
use super::json;
use super::signals::Signals;
use super::size::until;
use super::stall::{count, host_of};
use super::ui::Ui;

/// What is missing of a torrent whose size nobody knows: not nothing, which would make us a seed.
const UNKNOWN_LEFT: u64 = 16 << 10;

/// How long trackers may take to hear that we have stopped.
const STOPPED_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks trackers how a swarm stands.
pub(crate) fn scrape(args: &AskArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let mut run = Run::begin(args)?;
    let hash = run.subject.info_hash;
    let question = |url| Question::Scrape { url, torrents: vec![hash] };
    let stopped = run.ask(question, |url, answer| {
        let Answer::Scraped(swarms) = answer else { return };
        let swarm = swarms.first().copied().flatten();
        ui.record(|| json::scraped(url, hash, Ok(swarm)));
        ui.result(&scrape_line(url, swarm));
        ui.count_ok();
    })?;
    Ok(run.conclude(stopped, |url, error| json::scraped(url, hash, Err(error)), ui))
}

/// Announces once and prints the peers.
pub(crate) fn announce(args: &AskArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let mut run = Run::begin(args)?;
    let (info_hash, left) = (run.subject.info_hash, run.subject.left);
    let announce = |url, event| Question::Announce { url, info_hash, left, event };
    let mut peers = BTreeSet::new();
    let stopped = run.ask(
        |url| announce(url, AnnounceEvent::Started),
        |url, answer| {
            let Answer::Announced(reply) = answer else { return };
            ui.record(|| json::announced(url, info_hash, Ok(&reply)));
            ui.say(&announce_line(url, &reply));
            for peer in named(&reply) {
                if peers.insert(peer.clone()) {
                    ui.result(&peer);
                }
            }
            ui.count_ok();
        },
    )?;
    run.take_leave(|url| announce(url, AnnounceEvent::Stopped))?;
    Ok(run.conclude(stopped, |url, error| json::announced(url, info_hash, Err(error)), ui))
}

/// Trackers that are asked about a torrent.
struct Run {
    subject: Subject,
    asking: Asking,
    signals: Signals,
    trackers: Vec<(String, AnnounceUrl)>,
    /// Places in [`Run::trackers`].
    answered: Vec<usize>,
    /// URLs, and why.
    failed: Vec<(String, String)>,
}

impl Run {
    fn begin(args: &AskArgs) -> Result<Self, Failure> {
        let route = Route::from(&args.route);
        let fetcher = Fetcher::new(&route);
        let subject = Subject::read(args, &fetcher)?;
        let signals = fetcher.into_signals()?;
        let asking = Asking::start(&route, args.timeout)?;
        let (mut trackers, mut failed) = (Vec::new(), Vec::new());
        for text in &subject.trackers {
            match AnnounceUrl::parse(text) {
                Ok(url) if args.urls.is_empty() => trackers.push((text.clone(), url)),
                Ok(url) => trackers.push((text.clone(), url.named_by_user())),
                Err(error) => failed.push((text.clone(), error.to_string())),
            }
        }
        Ok(Self { subject, asking, signals, trackers, answered: Vec::new(), failed })
    }

    /// Asks all trackers, and passes on what each has answered.
    fn ask(
        &mut self,
        question: impl Fn(AnnounceUrl) -> Question,
        mut tell: impl FnMut(&str, Answer),
    ) -> Result<Option<Exit>, Failure> {
        let questions = self.trackers.iter().map(|(_, url)| question(url.clone())).collect();
        let Self { asking, signals, trackers, answered, failed, .. } = self;
        asking.ask(questions, Some(signals), None, |place, answer| {
            let (text, _) = &trackers[place];
            match answer {
                Ok(answer) => {
                    answered.push(place);
                    tell(text, answer);
                }
                Err(error) => failed.push((text.clone(), error.to_string())),
            }
        })
    }

    /// Tells something to those that have answered. Nothing depends on what they say to it.
    fn take_leave(&self, question: impl Fn(AnnounceUrl) -> Question) -> Result<(), Failure> {
        let told = self.answered.iter().map(|place| question(self.trackers[*place].1.clone()));
        self.asking.ask(told.collect(), None, Some(STOPPED_TIMEOUT), |_, _| {})?;
        Ok(())
    }

    /// Tells which trackers have failed, and what the process exits with.
    fn conclude(
        self,
        stopped: Option<Exit>,
        record: impl Fn(&str, &str) -> String,
        ui: &mut Ui,
    ) -> Exit {
        let has_answer = !self.answered.is_empty();
        for (number, (url, error)) in (1..).zip(&self.failed) {
            ui.record(|| record(url, error));
            let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
            let name = format!("{scheme}://{}", host_of(url));
            let text = format!("tracker {}: {error}", Escaped(&name));
            if has_answer {
                ui.warning("tracker_failed", &text, None);
            } else {
                ui.count_failed(&Failure::new(Exit::GaveUp, "tracker_failed", text), number);
            }
        }
        exit_of(has_answer, stopped)
    }
}

/// Returns what the process exits with: one answer is enough, but whoever was stopped has not heard
/// all.
fn exit_of(has_answer: bool, stopped: Option<Exit>) -> Exit {
    stopped.unwrap_or(if has_answer { Exit::Success } else { Exit::GaveUp })
}

/// What trackers are asked about.
struct Subject {
    info_hash: InfoHash,
    /// Payload that is missing, in bytes.
    left: u64,
    /// Announce URLs, each once. Foreign text.
    trackers: Vec<String>,
}

impl Subject {
    fn read(args: &AskArgs, fetcher: &Fetcher<'_>) -> Result<Self, Failure> {
        let mut subject = if let Some(magnet) = input::magnet(&args.torrent)? {
            Self { info_hash: magnet.info_hash, left: UNKNOWN_LEFT, trackers: magnet.trackers }
        } else {
            let metainfo = input::load_by(&args.torrent, fetcher)?.metainfo;
            let left = metainfo.files.iter().map(|file| file.len).sum();
            let trackers = metainfo.trackers.into_iter().flatten().collect();
            Self { info_hash: metainfo.info_hash, left, trackers }
        };
        if !args.urls.is_empty() {
            subject.trackers.clone_from(&args.urls);
        }
        let mut seen = BTreeSet::new();
        subject.trackers.retain(|url| seen.insert(url.clone()));
        if subject.trackers.is_empty() {
            let message = "no tracker is named: neither in the torrent nor behind it";
            return Err(Failure::new(Exit::Input, "no_tracker", message));
        }
        Ok(subject)
    }
}

/// Returns the peers of an answer as they are dialled. Safe to print.
fn named(reply: &AnnounceReply) -> impl Iterator<Item = String> {
    let hosts = reply.hosts.iter().map(|(host, port)| format!("{}:{port}", Escaped(host)));
    reply.peers.iter().map(ToString::to_string).chain(hosts)
}

/// The URL is printed in full, because somebody may use it.
fn scrape_line(url: &str, swarm: Option<SwarmCounts>) -> String {
    let url = escaped_path(url.as_ref());
    match swarm {
        Some(SwarmCounts { complete, incomplete, downloaded }) => {
            format!("{url}  seeders {complete}  leechers {incomplete}  completed {downloaded}")
        }
        None => format!("{url}  does not track it"),
    }
}

fn announce_line(url: &str, reply: &AnnounceReply) -> String {
    let peers = count(reply.peers.len() + reply.hosts.len(), "peer", "peers");
    let number = |count: Option<u32>| count.map_or("?".to_owned(), |count| count.to_string());
    let (seeders, leechers) = (number(reply.complete), number(reply.incomplete));
    let next = until(reply.interval).unwrap_or_default();
    let warning = reply.warning.as_deref();
    let warning = warning.map_or_else(String::new, |said| format!("; it warns: {}", Escaped(said)));
    format!(
        "{}: {peers}, seeders {seeders}, leechers {leechers}, to be asked again in {next}{warning}",
        Escaped(host_of(url))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ask::RouteArgs;

    #[test]
    fn what_is_asked_about_may_be_a_link_or_a_hash_in_either_form() {
        let hex = "d2354010a3ca4ade5b7427bb093a62a3899ff381";
        let own = format!("magnet:?xt=urn:btih:{hex}&tr=http://own/announce");
        let named = vec!["udp://named:1".to_owned()];
        for (torrent, urls, trackers) in [
            (own.as_str(), vec![], Some("http://own/announce")),
            (own.as_str(), named.clone(), Some("udp://named:1")),
            (hex, named.clone(), Some("udp://named:1")),
            ("2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B", named, Some("udp://named:1")),
            (hex, vec![], None),
        ] {
            let route = RouteArgs::default();
            let args = AskArgs { torrent: torrent.into(), urls, timeout: None, route };
            let route = Route::from(&args.route);
            let subject = Subject::read(&args, &Fetcher::new(&route));
            let subject =
                subject.map(|it| (it.info_hash.to_string(), it.left, it.trackers.join(" ")));
            let expected = trackers.map(|urls| (hex.to_owned(), UNKNOWN_LEFT, urls.to_owned()));
            assert_eq!(subject.map_err(|failure| failure.code), expected.ok_or("no_tracker"));
        }
    }

    #[test]
    fn whoever_is_stopped_says_so_whatever_was_answered_before() {
        let stopped = Some(Exit::Signal(2));
        for (has_answer, stopped, exit) in [
            (true, None, Exit::Success),
            (false, None, Exit::GaveUp),
            (true, stopped, Exit::Signal(2)),
            (false, stopped, Exit::Signal(2)),
        ] {
            assert_eq!(exit_of(has_answer, stopped), exit);
        }
    }

    #[test]
    fn what_trackers_say_is_a_line_each_and_safe_to_print() {
        let swarm = SwarmCounts { complete: 12, downloaded: 345, incomplete: 6 };
        for (url, swarm, line) in [
            (
                "http://t/announce",
                Some(swarm),
                "http://t/announce  seeders 12  leechers 6  completed 345",
            ),
            ("http://t/\x1b[2J", None, "http://t/\\x1b[2J  does not track it"),
        ] {
            assert_eq!(scrape_line(url, swarm), line);
        }
        let reply = AnnounceReply {
            interval: Duration::from_secs(1_800),
            complete: Some(3),
            peers: vec!["10.0.0.1:5".parse().expect("an address")],
            hosts: vec![("h.example".to_owned(), 7)],
            warning: Some("mind\nthe gap".to_owned()),
            ..AnnounceReply::default()
        };
        assert_eq!(
            announce_line("http://t:80/k3y/announce", &reply),
            "t:80: 2 peers, seeders 3, leechers ?, to be asked again in 30m; it warns: \
             mind\\x0athe gap"
        );
        assert_eq!(named(&reply).collect::<Vec<_>>(), ["10.0.0.1:5", "h.example:7"]);
    }
}
