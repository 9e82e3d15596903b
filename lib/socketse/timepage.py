"""TimePageHandler: a page that tells the time, for a browser; over TLS, if its server has it."""

import time

from .http import BaseHTTPRequestHandler  # first: the largest compiles best into a whole heap

# isort: split
from .services import clock

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<link rel="icon" href="data:,">
<title>The time</title>
<p>%s
</html>
"""
_TIME = "It is <time>%d-%02d-%02d %02d:%02d:%02d</time> UTC"


class TimePageHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of / with a page that tells the time in UTC, anew each second.

    While the clock is not set the page says so, with status 503.
    """

    protocol_version = "HTTP/1.1"  # a browser asks again each second: one handshake is enough

    def do_GET(self):
        """Send the page."""
        if self.path.split("?")[0] != "/":
            self.send_error(404)
            return
        code, text = 503, "The clock is not set."
        if clock.is_set():
            code, text = 200, _TIME % time.gmtime(clock.now()[0] - clock._epoch)[:6]
        page = (_PAGE % text).encode()
        self.send_response(code)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", len(page))
        self.end_headers()
        self.wfile.write(page)

    do_HEAD = do_GET

    def log_request(self, code="-", size="-"):
        """Log nothing: a browser asks each second."""
