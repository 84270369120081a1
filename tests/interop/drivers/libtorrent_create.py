"""Makes a torrent with libtorrent and prints its info-hash: create.py PATH PIECE_LENGTH [private]."""

import os
import sys

import libtorrent as lt


def main():
    path, piece_length, private = sys.argv[1], int(sys.argv[2]), "private" in sys.argv[3:]
    storage = lt.file_storage()
    # In the order of their paths' bytes: libtorrent itself takes them as the folder has them.
    for file in sorted(files(path), key=os.fsencode):
        storage.add_file(os.path.relpath(file, os.path.dirname(path)), os.path.getsize(file))
    torrent = lt.create_torrent(storage, piece_size=piece_length, flags=lt.create_torrent.v1_only)
    torrent.set_priv(private)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    print(lt.torrent_info(torrent.generate()).info_hash())


def files(path):
    if os.path.isfile(path):
        return [path]
    return [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]


main()
