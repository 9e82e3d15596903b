"""What the board says of itself: on the REPL, and to who looks for it."""

import json
import sys

from socketse import __version__

import node


def tell(board, address):
    """Print where the board serves, and return the answer for who looks for boards, or None.

    address  None: it is in no network
    """
    settings = board.settings
    if not address:
        if not settings["networks"]:
            print("no network in config.json: add one to its list of networks")
        elif board.address:
            print("the network is gone: trying to join again")
        return None
    if board.failed:
        print("something above does not work; the rest does:")
    services = {}
    for server in board.servers:
        name = getattr(server, "name", None) or type(server).__name__
        services[name] = server.server_address[1]
    listed = ", ".join(["%s %d" % item for item in sorted(services.items())])
    print("serving at %s: %s" % (address, listed))
    if not board.found:
        return None
    join_group(board)
    card = {"name": settings["hostname"], "address": address, "version": __version__}
    card["services"] = services
    return json.dumps(card).encode()


def join_group(board):
    """Let multicast questions reach us too."""
    rooms = ["socketse." + room for room in ("options", "allow", "limits")]
    rooms = [room for room in rooms if room not in sys.modules]
    from socketse.options import join_group

    try:
        join_group(board.ears.socket, "239.255.20.7")
    except OSError as e:
        if e.errno not in (98, 112):  # it is in the group already
            print("discovery by broadcast only: no multicast (%s)" % e)
    node.forget(*rooms)
