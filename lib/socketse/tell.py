"""What a server prints of an exception: loaded when the first one comes, or before threads do."""

import sys

from . import port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


def handle_error(error, client_address):
    """Print what BaseServer.handle_error tells of an exception."""
    err: Any = sys.stderr
    print("-" * 40, file=err)
    print("Exception occurred during processing of request from", client_address, file=err)
    if port.platform:
        sys.print_exception(error, err)
    else:
        port.print_exception(error, err)
    print("-" * 40, file=err)
