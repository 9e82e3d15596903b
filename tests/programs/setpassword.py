"""The password service with a command instead of a file: for hosts, on CPython.

The command is called with the user's name and gets the old and the new password, a line each, from
its standard input: not in its arguments, which everybody on the machine can read. Its exit
status says how it went: 0 the password is changed, 1 user or old password is wrong, else the
first line that it prints says why not.

    python3 setpassword.py server 7110 ./setpassword
    python3 setpassword.py client 7110 anna "old password" "new password"
"""

import subprocess

from client import Connection, run
from socketse import PasswordHandler, ThreadingTCPServer

SECONDS = 20  # that the command may take


class CommandHandler(PasswordHandler):
    """Runs server.command for each change: in a thread, where waiting holds up nobody."""

    async def change(self, user, old, new):
        if user[:1] == b"-":
            return False  # no option for the command
        done = subprocess.run(
            [self.server.command, user],
            input=old + b"\n" + new + b"\n",
            stdout=subprocess.PIPE,
            timeout=SECONDS,
        )
        if done.returncode > 1 or done.returncode < 0:
            raise ValueError(done.stdout.decode().split("\n")[0] or "it cannot be changed")
        return done.returncode == 0


def serve(address, command):
    with ThreadingTCPServer(address, CommandHandler) as server:
        server.command = command
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, user, old, new):
    with Connection(address) as connection:
        connection.send("USER %s\r\nPASS %s\r\nNEWPASS %s\r\nQUIT\r\n" % (user, old, new))
        print(connection.rest().split("\r\n")[3])


if __name__ == "__main__":
    run(("server PORT COMMAND", serve), ("client PORT USER OLD NEW", call))
