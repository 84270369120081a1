//! What trackers say to `scrape` and `announce`.

use swarmloop::id::InfoHash;
use swarmloop::proto::tracker_http::AnnounceReply;
use swarmloop::proto::tracker_serve::SwarmCounts;

use super::Line;

/// How a swarm stands by a tracker, or why that is not known; one that it does not track has no
/// numbers.
pub(crate) fn scraped(
    url: &str,
    info_hash: InfoHash,
    answer: Result<Option<SwarmCounts>, &str>,
) -> String {
    let line = Line::new("scrape").with("url", url).with("infohash", info_hash.to_string());
    match answer {
        Err(error) => line.with("ok", false).with("error", error).end(),
        Ok(None) => line.with("ok", true).with("tracked", false).end(),
        Ok(Some(swarm)) => line
            .with("ok", true)
            .with("tracked", true)
            .with("seeders", swarm.complete)
            .with("leechers", swarm.incomplete)
            .with("completed", swarm.downloaded)
            .end(),
    }
}

/// What a tracker says to an announce, or why it says nothing.
pub(crate) fn announced(
    url: &str,
    info_hash: InfoHash,
    answer: Result<&AnnounceReply, &str>,
) -> String {
    let line = Line::new("announce").with("url", url).with("infohash", info_hash.to_string());
    let reply = match answer {
        Err(error) => return line.with("ok", false).with("error", error).end(),
        Ok(reply) => reply,
    };
    let peers = reply.peers.iter().map(ToString::to_string);
    let hosts = reply.hosts.iter().map(|(host, port)| format!("{host}:{port}"));
    let line = line
        .with("ok", true)
        .with("interval", reply.interval.as_secs())
        .with("min_interval", reply.min_interval.map(|interval| interval.as_secs()))
        .with("seeders", reply.complete)
        .with("leechers", reply.incomplete)
        .with("external_ip", reply.external_ip.map(|ip| ip.to_string()))
        .with("peers", peers.chain(hosts).collect::<Vec<_>>());
    match &reply.warning {
        Some(warning) => line.with("warning", warning.as_str()).end(),
        None => line.end(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let hash = InfoHash([0xab; 20]);
        let swarm = SwarmCounts { complete: 12, downloaded: 345, incomplete: 6 };
        let reply = AnnounceReply {
            interval: Duration::from_secs(1_800),
            complete: Some(12),
            peers: vec!["[2001:db8::1]:6881".parse().expect("an address")],
            hosts: vec![("h.example".to_owned(), 7)],
            external_ip: "203.0.113.9".parse().ok(),
            warning: Some("slow down".to_owned()),
            ..AnnounceReply::default()
        };
        let lines = [
            scraped("udp://t:1", hash, Ok(Some(swarm))),
            scraped("udp://t:1", hash, Ok(None)),
            scraped("udp://t:1", hash, Err("timed out")),
            announced("http://t/announce", hash, Ok(&reply)),
            announced("http://t/announce", hash, Err("timed out")),
        ];
        let ends = [
            "\"ok\":true,\"tracked\":true,\"seeders\":12,\"leechers\":6,\"completed\":345}",
            "\"ok\":true,\"tracked\":false}",
            "\"ok\":false,\"error\":\"timed out\"}",
            "\"ok\":true,\"interval\":1800,\"min_interval\":null,\"seeders\":12,\
             \"leechers\":null,\"external_ip\":\"203.0.113.9\",\
             \"peers\":[\"[2001:db8::1]:6881\",\"h.example:7\"],\"warning\":\"slow down\"}",
            "\"ok\":false,\"error\":\"timed out\"}",
        ];
        for (line, end) in lines.iter().zip(ends) {
            let kind = if line.contains("udp") { "scrape" } else { "announce" };
            let url = if line.contains("udp") { "udp://t:1" } else { "http://t/announce" };
            let start = format!("{{\"type\":\"{kind}\",\"url\":\"{url}\",\"infohash\":\"{hash}\",");
            assert_eq!(*line, start + end);
        }
    }
}
