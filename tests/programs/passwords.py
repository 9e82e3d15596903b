"""A service where many change their passwords at once, with the protocol of poppassd.

Run it on CPython or MicroPython; without a file of that name the server makes one, with
users guest1 to guest20 whose passwords are "first password":

    python3 passwords.py server 7109 users
    python3 passwords.py client 7109 "first password" "second password"
"""

from client import Connection, run
from socketse import MultiplexingTCPServer, PasswordHandler, Users

GUESTS = 20


class PasswordServer(MultiplexingTCPServer):
    """Takes as many as there are."""

    request_queue_size = GUESTS
    max_connections = GUESTS


def serve(address, path):
    class Handler(PasswordHandler):
        users = Users(path, 2000)

    if not Handler.users.names():
        for number in range(GUESTS):
            Handler.users.set("guest%d" % (number + 1), "first password")
    with PasswordServer(address, Handler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, old, new):
    guests = [Connection(address) for _ in range(GUESTS)]
    for i, guest in enumerate(guests):
        # All at once: nobody waits for an answer.
        guest.send("USER guest%d\r\nPASS %s\r\nNEWPASS %s\r\nQUIT\r\n" % (i + 1, old, new))
    for i, guest in enumerate(guests):
        answers = guest.rest().split("\r\n")
        print("guest%d: %s" % (i + 1, answers[3]))
        guest.close()


if __name__ == "__main__":
    run(("server PORT FILE", serve), ("client PORT OLD NEW", call))
