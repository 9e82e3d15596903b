"""The standard services, on MicroPython or CPython: serve.py HOST PORT_BASE [CLOCK] [CERTIFICATE].

Each listens at PORT_BASE + its well-known port. CLOCK, seconds from 1970, is the time that the
time services start from instead of the system's; CERTIFICATE, a file with its key, lets HTTPS be
served. tools/run.py (`make run`) starts this.
"""

import errno
import sys
import time

from socketse import (
    BaseServer,
    Multiplexer,
    PageHandler,
    TCPServer,
    UDPServer,
    server_context,
    services,
)

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
SECURE = ("https", 443, PageHandler, "TCP", "a browser: https://{0}:{1}/")


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


class SecurePageServer(TellingTCPServer):
    """The page over TLS."""


class TellingUDPServer(Telling, UDPServer):
    protocol = "UDP"


class Hub(Multiplexer):
    """A Multiplexer that can say for how many seconds it has been there."""

    begun = time.time()

    @property
    def uptime(self):
        return int(time.time() - self.begun)


def open_servers(host, base, known):
    """Return the servers of those services; exit with a sentence if a port is taken."""
    servers = []
    for name, port, handler, protocols, _ in known:
        services.QUIET_PORTS.add(base + port)
        for protocol in protocols.split():
            kind = TellingTCPServer if protocol == "TCP" else TellingUDPServer
            if name == "https":
                kind = SecurePageServer
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


def main(host, base, *more):
    """Serve until Ctrl-C."""
    known = list(SERVICES)
    for word in more:
        if word.isdigit():
            services.clock.set(int(word))
        else:
            SecurePageServer.ssl_context = server_context(word)
            known.append(SECURE)
    PageHandler.page = PAGE
    hub = Hub()
    for server in open_servers(host, base, known):
        hub.add(server)
    print("%-8s %-8s %-16s %s" % ("service", "protocol", "address", "try"))
    for name, port, _, protocols, command in known:
        address = "%s:%d" % (host, base + port)
        print("%-8s %-8s %-16s %s" % (name, protocols, address, command.format(host, base + port)))
    try:
        print("Serving on %s; Ctrl-C stops." % sys.version.split(";")[-1].strip())
        hub.serve_forever()
    except KeyboardInterrupt:
        hub.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
