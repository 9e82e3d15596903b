"""socketse: a plain handler on a TCPServer, one connection at a time."""

from plain_lines import serve
from socketse import TCPServer

serve(TCPServer)
