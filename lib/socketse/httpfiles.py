"""SimpleHTTPRequestHandler: files from flash, in constant memory, and from one directory only."""

import os
from errno import ENOENT

from . import port
from .http import BaseHTTPRequestHandler

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# In one string: a dict would cost a board three times as much.
_TYPES = (
    ".html text/html .htm text/html .css text/css .js text/javascript .json application/json "
    ".txt text/plain .csv text/csv .xml text/xml .svg image/svg+xml .png image/png "
    ".jpg image/jpeg .jpeg image/jpeg .gif image/gif .ico image/vnd.microsoft.icon "
    ".webp image/webp .pdf application/pdf .wasm application/wasm .py text/x-python "
    ".gz application/gzip .woff2 font/woff2 "
)
_DIRECTORY = 0x4000  # of a file's mode
_MASK = 0xF000
_PIECE = 512  # bytes of a file in memory


class File:
    """A file of send_head(): if copyfile() has it, close() leaves it open until it is sent."""

    def __init__(self, file):
        self.file = file
        self.lent = False  # True: it is closed when it has been sent

    def close(self):
        """Close the file, unless it is still to be sent."""
        if not self.lent:
            self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


class SimpleHTTPRequestHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with the files of a directory, and of those in it.

    directory  its path; None: the current one, on MicroPython "www" in it, because a board's
               has secrets
    """

    directory: "str | None" = None
    index_pages = ("index.html", "index.htm")
    extensions_map: "dict[str, str]" = {}  # by extension, ".html": what differs from the usual

    def __init__(self, request, client_address, server, directory=None):
        if directory is not None:
            self.directory = directory
        BaseHTTPRequestHandler.__init__(self, request, client_address, server)

    def do_GET(self):
        """Send a file."""
        f = self.send_head()
        if f:
            try:
                self.copyfile(f, self.wfile)
            finally:
                f.close()

    def do_HEAD(self):
        """Send a file's head."""
        f = self.send_head()
        if f:
            f.close()

    def send_head(self):
        """Send the head for self.path; return the file, open for reading, or None: all is done."""
        path = self.translate_path(self.path)
        f: Any
        try:
            if path is None:
                raise OSError(ENOENT)
            stat = os.stat(path)
            if stat[0] & _MASK == _DIRECTORY:
                parts = self.path.split("?", 1)
                if parts[0][-1:] != "/":
                    parts[0] += "/"
                    self.send_response(301)
                    self.send_header("Location", "?".join(parts))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                for name in self.index_pages:
                    try:
                        stat = os.stat(path + "/" + name)
                    except OSError:
                        continue
                    path += "/" + name
                    break
                else:
                    f = self.list_directory(path)
                    return f and File(f)
            elif path[-1:] == "/" or self.path.split("?", 1)[0][-1:] == "/":
                raise OSError(ENOENT)
            f = File(open(path, "rb"))
        except OSError:
            self.send_error(404, "File not found")
            return None
        try:
            changed = self.date_time_string(stat[8])
            since = self.headers.get("If-Modified-Since")
            if since and not self.headers.get("If-None-Match"):
                from .httpdate import since as unchanged

                if unchanged(since, stat[8]):
                    f.close()
                    self.send_response(304)
                    self.end_headers()
                    return None
            self.send_response(200)
            self.send_header("Content-type", self.guess_type(path))
            self.send_header("Content-Length", str(stat[6]))
            self.send_header("Last-Modified", changed)
            self.end_headers()
        except BaseException:
            f.close()
            raise
        return f

    def copyfile(self, source, outputfile):
        """Send a file, in pieces: what send_head() has returned, after do_X has returned.

        That holds up nobody. All else is written now.
        """
        if isinstance(source, File) and self._se_head and self._se_file is None:
            source.lent = True
            self._se_file = source.file
            return
        while True:
            data = source.read(_PIECE)
            if not data:
                return
            outputfile.write(data)

    def translate_path(self, path):
        """Return the path of the file that a request's path means; None: none can be meant."""
        directory = self.directory
        if directory is None:
            directory = "www" if port.platform else os.getcwd()
        words: list = []
        for word in unquote(path.split("?", 1)[0].split("#", 1)[0]).split("/"):
            if word == "..":
                if words:
                    words.pop()
            elif word not in ("", "."):
                if "\\" in word or ":" in word or "\0" in word:
                    return None
                words.append(word)
        return "/".join([directory] + words)

    def guess_type(self, path):
        """Return the type of a file by its name."""
        at = path.rfind(".")
        extension = path[at:].lower() if at > path.rfind("/") else ""
        found = self.extensions_map.get(extension)
        if found:
            return found
        at = _TYPES.find(extension + " ")
        if not extension or at < 0:
            return self.extensions_map.get("", "application/octet-stream")
        return _TYPES[at:].split(" ", 2)[1]

    def list_directory(self, path):
        """Send the names in a directory as a page."""
        from .httplist import list_directory

        return list_directory(self, path)


def unquote(text):
    """Return text without %-escapes; one with a zero in it for what cannot be decoded."""
    parts = text.split("%")
    found = parts[0].encode()
    try:
        for part in parts[1:]:
            found += bytes([int(part[:2], 16)]) if len(part[:2].strip()) == 2 else b"\0"
            found += part[2:].encode()
        return str(found, "utf-8")
    except ValueError:
        return "\0"  # no file is called that
