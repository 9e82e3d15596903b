"""socketse: a plain handler on a ThreadingTCPServer."""

from plain_lines import serve
from socketse import ThreadingTCPServer

serve(ThreadingTCPServer)
