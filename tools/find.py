"""List the boards in this network: python tools/find.py [--to HOST[:PORT] ...] [--seconds 2]

Every board with the program from board/ answers one question on UDP port 20007 with its name,
its address, its version and its services. The question goes to everybody in the network, by
broadcast and by multicast, or only to the hosts that --to names. Exit status 1: nobody answered.
"""

import argparse
import collections
import ipaddress
import json
import re
import selectors
import socket
import sys
import time

PORT = 20007
GROUP = "239.255.20.7"
# No answer is longer than the question: nobody can be flooded with a forged sender.
QUESTION = b"socketse?".ljust(512)
_AGAIN_S = 0.4  # datagrams get lost
_MOST = 500  # boards; a mischief-maker could go on for ever
_NAME = re.compile(r"[\w.+-]{1,32}(/(tcp|udp))?")

Board = collections.namedtuple("Board", "name address version services sender")


class BadAnswer(ValueError):
    """What came is no answer of a board; the message says why."""


def understand(data, sender):
    """Return the Board that an answer tells of: a stranger may have sent anything.

    data    bytes of one datagram
    sender  the address that it came from
    Raises BadAnswer.
    """
    if len(data) > len(QUESTION):
        raise BadAnswer("it is longer than the question")
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise BadAnswer("it is not JSON") from None
    if not isinstance(found, dict):
        raise BadAnswer("it is not a JSON object")
    name = _text(found, "name", 64)
    version = _text(found, "version", 32)
    try:
        address = str(ipaddress.ip_address(_text(found, "address", 45)))
    except ValueError:
        raise BadAnswer('"address" is no address') from None
    services = found.get("services")
    if not isinstance(services, dict) or len(services) > 64:
        raise BadAnswer('"services" is no object like {"echo/tcp": 7}')
    for service, port in services.items():
        if not _NAME.fullmatch(service) or type(port) is not int or not 0 < port < 65536:
            raise BadAnswer('"services" is no object like {"echo/tcp": 7}')
    return Board(name, address, version, services, sender)


def _text(found, key, longest):
    value = found.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise BadAnswer('"%s" is no text of 1 to %d printable characters' % (key, longest))
    return value


def everywhere():
    """Return [(address to send from, target), ...] that reach all boards of all networks here."""
    own = {""}
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        own.update(info[4][0] for info in infos)
    except OSError:
        own.add("")  # a host without a name of its own: the system chooses
    own = sorted(address for address in own if _is_ours(address))
    return [(a, (to, PORT)) for a in own for to in ("255.255.255.255", GROUP)]


def _is_ours(address):
    if address.startswith("127."):
        return False
    try:
        _open(address).close()
    except OSError:
        return False  # the hosts file may tell of an address of yesterday
    return True


def ask(targets, seconds=2.0, refused=None):
    """Ask and return the Boards that answered, in order of name and address.

    targets  [(own address or "", (host, port)), ...]
    seconds  how long to wait for answers
    refused  called with (sender's address, BadAnswer) for what is no answer
    Raises OSError if the question could be sent to none of the targets.
    """
    found = {}
    told = set()
    sockets = {}
    with selectors.DefaultSelector() as selector:
        try:
            for own, _ in targets:
                if own not in sockets:
                    sockets[own] = _open(own)
                    selector.register(sockets[own], selectors.EVENT_READ)
            now = again = time.monotonic()
            end = now + seconds
            while now < end:
                if now >= again:
                    _send(sockets, targets)
                    again = now + _AGAIN_S
                for key, _ in selector.select(max(min(again, end) - now, 0)):
                    _take(key.fileobj, found, told, refused)
                now = time.monotonic()
        finally:
            for sock in sockets.values():
                sock.close()
    return sorted(found.values(), key=lambda board: (board.name, board.address))


def _open(own):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        if own:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        sock.bind((own, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _send(sockets, targets):
    problem, sent = None, False
    for own, target in targets:
        try:
            sockets[own].sendto(QUESTION, target)
            sent = True
        except OSError as e:
            problem = OSError(e.errno, "%s:%d: %s" % (*target, e.strerror or e))
    if problem and not sent:
        raise problem


def _take(sock, found, told, refused):
    try:
        data, sender = sock.recvfrom(2048)
    except OSError:
        return  # Windows tells so that nobody listens at one of the targets
    try:
        board = understand(data, sender[0])
    except BadAnswer as e:
        if refused and sender[0] not in told and len(told) < _MOST:
            told.add(sender[0])
            refused(sender[0], e)
        return
    if len(found) < _MOST:
        found[board.name, board.address, board.sender] = board


def target(text):
    """Return ("", (host, port)) from HOST or HOST:PORT."""
    host, _, port = text.partition(":")
    if not host or port and not (port.isdigit() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError("%r is not HOST or HOST:PORT" % text)
    return "", (host, int(port or PORT))


def show(boards, console):
    """Print a table of the boards.

    console  a rich.console.Console
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "address", "version", "services"):
        table.add_column(heading, overflow="fold")
    for board in boards:
        services = ", ".join("%s %d" % item for item in sorted(board.services.items()))
        address = board.address
        if board.sender != address:
            address += " (the answer came from %s)" % board.sender
        # Text: what a stranger sends is no markup.
        table.add_row(*[Text(text) for text in (board.name, address, board.version, services)])
    console.print(table)


def main(argv=None):
    """Ask, print the answers, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    help_to = "ask this host only (port %d, if none is named); may be repeated" % PORT
    parser.add_argument("--to", action="append", type=target, metavar="HOST[:PORT]", help=help_to)
    parser.add_argument(
        "--from", dest="own", metavar="ADDRESS", help="this machine's address to ask from"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="to wait for answers")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args(argv)

    targets = options.to or everywhere()
    if options.own:
        targets = [(options.own, to) for to in dict.fromkeys(to for _, to in targets)]

    def refused(sender, why):
        print("An answer from %s is not understood: %s." % (sender, why), file=sys.stderr)

    try:
        boards = ask(targets, options.seconds, refused)
    except OSError as e:
        print("The question cannot be sent: %s." % (e.strerror or e), file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([board._asdict() for board in boards], indent=1))
    elif boards:
        from rich.console import Console

        show(boards, Console(highlight=False))
    if not boards:
        print(
            "No board has answered within %g s. Is it in the same network (its serial line says "
            "so: make flash shows it), and does a firewall let UDP port %d through?"
            % (options.seconds, PORT),
            file=sys.stderr,
        )
    return 0 if boards else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
