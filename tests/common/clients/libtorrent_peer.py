"""One libtorrent peer as a process of its own, driven by the interop harness.

Prints every alert, and the line `DONE` once all pieces are there and checked (for a seed: at the
end of its check). Stays until it is killed. Instead of a torrent file it takes a magnet link.
"""

import argparse
import sys

import libtorrent as lt


def say(line):
    print(line, flush=True)


def settings(host, port, dht, lsd):
    """All that would look beyond the test's network is off; nothing is rate limited.

    `dht` is where to enter the DHT, empty for its first node, None for no DHT at all.
    """
    kinds = lt.alert.category_t
    return {
        "listen_interfaces": f"{host}:{port}",
        # Without this, connections start at 127.0.0.1, the address of every other client.
        "outgoing_interfaces": host,
        "enable_dht": dht is not None,
        "dht_bootstrap_nodes": dht or "",
        "enable_lsd": lsd,
        "enable_upnp": False,
        "enable_natpmp": False,
        # The harness tests TCP; a uTP attempt first would only cost its time-out.
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        # All of a test's trackers live on loopback, which this would refuse.
        "ssrf_mitigation": False,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
        "alert_mask": kinds.error_notification
        | kinds.dht_notification
        | kinds.status_notification
        | kinds.tracker_notification
        | kinds.peer_notification
        | kinds.connect_notification,
    }


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("torrent")
    parser.add_argument("folder")
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--super-seed", action="store_true")
    parser.add_argument("--limit-down", metavar="KIB_S", type=int)
    parser.add_argument("--dht", metavar="HOST:PORT")
    parser.add_argument("--no-pex", action="store_true")
    parser.add_argument("--lsd", action="store_true")
    return parser.parse_args()


def add(session, args):
    if args.torrent.startswith("magnet:"):
        params = lt.parse_magnet_uri(args.torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(args.torrent)
    params.save_path = args.folder
    params.flags &= ~lt.torrent_flags.auto_managed
    params.flags &= ~lt.torrent_flags.paused
    if args.super_seed:
        params.flags |= lt.torrent_flags.super_seeding
    if args.no_pex:
        params.flags |= lt.torrent_flags.disable_pex
    handle = session.add_torrent(params)
    if args.limit_down is not None:
        # The torrent's own limit: the session's leaves out what is in the local network.
        handle.set_download_limit(args.limit_down * 1024)
    return handle


def main():
    args = arguments()
    session = lt.session(settings(args.bind, args.port, args.dht, args.lsd))
    handle = add(session, args)
    for peer in args.peer:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))

    done = False
    while True:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            say(f"{type(alert).__name__}: {alert.message()}")
            if isinstance(alert, lt.listen_failed_alert):
                sys.exit("cannot listen")
            # It announces once when it starts, to an empty table, and then in a quarter of an hour.
            if isinstance(alert, lt.dht_bootstrap_alert):
                handle.force_dht_announce()
        if not done and handle.status().is_seeding:
            done = True
            say("DONE")


if __name__ == "__main__":
    main()
