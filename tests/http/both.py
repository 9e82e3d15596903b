"""One handler for CPython's http.server and for ours: both.py MODULE PORT FOLDER.

Nothing here says what only one of them could say.
"""

import os
import sys

server = __import__(sys.argv[1], None, None, ("HTTPServer",))
if not hasattr(server, "HTTPServer"):  # CPython: the package, not the module
    server = sys.modules[sys.argv[1]]
os.chdir(sys.argv[3])


class Handler(server.SimpleHTTPRequestHandler):
    """What people write for http.server."""

    protocol_version = "HTTP/1.1"
    server_version = "Both/1.0"
    sys_version = "Python"
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain"

    def do_GET(self):
        """Send a page or a file."""
        if self.path.startswith("/page"):
            self.page()
        elif self.path == "/gone":
            self.send_error(410)
        elif self.path == "/teapot":
            self.send_error(418, "I'm <a> teapot", "short & stout")
        elif self.path == "/empty":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302, "Elsewhere")
            self.send_header("Location", "/page")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
        elif self.path == "/printed":
            body = b"one\ntwo\n"
            self.send_response(200)
            self.send_header("Content-Length", len(body))
            self.end_headers()
            for line in body.split(b"\n")[:-1]:
                self.wfile.write(line)
                self.wfile.write(b"\n")
            self.wfile.flush()
        else:
            super().do_GET()

    def page(self, body=None):
        """Send what the request was."""
        if body is None:
            fields = [self.headers.get(name) for name in ("host", "ACCEPT", "X-None")]
            words = [self.command, self.path, self.request_version, self.headers["Accept"]]
            words += [self.headers.get("x-none", "nothing"), "accept" in self.headers, fields]
            words += [self.close_connection, self.client_address[0], self.requestline]
            words += [
                str(self.headers),
                list(self.headers.keys()),
                [name for name in self.headers],
            ]
            words += [self.address_string(), self.connection is self.request]
            body = repr(words).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        """Send the body back."""
        length = int(self.headers["Content-Length"])
        self.page(self.rfile.read(length))

    def do_PUT(self):
        """Send back the first line of the body, and how long the rest is."""
        length = int(self.headers.get("content-length", 0))
        line = self.rfile.readline()
        self.page(line + b"%d" % len(self.rfile.read(length - len(line))))

    def do_DELETE(self):
        """Fail."""
        self.page(b"%s" % self.date_time_string(784111777).encode())

    def log_message(self, format, *args):
        """Say what would be logged."""
        print("%s [%s] %s" % (self.address_string(), self.log_date_time_string(), format % args))


print("ready")
server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
