"""The page that SimpleHTTPRequestHandler makes of a directory."""

import os

from .httperror import escape


class Listing:
    """A page with the names in a directory, made while it is read."""

    def __init__(self, title, path):
        self.path = path
        self.names = sorted(os.listdir(path), key=str.lower)
        self.text = "<!DOCTYPE html><meta charset=utf-8><title>%s</title><h1>%s</h1><ul>\n" % (
            title,
            title,
        )

    def read(self, n):
        """Return some bytes of the page, about n; b"" at the end."""
        while self.names and len(self.text) < n:
            name = self.names.pop(0)
            if "\\" in name or ":" in name:
                continue  # it cannot be had
            try:
                if os.stat(self.path + "/" + name)[0] & 0xF000 == 0x4000:
                    name += "/"
            except OSError:
                continue  # it is gone
            self.text += '<li><a href="./%s">%s</a>\n' % (quote(name), escape(name))
        text, self.text = self.text, ""
        return text.encode()

    def close(self):
        """Forget what has not been read."""
        self.names = []


def quote(text):
    """Return text as it stands in a URL's path."""
    found = ""
    for c in text.encode():
        c = "%c" % c if 0x20 < c < 0x7F and c not in b"\"#%<>?\\^`{|}&'" else "%%%02X" % c
        found += c
    return found


def list_directory(h, path):
    """Send the head of the page; return what it is read from."""
    from .httpfiles import unquote

    f = Listing("Directory listing for " + escape(unquote(h.path.split("?")[0])), path)
    h.send_response(200)
    h.send_header("Content-type", "text/html; charset=utf-8")
    h.end_headers()
    return f
