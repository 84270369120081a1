"""libtorrent as a client for `swarmloop-bench compare`.

Arguments: "tuned" or "default", torrent, folder, address, port, most connections. Prints ADDED when
the torrent is added, CHECKED when the folder has been looked at, DONE when everything is there and
verified. Ends on SIGTERM, after what is still to be written.
"""

import signal
import sys

import libtorrent as lt

mode, torrent, folder, address, port, conns = sys.argv[1:]
# libtorrent turns peers away when two thirds of the limit are there.
limit = max(2 * int(conns), 200)

# What is needed to take part, with either set of settings.
settings = {
    "listen_interfaces": f"{address}:{port}",
    "outgoing_interfaces": address,
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.error_notification,
    "allow_multiple_connections_per_ip": True,
    "connections_limit": limit,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.pe_disabled),
    "out_enc_policy": int(lt.enc_policy.pe_disabled),
    # Seeds and idle peers stay; they are the workload.
    "close_redundant_connections": False,
    "inactivity_timeout": 3600,
    "peer_timeout": 3600,
}
if mode == "tuned":
    settings = {
        **lt.high_performance_seed(),
        **settings,
        "aio_threads": 4,
        "hashing_threads": 2,
        "listen_queue_size": 3000,
        "max_queued_disk_bytes": 64 << 20,
        "torrent_connect_boost": 255,
    }

session = lt.session(settings)
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.max_connections = limit
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused

stopping = False


def stop(_signal, _frame):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
print("ADDED", flush=True)
handle = session.add_torrent(params)
done = False
while not stopping:
    session.wait_for_alert(200)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.torrent_checked_alert):
            print("CHECKED", flush=True)
            finished = handle.status().is_seeding
        else:
            finished = isinstance(alert, lt.torrent_finished_alert)
        if finished and not done:
            done = True
            print("DONE", flush=True)
        if isinstance(alert, (lt.torrent_error_alert, lt.listen_failed_alert)):
            sys.exit(alert.message())

handle.flush_cache()
for _ in range(50):
    session.wait_for_alert(100)
    if any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
        break
