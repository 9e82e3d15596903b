"""The services for datagrams, all in one Multiplexer: udp.py PORT PORT ..."""

import sys

from socketse import Multiplexer, UDPServer, services

HANDLERS = (
    services.EchoHandler,
    services.DiscardHandler,
    services.ChargenHandler,
    services.DaytimeHandler,
    services.TimeHandler,
    services.SNTPHandler,
)

hub = Multiplexer()
for i, handler in enumerate(HANDLERS):
    hub.add(UDPServer(("127.0.0.1", int(sys.argv[1 + i])), handler))
print("ready")
hub.serve_forever()
