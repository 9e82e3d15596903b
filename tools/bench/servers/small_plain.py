"""socketse: the smallest TCPServer there is; all limits are the library's own."""

import sys

from socketse import StreamRequestHandler, TCPServer


class Echo(StreamRequestHandler):
    """Send each line back."""

    def handle(self):
        """Serve one client."""
        for line in self.rfile:
            self.wfile.write(line)


server = TCPServer(("127.0.0.1", int(sys.argv[1])), Echo)
print("ready")
server.serve_forever()
