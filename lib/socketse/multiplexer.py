"""Multiplexer: one loop and one table of connections for any number of servers."""

from socket import SOCK_STREAM

from .server import BaseServer, TCPServer, _mark_left  # first: the largest compiles best

# isort: split
from . import port
from .hub import Hub
from .table import is_async

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_IDLE_SECONDS = 0.005  # between two rounds of serve() without events
# What a door puts on its server.
_HOOKS = "shutdown get_request process_request shutdown_request _se_hub _se_evict _se_join"


class Multiplexer:
    """Serves many servers, of all kinds, and their connections in one thread.

    max_connections  at once, of all servers; None: as many as this port and its heap have room for
    when_full        "evict": a newcomer takes the place of the one that is silent longest;
                     "wait": it waits until there is a place
    Raises ValueError for another when_full. All methods but shutdown() are for one thread.
    """

    serve_forever: "Any" = BaseServer.serve_forever
    shutdown: "Any" = BaseServer.shutdown
    _se_count: "Any" = BaseServer._se_count
    _se_is_own_thread: "Any" = None  # set by threading servers

    def __init__(self, max_connections=None, when_full="evict"):
        self._se_stats = {"out_of_memory": 0, "errors": 0}
        hub = self._se_hub = Hub(self._se_stats, max_connections, when_full)
        hub.server = self
        self.max_connections = hub.max_connections
        self.when_full = when_full
        self._se_doors: Any = []
        self._se_left = False  # poll() was called
        self._se_serving: Any = None  # as BaseServer has them
        self._se_poller: Any = None
        self._se_stop = False

    def add(self, server):
        """Serve server too, and return it: any of socketse's, with any handler.

        The server's shutdown() stops the multiplexer from now on. If it is to have TLS, its
        ssl_context stands before. Raises ValueError if the server is in a multiplexer already,
        and RuntimeError in a handler.
        """
        own = getattr(server, "_se_hub", None)
        if own and own.server is own:  # MultiplexingMixIn's, and no Multiplexer's
            server._se_join()
            server._se_hub = own = None
        if own or server in self.servers:
            raise ValueError("this server is in a multiplexer already: %r" % (server,))
        if self._se_hub.cur_task is not None:
            raise RuntimeError("a handler cannot add a server")
        self._se_doors.append(_Door(self, server))
        return server

    @property
    def servers(self):
        """The servers, as a new list."""
        found = []
        for door in self._se_doors:
            found.append(door.server)
        return found

    def remove(self, server):
        """Serve server no longer and close its connections, but not the server itself."""
        for door in self._se_doors:
            if door.server is server:
                door.leave()
                self._se_doors.remove(door)
                break
        self._se_hub.discard(server)

    def close(self):
        """Close all servers and connections."""
        for server in self.servers:
            server.server_close()
        self._se_new_poller()  # forgets that it was polled

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    @property
    def stats(self):
        """The sums of the servers' counters, in a new dict."""
        total = dict(self._se_stats)
        for server in self.servers:
            for name in server.stats:
                total[name] = total.get(name, 0) + server.stats[name]
        return total

    def poll(self, timeout=0):
        """Do one round, for programs with a main loop of their own.

        timeout  seconds to wait for something to happen; None: for ever
        Returns True if anything happened. Raises RuntimeError if a handler
        calls it. As nobody knows whether that loop still runs, a new server on
        the address of one of these closes it.
        """
        if not self._se_left:
            # Ctrl-C between two rounds, or in asyncio, ends the program and tells nobody.
            self._se_left = True
            _mark_left(self, True)
        busy = self._se_hub.wait(timeout)
        self.service_actions()
        return busy

    async def serve(self):
        """Serve until shutdown(), beside the other tasks of asyncio; see poll()."""
        from asyncio import sleep

        if self._se_serving is not None:
            raise RuntimeError("it serves already")
        self._se_serving = [port.get_ident()]
        seconds: float = 0
        try:
            while not self._se_stop:
                try:
                    await sleep(seconds)
                    seconds = 0 if self.poll(0) else _IDLE_SECONDS
                except MemoryError:
                    self._se_count("out_of_memory")
                    port.collect()
                    seconds = _IDLE_SECONDS  # the others may leave some
        finally:
            self._se_serving = None
            self._se_stop = False

    def service_actions(self):
        """Called after each round: calls service_actions() of the servers."""
        for door in self._se_doors:
            if door.actions:
                door.actions()

    # BaseServer's hooks.

    def _se_new_poller(self):
        self._se_left = False
        _mark_left(self, False)
        return self

    def _se_ready(self, timeout):
        self._se_hub.poll(timeout)
        return False  # nothing is left to be done


class _Door:
    """A server in a multiplexer, for whose socket it stands in the table."""

    _se_co = _se_since = None  # no connection
    _se_limited = False  # True: who comes in gets a place in the table
    actions = turn = None  # type: Any  # what each round calls

    def __init__(self, loop, server):
        self.loop = loop
        hub = self.hub = loop._se_hub
        self.server = server
        if type(server).service_actions is not BaseServer.service_actions:
            self.actions = server.service_actions
        share = getattr(server, "_se_share", None)  # ThreadingMixIn's
        if share:
            share(self)
        self.register(server.socket, 1)
        server.shutdown = loop.shutdown
        server._se_join = self.join
        server._se_poller = self
        if server.socket_type == SOCK_STREAM and not share:
            server._se_hub = hub
            server._se_evict = self.evict
            self._se_limited = is_async(server)
            if self._se_limited:
                server.shutdown_request = self.shutdown_request
                if type(server).get_request is TCPServer.get_request:
                    server.get_request = self.get_request
            else:
                self._se_limited = server.ssl_context is not None or getattr(
                    server.RequestHandlerClass, "client_speaks_first", False
                )
                server.process_request = self.process_request

    # A server's poller.

    def register(self, socket, mode):
        self.hub.register(socket, self)

    def unregister(self, socket):
        self.hub.unregister(socket)

    # What a server is made to call.

    def evict(self, n):
        """Descriptors have run out."""
        self.hub.evict(False)

    def join(self):
        self.loop.remove(self.server)
        if self.server._se_join:
            self.server._se_join()

    def get_request(self):
        if self.server.ssl_context is not None:
            return TCPServer.get_request(self.server)
        return port.accept_native(self.server.socket)

    def shutdown_request(self, request):
        # process_request comes here at its end; the connection goes on.
        if request not in self.hub.map:
            type(self.server).shutdown_request(self.server, request)

    def process_request(self, request, client_address):
        from .plain import process_request

        server = self.server
        process_request(server, request, client_address, type(server).process_request)

    def leave(self):
        """Let the server be as it was."""
        server = self.server
        self.unregister(server.socket)
        server._se_poller = None
        for name in _HOOKS.split():
            try:
                delattr(server, name)
            except AttributeError:
                continue  # this kind of server had none

    def _se_knock(self, socket):
        # Take what has come to a socket of the server's.
        server = self.server
        hub = self.hub
        if socket is not server.socket:
            server._se_spoke(socket)  # ThreadingMixIn's: one that waits for a thread
        elif not self._se_limited or hub.count < hub.server.max_connections or hub.acquire():
            hub.accept(server)
