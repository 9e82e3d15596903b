"""A new socket for a UDPServer whose own one is deaf: on ESP32 an empty datagram does that."""

from . import port


def revive(server):
    """Make the socket anew. Returns when that has worked, or the server is to stop."""
    poller = server._se_poller
    if poller:
        poller.unregister(server.socket)
    server.socket.close()
    while not server._se_stop:
        try:
            server.socket = port.Socket(server.address_family, server.socket_type)
            server.server_bind()
            break
        except Exception:  # OSError or MemoryError; a tuple of both would need memory
            server.socket.close()
            _wait()
    while poller and not server._se_stop:
        try:
            poller.register(server.socket, 1)
            break
        except MemoryError:
            _wait()  # the poller must not be used before that has worked


def _wait():
    # For memory: nothing can be served meanwhile.
    port.collect()
    port.sleep_ms(100)
