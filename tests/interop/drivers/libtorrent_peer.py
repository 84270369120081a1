"""One libtorrent peer as a process of its own, driven by the interop harness.

Prints every alert, and the line `DONE` once all pieces are there and checked (for a seed: at the
end of its check). Stays until it is killed.
"""

import argparse
import sys

import libtorrent as lt


def say(line):
    print(line, flush=True)


def settings(host, port):
    """Everything that would look beyond loopback is off; nothing is rate limited."""
    kinds = lt.alert.category_t
    return {
        "listen_interfaces": f"{host}:{port}",
        # Without this, connections start at 127.0.0.1, the address of every other client.
        "outgoing_interfaces": host,
        "enable_dht": False,
        "enable_lsd": False,
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
    return parser.parse_args()


def main():
    args = arguments()
    session = lt.session(settings(args.bind, args.port))
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
    handle = session.add_torrent(params)
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
        if not done and handle.status().is_seeding:
            done = True
            say("DONE")


if __name__ == "__main__":
    main()
