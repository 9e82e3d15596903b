"""The standard services, on MicroPython or CPython: serve.py HOST PORT_BASE [CLOCK].

Each listens at PORT_BASE + its well-known port. CLOCK, seconds from 1970, is the time that the
time services start from instead of the system's. tools/run.py (`make run`) starts this.
"""

import errno
import sys
import time

from socketse import BaseServer, Multiplexer, PageHandler, TCPServer, UDPServer, services

PAGE = sys.argv[0].replace("\\", "/").rpartition("/")[0] + "/../board/node/page.html"

# Name, port, handler, protocols, and a command to try it with {0} host and {1} port.
SERVICES = (
    ("echo", 7, services.EchoHandler, "TCP UDP", "printf 'hi\\n' | nc -q1 {0} {1}"),
    ("discard", 9, services.DiscardHandler, "TCP UDP", "echo nothing | nc -q1 {0} {1}"),
    ("daytime", 13, services.DaytimeHandler, "TCP UDP", "nc {0} {1} </dev/null"),
    ("chargen", 19, services.ChargenHandler, "TCP", "nc {0} {1} </dev/null | head -n5"),
    ("time", 37, services.TimeHandler, "TCP UDP", "rdate -p -o {1} {0}"),
    ("http", 80, PageHandler, "TCP", "a browser: http://{0}:{1}/"),
    ("sntp", 123, services.SNTPHandler, "UDP", "rdate -n -p -o {1} {0}"),
)


class Telling:
    """Prints a line for each connection and datagram."""

    def verify_request(self, request, client_address):
        allowed = BaseServer.verify_request(self, request, client_address)
        where = "%s:%d" % (client_address[0], client_address[1])
        name = self.name.split("/")[0]
        print("%-8s %s %s%s" % (name, self.protocol, where, "" if allowed else " refused"))
        return allowed


class TellingTCPServer(Telling, TCPServer):
    protocol = "TCP"


class TellingUDPServer(Telling, UDPServer):
    protocol = "UDP"


class Hub(Multiplexer):
    """A Multiplexer that can say for how many seconds it has been there."""

    begun = time.time()

    @property
    def uptime(self):
        return int(time.time() - self.begun)


def open_servers(host, base):
    """Return the servers; exit with a sentence if a port is taken."""
    servers = []
    for name, port, handler, protocols, _ in SERVICES:
        services.QUIET_PORTS.add(base + port)
        for protocol in protocols.split():
            kind = TellingTCPServer if protocol == "TCP" else TellingUDPServer
            try:
                server = kind((host, base + port), handler)
            except OSError as e:
                cure = "choose another with make run HOST=..."
                if e.errno in (errno.EADDRINUSE, errno.EACCES):
                    cure = "choose others with make run PORT_BASE=..."
                fault = "is in use" if e.errno == errno.EADDRINUSE else "fails, %s" % e.args[-1]
                print("%s port %d of %s %s: %s" % (protocol, base + port, host, fault, cure))
                sys.exit(1)
            server.name = "%s/%s" % (name, protocol.lower())
            servers.append(server)
    return servers


def main(host, base, clock=None):
    """Serve until Ctrl-C."""
    if clock is not None:
        services.clock.set(clock)
    PageHandler.page = PAGE
    hub = Hub()
    for server in open_servers(host, base):
        hub.add(server)
    print("%-8s %-8s %-16s %s" % ("service", "protocol", "address", "try"))
    for name, port, _, protocols, command in SERVICES:
        address = "%s:%d" % (host, base + port)
        print("%-8s %-8s %-16s %s" % (name, protocols, address, command.format(host, base + port)))
    try:
        print("Serving on %s; Ctrl-C stops." % sys.version.split(";")[-1].strip())
        hub.serve_forever()
    except KeyboardInterrupt:
        hub.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *[int(arg) for arg in sys.argv[3:]])
