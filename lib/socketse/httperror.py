"""What http.py needs for answers that are not 200: phrases, errors, log lines."""

import sys

from . import port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# RFC 9110, 15. In one string: a dict would cost a board three times as much.
_PHRASES = (
    "100Continue 101Switching_Protocols 200OK 201Created 202Accepted "
    "203Non-Authoritative_Information 204No_Content 205Reset_Content 206Partial_Content "
    "300Multiple_Choices 301Moved_Permanently 302Found 303See_Other 304Not_Modified "
    "307Temporary_Redirect 308Permanent_Redirect 400Bad_Request 401Unauthorized 403Forbidden "
    "404Not_Found 405Method_Not_Allowed 406Not_Acceptable 408Request_Timeout 409Conflict "
    "410Gone 411Length_Required 412Precondition_Failed 413Request_Entity_Too_Large "
    "414Request-URI_Too_Long 415Unsupported_Media_Type 416Requested_Range_Not_Satisfiable "
    "417Expectation_Failed 418I'm_a_Teapot 422Unprocessable_Entity 429Too_Many_Requests "
    "431Request_Header_Fields_Too_Large 500Internal_Server_Error 501Not_Implemented "
    "502Bad_Gateway 503Service_Unavailable 504Gateway_Timeout 505HTTP_Version_Not_Supported "
)


def phrase(code):
    """Return the words that belong to a status code; "" for one that is not known."""
    at = (" " + _PHRASES).find(" %d" % code)
    return _PHRASES[at + 3 : _PHRASES.find(" ", at)].replace("_", " ") if at >= 0 else ""


def escape(text):
    """Return text as it stands in HTML."""
    for c, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(c, "&" + name + ";")
    return text


def send_error(h, code, message=None, explain=None):
    """Answer with an error: BaseHTTPRequestHandler.send_error."""
    if message is None:
        message = phrase(code)
    h.log_error("code %d, message %s", code, message)
    # Only the page has room for more than a line.
    h.send_response(code, message.replace("\r", " ").replace("\n", " "))
    h.send_header("Connection", "close")
    if code == 405:
        h.send_header("Allow", _allowed(h))
    elif code == 401:
        h.send_header("WWW-Authenticate", 'Basic realm="%s", charset="UTF-8"' % h.server_version)
    body = b""
    if code >= 200 and code not in (204, 205, 304):
        about = {"code": code, "message": escape(message), "explain": escape(explain or "")}
        body = (h.error_message_format % about).encode()
        h.send_header("Content-Type", h.error_content_type)
        h.send_header("Content-Length", len(body))
    h.end_headers()
    if body and h.command != "HEAD":
        h.write(body)
    else:
        h.flush()


def fail(h, exc):
    """Answer a request whose do_X or body has raised exc; its connection is closed then."""
    h.close_connection = True
    if h._se_file is not None:
        h._se_file.close()
        h._se_file = None
    head = h._se_head
    h._se_head = None
    if not head and h._se_code is not None:
        return  # too late
    theirs = h._se_error
    if isinstance(exc, MemoryError):
        status = 503
    elif exc is not theirs:
        status = 500
    elif port.timeout(exc):
        status = 408
    elif isinstance(exc, EOFError):
        status = 400  # less came than was told
    else:
        status = getattr(exc, "status", 0)
        if not status:
            return  # the client is gone
    try:
        h.send_error(status)
    except (OSError, MemoryError):
        h._se_head = None
        h._se_error = theirs


def _allowed(h):
    return ", ".join(sorted([name[3:] for name in dir(type(h)) if name[:3] == "do_"]))


def refuse(h):
    """Answer a request for which there is no do_X."""
    known = " %s " % h.command in " GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT "
    code = 405 if known and _allowed(h) else 501
    h.send_error(code, "Unsupported method (%r)" % h.command)


def seldom(h, name):
    """Return what few handlers ask for, by name. Raises AttributeError for all else."""
    if name == "connection":
        return h.request
    if name == "address_string":
        return lambda: h.client_address[0]
    if name == "log_date_time_string":
        from .httpdate import local

        return local
    if name == "flush_headers":
        return h.flush
    if name == "writelines":
        return lambda lines: [h.write(line) for line in lines] and None
    if name == "raw_requestline":
        return (h.requestline + "\r\n").encode()
    raise AttributeError(name)


def log(h, text):
    """Write a line to stderr: BaseHTTPRequestHandler.log_message."""
    err: Any = sys.stderr
    # What a client sends is not to steer the terminal.
    text = "".join([c if " " <= c <= "~" or c > "\xa0" else "\\x%02x" % ord(c) for c in text])
    err.write("%s - - [%s] %s\n" % (h.address_string(), h.log_date_time_string(), text))


def load(handler):
    """Load the rooms that the handler class may need."""
    from . import httpbody, httpdate  # noqa: F401
    from .httpsend import frame  # noqa: F401

    if hasattr(handler, "list_directory"):
        from . import httplist  # noqa: F401
    if handler.users is not None or handler.check_password is not None:
        from . import httpauth  # noqa: F401
