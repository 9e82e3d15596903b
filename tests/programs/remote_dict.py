"""A dict at the server, used by the client as if it were its own.

Run it on CPython or MicroPython:

    python3 remote_dict.py server 7120
    python3 remote_dict.py client 7120
"""

from client import run
from socketse import RemoteServer, connect


def serve(address):
    with RemoteServer(address, dict) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address):
    with connect(*address) as c:
        c[1] = 2
        c["one"] = (1, "tuple")
        print("items" in dir(c), "_x" in dir(c))
        print(c._all() == {1: 2, "one": (1, "tuple")})
        print(sorted(str(item) for item in c.items()))
        print(c[1], len(c), 1 in c, c.get("two"))
        try:
            print(c["two"])
        except KeyError as e:
            print("KeyError", e.args[0])


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT", call))
